//! Completion of SDP answers: adds a limit that AudioBridge has but does not announce.

/// Attributes for 20 ms frames: AudioBridge mixes 20 ms at a time and garbles frames of any other duration. A
/// sender uses the duration that `ptime` requests (RFC 8866 section 6.4).
const FRAME_DURATION: &str = "a=ptime:20\r\na=maxptime:20\r\n";

/// Returns the answer with a request for 20 ms frames in its first audio section. An answer that states a
/// duration, or has no audio section, is returned unchanged.
pub fn with_frame_duration(sdp: String) -> String {
    let Some(start) = section_start(&sdp, "m=audio ") else { return sdp };
    let end = sdp[start + 1..].find("\nm=").map_or(sdp.len(), |at| start + 1 + at + 1);
    let section = &sdp[start..end];
    if section.contains("\na=ptime:") || section.contains("\na=maxptime:") || !section.ends_with('\n') {
        return sdp;
    }
    [&sdp[..end], FRAME_DURATION, &sdp[end..]].concat()
}

/// Returns the position of the first line that begins with `line`.
fn section_start(sdp: &str, line: &str) -> Option<usize> {
    if sdp.starts_with(line) {
        return Some(0);
    }
    sdp.find(&format!("\n{line}")).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIO: &str = "v=0\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n";

    #[test]
    fn audio_sections_ask_for_20_ms() {
        assert_eq!(with_frame_duration(AUDIO.to_owned()), format!("{AUDIO}a=ptime:20\r\na=maxptime:20\r\n"));
        let video = "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n";
        assert_eq!(
            with_frame_duration(format!("{AUDIO}{video}")),
            format!("{AUDIO}a=ptime:20\r\na=maxptime:20\r\n{video}")
        );
    }

    #[test]
    fn other_answers_stay_unchanged() {
        let stated = format!("{AUDIO}a=ptime:20\r\n");
        for sdp in ["", "v=0\r\n", "m=video 0 RTP/AVP 96\r\n", &stated, "m=audio 9 RTP/AVP 111"] {
            assert_eq!(with_frame_duration(sdp.to_owned()), sdp);
        }
    }
}
