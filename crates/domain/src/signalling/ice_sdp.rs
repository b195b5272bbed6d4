//! ICE candidates in SDP, for WHIP (RFC 9725): the fragments that clients send (RFC 8840), and the candidates
//! of Janus in an answer.
//!
//! Owns this syntax. Never decides whether a candidate is usable.

use super::methods::{Candidate, Trickle};

/// Reason why a fragment cannot be read. The error texts quote nothing from the fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("the fragment has neither a=candidate nor a=end-of-candidates (RFC 8840 section 9)")]
    Empty,
    #[error("{0}")]
    Candidate(&'static str),
}

/// Returns the candidates in a body of the type `application/trickle-ice-sdpfrag` (RFC 8840 section 9). If
/// the fragment announces the end of candidates, the last item is `Trickle::Completed`.
///
/// # Errors
/// The fragment has neither a candidate nor an end of candidates, or [`Trickle::new`] refuses a candidate.
pub fn candidates(fragment: &str) -> Result<Vec<Trickle>, FragmentError> {
    let (mut candidates, mut ends, mut mid) = (Vec::new(), false, None);
    for line in fragment.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            mid = None;
        } else if let Some(value) = line.strip_prefix("a=mid:") {
            mid = Some(value.to_owned());
        } else if line == "a=end-of-candidates" {
            ends = true;
        } else if line.starts_with("a=candidate:") {
            // Without `a=mid`, the candidate is for the only section that AudioBridge accepts.
            let sdp_m_line_index = if mid.is_none() { Some(0) } else { None };
            let candidate = line["a=".len()..].to_owned();
            let candidate =
                Candidate { candidate, sdp_mid: mid.clone(), sdp_m_line_index, username_fragment: None };
            candidates.push(Trickle::new(candidate).map_err(FragmentError::Candidate)?);
        }
    }
    candidates.extend(ends.then_some(Trickle::Completed));
    if candidates.is_empty() { Err(FragmentError::Empty) } else { Ok(candidates) }
}

/// Returns the first `a=ice-ufrag` value of a session description or SDP fragment.
pub fn ufrag(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim_end)
}

/// Returns true if the description contains a candidate.
pub fn has_candidates(sdp: &str) -> bool {
    sdp.lines().any(|line| line.starts_with("a=candidate:"))
}

/// Returns `answer` with these candidates and the end of candidates appended to its audio section.
pub fn with_candidates(answer: &str, candidates: &[String]) -> String {
    let mut lines: Vec<&str> = answer.lines().collect();
    let audio = lines.iter().position(|line| line.starts_with("m=audio ")).unwrap_or(lines.len());
    let next = lines.iter().skip(audio + 1).position(|line| line.starts_with("m="));
    let end = next.map_or(lines.len(), |next| audio + 1 + next);
    let added: Vec<String> = candidates.iter().map(|candidate| format!("a={candidate}")).collect();
    lines.splice(end..end, added.iter().map(String::as_str).chain(["a=end-of-candidates"]));
    lines.join("\r\n") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "candidate:1 1 UDP 2122252543 192.0.2.1 61764 typ host";

    fn candidate(mid: Option<&str>) -> Trickle {
        let sdp_m_line_index = if mid.is_none() { Some(0) } else { None };
        let (candidate, sdp_mid) = (HOST.to_owned(), mid.map(str::to_owned));
        Trickle::Candidate(Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: None })
    }

    #[test]
    fn fragments_hold_candidates_of_sections() {
        let text = format!(
            "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
             a={HOST}\r\na=end-of-candidates\r\n"
        );
        assert_eq!(ufrag(&text), Some("EsAw"));
        assert_eq!(candidates(&text).unwrap(), [candidate(Some("0")), Trickle::Completed]);
        let plain = format!("a={HOST}\na={HOST}");
        assert_eq!(candidates(&plain).unwrap(), [candidate(None), candidate(None)]);
    }

    #[test]
    fn fragments_without_candidates_are_refused() {
        for text in ["", "v=0", "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "\r\n\r\n"] {
            assert_eq!(candidates(text), Err(FragmentError::Empty), "{text}");
        }
        let long = format!("a=candidate:{}", "x".repeat(600));
        assert!(matches!(candidates(&long), Err(FragmentError::Candidate(_))));
        let control = "a=candidate:1\u{7} 1 UDP";
        assert!(matches!(candidates(control), Err(FragmentError::Candidate(_))));
    }

    #[test]
    fn answers_get_candidates_in_audio() {
        let answer =
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\n";
        let full = with_candidates(answer, &[HOST.to_owned()]);
        let wanted = format!("a=mid:0\r\na={HOST}\r\na=end-of-candidates\r\nm=video 0");
        assert!(full.contains(&wanted) && full.ends_with("96\r\n"), "{full}");
        assert!(has_candidates(&full) && !has_candidates(answer));
        let alone = with_candidates("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", &[]);
        assert!(alone.ends_with("111\r\na=end-of-candidates\r\n"), "{alone}");
        assert_eq!(ufrag("v=0\r\na=ice-ufrag:ab12\r\na=ice-ufrag:cd34\r\n"), Some("ab12"));
    }

    proptest::proptest! {
        #[test]
        fn any_fragment_is_judged(
            text in "(?s)(a=candidate:|a=mid:|m=|a=end-of-candidates|\r\n|[ 0-9a-z:é]{0,6}){0,30}",
        ) {
            let _ = candidates(&text);
            let _ = with_candidates(&text, &["candidate:1".to_owned()]);
        }
    }
}
