//! Times of a live playlist (RFC 8216) that follow from the length of a segment.
//!
//! Whoever makes a playlist, waits for one or holds one must mean the same by them.

use std::time::Duration;

/// EXT-X-TARGETDURATION: a segment, rounded up to whole seconds (section 4.3.3.1).
pub fn target_duration(segment: Duration) -> Duration {
    Duration::from_secs(segment.as_nanos().div_ceil(1_000_000_000) as u64)
}

/// Segments of three target durations: a live playlist never has fewer (section 6.2.2).
pub fn least_window(segment: Duration) -> usize {
    (3 * target_duration(segment).as_nanos()).div_ceil(segment.as_nanos().max(1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_duration_is_whole_seconds_and_no_window_is_below_three() {
        for (segment, target, window) in [(500, 1, 6), (2000, 2, 3), (2001, 3, 5), (10_000, 10, 3)] {
            let segment = Duration::from_millis(segment);
            assert_eq!((target_duration(segment).as_secs(), least_window(segment)), (target, window));
        }
    }
}
