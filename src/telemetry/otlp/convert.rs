//! Conversion of the Prometheus metrics to OTLP metrics. Pure.

use prometheus::proto::{self, MetricFamily, MetricType};

use super::messages::{Buckets, CUMULATIVE, Data, Gauge, Histogram, KeyValue, Metric, Number, Sum};

/// Time range of the exported values, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Start of the process, at which all counters were 0.
    pub start: u64,
    pub now: u64,
}

/// Converts the metric families. Ignores summaries, which Stentor does not use.
pub fn metrics(families: &[MetricFamily], times: Times) -> Vec<Metric> {
    families.iter().filter_map(|family| metric(family, times)).collect()
}

fn metric(family: &MetricFamily, times: Times) -> Option<Metric> {
    let of = family.get_metric();
    let numbers = |value: fn(&proto::Metric) -> f64| {
        let number = |metric: &proto::Metric| Number {
            attributes: attributes(metric),
            start_time_unix_nano: times.start,
            time_unix_nano: times.now,
            value: Some(value(metric)),
        };
        of.iter().map(number).collect()
    };
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            points: numbers(|metric| metric.get_counter().get_value()),
            temporality: CUMULATIVE,
            monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge { points: numbers(|metric| metric.get_gauge().get_value()) }),
        MetricType::HISTOGRAM => {
            let points = of.iter().map(|metric| buckets(metric, times)).collect();
            Data::Histogram(Histogram { points, temporality: CUMULATIVE })
        }
        _ => return None,
    };
    let (name, description) = (family.name().to_owned(), family.help().to_owned());
    Some(Metric { name, description, data: Some(data) })
}

fn buckets(metric: &proto::Metric, times: Times) -> Buckets {
    let histogram = metric.get_histogram();
    let (mut counts, mut bounds, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        counts.push(bucket.cumulative_count().saturating_sub(below));
        bounds.push(bucket.upper_bound());
        below = bucket.cumulative_count();
    }
    let count = histogram.get_sample_count();
    counts.push(count.saturating_sub(below));
    Buckets {
        attributes: attributes(metric),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count,
        sum: Some(histogram.get_sample_sum()),
        counts,
        bounds,
    }
}

/// Returns the labels. In Prometheus, a label with an empty value is the same as no label.
fn attributes(metric: &proto::Metric) -> Vec<KeyValue> {
    let labels = metric.get_label().iter().filter(|label| !label.value().is_empty());
    labels.map(|label| KeyValue::new(label.name(), label.value())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry};

    #[test]
    fn families_keep_their_values() {
        let registry = Registry::new();
        let counter = IntCounter::new("starts_total", "Starts.").unwrap();
        let gauge = IntGauge::new("rooms", "Rooms.").unwrap();
        let options = HistogramOpts::new("seconds", "Durations.").buckets(vec![0.1, 1.0]);
        let histogram = HistogramVec::new(options, &["op", "cause"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(gauge.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        counter.inc_by(3);
        gauge.set(-2);
        for value in [0.05, 0.5, 0.6, 7.0] {
            histogram.with_label_values(&["put", ""]).observe(value);
        }
        let metrics = metrics(&registry.gather(), Times { start: 1, now: 9 });
        let of =
            |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();
        let Data::Sum(sum) = of("starts_total") else { panic!("a counter is a sum") };
        assert_eq!((sum.points[0].value, sum.monotonic, sum.temporality), (Some(3.0), true, CUMULATIVE));
        assert_eq!((sum.points[0].start_time_unix_nano, sum.points[0].time_unix_nano), (1, 9));
        let Data::Gauge(gauge) = of("rooms") else { panic!("a gauge is a gauge") };
        assert_eq!(gauge.points[0].value, Some(-2.0));
        let Data::Histogram(histogram) = of("seconds") else { panic!("a histogram is a histogram") };
        let point = &histogram.points[0];
        assert_eq!((point.count, &point.counts, &point.bounds), (4, &vec![1, 2, 1], &vec![0.1, 1.0]));
        assert_eq!(point.attributes, [KeyValue::new("op", "put")]);
    }
}
