//! Attacks that a node has withstood, one line each with the response and the effect on others: for readers
//! of the test output, and for `make abuse`, which names a file in `ABUSE_TABLE` and prints it as a table.

use super::{add_to_table, report};

/// Environment variable with the path of the table file.
const TABLE: &str = "ABUSE_TABLE";

/// Reports an attack after its test has shown the response and the effect on others.
pub fn withstood(attack: &str, response: &str, others: &str) {
    let line = format!("{attack}\t{response}\t{others}");
    report(line.replace('\t', " | "));
    add_to_table(TABLE, &line);
}
