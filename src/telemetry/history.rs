//! Time series of the last hour of a node, for the charts of the dashboard.
//!
//! Pure: readings and times are arguments. The memory is bounded by [`KEPT`].

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::domain::ids::UnixMs;

/// Interval between two samples.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of samples: one hour.
const KEPT: usize = 360;

/// Readings of the node at one time. Totals count from the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// Rooms on air or starting in the whole installation.
    pub rooms: usize,
    /// Listeners in the whole installation.
    pub listeners: usize,
    /// Total number of joins of anchors at this gateway.
    pub joins: u64,
    /// Total number of parts that this mixer published late.
    pub late_parts: u64,
    /// Total number of restarts of actors and of FFmpeg on this node.
    pub restarts: u64,
    /// Total number of requests of this node to the store.
    pub store_requests: u64,
    /// Sum of the durations of these requests.
    pub store_seconds: f64,
}

/// One point of every chart. `joins`, `late_parts` and `restarts` count from the previous sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub at: UnixMs,
    pub rooms: usize,
    pub listeners: usize,
    pub joins: u64,
    pub late_parts: u64,
    pub restarts: u64,
    /// Mean duration of requests to the store since the previous sample, in milliseconds; `None` if there
    /// were none.
    pub store_ms: Option<f64>,
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    last: Readings,
}

impl History {
    /// Adds a sample. Drops the oldest one if there are `KEPT` already.
    pub fn record(&mut self, at: UnixMs, now: Readings) {
        let last = std::mem::replace(&mut self.last, now);
        let requests = now.store_requests.saturating_sub(last.store_requests);
        let seconds = now.store_seconds - last.store_seconds;
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at,
            rooms: now.rooms,
            listeners: now.listeners,
            joins: now.joins.saturating_sub(last.joins),
            late_parts: now.late_parts.saturating_sub(last.late_parts),
            restarts: now.restarts.saturating_sub(last.restarts),
            store_ms: (requests > 0).then(|| (seconds / requests as f64 * 1e6).round() / 1e3),
        });
    }

    /// Returns the samples, the oldest first.
    pub fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_hold_changes_of_totals() {
        let mut history = History::default();
        let first =
            Readings { rooms: 2, joins: 5, store_requests: 10, store_seconds: 0.02, ..<_>::default() };
        history.record(UnixMs(1), first);
        history.record(UnixMs(2), Readings { joins: 8, rooms: 1, ..first });
        let samples: Vec<_> = history.samples().iter().copied().collect();
        assert_eq!((samples[0].rooms, samples[0].joins, samples[0].store_ms), (2, 5, Some(2.0)));
        assert_eq!((samples[1].rooms, samples[1].joins, samples[1].store_ms), (1, 3, None));
        assert_eq!(history.latest(), Some(samples[1]));
    }

    #[test]
    fn history_keeps_one_hour() {
        let mut history = History::default();
        for at in 0..1000 {
            history.record(UnixMs(at), Readings::default());
        }
        assert_eq!(history.samples().len() as u64 * INTERVAL.as_secs(), 3600);
        assert_eq!(history.samples().front().map(|sample| sample.at), Some(UnixMs(640)));
    }
}
