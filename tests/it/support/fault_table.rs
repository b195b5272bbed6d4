//! Measured cost of each fault, one line each. The lines are in the test output. `make faults` also names a
//! file for them in `FAULT_TABLE`, and prints this file as a table.

use std::time::Duration;

use super::{add_to_table, report};

/// Environment variable with the path of the table file.
const TABLE: &str = "FAULT_TABLE";
/// Allowed factor over the goal. Machines are shared, but a recovery above ten times the goal is broken, not
/// slow.
const SLACK: u32 = 10;

/// Returns true under `make faults`, which runs all tests at their full length.
pub fn is_wanted() -> bool {
    std::env::var_os(TABLE).is_some()
}

/// Reports the time from the fault to the recovery, and the goal. `lost`: the loss that users notice.
///
/// # Panics
/// If the recovery took more than ten times the goal.
pub fn recovered(fault: &str, lost: &str, took: Duration, goal: Duration) {
    let line = format!("{fault}\t{lost}\t{took:.2?}\t≤ {goal:?}");
    report(line.replace('\t', " | "));
    add_to_table(TABLE, &line);
    assert!(took <= goal * SLACK, "{fault}: {took:?}, {goal:?} is the goal");
}
