//! Reads the metrics that the dashboard's history shows.

use prometheus::proto::{Metric, MetricFamily};

use super::Metrics;
use super::history::Readings;

impl Metrics {
    /// Returns the current totals. `rooms` and `listeners` are counts of the whole installation.
    pub fn readings(&self, rooms: usize, listeners: usize) -> Readings {
        let families = self.registry().gather();
        let counted = |name: &str, label: Option<(&str, &str)>| {
            let values =
                metrics(&families, name).filter(|metric| label.is_none_or(|label| has(metric, label)));
            values.map(|metric| metric.get_counter().get_value()).sum::<f64>() as u64
        };
        let store = || metrics(&families, "stentor_store_request_seconds").map(Metric::get_histogram);
        let ffmpegs = counted("stentor_ffmpeg_exits_total", None)
            .saturating_sub(counted("stentor_ffmpeg_exits_total", Some(("reason", "stopped"))));
        Readings {
            rooms,
            listeners,
            joins: metrics(&families, "stentor_ws_calls_total")
                .filter(|metric| has(metric, ("method", "join")) && has(metric, ("outcome", "ok")))
                .map(|metric| metric.get_counter().get_value() as u64)
                .sum(),
            late_parts: counted("stentor_media_late_parts_total", None),
            restarts: counted("stentor_actor_restarts_total", None) + ffmpegs,
            store_requests: store().map(|times| times.get_sample_count()).sum(),
            store_seconds: store().map(|times| times.get_sample_sum()).sum(),
        }
    }
}

fn metrics<'a>(families: &'a [MetricFamily], name: &str) -> impl Iterator<Item = &'a Metric> {
    families.iter().filter(move |family| family.name() == name).flat_map(MetricFamily::get_metric)
}

fn has(metric: &Metric, (name, value): (&str, &str)) -> bool {
    metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn readings_sum_the_metrics() {
        let metrics = Metrics::new(SystemTime::now());
        assert_eq!(metrics.readings(0, 0), Readings::default());
        metrics.ws_call("join", "ok", None);
        metrics.ws_call("join", "room_full", None);
        metrics.ws_call("leave", "ok", None);
        metrics.late_part();
        metrics.ffmpeg_exited("stopped");
        metrics.ffmpeg_exited("crashed");
        metrics.store_request("txn", "ok", Duration::from_millis(500));
        metrics.store_request("list", "ok", Duration::from_millis(250));
        let wanted = Readings {
            rooms: 3,
            listeners: 4,
            joins: 1,
            late_parts: 1,
            restarts: 1,
            store_requests: 2,
            store_seconds: 0.75,
        };
        assert_eq!(metrics.readings(3, 4), wanted);
    }
}
