//! Rules for ACME certificates (RFC 8555): which names and tokens are valid, when a certificate is renewed,
//! and when a failed order is repeated. This module is pure: times and random numbers are arguments.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ids::UnixMs;
use super::restart::Backoff;

/// Longest time until a certificate is examined again. It limits how long a wrong clock can delay a renewal.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(3600);
/// Interval at which a node that needs a certificate looks for the result of another node's order.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(30);
/// Time for which the other nodes of a cluster may order first after a failed order. Each of them looks at
/// least once in this time, even if the clocks differ by some seconds.
const OTHERS_FIRST: Duration = Duration::from_secs(60);
/// Delays after failed orders. Let's Encrypt permits five failed validations of a name per hour. With these
/// delays, at most five orders start in the first hour.
const AFTER_FAILURE: Backoff =
    Backoff { first: Duration::from_secs(15 * 60), max: Duration::from_secs(12 * 3600) };

/// Shortest lifetime of a certificate whose renewal follows the authority's window.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// Age of a certificate below which it is not renewed because of a window.
const FIRST_DAY: Duration = Duration::from_secs(24 * 3600);
/// Time until renewal information is requested again, if the authority names none, and its limits
/// (RFC 9773 section 4.3.2).
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(6 * 3600);
const ASKED_AGAIN_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// Time limit of one order.
pub const ORDER_WITHIN: Duration = Duration::from_secs(300);
/// Lifetime of an order's lock. Longer than [`ORDER_WITHIN`], so that no other node places an order while
/// this order runs.
pub const ORDER_LOCK_TTL: Duration = Duration::from_secs(600);

/// Time for which a node uses the answers to challenges that it has read from the store.
pub const ANSWERS_CACHED: Duration = Duration::from_secs(1);
/// Delay between the publication of the answers and the request to check them. Longer than
/// [`ANSWERS_CACHED`], so that every node has read the answers before the check.
pub const ANSWERS_KNOWN_AFTER: Duration = Duration::from_secs(2);

/// Period of validity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

/// Period in which the authority suggests to renew a certificate (RFC 9773 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalWindow {
    from: SystemTime,
    until: SystemTime,
}

impl RenewalWindow {
    /// Reads the window from the renewal information of an authority; `None` if it has no valid one.
    pub fn read(information: &Value) -> Option<Self> {
        let time = |name: &str| {
            let text = information["suggestedWindow"][name].as_str()?;
            Some(SystemTime::from(OffsetDateTime::parse(text, &Rfc3339).ok()?))
        };
        let (from, until) = (time("start")?, time("end")?);
        (from < until).then_some(Self { from, until })
    }
}

/// Value of an order's lock: the node that is ordering, or the node whose order failed. The record of a
/// failed order has no lease, because the embedded store drops keys with a lease when the process ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    pub node: String,
    /// Number of failed orders in a row.
    pub failures: u32,
    /// Reason for the last failure; `None` while the order runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Time from which other nodes may order after the failure.
    #[serde(rename = "retryAt", default)]
    pub retry_at: UnixMs,
}

impl OrderRecord {
    /// Returns true if this record forbids the node `me` to order at `now`. The record of a running order of
    /// `me` comes from an interrupted attempt and forbids nothing. After a failed order, the other nodes may
    /// order earlier than the node that failed. Otherwise, a node whose orders always fail would block the
    /// other nodes. With `at_once`, a failed order of `me` forbids nothing either.
    pub fn blocks(&self, me: &str, at_once: bool, now: UnixMs) -> bool {
        let is_own = self.node == me;
        if self.error.is_none() || is_own && at_once {
            return !is_own;
        }
        let [retry_at, now] = [self.retry_at, now].map(|time| Duration::from_millis(time.0));
        let left = if is_own { own_delay(retry_at) } else { retry_at }.saturating_sub(now);
        // A longer wait was computed with a wrong clock and is ignored.
        !left.is_zero() && left <= own_delay(AFTER_FAILURE.max)
    }
}

impl Validity {
    /// Returns the time from which the certificate is renewed: when a third of its lifetime is left. Let's
    /// Encrypt recommends this for certificates that are valid for more than ten days.
    pub fn renewed_from(self) -> SystemTime {
        let lifetime = self.until.duration_since(self.from).unwrap_or_default();
        self.until - lifetime / 3
    }

    /// Returns the time from which the certificate is renewed, if the authority suggests `window`: a point in
    /// it that `random`, uniform in `0.0..1.0`, selects. A window has no effect on a certificate of a few
    /// days, and none in the first day of a certificate, so that a wrong one cannot cause an order after the
    /// other. The last quarter of the lifetime is left for orders that fail.
    pub fn renewed_within(self, window: Option<RenewalWindow>, random: f64) -> SystemTime {
        let lifetime = self.until.duration_since(self.from).unwrap_or_default();
        let Some(window) = window.filter(|_| lifetime >= SHORTEST_LIFETIME) else {
            return self.renewed_from();
        };
        let length = window.until.duration_since(window.from).unwrap_or_default();
        let selected = window.from + length.mul_f64(random);
        selected.clamp(self.from + FIRST_DAY, self.until - lifetime / 4)
    }

    /// Returns the time until the certificate becomes valid; `None` if it is valid already.
    pub fn begins_in(self, now: SystemTime) -> Option<Duration> {
        self.from.duration_since(now).ok().filter(|left| !left.is_zero())
    }

    /// Returns the time until the certificate is examined again; `None` if it must be renewed now. `renewal`:
    /// time from which it is renewed.
    pub fn examined_in(self, renewal: SystemTime, now: SystemTime) -> Option<Duration> {
        let left = renewal.duration_since(now).ok().filter(|left| !left.is_zero())?;
        Some(self.begins_in(now).unwrap_or(left).min(left).min(LOOK_AT_LEAST_EVERY))
    }
}

/// Returns the time until renewal information is requested again. `told`: seconds in the header
/// `Retry-After`.
pub fn asked_again_in(told: Option<u64>) -> Duration {
    told.map_or(ASKED_AGAIN_AFTER, Duration::from_secs).clamp(LOOK_AT_LEAST_EVERY, ASKED_AGAIN_AT_MOST)
}

/// Returns the delay after `failures` failed orders in a row. `failures` is at least 1. `random` is uniform
/// in `0.0..1.0`.
pub fn delay_after(failures: u32, random: f64) -> Duration {
    AFTER_FAILURE.delay(failures, random)
}

/// Returns the delay until the node whose order has failed may order again. Other nodes may order after
/// `delay`.
pub fn own_delay(delay: Duration) -> Duration {
    delay + OTHERS_FIRST
}

/// Returns the time after which a node examines another node's order again.
pub fn delay_for_others() -> Duration {
    LOOK_FOR_OTHERS
}

/// Returns true for a name for which a certificate can be obtained through HTTP-01: a DNS name in lower case
/// with at least two labels (RFC 1035). Wildcards (RFC 8555 section 7.1.3) and IP addresses are excluded.
pub fn is_certifiable(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253 && name.contains('.') && !is_number && name.split('.').all(is_label)
}

/// Returns true if a text can be the key authorization of a token: the token, a dot, and the digest of the
/// account's key (RFC 8555 section 8.1).
pub fn is_key_authorization(text: &str, token: &str) -> bool {
    is_token(token) && text.split_once('.').is_some_and(|(first, digest)| first == token && is_token(digest))
}

/// Returns true if a text can be the token of a challenge: base64url without padding (RFC 8555 section 8.3).
pub fn is_token(text: &str) -> bool {
    (22..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn certificates_are_renewed_with_a_third_left() {
        let from = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let validity = Validity { from, until: from + 90 * DAY };
        assert_eq!(validity.renewed_from(), from + 60 * DAY);
        assert_eq!(validity.examined_in(validity.renewed_from(), from), Some(Duration::from_secs(3600)));
        let minute = Duration::from_secs(60);
        assert_eq!(validity.examined_in(validity.renewed_from(), from + 60 * DAY - minute), Some(minute));
        for due in [60 * DAY, 89 * DAY, 100 * DAY] {
            assert_eq!(validity.examined_in(validity.renewed_from(), from + due), None);
        }
        assert_eq!((validity.begins_in(from - minute), validity.begins_in(from)), (Some(minute), None));
        assert_eq!(
            validity.examined_in(validity.renewed_from(), from - minute),
            Some(minute),
            "the clock may be slow"
        );
        let reversed = Validity { from: from + DAY, until: from };
        assert_eq!(reversed.examined_in(reversed.renewed_from(), from), None);
    }

    #[test]
    fn renewals_follow_the_window() {
        let from = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let validity = Validity { from, until: from + 90 * DAY };
        let window = |a: u32, b: u32| Some(RenewalWindow { from: from + a * DAY, until: from + b * DAY });
        assert_eq!(validity.renewed_within(None, 0.5), validity.renewed_from());
        assert_eq!(validity.renewed_within(window(40, 50), 0.0), from + 40 * DAY);
        assert_eq!(validity.renewed_within(window(40, 50), 0.5), from + 45 * DAY);
        assert_eq!(validity.renewed_within(window(0, 1), 0.1), from + DAY, "no order after the other");
        assert_eq!(validity.renewed_within(window(80, 90), 0.5), from + 90 * DAY * 3 / 4);
        let short = Validity { from, until: from + 3 * DAY };
        assert_eq!(short.renewed_within(window(0, 1), 0.5), from + 2 * DAY);
    }

    #[test]
    fn renewal_windows_are_read() {
        let read = |start: &str, end: &str| {
            RenewalWindow::read(&json!({ "suggestedWindow": { "start": start, "end": end } }))
        };
        let window = read("2025-01-02T04:00:00Z", "2025-01-03T05:00:00+01:00").unwrap();
        assert_eq!(window.until, window.from + DAY);
        assert_eq!(read("2025-01-03T04:00:00Z", "2025-01-03T04:00:00Z"), None);
        assert_eq!(read("soon", "2025-01-03T04:00:00Z"), None);
        assert_eq!(RenewalWindow::read(&json!({})), None);
        let hours = |told| asked_again_in(told).as_secs() / 3600;
        assert_eq!([None, Some(5), Some(43_200), Some(u64::MAX)].map(hours), [6, 1, 12, 24]);
    }

    #[test]
    fn failed_orders_respect_rate_limits() {
        let (mut at, mut orders) = (Duration::ZERO, 1);
        for failures in 1..100 {
            at += delay_after(failures, 0.0);
            orders += u32::from(at < Duration::from_secs(3600));
        }
        assert!(orders <= 5, "{orders}");
        assert!(delay_after(100, 1.0) <= Duration::from_secs(12 * 3600));
        assert!(ORDER_LOCK_TTL > ORDER_WITHIN && ANSWERS_KNOWN_AFTER > ANSWERS_CACHED);
    }

    #[test]
    fn failed_nodes_let_others_order() {
        let (now, second) = (UnixMs(1_000_000_000), 1000);
        let retry_at = UnixMs(now.0 + 60 * second);
        let failed = OrderRecord { node: "bad".into(), failures: 3, error: Some("refused".into()), retry_at };
        let at = |seconds: u64| UnixMs(now.0 + seconds * second);
        assert!(failed.blocks("good", false, at(59)) && failed.blocks("good", true, at(59)));
        assert!(!failed.blocks("good", false, at(60)));
        assert!(failed.blocks("bad", false, at(119)), "the other nodes check every 30 s");
        assert!(!failed.blocks("bad", false, at(120)) && !failed.blocks("bad", true, at(0)));
        assert!(own_delay(Duration::from_secs(60)) >= Duration::from_secs(60) + 2 * delay_for_others());
        assert!(!failed.blocks("good", false, UnixMs(0)), "written with a wrong clock");
    }

    #[test]
    fn only_own_orders_are_interrupted() {
        let running = OrderRecord { node: "a".into(), failures: 0, error: None, retry_at: UnixMs::default() };
        for at_once in [false, true] {
            assert!(running.blocks("b", at_once, UnixMs(5)) && !running.blocks("a", at_once, UnixMs(5)));
        }
    }

    #[test]
    fn only_dns_names_are_certifiable() {
        for name in ["live.example.org", "a.b", "xn--bcher-kva.example", "1.example.org"] {
            assert!(is_certifiable(name), "{name}");
        }
        let long = "a.".repeat(127) + "org";
        let others = ["", "localhost", "*.example.org", "Live.example.org", "10.0.0.1", "a..b", "-a.example"];
        for name in others.into_iter().chain([".a.b", "a.b.", "a b.example", "[::1]", "a_b.example", &long]) {
            assert!(!is_certifiable(name), "{name}");
        }
    }

    #[test]
    fn only_base64url_is_a_token() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"));
        for text in ["", "short", "evaGxfADs6pSRb2LAv9IZ/17Dt3", "evaGxfADs6pSRb2LAv9IZ..", &"a".repeat(129)]
        {
            assert!(!is_token(text), "{text}");
        }
        let (token, digest) = ("t".repeat(43), "d".repeat(43));
        assert!(is_key_authorization(&format!("{token}.{digest}"), &token));
        for text in [format!("{digest}.{token}"), format!("{token}.<b>"), token.clone(), "<script>".into()] {
            assert!(!is_key_authorization(&text, &token), "{text}");
        }
    }
}
