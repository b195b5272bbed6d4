//! `stentor audit`: the changes that operators and applications have made.
//!
//! Owns: the arguments and output. Does not change the log.

use serde_json::Value;

use super::client::Client;
use super::output::{Table, age, cell, now, print, print_json};

pub async fn audit(client: &Client, json: bool) -> anyhow::Result<()> {
    let log = client.audit().await?;
    if json {
        return print_json(&log["entries"]);
    }
    print(table(&log["entries"], now()))
}

fn table(entries: &Value, now: u64) -> Table {
    let mut table = Table::new(&["AGO", "OPERATOR", "ADDRESS", "ACTION", "NODE", "OUTCOME"]);
    for entry in entries.as_array().into_iter().flatten() {
        let (operator, outcome) = (&entry["operator"], &entry["outcome"]);
        let id = operator["key"].as_str().map(|id| format!(" ({id})")).unwrap_or_default();
        let error = outcome["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
        table.row([
            age(&entry["at"], now),
            format!("{}{id}", cell(&operator["name"])),
            cell(&entry["address"]),
            action(&entry["action"]),
            cell(&entry["node"]),
            format!("{}{error}", cell(&outcome["result"])),
        ]);
    }
    table
}

/// Returns the name of an action and the values of its fields. Works for every kind of action, so that
/// actions of newer nodes are shown, too.
fn action(action: &Value) -> String {
    let fields = action.as_object().into_iter().flatten().filter(|(name, _)| *name != "action");
    fields.fold(cell(&action["action"]), |text, (_, value)| format!("{text} {}", cell(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn audit_lines_name_operator_and_outcome() {
        let failed = json!({ "result": "failed", "error": "there is no such room" });
        let entries = json!([
            { "at": 1000, "node": "n1", "operator": { "key": "abc", "name": "Ann" }, "outcome": failed,
              "address": "192.0.2.7",
              "action": { "action": "stop_room", "room": "tea" } },
            { "at": 9000, "node": "n1", "operator": { "name": "key of the configuration" },
              "action": { "action": "reconcile" }, "outcome": { "result": "done" } },
        ]);
        let text = table(&entries, 10_000).to_string();
        let lines: Vec<_> = text.lines().skip(1).map(|line| line.split("  ").map(str::trim)).collect();
        let lines: Vec<Vec<_>> =
            lines.into_iter().map(|cells| cells.filter(|cell| !cell.is_empty()).collect()).collect();
        assert_eq!(
            lines[0],
            ["9s", "Ann (abc)", "192.0.2.7", "stop_room tea", "n1", "failed: there is no such room"]
        );
        assert_eq!(lines[1], ["1s", "key of the configuration", "reconcile", "n1", "done"]);
    }
}
