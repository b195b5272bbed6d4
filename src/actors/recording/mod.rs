//! Recordings: this node's copy of the recording keys in the store, and on a mixer one recorder per
//! unfinished recording.
//!
//! ```text
//! RecordingSupervisor      follows the keys of recordings
//! ├─ UploaderActor         uploads finished recordings of this mixer, if object storage is configured
//! ├─ DescriberActor        writes the metadata of finished recordings of this mixer
//! ├─ AnalyzerActor         measures loudness and waveform of finished recordings of this mixer
//! ├─ TranscoderActor       encodes recordings as Opus for clients that request it
//! ├─ TracksActor            makes the tracks of the anchors whom this node's managed Janus has recorded
//! └─ RecorderActor*        one per recording of this mixer that is not finished
//! ```
//! A recorder reads the window that the packager publishes for listeners. Neither the packager nor the actor
//! of the room waits for the recorder or depends on it.

mod aligning;
mod analyzer;
mod analyzing;
pub mod copying;
mod describer;
mod recorder;
pub mod supervisor;
mod tracks;
pub mod transcoder;
mod uploader;
pub mod uploading;

use std::sync::Arc;

use tokio::sync::watch;

use crate::delivery::{RecordingMedia, ReplayMedia, Streams};
use crate::rooms::recordings::Recordings;
use crate::spool::Spool;
use crate::store::Revision;
use transcoder::TranscoderParts;
use uploading::UploadParts;

/// Dependencies of a node that has recordings, besides its context.
#[derive(Clone)]
pub struct RecordingParts {
    pub recordings: Arc<Recordings>,
    pub opus: TranscoderParts,
    /// `None`: the node mixes no rooms, so it records nothing.
    pub mixer: Option<RecorderParts>,
    /// `None`: the node has no managed Janus, so it has no tracks.
    pub tracks: Option<Arc<RecordingMedia>>,
}

/// Source and target of this mixer's recordings.
#[derive(Clone)]
pub struct RecorderParts {
    pub streams: Arc<Streams>,
    pub spool: Spool,
    /// `None`: no object storage is configured.
    pub uploads: Option<UploadParts>,
    /// Recordings of all mixers.
    pub media: Arc<dyn ReplayMedia>,
}

/// Waits for the next change of the recordings. Returns the receiver, to wait again.
async fn changed(mut changes: watch::Receiver<Option<Revision>>) -> watch::Receiver<Option<Revision>> {
    // Cannot fail: the sender is in the `Recordings`, which the waiting actor holds.
    let _ = changes.changed().await;
    changes
}
