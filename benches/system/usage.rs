//! What processes use, as the kernel tells it under `/proc`.

use std::time::Duration;

/// The unit of `/proc/{pid}/stat`: 100 per second on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of the processes so far, user and system.
pub fn cpu(pids: &[i32]) -> Duration {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

/// Of one that has ended meanwhile: none.
fn cpu_of(pid: i32) -> Duration {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Duration::ZERO };
    // Behind the name, which may hold anything: state is field 3, utime 14, stime 15.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

/// Private memory in bytes: what would be free again if the process were gone.
pub fn private_bytes(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process is there");
    let private = rollup.lines().filter(|l| l.starts_with("Private_"));
    private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() * 1024
}
