//! Report of the attacks that a node has withstood. Each attack has one line with the response and the effect
//! on others. The lines are part of the test output. They are also written to the file that `ABUSE_TABLE`
//! names, if any: `make abuse` sets this variable and prints the file as a table.

use super::{add_to_table, report};

/// Environment variable with the path of the table file.
const TABLE: &str = "ABUSE_TABLE";

/// Reports an attack after its test has shown the response and the effect on others.
pub fn withstood(attack: &str, response: &str, others: &str) {
    let line = format!("{attack}\t{response}\t{others}");
    report(line.replace('\t', " | "));
    add_to_table(TABLE, &line);
}
