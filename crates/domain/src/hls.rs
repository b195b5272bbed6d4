//! Durations of a live playlist (RFC 8216) that follow from the segment duration.
//!
//! The code that writes, awaits or caches a playlist must use the same values.

use std::time::Duration;

/// Returns EXT-X-TARGETDURATION: the segment duration, rounded up to whole seconds (section 4.3.3.1).
pub fn target_duration(segment: Duration) -> Duration {
    Duration::from_secs(segment.as_nanos().div_ceil(1_000_000_000) as u64)
}

/// Returns the number of segments in three target durations, the minimum length of a live playlist (section
/// 6.2.2).
pub fn least_window(segment: Duration) -> usize {
    (3 * target_duration(segment).as_nanos()).div_ceil(segment.as_nanos().max(1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_duration_and_window_are_bounded() {
        for (segment, target, window) in [(500, 1, 6), (2000, 2, 3), (2001, 3, 5), (10_000, 10, 3)] {
            let segment = Duration::from_millis(segment);
            assert_eq!((target_duration(segment).as_secs(), least_window(segment)), (target, window));
        }
    }
}
