//! Check of SDP offers: refuses those that cannot work with AudioBridge, before Janus sees them.
//!
//! AudioBridge answers such an offer with SDP that looks valid. No media follows, and the session repeatedly
//! ends with a timeout. Owns these rules. Never rewrites an offer and never checks candidates.

/// Reason why an offer cannot work. The texts are sent to the client and contain no part of the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferRefusal {
    #[error("the offer has no m=audio line; offer one audio track")]
    NoAudio,
    #[error("the m=audio line of the offer has port 0, which rejects it; offer an active audio track")]
    Rejected,
    #[error("the m=audio line of the offer has no secure profile; use UDP/TLS/RTP/SAVPF")]
    NotSecure,
    #[error("the m=audio line of the offer has no opus/48000/2")]
    NoOpus,
    #[error("the audio of the offer is not sent; its direction must be sendrecv or sendonly")]
    NotSending,
    #[error("the offer has no a=ice-ufrag and a=ice-pwd for its audio")]
    NoIce,
    #[error("the offer has no a=fingerprint for its audio; media need DTLS")]
    NoFingerprint,
}

/// Checks the audio section that AudioBridge uses, which is the first one. Attributes may be in this section
/// or before the first section (RFC 8866 section 5.13).
///
/// # Errors
/// The first rule that the offer breaks.
pub fn check(sdp: &str) -> Result<(), OfferRefusal> {
    let lines: Vec<&str> = sdp.lines().collect();
    let is_media = |line: &&str| line.starts_with("m=");
    let session_end = lines.iter().position(is_media).unwrap_or(lines.len());
    let (session, sections) = lines.split_at(session_end);
    let start = sections.iter().position(|line| line.starts_with("m=audio "));
    let (media, rest) = start.and_then(|at| sections[at..].split_first()).ok_or(OfferRefusal::NoAudio)?;
    let section = &rest[..rest.iter().position(is_media).unwrap_or(rest.len())];
    let has = |name: &str| section.iter().chain(session).any(|line| line.starts_with(name));

    let mut fields = media["m=audio ".len()..].split(' ');
    let (port, profile, formats) = (fields.next(), fields.next().unwrap_or_default(), fields);
    if port.is_none_or(|port| port.split('/').next() == Some("0")) {
        return Err(OfferRefusal::Rejected);
    }
    // RFC 5764 section 8 and RFC 8829 section 5.1.2.
    if !profile.contains("SAVP") {
        return Err(OfferRefusal::NotSecure);
    }
    if !formats.into_iter().any(|format| is_opus(section, format)) {
        return Err(OfferRefusal::NoOpus);
    }
    let direction = |lines: &[&str]| lines.iter().find_map(|line| sends(line));
    if !direction(section).or_else(|| direction(session)).unwrap_or(true) {
        return Err(OfferRefusal::NotSending);
    }
    if !has("a=ice-ufrag:") || !has("a=ice-pwd:") {
        return Err(OfferRefusal::NoIce);
    }
    if !has("a=fingerprint:") {
        return Err(OfferRefusal::NoFingerprint);
    }
    Ok(())
}

/// Returns true if the section maps the format to Opus (RFC 7587 section 7). Encoding names are
/// case-insensitive.
fn is_opus(section: &[&str], format: &str) -> bool {
    let prefix = format!("a=rtpmap:{format} ");
    section
        .iter()
        .filter_map(|line| line.strip_prefix(&prefix))
        .any(|map| map.get(..11).is_some_and(|encoding| encoding.eq_ignore_ascii_case("opus/48000/")))
}

/// Returns true if a direction attribute lets the offerer send (RFC 8866 section 6.7); `None` for other
/// lines.
fn sends(line: &str) -> Option<bool> {
    match line.trim_end() {
        "a=sendrecv" | "a=sendonly" => Some(true),
        "a=recvonly" | "a=inactive" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offer of a browser, shortened.
    const OFFER: &str = "v=0\r\no=- 46117317 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\n\
        a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:ab12\r\n\
        a=ice-pwd:0123456789abcdef01234567\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\na=mid:0\r\n\
        a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n";

    fn with(from: &str, to: &str) -> Result<(), OfferRefusal> {
        assert!(OFFER.contains(from), "{from}");
        check(&OFFER.replace(from, to))
    }

    #[test]
    fn working_offers_pass() {
        assert_eq!(check(OFFER), Ok(()));
        assert_eq!(check(&OFFER.replace("\r\n", "\n")), Ok(()));
        assert_eq!(with("a=sendrecv", "a=sendonly"), Ok(()));
        assert_eq!(with("a=sendrecv\r\n", ""), Ok(()), "sendrecv is the default");
        assert_eq!(with("opus/48000/2", "OPUS/48000/2"), Ok(()));
        assert_eq!(with("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"), Ok(()));
        let session_level = "a=group:BUNDLE 0\r\na=fingerprint:sha-256 AB:CD\r\na=sendrecv";
        let moved = OFFER.replace("a=fingerprint:sha-256 AB:CD\r\n", "").replace("a=sendrecv\r\n", "");
        assert_eq!(check(&moved.replace("a=group:BUNDLE 0", session_level)), Ok(()));
        let video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\nm=audio";
        assert_eq!(with("m=audio", video), Ok(()), "AudioBridge rejects the video section alone");
    }

    #[test]
    fn impossible_offers_are_refused() {
        for (from, to, wanted) in [
            ("m=audio", "m=video", OfferRefusal::NoAudio),
            ("m=audio 9", "m=audio 0", OfferRefusal::Rejected),
            ("UDP/TLS/RTP/SAVPF", "RTP/AVP", OfferRefusal::NotSecure),
            ("opus/48000/2", "G722/8000", OfferRefusal::NoOpus),
            ("a=rtpmap:111 ", "a=rtpmap:112 ", OfferRefusal::NoOpus),
            ("a=sendrecv", "a=recvonly", OfferRefusal::NotSending),
            ("a=sendrecv", "a=inactive", OfferRefusal::NotSending),
            ("a=ice-ufrag:ab12\r\n", "", OfferRefusal::NoIce),
            ("a=ice-pwd:0123456789abcdef01234567\r\n", "", OfferRefusal::NoIce),
            ("a=fingerprint:sha-256 AB:CD\r\n", "", OfferRefusal::NoFingerprint),
        ] {
            assert_eq!(with(from, to), Err(wanted), "{from}");
        }
        for text in ["", "v=0", "v=0\r\nm=audio \r\n", "m=audio", "v=0\r\nm=application 9 DTLS/SCTP 5000\r\n"]
        {
            assert!(check(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "(?s)(v=0|m=audio |m=|a=|\r\n|[ 0-9a-zA-Z/:é]{0,6}){0,30}") {
            let _ = check(&text);
        }
    }
}
