//! Division of the process's file descriptors between the listening sockets and everything else. This module
//! is pure.

/// Descriptor limit below which the node logs a warning at start.
pub const RECOMMENDED: u64 = 65_536;

/// Maximum number of descriptors reserved for the store, the rooms' pipes, Janus, Redis and `listen.ops`.
const LARGEST_RESERVE: u64 = 8_192;
/// Smallest number of reserved descriptors, if the limit allows it.
const SMALLEST_RESERVE: u64 = 512;
/// Maximum number of connections to `listen.ops`, taken from the reserve.
const OPERATIONS: u64 = 128;
/// Maximum number of connections per worker, independent of the limit: each connection needs about 20 kB of
/// memory.
const PER_WORKER: u64 = 25_600;

/// Limits on the open connections of one listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allotment {
    /// Number of connections that are served. Further ones are answered with 503 and closed.
    pub served: usize,
    /// Number of connections that are accepted. Further ones stay in the kernel's backlog.
    pub accepted: usize,
}

/// Share of the file descriptors that one listening socket gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Size of the share, relative to those of the other sockets.
    pub weight: u64,
    /// True for `listen.ops` only, which gets a fixed number of descriptors from the reserve.
    pub operations: bool,
}

/// Divides `limit` descriptors between the sockets in `shares`, each with `workers` threads. Returns the
/// limits of the sockets in the same order.
pub fn allot(limit: u64, workers: u64, shares: &[Share]) -> Vec<Allotment> {
    let half = limit / 2;
    let reserve = (limit / 4).clamp(SMALLEST_RESERVE.min(half), LARGEST_RESERVE.min(half));
    let public = limit - reserve;
    let weights: u64 = shares.iter().filter(|share| !share.operations).map(|share| share.weight).sum();
    let accepted = |share: &Share| match share.operations {
        true => OPERATIONS.min(limit / 16),
        // `max` prevents a division by zero if all weights are zero.
        false => (u128::from(public) * u128::from(share.weight) / u128::from(weights.max(1))) as u64,
    };
    let bounded = |share| accepted(share).clamp(2, PER_WORKER.saturating_mul(workers).max(2));
    shares.iter().map(bounded).map(Allotment::of).collect()
}

impl Allotment {
    /// Divides `accepted` connections. One eighth of them, at least 1 and at most 64, is reserved for clients
    /// that are answered with 503.
    fn of(accepted: u64) -> Self {
        let refusals = (accepted / 8).clamp(1, 64);
        Self { served: (accepted - refusals) as usize, accepted: accepted as usize }
    }

    /// Returns the number of connections that may be answered with 503 at the same time.
    pub fn refused(self) -> usize {
        self.accepted - self.served
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const API: Share = Share { weight: 1, operations: false };
    const WS: Share = Share { weight: 2, operations: false };
    const HLS: Share = Share { weight: 4, operations: false };
    const OPS: Share = Share { weight: 0, operations: true };

    #[test]
    fn default_limit_leaves_half_in_reserve() {
        let served: Vec<_> =
            allot(1024, 2, &[API, WS, HLS, OPS]).into_iter().map(|allotment| allotment.accepted).collect();
        assert_eq!(served, [73, 146, 292, 64]);
    }

    #[test]
    fn unlimited_descriptors_are_bounded_by_workers() {
        let all = allot(u64::MAX, 2, &[HLS, OPS]);
        assert_eq!(all[0].accepted, 51_200);
        assert_eq!(all[1].accepted, 128);
    }

    proptest! {
        #[test]
        fn allotments_stay_below_the_limit(limit in 64_u64..5_000_000, workers in 1_u64..128) {
            let all = allot(limit, workers, &[API, WS, HLS, OPS]);
            let public: usize = all[..3].iter().map(|allotment| allotment.accepted).sum();
            let reserve = limit as usize - public;
            prop_assert!(reserve >= (limit as usize / 4).min(LARGEST_RESERVE as usize));
            prop_assert!(all[3].accepted < reserve);
            prop_assert!(all.iter().all(|allotment| allotment.served >= 1 && allotment.refused() >= 1));
        }
    }
}
