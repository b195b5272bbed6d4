//! Everything that listeners fetch: playlists, files and keys of all rooms, recordings and plain streams.
//!
//! ```text
//! listener ──────▶ MediaRouter ──┬─▶ OriginMedia ──▶ Streams, Rewinds of this node's mixer
//!                                └─▶ EdgeCache ──▶ (another node's) RelayMedia
//! listener node ─▶ RelayMedia ─────▶ OriginMedia
//! plain listener ─▶ PlainListening ─▶ PlainStreams ─▶ RoomParts ─▶ MediaRouter
//! recogniser ────▶ PcmFeeds ─▶ RoomParts
//! replay, API ───▶ RecordingMedia ─▶ spool of this node, RelayMedia of other nodes, StoredCopies
//! ```
//! The actors write, the HTTP servers read, and no reader waits for an answer of an actor. [`MediaRouter`]
//! alone decides which resources of a room listeners may fetch, and every refusal is a [`MediaError`].
//!
//! Owns: the media that this node can serve, the routing of requests, and the time limit of their waits.
//! Does not serve HTTP, check the signature of a token, or start a process.

mod content_keys;
mod edge_cache;
mod edge_rewind;
mod edge_room;
mod file_cache;
mod joined_lists;
mod layouts;
pub mod listener_counter;
mod mixer_client;
mod on_demand;
mod opus_files;
mod origin;
mod pcm_feeds;
mod peers;
mod plain;
mod plain_stream;
mod recordings;
mod relay;
mod replay_info;
mod replay_media;
mod rewinds;
mod router;
#[cfg(test)]
pub(crate) mod samples;
mod segment_archive;
mod stored_copies;
mod streams;
mod tracks;

use std::time::Duration;

pub use content_keys::ContentKeyPolicy;
pub use edge_cache::{EdgeCache, IDLE};
pub use edge_room::EdgeRoom;
pub use mixer_client::{FetchError, MixerClient, MixerFiles};
pub use on_demand::{OnDemandStream, OnDemandStreams};
pub use opus_files::{OpusFile, OpusFiles, OpusWriter, Stage};
pub use origin::OriginMedia;
pub use pcm_feeds::{FeedEnd, FeedItem, FeedProgress, NoFeed, PcmFeed, PcmFeeds, PcmReader, TooSlow};
pub use peers::{PeerAnswer, Peers};
pub use plain::{NewParts, NoParts, PlainForm, PlainListening, RoomParts};
pub use plain_stream::{PlainReader, PlainStream, PlainStreams};
pub use recordings::RecordingMedia;
pub use relay::{RelayMedia, RelaySource};
pub use replay_info::ReplayInfo;
pub use replay_media::ReplayMedia;
pub use rewinds::{EarlierMixer, KeptRewind, Rewinds, Takeover};
pub use router::{LiveMedia, MediaRouter};
pub use segment_archive::SegmentArchive;
pub use stored_copies::StoredCopies;
pub use streams::{RETAIN, Streams};
pub use tracks::TRACK_PART;

use crate::packager::{MediaError, MediaFile};
use crate::rooms::{Directory, Scope};

/// Time limit for the first listing of rooms after the start, with a wide margin.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the rooms are listed. A node that has just started has no list yet, and must not answer that a
/// room does not exist. Returns false if the list takes too long.
async fn knows_rooms(directory: &Directory) -> bool {
    directory.seen(Scope::Rooms, 0, LISTED_WITHIN).await
}

/// Runs disk work on a thread of the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => Err(std::io::Error::other(panicked)),
    }
}

fn named(name: &str) -> Result<MediaFile, MediaError> {
    name.parse().map_err(|_| MediaError::NoSuchFile)
}
