//! Settings of recordings.

use std::path::PathBuf;
use std::time::Duration;

use super::{Config, JanusMode, Secret};
use crate::domain::recording::RecordingMode;

#[derive(Debug, Clone)]
pub struct RecordingConfig {
    pub mode: RecordingMode,
    /// True if each anchor must consent to being recorded before joining.
    pub consent: bool,
    /// True if the loudness and the waveform of each recording are measured.
    pub waveform: bool,
    /// True if a recording has one track per anchor, besides the mix.
    pub tracks: bool,
    /// Folder of the recordings; `None`: `recordings` in the data directory.
    pub dir: Option<PathBuf>,
    /// Time after the end of a recording for which it is stored; `None`: until it is deleted.
    pub retention: Option<Duration>,
    /// Object storage that gets a copy of each recording.
    pub storage: Option<StorageConfig>,
}

impl RecordingConfig {
    /// Returns true if anchors must consent to being recorded before they join, and recording is not off.
    pub fn asks_consent(&self) -> bool {
        self.consent && self.mode != RecordingMode::Off
    }
}

impl Config {
    /// Returns true if the Janus of this node records a track of each anchor.
    pub fn makes_tracks(&self) -> bool {
        self.recording.tracks && self.node.roles.janus && self.janus.mode == JanusMode::Managed
    }
}

/// Bucket of an object storage that speaks S3.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    pub bucket: String,
    /// Folder in the bucket; empty for none.
    pub prefix: String,
    /// URL of the storage; `None`: Amazon S3 in `region`.
    pub endpoint: Option<String>,
    pub region: String,
    pub access_key: String,
    pub secret_key: Secret,
    /// Time for which a mixer keeps its data after the upload; `None`: for as long as the recording exists.
    pub keep_local: Option<Duration>,
}
