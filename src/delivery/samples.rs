//! Sample media for the tests of the modules that store or serve media.

use std::ops::Range;
use std::time::Duration;

use crate::domain::ids::UnixMs;
use crate::domain::recording_journal::JournalEntry;
use crate::packager::{NonceHint, Rewind};

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
