//! Text of a playlist, plain and as gzip, shared by all requests.
//!
//! With every two-kilobyte part, a listener also loads a four-kilobyte playlist. Compression reduces the
//! playlist to a sixth of its size. It is done once, on the first request that accepts gzip. A listener's own
//! copy with a token is not compressed.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Playlist text, plain and as gzip. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct PlaylistText(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl PlaylistText {
    pub fn plain(&self) -> &Bytes {
        &self.0.plain
    }

    /// Returns the text as gzip (RFC 1952).
    pub fn gzip(&self) -> &Bytes {
        self.0.gzip.get_or_init(|| packed(&self.0.plain).into())
    }
}

impl From<Bytes> for PlaylistText {
    fn from(plain: Bytes) -> Self {
        Self(Arc::new(Forms { plain, gzip: OnceLock::new() }))
    }
}

impl PartialEq for PlaylistText {
    fn eq(&self, other: &Self) -> bool {
        self.plain() == other.plain()
    }
}

impl Eq for PlaylistText {}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(1024), Compression::fast());
    match encoder.write_all(text).and_then(|()| encoder.finish()) {
        Ok(packed) => packed,
        Err(_) => unreachable!("writing to a Vec does not fail"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn gzipped_playlist_is_same_text() {
        let text =
            PlaylistText::from(Bytes::from("#EXT-X-PART:DURATION=0.192,URI=\"a-1.0.ts\"\n".repeat(50)));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&text.gzip()[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(&unpacked, text.plain());
        assert!(text.gzip().len() * 5 < text.plain().len());
        assert_eq!(text.clone().gzip().as_ptr(), text.gzip().as_ptr());
    }
}
