//! In-band titles of Icecast streams (the `icy-metaint` convention): a metadata block follows every
//! [`METADATA_INTERVAL`] bytes of audio. The first byte of a block is the length of its text in 16-byte
//! units; zero means that the title has not changed.

use bytes::Bytes;

/// Bytes of audio between two metadata blocks.
pub const METADATA_INTERVAL: usize = 8192;
/// Longest text of a block, in bytes: the length byte counts 16-byte units.
const LONGEST: usize = 255 * 16;

/// Inserter of metadata blocks into the audio of one listener.
#[derive(Debug)]
pub struct Inserter {
    /// Bytes of audio until the next block.
    until: usize,
    /// Title that was announced last.
    sent: Option<String>,
}

impl Default for Inserter {
    fn default() -> Self {
        Self { until: METADATA_INTERVAL, sent: None }
    }
}

impl Inserter {
    /// Returns the next bytes of the stream (`audio`) in pieces, with the metadata blocks that are due
    /// between them. `title` returns the current title.
    pub fn insert(&mut self, mut audio: Bytes, title: impl Fn() -> String) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(1);
        while audio.len() >= self.until {
            out.push(audio.split_to(self.until));
            let title = title();
            let is_new = self.sent.as_ref() != Some(&title);
            out.push(if is_new { block(&title) } else { Bytes::from_static(&[0]) });
            self.sent = Some(title);
            self.until = METADATA_INTERVAL;
        }
        self.until -= audio.len();
        if !audio.is_empty() {
            out.push(audio);
        }
        out
    }
}

/// Returns the block for `title`, in UTF-8. An apostrophe followed by a semicolon would end the title, and
/// the convention has no escape. Therefore typographic apostrophes replace the others.
fn block(title: &str) -> Bytes {
    const FRAME: [&str; 2] = ["StreamTitle='", "';"];
    let title = title.replace('\'', "\u{2019}");
    let room = LONGEST - FRAME[0].len() - FRAME[1].len();
    let end = (0..=title.len().min(room)).rev().find(|at| title.is_char_boundary(*at)).unwrap_or(0);
    let title = &title[..end];
    let mut text = [FRAME[0], title, FRAME[1]].concat().into_bytes();
    text.resize(text.len().next_multiple_of(16), 0);
    let mut block = vec![(text.len() / 16) as u8];
    block.extend(text);
    block.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Splits a stream as a client does: audio, and the texts of the blocks.
    fn split(mut stream: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut audio, mut titles) = (Vec::new(), Vec::new());
        while stream.len() > METADATA_INTERVAL {
            let (sound, rest) = stream.split_at(METADATA_INTERVAL);
            audio.extend_from_slice(sound);
            let (text, rest) = rest[1..].split_at(usize::from(rest[0]) * 16);
            titles.push(String::from_utf8(text.to_vec()).unwrap().trim_end_matches('\0').to_owned());
            stream = rest;
        }
        audio.extend_from_slice(stream);
        (audio, titles)
    }

    proptest! {
        #[test]
        fn clients_recover_audio_and_title(sizes in proptest::collection::vec(0usize..20_000, 1..20)) {
            let mut inserter = Inserter::default();
            let total: usize = sizes.iter().sum();
            let sound: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
            let (mut rest, mut sent) = (Bytes::from(sound.clone()), Vec::new());
            for size in sizes {
                let pieces = inserter.insert(rest.split_to(size), || "tea-room".to_owned());
                pieces.iter().for_each(|piece| sent.extend_from_slice(piece));
            }
            let (audio, titles) = split(&sent);
            prop_assert!(audio == sound);
            if let Some(first) = titles.first() {
                prop_assert_eq!(first, "StreamTitle='tea-room';");
            }
            prop_assert!(titles.iter().skip(1).all(String::is_empty), "it has not changed");
        }
    }

    #[test]
    fn changed_title_is_sent_once() {
        let mut inserter = Inserter::default();
        let mut sent = Vec::new();
        for title in ["first", "first", "second", "second", "first"] {
            let pieces = inserter.insert(vec![7; METADATA_INTERVAL].into(), || title.to_owned());
            pieces.iter().for_each(|piece| sent.extend_from_slice(piece));
        }
        // The end of the stream, so that the last block is complete.
        sent.push(7);
        let titles = split(&sent).1;
        let expected = ["StreamTitle='first';", "", "StreamTitle='second';", "", "StreamTitle='first';"];
        assert_eq!(titles, expected);
    }

    #[test]
    fn titles_are_bounded_and_quoted() {
        let text = |title: &str| {
            let block = block(title);
            assert_eq!((block.len() - 1) / 16, usize::from(block[0]));
            String::from_utf8(block[1..].to_vec()).unwrap().trim_end_matches('\0').to_owned()
        };
        assert_eq!(text("it's"), "StreamTitle='it\u{2019}s';");
        assert_eq!(text("a';StreamUrl='b; \"c\""), "StreamTitle='a\u{2019};StreamUrl=\u{2019}b; \"c\"';");
        assert_eq!(text("Über 夜"), "StreamTitle='Über 夜';");
        for long in ["x", "ü", "夜", "😀"].map(|c| c.repeat(5_000)) {
            let text = text(&long);
            assert!(text.ends_with("';") && (LONGEST - 4..=LONGEST).contains(&text.len()), "{}", text.len());
        }
    }
}
