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
    /// Block that announces the title; `None` once it was sent.
    title: Option<Bytes>,
}

impl Inserter {
    pub fn new(title: &str) -> Self {
        Self { until: METADATA_INTERVAL, title: Some(block(title)) }
    }

    /// Returns the next bytes of the stream (`audio`) in pieces, with the metadata blocks that are due
    /// between them.
    pub fn insert(&mut self, mut audio: Bytes) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(1);
        while audio.len() >= self.until {
            out.push(audio.split_to(self.until));
            out.push(self.title.take().unwrap_or(Bytes::from_static(&[0])));
            self.until = METADATA_INTERVAL;
        }
        self.until -= audio.len();
        if !audio.is_empty() {
            out.push(audio);
        }
        out
    }
}

/// Returns the block for `title`. Apostrophes are removed, because the convention cannot escape them.
fn block(title: &str) -> Bytes {
    let title: String = title.chars().filter(|c| *c != '\'').collect();
    let mut text = format!("StreamTitle='{title}';").into_bytes();
    text.truncate(LONGEST);
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
            let mut inserter = Inserter::new("tea-room");
            let total: usize = sizes.iter().sum();
            let sound: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
            let (mut rest, mut sent) = (Bytes::from(sound.clone()), Vec::new());
            for size in sizes {
                inserter.insert(rest.split_to(size)).iter().for_each(|piece| sent.extend_from_slice(piece));
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
    fn titles_are_bounded_and_quoted() {
        assert_eq!(&block("it's")[..], b"\x02StreamTitle='its';\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice());
        assert_eq!(block(&"x".repeat(9000)).len(), 1 + LONGEST);
    }
}
