//! Range of content keys that may be given out: those of the media that can be fetched now, and the next one.
//! This module is pure.
//!
//! The range is read from the newest playlist, because key indexes depend on the configuration of the mixer
//! that wrote the playlist. After a segment leaves the playlist, the segment and its key stay available for
//! the sum of the durations of the segment and the playlist (RFC 8216 section 6.2.2).

/// Range of key indexes; both ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWindow {
    first: u64,
    last: u64,
}

impl KeyWindow {
    /// Creates the range; both ends are inclusive.
    pub fn new(first: u64, last: u64) -> Self {
        Self { first, last }
    }

    /// Reads the range from a playlist; `None` if it has no key. `rotation`: number of segments per key in
    /// this node's configuration. If the playlist was written with a different value, a key is no longer
    /// given out once its segments have left the playlist.
    pub fn of(playlist: &str, rotation: u64) -> Option<Self> {
        let mut sequence: u64 = 0;
        let mut segments: u64 = 0;
        let mut keys: Option<(u64, u64)> = None;
        for line in playlist.lines() {
            if let Some(index) = key_index(line) {
                let (low, high) = keys.unwrap_or((index, index));
                keys = Some((low.min(index), high.max(index)));
            } else if let Some(number) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                sequence = number.trim().parse().ok()?;
            } else if line.starts_with("#EXTINF:") {
                segments += 1;
            }
        }
        let (low, high) = keys?;
        let index_of = |sequence: u64| sequence / rotation.max(1);
        let oldest = sequence.saturating_sub(segments + 1);
        let first = if index_of(sequence) == low { index_of(oldest) } else { low };
        // A part of the next segment may already be announced.
        Some(Self { first, last: high.saturating_add(1) })
    }

    pub fn contains(&self, index: u64) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

/// Returns the parameter `k` of a key's URI.
fn key_index(line: &str) -> Option<u64> {
    let (_, uri) = line.strip_prefix("#EXT-X-KEY:")?.split_once("URI=\"")?;
    let (_, query) = uri.split_once('"')?.0.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("k="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_window_and_the_next() {
        // Segments 100 to 105 and the open segment 106, three per key.
        let window = KeyWindow::of(&playlist(100, 6, 3), 3).unwrap();
        assert_eq!(window, KeyWindow { first: 93 / 3, last: 106 / 3 + 1 });
        assert!(window.contains(31) && window.contains(36));
        assert!(
            !window.contains(30) && !window.contains(37) && !window.contains(0) && !window.contains(u64::MAX)
        );
    }

    #[test]
    fn key_window_with_key_per_segment() {
        let window = KeyWindow::of(&playlist(100, 6, 1), 1).unwrap();
        assert_eq!(window, KeyWindow { first: 93, last: 107 });
    }

    #[test]
    fn key_window_with_slow_rotation() {
        assert_eq!(KeyWindow::of(&playlist(0, 1, 30), 30), Some(KeyWindow { first: 0, last: 1 }));
        assert_eq!(KeyWindow::of(&playlist(65, 6, 30), 30), Some(KeyWindow { first: 1, last: 3 }));
    }

    #[test]
    fn key_window_after_rotation_change() {
        let window = KeyWindow::of(&playlist(100, 6, 3), 30).unwrap();
        assert_eq!(window, KeyWindow { first: 33, last: 36 });
    }

    #[test]
    fn playlists_without_keys_have_no_window() {
        for text in
            ["", "#EXTM3U\n#EXT-X-KEY:METHOD=NONE\n", "#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=ab\"\n"]
        {
            assert_eq!(KeyWindow::of(text, 3), None, "{text:?}");
        }
    }

    /// Returns a playlist as the packager writes it: `count` closed segments and an open one.
    fn playlist(first: u64, count: u64, rotation: u64) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-KEY:METHOD=NONE\n");
        let mut before = None;
        for msn in first..=first + count {
            let key = msn / rotation;
            if before.replace(key) != Some(key) {
                text += &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=ab&k={key}\"\n");
            }
            if msn < first + count {
                text += &format!("#EXTINF:2.0,\n{msn}.ts\n");
            }
        }
        text
    }
}
