//! Metrics per actor kind, in the Prometheus format.
//!
//! Counting a message costs two relaxed atomic operations; the sums are computed when the metrics are read.
//! Labels contain only actor kinds, message kinds and restart reasons, never a room, a user or an actor's
//! name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::cell::{ActorCell, locked};

/// Upper bounds of the handle-time histogram, in microseconds.
const BOUNDS_US: [u64; 12] =
    [10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// Name, help, type and labels of every family, in the order in which [`collect`] returns them.
pub(super) const FAMILIES: [(&str, &str, MetricType, &[&str]); 9] = [
    ("stentor_actors", "Actors in the supervision tree.", MetricType::GAUGE, &["actor"]),
    ("stentor_mailbox_depth", "Messages waiting, all actors of the kind.", MetricType::GAUGE, &["actor"]),
    ("stentor_mailbox_oldest_seconds", "Age of the oldest waiting message.", MetricType::GAUGE, &["actor"]),
    ("stentor_messages_total", "Messages handled.", MetricType::COUNTER, &["actor", "message"]),
    ("stentor_message_seconds", "Time to handle a message.", MetricType::HISTOGRAM, &["actor", "message"]),
    ("stentor_actor_restarts_total", "Restarts by reason.", MetricType::COUNTER, &["actor", "reason"]),
    (
        "stentor_messages_refused_total",
        "Messages refused by a full mailbox.",
        MetricType::COUNTER,
        &["actor"],
    ),
    (
        "stentor_messages_coalesced_total",
        "Messages replaced by a newer one before delivery.",
        MetricType::COUNTER,
        &["actor"],
    ),
    (
        "stentor_effect_poll_seconds_total",
        "Time spent polling the effects of actors.",
        MetricType::COUNTER,
        &["actor"],
    ),
];

/// Counters per actor kind. Kinds are never removed, so the counters outlive the actors.
#[derive(Default)]
pub(super) struct Kinds(Mutex<BTreeMap<&'static str, Arc<KindStats>>>);

impl Kinds {
    pub fn of(&self, kind: &'static str) -> Arc<KindStats> {
        locked(&self.0).entry(kind).or_default().clone()
    }
}

/// Counters of one actor kind.
#[derive(Default)]
pub(super) struct KindStats {
    pub refused: AtomicU64,
    pub coalesced: AtomicU64,
    /// Time spent polling effects, in nanoseconds.
    polled: AtomicU64,
    restarts: Mutex<BTreeMap<&'static str, u64>>,
    messages: Mutex<BTreeMap<&'static str, Arc<MessageStats>>>,
}

impl KindStats {
    pub fn restarted(&self, reason: &'static str) {
        *locked(&self.restarts).entry(reason).or_default() += 1;
    }

    /// Records the duration of one poll of the effects.
    pub fn polled(&self, took: Duration) {
        self.polled.fetch_add(nanos(took), Relaxed);
    }

    /// Returns the statistics of a message kind. Each incarnation of an actor calls this once per message
    /// kind and stores the result.
    pub fn message(&self, kind: &'static str) -> Arc<MessageStats> {
        locked(&self.messages).entry(kind).or_default().clone()
    }
}

/// Handle times of one message kind.
#[derive(Default)]
pub(super) struct MessageStats {
    /// One bucket per bound, and one above all bounds.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    nanos: AtomicU64,
}

impl MessageStats {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos(took), Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    fn histogram(&self) -> Histogram {
        let mut below = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_US.len());
        for (count, bound) in self.buckets.iter().zip(BOUNDS_US) {
            below += count.load(Relaxed);
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(below);
            bucket.set_upper_bound(bound as f64 / 1e6);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        // The total comes from the same reads as the buckets, so that it is never below one of them.
        histogram.set_sample_count(below + self.buckets[BOUNDS_US.len()].load(Relaxed));
        histogram.set_sample_sum(self.nanos.load(Relaxed) as f64 / 1e9);
        histogram.set_bucket(buckets);
        histogram
    }
}

/// Totals of the actors of one kind, collected by walking the tree.
#[derive(Default, Clone, Copy)]
struct Census {
    actors: u64,
    depth: u64,
    /// Age of the oldest waiting message, in nanoseconds.
    oldest: u64,
}

/// Returns the families of [`FAMILIES`] that have a value. `top` itself belongs to the kernel and is not
/// counted.
pub(super) fn collect(top: &ActorCell) -> Vec<MetricFamily> {
    let kinds: Vec<_> = locked(&top.kernel.kinds.0)
        .iter()
        .filter(|(kind, _)| **kind != top.kind)
        .map(|(kind, stats)| (*kind, stats.clone()))
        .collect();
    let mut census: BTreeMap<&str, Census> =
        kinds.iter().map(|(kind, _)| (*kind, Census::default())).collect();
    top.children().iter().for_each(|child| count(child, &mut census));
    let mut families = [const { Vec::new() }; FAMILIES.len()];
    for (kind, stats) in &kinds {
        let counted = census.get(kind).copied().unwrap_or_default();
        families[0].push(gauge(kind, counted.actors as f64));
        families[1].push(gauge(kind, counted.depth as f64));
        families[2].push(gauge(kind, counted.oldest as f64 / 1e9));
        for (message, times) in locked(&stats.messages).iter() {
            families[3].push(counter(&[("actor", kind), ("message", message)], times.count()));
            let mut metric = labelled(&[("actor", kind), ("message", message)]);
            metric.set_histogram(times.histogram());
            families[4].push(metric);
        }
        for (reason, count) in locked(&stats.restarts).iter() {
            families[5].push(counter(&[("actor", kind), ("reason", reason)], *count));
        }
        let of_kind = [("actor", *kind)];
        families[6].push(counter(&of_kind, stats.refused.load(Relaxed)));
        families[7].push(counter(&of_kind, stats.coalesced.load(Relaxed)));
        let polled = Duration::from_nanos(stats.polled.load(Relaxed));
        families[8].push(float_counter(&of_kind, polled.as_secs_f64()));
    }
    FAMILIES.iter().zip(families).filter(|(_, metrics)| !metrics.is_empty()).map(family).collect()
}

fn count(cell: &ActorCell, census: &mut BTreeMap<&str, Census>) {
    if let Some(counted) = census.get_mut(cell.kind) {
        counted.actors += 1;
        counted.depth += cell.mail.depth.load(Relaxed) as u64;
        let oldest = match cell.mail.oldest.load(Relaxed) {
            0 => 0,
            since => cell.kernel.nanos().saturating_sub(since),
        };
        counted.oldest = counted.oldest.max(oldest);
    }
    cell.children().iter().for_each(|child| count(child, census));
}

fn family(
    ((name, help, kind, _), metrics): (&(&str, &str, MetricType, &[&str]), Vec<Metric>),
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name((*name).to_owned());
    family.set_help((*help).to_owned());
    family.set_field_type(*kind);
    family.set_metric(metrics);
    family
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(pair).collect());
    metric
}

fn gauge(kind: &str, value: f64) -> Metric {
    let mut metric = labelled(&[("actor", kind)]);
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    float_counter(labels, value as f64)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn float_counter(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut metric = labelled(labels);
    let mut counter = Counter::default();
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}
