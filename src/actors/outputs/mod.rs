//! Outputs: pushes of the rooms that this node mixes to Icecast, RTMP and SRT targets.
//!
//! ```text
//! OutputSupervisor       follows the rooms
//! └─ OutputActor*        one per output of a room that this node mixes and that is on air
//! ```
//! An output reads the room's plain stream like a listener of `/live`, so the packager and the room's actor
//! never wait for a target. A target that is too slow loses audio, and delays nothing else.

mod icecast;
mod output;
mod sending;
pub mod supervisor;

use std::sync::Arc;

use crate::auth::SealedUrls;
use crate::delivery::PlainStreams;

/// Dependencies of outputs, besides the node's context.
#[derive(Clone)]
pub struct OutputParts {
    pub streams: Arc<PlainStreams>,
    pub targets: SealedUrls,
}
