//! Sample media for the tests of the modules that store or serve media.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;

use super::{MixerClient, RecordingMedia};
use crate::auth::Secrets;
use crate::config::Secret;
use crate::domain::ids::{ModuleId, UnixMs};
use crate::domain::recording_journal::JournalEntry;
use crate::packager::{NonceHint, Rewind};
use crate::rooms::Directory;
use crate::rooms::recordings::Recordings;
use crate::spool::Spool;
use crate::spool::tracks::TrackSpool;
use crate::telemetry::Metrics;

pub(crate) use crate::spool::synth;

/// Returns a rewind window with these segments of two seconds each, three per key.
pub fn sample_rewind(sequences: Range<u64>) -> Rewind {
    let entry = |sequence| JournalEntry {
        sequence,
        duration_us: 2_000_000,
        started_at: UnixMs(2000 * sequence),
        discontinuity: false,
        key_index: sequence / 3,
        bytes: 9,
        file: 1,
        offset: 0,
        lag_us: None,
        tick_us: None,
    };
    let hint: NonceHint = "070707070707".parse().unwrap();
    let rewind = Rewind::new(hint, Duration::from_secs(2));
    rewind.change(|window| sequences.map(entry).for_each(|entry| window.push(entry, 0)));
    rewind
}

/// Returns the access to the recordings that the mixer `me` has. `folder`: folder of its recordings.
pub fn recording_media(
    me: &str,
    directory: Arc<Directory>,
    recordings: Arc<Recordings>,
    metrics: Metrics,
    folder: &Path,
) -> RecordingMedia {
    let secret = || Secret(vec![7; 32]);
    let secrets = Arc::new(Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() });
    RecordingMedia {
        me: ModuleId::new(me).unwrap(),
        directory,
        recordings,
        spool: Spool::new(folder.to_owned()),
        tracks: TrackSpool::new(None, folder, "open"),
        fetcher: MixerClient::new(secrets.clone(), Duration::from_secs(1), Arbiter::current(), metrics),
        secrets,
        copies: None,
        lists: Default::default(),
        layouts: Default::default(),
        opus: Default::default(),
    }
}
