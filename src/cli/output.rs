//! Output of the commands: tables, durations, and writing to standard output.
//!
//! Owns: the layout. Does not fetch anything.

use std::fmt;
use std::io::{self, Write as _};

use serde_json::Value;

/// A table with left-aligned columns, two spaces apart.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Creates a table without a header: names and values.
    pub fn of_fields(fields: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let rows = fields.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        Self { rows: rows.collect() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Writes `text` to standard output. Ends the program successfully if the reader has closed the pipe, as
/// `head` does, because nobody reads the rest.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: impl fmt::Display) -> anyhow::Result<()> {
    print_before(text, 0)
}

/// Writes `text` to standard output, as [`print`] does. `exit`: exit code of the program, also if the reader
/// has closed the pipe.
///
/// # Errors
/// See [`print`].
pub fn print_before(text: impl fmt::Display, exit: i32) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(exit),
        written => Ok(written?),
    }
}

/// Writes `value` as indented JSON.
///
/// # Errors
/// See [`print`].
pub fn print_json(value: &Value) -> anyhow::Result<()> {
    print(format_args!("{value:#}\n"))
}

/// Returns the text of a JSON value for a cell; empty for null.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the time since `at` (Unix time, ms) in at most two units, such as `2h 05m`; empty for null.
pub fn age(at: &Value, now: u64) -> String {
    at.as_u64().map(|at| duration(now.saturating_sub(at) / 1000)).unwrap_or_default()
}

/// Returns `seconds` in at most two units.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Returns the Unix time in ms.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_their_columns() {
        let mut table = Table::new(&["ROOM", "STATUS"]);
        table.row(["tea-room".to_owned(), "onair".to_owned()]);
        table.row(["t".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "ROOM      STATUS\ntea-room  onair\nt\n");
    }

    #[test]
    fn durations_have_two_units() {
        let texts = [(0, "0s"), (59, "59s"), (61, "1m 01s"), (3_660, "1h 01m"), (90_000, "1d 01h")];
        for (seconds, text) in texts {
            assert_eq!(duration(seconds), text);
        }
    }
}
