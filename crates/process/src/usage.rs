//! Processor time of the machine and of this process's children, from procfs (proc(5)).

use std::fs;

/// Processor times in kernel ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All processors since boot, idle time included.
    pub total: u64,
    /// All processors since boot, without idle time and the time spent waiting for disks.
    pub busy: u64,
    /// All running children of this process.
    pub children: u64,
}

/// Reads the counters. `None` if there is no procfs.
pub fn read() -> Option<Usage> {
    let (total, busy) = machine(&fs::read_to_string("/proc/stat").ok()?)?;
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    // A child is listed under the thread that spawned it.
    let listed = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut children = 0;
    for pids in listed {
        let stats =
            pids.split_whitespace().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        children += stats.filter_map(|stat| process(&stat)).sum::<u64>();
    }
    Some(Usage { total, busy, children })
}

/// Returns the total and the busy ticks, from the first line: user, nice, system, idle, iowait, irq, softirq,
/// steal. The fields after these are part of user and nice.
fn machine(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).map_while(|ticks| ticks.parse().ok()).collect();
    let [_, _, _, idle, waiting, ..] = ticks[..] else { return None };
    let total = ticks.iter().sum::<u64>();
    Some((total, total - idle - waiting))
}

/// Returns the sum of utime and stime, which are fields 14 and 15. The name, field 2, may contain any
/// character, even `)`.
fn process(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_parsed() {
        assert_eq!(machine("cpu  10 2 3 100 5 1 1 4 9 9\ncpu0 1 1"), Some((126, 21)));
        assert_eq!(machine("cpu  10 2"), None);
        assert_eq!(machine(""), None);
        let stat = "17 (a) b (c)) S 1 17 17 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 5 1 1";
        assert_eq!(process(stat), Some(42));
    }

    #[tokio::test]
    async fn children_are_counted() {
        let spin = ["-c", "while :; do :; done"];
        let child = super::super::command("sh", spin).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        // The children of other tests of this process end meanwhile, so the sum of the children may decrease.
        // The total of the machine never decreases.
        let before = read().unwrap();
        while read().unwrap().children == 0 {
            assert!(std::time::Instant::now() < deadline, "a busy child uses no time");
            tokio::task::yield_now().await;
        }
        assert!(read().unwrap().total >= before.total);
        drop(child);
    }
}
