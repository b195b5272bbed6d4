//! Packager of a room on this mixer: starts with an empty window, or continues the window of the previous
//! mixer.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::HlsConfig;
use crate::domain::ids::UnixMs;
use crate::domain::model::SequenceState;
use crate::domain::timeline::Moment;
use crate::packager::{ContentKeys, LiveStream, Packager, PackagerConfig, SequenceStart};

pub fn config(hls: &HlsConfig) -> PackagerConfig {
    PackagerConfig {
        part: hls.part,
        segment: hls.segment,
        window: hls.window,
        key_rotation: hls.key_rotation,
    }
}

/// Creates a packager that begins with these numbers. `started` is the start time of the broadcast.
/// `window_snapshot` is the window of the previous mixer, if there is one and it could be fetched.
pub fn open(
    hls: &HlsConfig,
    keys: ContentKeys,
    numbers: SequenceState,
    started: UnixMs,
    window_snapshot: Option<Bytes>,
    at: Moment,
) -> (Packager, Arc<LiveStream>) {
    let config = config(hls);
    let start = SequenceStart { media_sequence: numbers.ceiling, discontinuity: numbers.discontinuity };
    let behind = window_snapshot.and_then(|left| Packager::behind(config, keys.clone(), start, left, at));
    behind.unwrap_or_else(|| Packager::new(config, keys, start, numbers.junction(started, at.wall), at))
}

/// Returns the sequence numbers that follow the last ones that this packager has published.
pub fn numbers(packager: &Packager) -> SequenceState {
    let SequenceStart { media_sequence, discontinuity } = packager.next();
    SequenceState::at(media_sequence, discontinuity, packager.media_end())
}
