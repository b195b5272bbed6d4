//! Results of the Criterion benches, read from Criterion's output folder.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::table::{Row, short};

/// Criterion's names of a figure and of its baseline, and the text for the table.
const FIGURES: [(&str, &str, &str); 4] = [
    (
        "packager/push one part (cut, mux, encrypt, publish)",
        "encrypt/part (floor of a push)",
        "packager: one part (floor: its encryption)",
    ),
    ("packager/first to ask for a playlist", "", "playlist: rendered, by the first who asks"),
    ("playlist with a listener's token", "", "playlist: a listener's token put in"),
    (
        "actor/tell to handler",
        "actor/actix do_send to handler (floor)",
        "tell -> handler -> answer over threads (floor: bare actix)",
    ),
];

/// Returns rows for the available results; none for a bench that has not been run.
pub fn collected() -> Vec<Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/criterion");
    let mut found = Vec::new();
    collect(&root, &mut found);
    let time = |name: &str| found.iter().find(|(n, _)| n == name).map(|(_, t)| short(*t));
    let row =
        |(figure, floor, what)| Some(Row::new(what, time(floor).unwrap_or_default(), time(figure)?, ""));
    FIGURES.into_iter().filter_map(row).collect()
}

fn collect(folder: &Path, found: &mut Vec<(String, Duration)>) {
    if folder.ends_with("new") {
        found.extend(read(folder));
        return;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.path().is_dir()).for_each(|e| collect(&e.path(), found));
}

fn read(folder: &Path) -> Option<(String, Duration)> {
    let json = |file: &str| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(folder.join(file)).ok()?).ok()
    };
    let name = json("benchmark.json")?["full_id"].as_str()?.to_owned();
    let nanos = json("estimates.json")?["median"]["point_estimate"].as_f64()?;
    Some((name, Duration::from_secs_f64(nanos / 1e9)))
}
