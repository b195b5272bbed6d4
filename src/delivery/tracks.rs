//! Tracks of recordings: on this node's disk, or on the disk of the node that has made them.
//!
//! Nodes send tracks to each other over plain HTTP, so each part is encrypted, with a key of its track that
//! no listener can get.

use bytes::Bytes;

use super::recordings::RecordingValue;
use super::{RecordingMedia, blocking};
use crate::domain::clip::Clip;
use crate::domain::recording::{Recording, RecordingId};
use crate::domain::relay_protocol::TRACK;
use crate::domain::tracks::Track;
use crate::packager::track::TimeAxis;
use crate::packager::{ContentKey, MediaError, decrypt, encrypt};

/// Number of bytes of a track that are read at once, and sent between nodes in one answer.
pub const TRACK_PART: u64 = 256 << 10;

impl RecordingMedia {
    /// Returns [`TRACK_PART`] bytes of a track from `offset`, a multiple of [`TRACK_PART`]; fewer at the end
    /// of the track. `None`: the node that has the track does not answer.
    pub async fn track_part(
        &self,
        (id, recording): (&RecordingId, &Recording),
        track: &Track,
        offset: u64,
    ) -> Option<Bytes> {
        if track.node == self.me {
            return self.part_here(id, track, offset).await;
        }
        let url = self.url(&track.node)?;
        let name = format!("{TRACK}{}-{offset}", track.number);
        let sealed = self.fetcher.recorded(&url, &recording.room, id, &name).await?;
        decrypt(&self.track_key(recording, track), offset / TRACK_PART, &sealed).ok().map(Bytes::from)
    }

    /// Returns a track of a recording that is ready.
    pub(super) fn track(&self, id: &RecordingId, number: u32) -> Result<(RecordingValue, Track), MediaError> {
        let known = self.ready(id)?;
        let track = known.tracks.iter().find(|track| track.number == number).cloned();
        Ok((known, track.ok_or(MediaError::NoSuchFile)?))
    }

    /// Returns the part of a track that another node requests by this name, encrypted.
    pub(super) async fn sealed(&self, id: &RecordingId, name: &str) -> Option<Bytes> {
        let (number, offset) = name.strip_prefix(TRACK)?.split_once('-')?;
        let (number, offset): (u32, u64) = (number.parse().ok()?, offset.parse().ok()?);
        let recording = self.recordings.get(id)?;
        let track = recording.tracks.iter().find(|track| track.number == number)?;
        let part = self.part_here(id, track, offset).await?;
        Some(encrypt(&self.track_key(&recording, track), offset / TRACK_PART, &part).into())
    }

    async fn part_here(&self, id: &RecordingId, track: &Track, offset: u64) -> Option<Bytes> {
        let bytes = track.bytes.checked_sub(offset)?.min(TRACK_PART);
        let (spool, id, user) = (self.tracks.clone(), id.clone(), track.user_id.clone());
        // The cast is lossless: `bytes` is at most `TRACK_PART`.
        blocking(move || spool.read(&id, &user, offset, bytes as usize)).await.ok()
    }

    /// Returns the key of a track. Its index is above those of all segments.
    fn track_key(&self, recording: &Recording, track: &Track) -> ContentKey {
        self.keys(recording).key(u64::MAX - u64::from(track.number))
    }

    /// Returns the wall-clock times of the positions in a recording.
    ///
    /// # Errors
    /// The recording cannot be played yet, or a mixer that has a part of it does not answer.
    pub async fn time_axis(&self, recording: &RecordingId) -> Result<TimeAxis, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let axis = TimeAxis::new(joined.of_clip(Clip::WHOLE)?).filter(|_| joined.complete);
        axis.ok_or(MediaError::RecordingUnavailable)
    }
}
