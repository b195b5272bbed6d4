//! What listeners and listener nodes are served, wherever a room is mixed.
//!
//! ```text
//! listener ──────▶ Everywhere ──┬─▶ Here ──▶ Streams of this node's mixer
//!                               └─▶ Relays ──▶ (another node's) RelayDoor
//! listener node ─▶ RelayDoor ─────▶ Here
//! ```
//! Owns: which of them a request goes to, and how long it may wait. Never does: speak HTTP, fetch, mix.

mod everywhere;
mod here;
mod keys;
mod relay_door;

use std::time::Duration;

pub use everywhere::Everywhere;
pub use here::Here;
pub use keys::NodeKeys;
pub use relay_door::RelayDoor;

use crate::http::hls::MediaRefusal;
use crate::media::{MediaFile, NotServed};
use crate::rooms::{Directory, Scope};

/// A node that has just started has listed the rooms well within this.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// Right after its start a node knows of no room: who asks then waits, rather than be told that there is none.
async fn knows_rooms(directory: &Directory) -> bool {
    directory.seen(Scope::Rooms, 0, LISTED_WITHIN).await
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
