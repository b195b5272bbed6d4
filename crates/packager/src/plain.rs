//! Reads a room's playlist and its parts for the plain stream: which parts are new, and the ADTS frames in
//! them.
//!
//! Every node that serves listeners has the playlist, the parts and the secret behind the keys, wherever the
//! room is mixed. Therefore the plain stream needs no other source of media. This module is pure.

use std::time::Duration;

use bytes::Bytes;

use super::adts::{self, AdtsError, SILENCE};
use super::crypto::{self, ContentKeys, DecryptError};
use super::names::{MediaFile, NonceHint};
use super::transport::{self, NotOurTransport};
use stentor_domain::ids::UnixMs;
use stentor_domain::relay_room::Position;
use stentor_domain::schedule::StartTime;
use stentor_domain::timeline::frames_last;

/// Parts that a playlist lists.
#[derive(Debug, PartialEq, Eq)]
pub struct PartList {
    pub hint: NonceHint,
    /// Oldest first.
    pub parts: Vec<ListedPart>,
    /// Media sequence number and index of the part that comes next.
    pub next: (u64, u32),
    pub ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedPart {
    pub msn: u64,
    pub index: u32,
    pub key_index: u64,
    pub duration: Duration,
    /// Position of its first sample on the stream's clock; `None` if the playlist does not give it.
    pub at: Option<UnixMs>,
}

/// AAC frames with ADTS headers, or Opus packets as [`opus_part`](crate::ogg_stream::opus_part) writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPart {
    pub bytes: Bytes,
    /// Duration in AAC frames, rounded up for Opus.
    pub frames: u64,
    /// Place in the stream; `None` for silence and for whole segments.
    pub place: Option<Place>,
}

/// Place of a part in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub position: Position,
    /// Position of its first sample on the stream's clock.
    pub at: UnixMs,
}

/// Error for a part that the packager did not make with these keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplayable {
    #[error(transparent)]
    Undecryptable(#[from] DecryptError),
    #[error(transparent)]
    Transport(#[from] NotOurTransport),
    #[error(transparent)]
    Adts(#[from] AdtsError),
}

impl PartList {
    /// Reads a playlist in the form that [`playlist`](super::playlist) writes. `None` if the bytes are not
    /// such a playlist, or if it lists no part.
    pub fn read(playlist: &[u8]) -> Option<Self> {
        let text = str::from_utf8(playlist).ok()?;
        let mut key_index = None;
        // Start of the segment, and duration of its parts so far.
        let mut started: Option<(UnixMs, Duration)> = None;
        let mut parts: Vec<ListedPart> = Vec::new();
        let (mut hint, mut hinted) = (None, None);
        for line in text.lines() {
            if let Some(key) = line.strip_prefix("#EXT-X-KEY:") {
                let (_, index) = key.trim_end_matches('"').rsplit_once("k=")?;
                key_index = Some(index.parse().ok()?);
            } else if let Some(time) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
                started = StartTime::parse(time).ok().map(|StartTime(at)| (at, Duration::ZERO));
            } else if let Some(part) = line.strip_prefix("#EXT-X-PART:") {
                let (of, msn, index) = named(part)?;
                let (_, rest) = part.split_once("DURATION=")?;
                let seconds: f64 = rest.split(',').next()?.parse().ok()?;
                let duration = Duration::try_from_secs_f64(seconds).ok()?;
                let at = started.as_mut().map(|(at, before)| {
                    let at = UnixMs(at.0.saturating_add(rounded_ms(*before)));
                    *before = before.saturating_add(duration);
                    at
                });
                parts.push(ListedPart { msn, index, key_index: key_index?, duration, at });
                hint = Some(of);
            } else if let Some(next) = line.strip_prefix("#EXT-X-PRELOAD-HINT:") {
                let (of, msn, index) = named(next)?;
                (hint, hinted) = (Some(of), Some((msn, index)));
            }
        }
        let ended = text.ends_with("#EXT-X-ENDLIST\n");
        let behind_last = parts.last().and_then(|part| Some((part.msn, part.index.checked_add(1)?)));
        let next = hinted.or(behind_last.filter(|_| ended))?;
        Some(Self { hint: hint?, parts, next, ended })
    }

    /// Returns the parts from position `from` on. If they last longer than `limit`, returns only the newest
    /// of them, but at least one. A position after the end of the playlist does not belong to this playlist,
    /// so all parts are new.
    pub fn newest(&self, from: Option<(u64, u32)>, limit: Duration) -> &[ListedPart] {
        let from = from.filter(|from| *from <= self.next);
        let is_old = |part: &ListedPart| from.is_some_and(|from| (part.msn, part.index) < from);
        let new = &self.parts[self.parts.partition_point(is_old)..];
        let mut total = Duration::ZERO;
        let fits = |part: &&ListedPart| {
            total = total.saturating_add(part.duration);
            total <= limit
        };
        let count = new.iter().rev().take_while(fits).count().max(usize::from(!new.is_empty()));
        &new[new.len() - count..]
    }
}

impl ListedPart {
    pub fn file(&self, hint: NonceHint) -> MediaFile {
        MediaFile::Part { hint, msn: self.msn, index: self.index }
    }

    /// Decrypts the part and returns its frames.
    pub fn open(&self, keys: &ContentKeys, bytes: &[u8]) -> Result<PlainPart, Unplayable> {
        let place = self.at.map(|at| Place { position: (self.msn, self.index), at });
        Ok(PlainPart { place, ..PlainPart::open(keys, self.key_index, self.msn, bytes)? })
    }
}

impl PlainPart {
    /// Decrypts a part or a segment and returns its frames.
    pub fn open(keys: &ContentKeys, key_index: u64, msn: u64, bytes: &[u8]) -> Result<PlainPart, Unplayable> {
        let part = crypto::decrypt(&keys.key(key_index), msn, bytes)?;
        let audio = transport::audio(&part)?;
        Ok(PlainPart { frames: adts::count(&audio)?, bytes: audio.into(), place: None })
    }

    pub fn duration(&self) -> Duration {
        frames_last(self.frames)
    }

    /// Returns this many frames of silence.
    pub fn silence(frames: u64) -> Self {
        Self { bytes: SILENCE.repeat(frames as usize).into(), frames, place: None }
    }
}

/// Returns whole milliseconds, rounded to the nearest.
fn rounded_ms(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}

/// Returns the part that the attribute `URI` names: hint, media sequence number and index.
fn named(attributes: &str) -> Option<(NonceHint, u64, u32)> {
    let (_, rest) = attributes.split_once("URI=\"")?;
    match rest.split_once('"')?.0.parse() {
        Ok(MediaFile::Part { hint, msn, index }) => Some((hint, msn, index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LiveStream, Packager, PackagerConfig, SequenceStart, synth};
    use stentor_domain::ids::{Nonce, RoomId};
    use stentor_domain::timeline::{Junction, Moment, Timeline};

    fn keys() -> ContentKeys {
        ContentKeys::new(b"s", &RoomId::new("demo").unwrap(), &Nonce("n".into()))
    }

    fn moment(ms: u64) -> Moment {
        Moment { now: Duration::from_millis(ms), wall: UnixMs(ms) }
    }

    /// Returns a packager with parts of nine frames and segments of three parts; the first segment has one
    /// part.
    fn packager() -> (Packager, std::sync::Arc<LiveStream>) {
        let config = PackagerConfig {
            part: Duration::from_millis(192),
            segment: Duration::from_millis(600),
            window: 6,
            key_rotation: 2,
        };
        let start = SequenceStart { media_sequence: 10, discontinuity: 0 };
        let junction = Junction::First(Timeline::default());
        let (mut packager, stream) = Packager::new(config, keys(), start, junction, moment(0));
        packager.begin_incarnation(moment(0));
        (packager, stream)
    }

    async fn list(stream: &LiveStream) -> PartList {
        PartList::read(stream.playlist(None).await.unwrap().text.plain()).unwrap()
    }

    #[tokio::test]
    async fn packager_output_reads_back() {
        let (mut packager, stream) = packager();
        let mut sent = Vec::new();
        for part in 0..9 {
            let frames = synth::frames(9, part * 9);
            packager.push(&frames, moment(192 * (1 + part as u64))).unwrap();
            sent.push(Bytes::from(frames));
        }
        let listed = list(&stream).await;
        assert_eq!((listed.hint, listed.next, listed.ended), (keys().hint(), (13, 2), false));
        let mut read = Vec::new();
        for part in &listed.parts {
            let bytes = stream.file(&part.file(listed.hint)).await.unwrap();
            let plain = part.open(&keys(), &bytes).unwrap();
            assert_eq!(plain.frames, 9);
            let at = UnixMs(192 * read.len() as u64);
            assert_eq!(plain.place, Some(Place { position: (part.msn, part.index), at }));
            read.push(plain.bytes);
            assert!(part.open(&keys(), &bytes[1..]).is_err());
        }
        assert_eq!(read, sent, "across segments and keys");
        assert_eq!(listed.parts.iter().map(|p| p.key_index).max(), Some(6));
    }

    #[tokio::test]
    async fn newest_parts_are_bounded() {
        let (mut packager, stream) = packager();
        for part in 0..9 {
            packager.push(&synth::frames(9, 0), moment(192 * (1 + part))).unwrap();
        }
        let listed = list(&stream).await;
        let newest = |from, limit| -> Vec<_> {
            let parts = listed.newest(from, Duration::from_millis(limit));
            parts.iter().map(|part| (part.msn, part.index)).collect()
        };
        assert_eq!(newest(None, 600), [(12, 2), (13, 0), (13, 1)]);
        assert_eq!(newest(Some((13, 1)), 600), [(13, 1)]);
        assert_eq!(newest(Some((13, 2)), 600), []);
        assert_eq!(newest(None, 1), [(13, 1)], "at least one part is returned");
        assert_eq!(newest(Some((1000, 0)), 1), [(13, 1)], "the position is of another start of the stream");
    }

    #[tokio::test]
    async fn enormous_durations_are_read() {
        let (mut packager, stream) = packager();
        for part in 0..9 {
            packager.push(&synth::frames(9, 0), moment(192 * (1 + part))).unwrap();
        }
        let playlist = stream.playlist(None).await.unwrap();
        let text = std::str::from_utf8(playlist.text.plain()).unwrap().replace("DURATION=", "DURATION=18e18");
        let digits_and_point = |c: char| c.is_ascii_digit() || c == '.';
        let mut enormous = String::new();
        for piece in text.split_inclusive("DURATION=18e18") {
            enormous +=
                if enormous.ends_with("18e18") { piece.trim_start_matches(digits_and_point) } else { piece };
        }
        let listed = PartList::read(enormous.as_bytes()).unwrap();
        assert!(listed.parts.iter().any(|part| part.at == Some(UnixMs(u64::MAX))), "{listed:?}");
    }

    #[tokio::test]
    async fn ended_playlists_have_a_last_part() {
        let (mut packager, stream) = packager();
        packager.push(&synth::frames(9, 0), moment(192)).unwrap();
        packager.push(&synth::frames(4, 9), moment(384)).unwrap();
        packager.finish();
        let listed = list(&stream).await;
        assert_eq!((listed.next, listed.ended, listed.parts.len()), ((11, 1), true, 2));
    }

    #[test]
    fn other_texts_are_no_part_lists() {
        for text in ["", "#EXTM3U\n", "#EXTM3U\n#EXT-X-ENDLIST\n", "#EXT-X-PART:DURATION=x,URI=\"a\"\n"] {
            assert_eq!(PartList::read(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn silent_parts_are_frames() {
        assert_eq!(adts::count(&PlainPart::silence(9).bytes), Ok(9));
    }
}
