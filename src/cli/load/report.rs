//! Report of a load test: percentiles, as a table or as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::anchors::AnchorResult;
use super::listeners::ListenerResult;
use crate::cli::output::Table;

/// Result of a load test.
pub struct Report {
    /// Times from the request to start a room to its first playlist.
    start: Percentiles,
    anchors: Anchors,
    hls: Side,
    plain: Side,
}

/// Result of all anchors.
struct Anchors {
    count: usize,
    /// Times from the WHIP request to the media connection.
    join: Percentiles,
    failed: usize,
    failure: Option<String>,
}

/// Result of all listeners of one kind.
struct Side {
    listeners: usize,
    first_sound: Percentiles,
    delay: Percentiles,
    gaps: u64,
    /// Number of listeners that ended early.
    failed: usize,
    /// Reason for the first failure.
    failure: Option<String>,
}

/// Durations in ascending order.
struct Percentiles(Vec<Duration>);

impl Report {
    pub fn new(
        start: impl Iterator<Item = Duration>,
        anchors: Vec<AnchorResult>,
        hls: Vec<ListenerResult>,
        plain: Vec<ListenerResult>,
    ) -> Self {
        let (start, anchors) = (Percentiles::of(start), Anchors::of(&anchors));
        Self { start, anchors, hls: Side::of(hls), plain: Side::of(plain) }
    }

    pub fn json(&self) -> Value {
        let (anchors, hls, plain) = (self.anchors.json(), self.hls.json(), self.plain.json());
        json!({ "start": self.start.json(), "anchors": anchors, "hls": hls, "plain": plain })
    }
}

impl Anchors {
    fn of(spoken: &[AnchorResult]) -> Self {
        let failures = || spoken.iter().filter_map(|spoken| spoken.failure.as_ref());
        Self {
            count: spoken.len(),
            join: Percentiles::of(spoken.iter().filter_map(|spoken| spoken.join)),
            failed: failures().count(),
            failure: failures().next().cloned(),
        }
    }

    fn json(&self) -> Value {
        let Self { count, join, failed, failure } = self;
        json!({ "anchors": count, "join": join.json(), "failed": failed, "failure": failure })
    }

    /// Returns the line about failures; empty without anchors.
    fn summary(&self) -> String {
        let Self { count, failed, .. } = self;
        let failure = self.failure.iter().map(|failure| format!("  first failure: {failure}\n"));
        match count {
            0 => String::new(),
            _ => format!("anchors: {count}, {failed} failed\n{}", failure.collect::<String>()),
        }
    }
}

impl Side {
    fn of(heard: Vec<ListenerResult>) -> Self {
        let failures = || heard.iter().filter_map(|heard| heard.failure.as_ref());
        Self {
            listeners: heard.len(),
            first_sound: Percentiles::of(heard.iter().filter_map(|heard| heard.first_sound)),
            delay: Percentiles::of(heard.iter().flat_map(|heard| heard.delays.iter().copied())),
            gaps: heard.iter().map(|heard| heard.gaps).sum(),
            failed: failures().count(),
            failure: failures().next().cloned(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "listeners": self.listeners,
            "firstSound": self.first_sound.json(),
            "delay": self.delay.json(),
            "gaps": self.gaps,
            "failed": self.failed,
            "failure": self.failure,
        })
    }

    /// Returns the lines about gaps and failures.
    fn summary(&self, name: &str) -> String {
        let (listeners, gaps, failed) = (self.listeners, self.gaps, self.failed);
        let mut text = format!("{name}: {listeners} listeners, {gaps} gaps, {failed} failed\n");
        if let Some(failure) = &self.failure {
            text += &format!("  first failure: {failure}\n");
        }
        text
    }
}

impl Percentiles {
    fn of(values: impl Iterator<Item = Duration>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        Self(values)
    }

    /// Returns the smallest value to which at least `percent` % of the values are equal or below; `None` if
    /// there are no values.
    fn at(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    fn json(&self) -> Value {
        let ms = |percent| self.at(percent).map(|value| value.as_millis() as u64);
        json!({ "count": self.0.len(), "p50Ms": ms(50), "p95Ms": ms(95), "p99Ms": ms(99), "maxMs": ms(100) })
    }

    fn row(&self, name: &str, table: &mut Table) {
        let cells = [50, 95, 99, 100].map(|percent| match self.at(percent) {
            Some(value) => format!("{} ms", value.as_millis()),
            None => "-".to_owned(),
        });
        table.row([name.to_owned(), self.0.len().to_string()].into_iter().chain(cells));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["MEASURE", "COUNT", "P50", "P95", "P99", "MAX"]);
        self.start.row("start of a room to its first playlist", &mut table);
        if self.anchors.count > 0 {
            self.anchors.join.row("anchors: WHIP request to media", &mut table);
        }
        for (side, first, delay) in [
            (&self.hls, "HLS: first sound", "HLS: age of parts at arrival"),
            (&self.plain, "plain: first sound", "plain: delay behind real time"),
        ] {
            if side.listeners > 0 {
                side.first_sound.row(first, &mut table);
                side.delay.row(delay, &mut table);
            }
        }
        let (anchors, hls) = (self.anchors.summary(), self.hls.summary("HLS"));
        write!(f, "{table}\n{anchors}{hls}{}", self.plain.summary("plain"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let values = Percentiles::of((1..=200).rev().map(|n| n * MS));
        let at = [50, 95, 99, 100].map(|percent| values.at(percent).unwrap());
        assert_eq!(at, [100 * MS, 190 * MS, 198 * MS, 200 * MS]);
        let one = Percentiles::of([7 * MS].into_iter());
        assert_eq!((one.at(50), one.at(99)), (Some(7 * MS), Some(7 * MS)));
        assert_eq!(Percentiles::of(std::iter::empty()).at(50), None);
    }

    #[test]
    fn report_shows_gaps_and_failures() {
        let good =
            ListenerResult { first_sound: Some(300 * MS), delays: vec![200 * MS], gaps: 2, failure: None };
        let bad = ListenerResult { failure: Some("no answer".into()), ..ListenerResult::default() };
        let joined = AnchorResult { join: Some(90 * MS), failure: None };
        let refused = AnchorResult { join: None, failure: Some("WHIP answered with 403".into()) };
        let report = Report::new([400 * MS].into_iter(), vec![joined, refused], vec![good, bad], vec![]);
        let text = report.to_string();
        assert!(text.contains("HLS: 2 listeners, 2 gaps, 1 failed\n  first failure: no answer\n"), "{text}");
        assert!(text.contains("HLS: first sound") && !text.contains("plain: first sound"), "{text}");
        assert!(text.contains("anchors: 2, 1 failed\n  first failure: WHIP answered with 403\n"), "{text}");
        let json = report.json();
        assert_eq!((&json["anchors"]["join"]["p99Ms"], &json["anchors"]["failed"]), (&90.into(), &1.into()));
        assert_eq!((&json["hls"]["gaps"], &json["start"]["p95Ms"]), (&2.into(), &400.into()));
        assert_eq!(json["plain"]["delay"]["p50Ms"], Value::Null);
    }
}
