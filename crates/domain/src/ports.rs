//! RTP ports of one mixer: pairs of an even port (RTP) and the odd port above it (RTCP). Also the default UDP
//! port ranges of a managed Janus.
//!
//! FFmpeg binds the pair itself, so the pool only keeps records and opens no sockets. A pair stays taken
//! until its process has exited. A pair that another process holds is quarantined for a while.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Default UDP ports of WebRTC, inclusive. They are below the ephemeral ports of Linux, and disjoint from the
/// ports of plain RTP and of mixers.
pub const WEBRTC_PORTS: (u16, u16) = (20_000, 24_999);
/// Default UDP ports of plain-RTP participants, inclusive.
pub const PLAIN_RTP_PORTS: (u16, u16) = (25_000, 26_999);

/// Returns true if the kernel may give a port of `first..=last` to an outgoing connection. `ephemeral` and
/// `reserved` are the contents of `ip_local_port_range` and `ip_local_reserved_ports` in
/// `/proc/sys/net/ipv4` (kernel documentation, "IP Sysctl").
pub fn are_ephemeral((first, last): (u16, u16), ephemeral: &str, reserved: &str) -> bool {
    let mut bounds = ephemeral.split_whitespace().filter_map(|port| port.parse::<u16>().ok());
    let (Some(low), Some(high)) = (bounds.next(), bounds.next()) else { return false };
    let reserved: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
        })
        .collect();
    let is_reserved = |port: &u16| reserved.iter().any(|(from, to)| (from..=to).contains(&port));
    !(first.max(low)..=last.min(high)).all(|port| is_reserved(&port))
}

#[derive(Debug, Clone)]
pub struct PortPool {
    /// Free ports, oldest release first, so that a released port stays unused as long as possible.
    free: VecDeque<u16>,
    taken: BTreeSet<u16>,
    quarantined: Vec<(Duration, u16)>,
}

impl PortPool {
    /// Creates the pool for `first..=last`. A pair is used only if both of its ports are in this range.
    /// `random` (uniform in `0.0..1.0`) selects the first port, so that a restarted node does not take ports
    /// to which late packets are still sent.
    pub fn new(first: u16, last: u16, random: f64) -> Self {
        let mut free: VecDeque<u16> = (first..last).filter(|p| p % 2 == 0).collect();
        let begin = (free.len() as f64 * random.clamp(0.0, 1.0)) as usize;
        free.rotate_left(begin.min(free.len()));
        Self { free, taken: BTreeSet::new(), quarantined: Vec::new() }
    }

    /// Returns the number of pairs in the range, whether in use or not.
    pub fn size(&self) -> usize {
        self.free.len() + self.taken.len() + self.quarantined.len()
    }

    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    pub fn reserve(&mut self, now: Duration) -> Option<u16> {
        self.end_quarantines(now);
        let port = self.free.pop_front()?;
        self.taken.insert(port);
        Some(port)
    }

    pub fn release(&mut self, port: u16) {
        if self.taken.remove(&port) {
            self.free.push_back(port);
        }
    }

    /// Takes a pair out of use until `until`, because another process holds it.
    pub fn quarantine(&mut self, port: u16, until: Duration) {
        if self.taken.remove(&port) {
            self.quarantined.push((until, port));
        }
    }

    fn end_quarantines(&mut self, now: Duration) {
        let (over, still) = self.quarantined.drain(..).partition(|(until, _)| *until <= now);
        self.quarantined = still;
        let over: Vec<(Duration, u16)> = over;
        self.free.extend(over.into_iter().map(|(_, port)| port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Reserve,
        Release(usize),
        Quarantine(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Reserve),
            2 => any::<usize>().prop_map(Step::Release),
            1 => any::<usize>().prop_map(Step::Quarantine),
        ];
        proptest::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn ports_are_never_shared_or_lost(steps in steps()) {
            let mut pool = PortPool::new(20_001, 20_020, 0.5);
            let size = pool.size();
            let mut held: Vec<u16> = Vec::new();
            for (second, step) in steps.into_iter().enumerate() {
                let now = Duration::from_secs(second as u64);
                match step {
                    Step::Reserve => if let Some(port) = pool.reserve(now) {
                        prop_assert!(port % 2 == 0 && (20_001..20_020).contains(&port));
                        prop_assert!(!held.contains(&port), "port {} given out twice", port);
                        held.push(port);
                    },
                    Step::Release(i) if !held.is_empty() => pool.release(held.swap_remove(i % held.len())),
                    Step::Quarantine(i) if !held.is_empty() => {
                        pool.quarantine(held.swap_remove(i % held.len()), now + Duration::from_secs(5));
                    }
                    _ => {}
                }
                prop_assert_eq!(pool.size(), size);
                prop_assert_eq!(pool.taken(), held.len());
            }
        }
    }

    #[test]
    fn reserved_ports_are_not_ephemeral() {
        let range = "32768\t60999\n";
        for (ports, reserved, ephemeral) in [
            ((27_000, 28_999), "", false),
            ((27_000, 32_768), "", true),
            ((27_000, 32_768), "32768\n", false),
            ((40_000, 40_009), "22,40000-40004,40005-40009\n", false),
            ((40_000, 40_009), "40000-40008", true),
            ((60_999, 65_535), "60999", false),
            ((1, 65_535), "32768-60998", true),
        ] {
            assert_eq!(are_ephemeral(ports, range, reserved), ephemeral, "{ports:?} {reserved:?}");
        }
        assert!(!are_ephemeral((1, 65_535), "", ""), "unknown kernel settings");
    }

    #[test]
    fn one_spare_pair_avoids_reuse() {
        let mut pool = PortPool::new(20_000, 20_009, 0.0);
        let mut held: Vec<_> = (0..4).map(|_| pool.reserve(Duration::ZERO).unwrap()).collect();
        for _ in 0..20 {
            let left = held.remove(0);
            pool.release(left);
            let next = pool.reserve(Duration::ZERO).unwrap();
            assert_ne!(next, left);
            held.push(next);
        }
    }

    #[test]
    fn empty_port_pool_recovers() {
        let mut pool = PortPool::new(20_000, 20_003, 0.0);
        let (a, b) = (pool.reserve(Duration::ZERO), pool.reserve(Duration::ZERO));
        assert_eq!((a, b), (Some(20_000), Some(20_002)));
        assert_eq!(pool.reserve(Duration::ZERO), None);
        pool.release(20_000);
        assert_eq!(pool.reserve(Duration::ZERO), Some(20_000));
    }
}
