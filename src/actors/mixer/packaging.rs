//! The packager of a room on this mixer: with an empty window, or behind what the mixer before has left.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::HlsConfig;
use crate::domain::model::SequenceState;
use crate::media::{ContentKeys, LiveStream, Packager, PackagerConfig, SequenceStart};

pub fn config(hls: &HlsConfig) -> PackagerConfig {
    PackagerConfig {
        part: hls.part,
        segment: hls.segment,
        window: hls.window,
        key_rotation: hls.key_rotation,
    }
}

/// Begins with these numbers. `heritage`: what a predecessor has left, if there is one and it could be asked.
pub fn open(
    hls: &HlsConfig,
    keys: ContentKeys,
    start: SequenceState,
    heritage: Option<Bytes>,
) -> (Packager, Arc<LiveStream>) {
    let start = SequenceStart { media_sequence: start.ceiling, discontinuity: start.discontinuity };
    let behind = heritage.and_then(|left| Packager::behind(config(hls), keys.clone(), start, left));
    behind.unwrap_or_else(|| Packager::new(config(hls), keys, start))
}
