//! Access to recordings, for the code that serves them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::opus_files::OpusFile;
use super::replay_info::ReplayInfo;
use super::segment_archive::SegmentArchive;
use crate::domain::clip::Clip;
use crate::domain::feed::{Feed, FeedItem};
use crate::domain::ids::RoomId;
use crate::domain::profile::Language;
use crate::domain::recording::RecordingId;
use crate::packager::{MediaError, MediaFile, NonceHint, RecordedM4a};

/// Recordings that can be played, wherever they are.
///
/// The product has one implementation, [`RecordingMedia`](super::RecordingMedia). Tests need two more:
/// recordings whose single segments are not available, and large recordings that are on no disk.
#[async_trait]
pub trait ReplayMedia: Send + Sync {
    /// Returns the recorded room.
    fn room(&self, recording: &RecordingId) -> Result<RoomId, MediaError>;

    /// Returns the recordings of a feed that can be played, the newest first.
    fn feed(&self, feed: &Feed) -> Result<Vec<FeedItem>, MediaError>;

    /// Returns true if the recording exists and belongs to the feed.
    fn is_in_feed(&self, recording: &RecordingId, feed: &Feed) -> bool;

    /// Describes a recording for a listener of this clip.
    async fn info(&self, recording: &RecordingId, clip: Clip) -> Result<ReplayInfo, MediaError>;

    /// Returns the captions within the clip as WebVTT, with positions in the recording. Without a language,
    /// returns those in the language of the first caption.
    async fn captions(
        &self,
        recording: &RecordingId,
        clip: Clip,
        language: Option<&Language>,
    ) -> Result<String, MediaError>;

    /// Returns the playlist of the segments that overlap the clip.
    async fn playlist(&self, recording: &RecordingId, clip: Clip) -> Result<Bytes, MediaError>;

    /// Returns an encrypted segment.
    async fn segment(&self, recording: &RecordingId, file: &MediaFile) -> Result<Bytes, MediaError>;

    /// Returns a clip as one file, exact to a frame.
    async fn m4a(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<RecordedM4a>, MediaError>;

    /// Returns a clip as an Ogg Opus file, which may still be encoded.
    async fn opus(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<OpusFile>, MediaError>;

    /// Returns the frames of one segment as the M4A file contains them, without ADTS headers.
    async fn frames(&self, recording: &RecordingId, sequence: u64) -> Result<Bytes, MediaError>;

    /// Returns the layout of the object that is the recording's copy in object storage.
    async fn archive(&self, recording: &RecordingId) -> Result<Arc<SegmentArchive>, MediaError>;

    /// Returns one segment as it was recorded, encrypted.
    async fn encrypted(&self, recording: &RecordingId, sequence: u64) -> Result<Bytes, MediaError>;

    /// Returns the metadata of a recording. The default implementation has none.
    fn metadata(&self, _recording: &RecordingId) -> Result<String, MediaError> {
        Err(MediaError::NoSuchFile)
    }

    /// Returns all captions of a recording, one JSON object per line. The default implementation has none.
    async fn transcript(&self, _recording: &RecordingId) -> Result<Bytes, MediaError> {
        Ok(Bytes::new())
    }

    /// Returns the size of a track in bytes. The default implementation has no tracks.
    fn track_size(&self, _recording: &RecordingId, _number: u32) -> Result<u64, MediaError> {
        Err(MediaError::NoSuchFile)
    }

    /// Returns [`TRACK_PART`](super::TRACK_PART) bytes of a track, or the rest.
    async fn track_bytes(
        &self,
        _recording: &RecordingId,
        _number: u32,
        _offset: u64,
    ) -> Result<Bytes, MediaError> {
        Err(MediaError::NoSuchFile)
    }

    /// Returns a key of recorded segments that overlap the clip. `hint` and `index` are `n` and `k` of the
    /// key URI.
    async fn key(
        &self,
        recording: &RecordingId,
        clip: Clip,
        hint: NonceHint,
        index: u64,
    ) -> Result<[u8; 16], MediaError>;
}
