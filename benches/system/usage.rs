//! Resource usage of processes, read from `/proc`.

use std::time::Duration;

/// Unit of the times in `/proc/{pid}/stat`: a hundredth of a second on every Linux that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// Returns the processor time of the processes so far, user and system.
pub fn cpu(pids: &[i32]) -> Duration {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

/// Returns the processor time of one process; zero if it has ended.
fn cpu_of(pid: i32) -> Duration {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Duration::ZERO };
    // The name is field 2 and may contain any character. After it, state is field 3, utime 14, stime 15.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

/// Returns the private memory in bytes that would be freed if the process ended.
pub fn private_bytes(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process is there");
    let private = rollup.lines().filter(|l| l.starts_with("Private_"));
    private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() * 1024
}
