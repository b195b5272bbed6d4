//! Media and keys for listeners and listener nodes, whichever node mixes the room.
//!
//! ```text
//! listener ──────▶ MediaRouter ──┬─▶ OriginMedia ──▶ Streams of this node's mixer
//!                                └─▶ EdgeCache ──▶ (another node's) RelayMedia
//! listener node ─▶ RelayMedia ─────▶ OriginMedia
//! plain listener ─▶ PlainListening ─▶ PlainStreams ─▶ RoomParts ─▶ MediaRouter
//! ```
//! Owns: the routing of requests and the time limit of their waits. Never does: speak HTTP, fetch, mix.

mod keys;
mod origin;
mod plain;
mod recordings;
mod relay;
mod router;
#[cfg(test)]
pub(crate) mod samples;

use std::time::Duration;

pub use keys::NodeKeys;
pub use origin::OriginMedia;
pub use plain::{PlainListening, RoomParts};
pub use recordings::RecordingMedia;
pub use relay::RelayMedia;
pub use router::MediaRouter;

use crate::http::hls::MediaRefusal;
use crate::packager::{MediaFile, NotServed};
use crate::rooms::{Directory, Scope};

/// Time limit for the first listing of rooms after the start, with a wide margin.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the rooms are listed. A node that has just started knows no room and must not answer that none
/// exists.
async fn knows_rooms(directory: &Directory) -> bool {
    directory.seen(Scope::Rooms, 0, LISTED_WITHIN).await
}

/// Runs disk work on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => Err(std::io::Error::other(panicked)),
    }
}

fn named(name: &str) -> Result<MediaFile, MediaRefusal> {
    name.parse().map_err(|_| MediaRefusal::BadName)
}

fn refusal(refused: NotServed) -> MediaRefusal {
    match refused {
        NotServed::Gone | NotServed::Ended => MediaRefusal::Gone,
        NotServed::NotYet => MediaRefusal::NotYet,
        NotServed::Superseded => MediaRefusal::Unavailable,
        NotServed::Timeout => MediaRefusal::Timeout,
        NotServed::TooFarAhead => MediaRefusal::TooFarAhead,
    }
}
