//! Results of the measurements, as one table.
//!
//! Owns: quantiles and the layout. Does not judge a number.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// One figure with its baseline and its goal.
pub struct Row([String; 4]);

const HEAD: [&str; 4] = ["what", "floor", "measured", "goal"];

impl Row {
    pub fn new(
        what: impl Into<String>,
        floor: impl Into<String>,
        measured: impl Into<String>,
        goal: impl Into<String>,
    ) -> Self {
        Self([what.into(), floor.into(), measured.into(), goal.into()])
    }
}

#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    pub fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.0.extend(rows);
    }

    /// Saves the table in `target/bench.md`, replacing the previous content.
    pub fn keep(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.md");
        match std::fs::write(&path, self.to_string()) {
            Ok(()) => eprintln!("bench: kept in {}", path.display()),
            Err(error) => eprintln!("bench: {} cannot be written: {error}", path.display()),
        }
    }
}

/// Formats the table as Markdown, with columns that also line up in a terminal.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let rows: Vec<&[String; 4]> = std::iter::once(&head).chain(self.0.iter().map(|r| &r.0)).collect();
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; 4] = std::array::from_fn(width);
        for (i, row) in rows.iter().enumerate() {
            line(f, row, &widths)?;
            if i == 0 {
                line(f, &widths.map(|w| "-".repeat(w)), &widths)?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String; 4], widths: &[usize; 4]) -> fmt::Result {
    for (cell, width) in cells.iter().zip(widths) {
        write!(f, "| {cell:width$} ")?;
    }
    writeln!(f, "|")
}

/// Durations of repeated measurements of the same operation.
#[derive(Debug, Default, Clone)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Returns a measured value by nearest rank; for few measurements a high quantile is the maximum.
    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// Formats median and 99th percentile.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", short(self.quantile(0.5)), short(self.quantile(0.99)))
    }
}

/// Formats a duration with a unit that suits its size.
pub fn short(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        _ if us < 100.0 => format!("{us:.2} µs"),
        _ if us < 100_000.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}
