//! What each fault cost, one line each: for the reader of a test's output, and for `make faults`, which names a file
//! in `FAULT_TABLE` and prints it as a table.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use super::report;

/// Names the file of the table.
const TABLE: &str = "FAULT_TABLE";
/// Machines are shared: what takes ten times the goal is broken, not slow.
const SLACK: u32 = 10;

/// `make faults` does everything at its full length.
pub fn is_wanted() -> bool {
    std::env::var_os(TABLE).is_some()
}

/// The time from the fault to the recovery, beside the goal. `lost`: what people lost by it.
///
/// # Panics
/// When it took more than ten times the goal.
pub fn recovered(fault: &str, lost: &str, took: Duration, goal: Duration) {
    let line = format!("{fault}\t{lost}\t{took:.2?}\t≤ {goal:?}");
    report(line.replace('\t', " | "));
    if let Some(path) = std::env::var_os(TABLE) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // One write: tests beside each other append to the same file.
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .expect("the table is written");
    }
    assert!(took <= goal * SLACK, "{fault}: {took:?}, {goal:?} is the goal");
}
