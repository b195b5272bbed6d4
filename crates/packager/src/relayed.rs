//! Check of playlists fetched from a mixer node, before listeners get them.
//!
//! The writer names only files of one broadcast, relative to the playlist (RFC 3986 section 4.2). Anything
//! else, such as an absolute URI, would send listeners to a foreign address.

use super::names::{MediaFile, NonceHint};

/// Returns the reason to refuse the playlist, or `None` if listeners may get it. `hint` is the hint of the
/// broadcast. `next` is the next part (media sequence number, index), or `None` if the playlist ends here.
pub fn refusal(playlist: &[u8], hint: NonceHint, next: Option<(u64, u32)>) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(playlist) else { return Some("it is not text") };
    if !text.starts_with("#EXTM3U\n") || !text.ends_with('\n') {
        return Some("it is not a media playlist");
    }
    if text.bytes().any(|byte| byte != b'\n' && !(b' '..=b'~').contains(&byte)) {
        return Some("it has control or other characters that no playlist of ours has");
    }
    let foreign = "it names something that is not a file of this broadcast";
    for line in text.lines() {
        let is_ours = match line.strip_prefix("#EXT") {
            Some(tag) => quoted_are_ours(tag, hint),
            None => is_file(line, hint),
        };
        if !is_ours {
            return Some(foreign);
        }
    }
    match next {
        None => text.ends_with("#EXT-X-ENDLIST\n").then_some(()),
        Some((msn, index)) => {
            let file = MediaFile::Part { hint, msn, index };
            text.ends_with(&format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{file}\"\n")).then_some(())
        }
    }
    .map_or(Some("its end does not match the headers of the response"), |()| None)
}

/// Returns true if each quoted attribute value of a tag is one of our `URI`s. The writer quotes nothing else.
fn quoted_are_ours(tag: &str, hint: NonceHint) -> bool {
    let mut pieces = tag.split('"');
    let mut before = pieces.next().unwrap_or_default();
    loop {
        let Some(value) = pieces.next() else { return !before.contains("URI=") };
        let Some(after) = pieces.next() else { return false };
        if !before.ends_with("URI=") || !(is_file(value, hint) || is_key(value, hint)) {
            return false;
        }
        before = after;
    }
}

fn is_file(name: &str, hint: NonceHint) -> bool {
    name.parse::<MediaFile>().is_ok_and(|file| file.hint() == hint)
}

fn is_key(uri: &str, hint: NonceHint) -> bool {
    let index = uri.strip_prefix(&format!("enc.key?n={hint}&k="));
    index.and_then(|index| index.parse::<u64>().ok()).is_some_and(|index| uri.ends_with(&format!("={index}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `histories` checks that every playlist of the writer passes.
    #[test]
    fn relayed_playlist_refuses_foreign_lines() {
        let hint: NonceHint = "0011aabbccdd".parse().unwrap();
        let part = MediaFile::Part { hint, msn: 7, index: 2 };
        let end = format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{part}\"\n");
        let with = |lines: &str| format!("#EXTM3U\n#EXT-X-VERSION:9\n{lines}{end}");
        let segment = MediaFile::Segment { hint, msn: 6 };
        let other = segment.to_string().replace("0011", "0022");
        let good = with(&format!(
            "#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={hint}&k=3\"\n#EXTINF:2.00000,\n{segment}\n"
        ));
        assert_eq!(refusal(good.as_bytes(), hint, Some((7, 2))), None);
        assert!(refusal(good.as_bytes(), hint, Some((7, 3))).is_some(), "another part comes next");
        assert!(refusal(good.as_bytes(), hint, None).is_some(), "the playlist does not end");
        for lines in [
            "http://127.0.0.1:32999/evil.ts\n",
            "//evil/evil.ts\n",
            "../../api/rooms\n",
            "evil.ts\n",
            "\n",
            "# a comment\n",
            &format!("{other}\n"),
            &format!("{segment}?x=1\n"),
            "#EXT-X-MAP:URI=\"http://127.0.0.1:32999/evil.mp4\"\n",
            "#EXT-X-MAP:URI=http://127.0.0.1:32999/evil.mp4\n",
            "#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0022aabbccdd&k=3\"\n",
            &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={hint}&k=3&token=x\"\n"),
            &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={hint}&k=+3\"\n"),
            &format!("#EXT-X-KEY:METHOD=AES-128,KEYFORMAT=\"x\",URI=\"enc.key?n={hint}&k=3\"\n"),
            &format!("#EXT-X-MAP:URI=\"{segment}\n"),
            "#EXT-X-DEFINE:NAME=\"x\",VALUE=\"http://evil\"\n",
            "#EXTINF:2,\u{202e}\n",
            "#EXTINF:2,\r\n",
        ] {
            assert!(refusal(with(lines).as_bytes(), hint, Some((7, 2))).is_some(), "{lines:?}");
        }
        assert!(refusal(b"\xff\xfe", hint, None).is_some());
        assert!(refusal(b"", hint, None).is_some());
    }
}
