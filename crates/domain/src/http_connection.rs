//! Deadlines by which the client of one HTTP connection must send a request and read the response. This
//! module is pure: the time is an argument.
//!
//! ```text
//! Waiting ── request head complete ──▶ Serving ── response body dropped ──▶ Waiting
//! ```
//! In addition, a transfer has a minimum rate while the server waits for the client. The minimum rate applies
//! to the response while the socket accepts no more bytes, and to the request body while the handler waits
//! for it. An endless response has no minimum rate: its client is too slow only if it reads nothing for
//! `GRACE`. The responses in progress on one HTTP/2 connection share the minimum rate.

use std::time::{Duration, Instant};

/// Time at the start of a transfer during which its rate is not checked.
const GRACE: Duration = Duration::from_secs(10);
/// Lowest average rate of a transfer after `GRACE`, in bytes per second: 32 kbit/s, less than the audio
/// needs.
const SLOWEST: u32 = 4_096;
/// Idle time after which a connection is closed while its socket is near the connection limit.
const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct RequestTimeouts {
    /// Maximum time from the first byte of a request to the end of its head.
    pub head: Duration,
    /// Maximum idle time between two requests.
    pub idle: Duration,
}

/// Reason why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// A request head, or the rest of an ignored body, did not arrive in time.
    SlowRequest,
    /// A request body did not arrive in time. The client received 408.
    SlowBody,
    /// The client did not read the response.
    SlowReader,
    /// No request arrived for too long.
    Idle,
    /// A trusted proxy sent no valid PROXY protocol header in time.
    ProxyHeader,
    /// An HTTP/2 client sent too many frames without content, or canceled too many requests.
    Flood,
}

impl CloseCause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SlowRequest => "slow_request",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::Idle => "idle",
            Self::ProxyHeader => "proxy_header",
            Self::Flood => "flood",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineAction {
    Now(CloseCause),
    At(Instant),
    Never,
}

/// State of one connection.
#[derive(Debug)]
pub struct Lifecycle {
    phase: Phase,
    /// Transfer of the response while the socket accepts no more bytes.
    writing: Option<Transfer>,
    /// The response has no end.
    endless: bool,
    /// Number of responses that share the minimum rate.
    sharing: u32,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Waiting {
        since: Instant,
        /// Arrival of the first byte after `since`.
        heard: Option<Instant>,
    },
    Serving,
}

/// Start of a transfer that waits for the client, and the number of bytes moved since then.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    since: Instant,
    bytes: usize,
}

impl Transfer {
    pub fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    pub fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Returns the time from which the transfer counts as too slow, unless more bytes are moved before then.
    pub fn deadline(&self) -> Instant {
        self.shared_deadline(1)
    }

    fn shared_deadline(&self, sharing: u32) -> Instant {
        let bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        self.since + GRACE + Duration::from_secs(1) * bytes / (SLOWEST / sharing).max(1)
    }
}

impl Lifecycle {
    /// Creates the state of a new connection. The time limit for the first request head begins immediately.
    pub fn new(now: Instant) -> Self {
        let phase = Phase::Waiting { since: now, heard: Some(now) };
        Self { phase, writing: None, endless: false, sharing: 1 }
    }

    /// Records that bytes arrived.
    pub fn received(&mut self, now: Instant) {
        if let Phase::Waiting { heard: heard @ None, .. } = &mut self.phase {
            *heard = Some(now);
        }
    }

    /// Records that a request head is complete. Its body may not have arrived yet.
    pub fn began(&mut self) {
        self.phase = Phase::Serving;
    }

    /// Records that the response body was written or dropped.
    pub fn ended(&mut self, now: Instant) {
        self.phase = Phase::Waiting { since: now, heard: None };
        self.endless = false;
    }

    /// Records that the response in progress has no end.
    pub fn endless(&mut self) {
        self.endless = true;
    }

    /// Returns true while the response in progress has no end.
    pub fn is_endless(&self) -> bool {
        self.endless
    }

    /// Sets the number of responses that share the minimum rate, this one included.
    pub fn share(&mut self, responses: u32) {
        self.sharing = responses.max(1);
    }

    /// Records that the socket accepts no more bytes.
    pub fn blocked(&mut self, now: Instant) {
        self.writing.get_or_insert(Transfer::new(now));
    }

    pub fn wrote(&mut self, bytes: usize, now: Instant) {
        match &mut self.writing {
            Some(transfer) if self.endless => *transfer = Transfer::new(now),
            Some(transfer) => transfer.moved(bytes),
            None => {}
        }
    }

    /// Returns true while the client reads more slowly than the server writes.
    pub fn is_blocked(&self) -> bool {
        self.writing.is_some()
    }

    /// Returns true from the end of a request head to the end of the response.
    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// Records that all bytes were passed to the kernel. Returns true if the client was slower than the
    /// server.
    pub fn flushed(&mut self) -> bool {
        self.writing.take().is_some()
    }

    /// Returns when to close the connection, and why. `pressed`: the socket is near its connection limit.
    pub fn due(&self, patience: &RequestTimeouts, pressed: bool, now: Instant) -> DeadlineAction {
        let waiting = match self.phase {
            Phase::Serving => DeadlineAction::Never,
            Phase::Waiting { heard: Some(heard), .. } => {
                DeadlineAction::by(heard + patience.head, CloseCause::SlowRequest, now)
            }
            Phase::Waiting { since, heard: None } if pressed => {
                DeadlineAction::by(since + IDLE_UNDER_PRESSURE.min(patience.idle), CloseCause::Idle, now)
            }
            Phase::Waiting { since, heard: None } => {
                match DeadlineAction::by(since + patience.idle, CloseCause::Idle, now) {
                    // Check again soon: meanwhile, the socket may come near its connection limit.
                    DeadlineAction::At(end) => DeadlineAction::At(end.min(now + IDLE_UNDER_PRESSURE)),
                    due => due,
                }
            }
        };
        let writing = self.writing.map_or(DeadlineAction::Never, |transfer| {
            DeadlineAction::by(transfer.shared_deadline(self.sharing), CloseCause::SlowReader, now)
        });
        waiting.earlier(writing)
    }
}

/// Search for the ends of request heads in the bytes of a connection. The bytes may be split at any position.
///
/// An end is an empty line. Like the HTTP parser, the search accepts a line feed without a carriage return
/// (RFC 9112 section 2.2). A body may contain empty lines too, so the number of ends is an upper bound on the
/// number of requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadEnds {
    at_line_start: bool,
}

impl HeadEnds {
    /// Continues the search in `bytes`. Returns the number of bytes up to and including the first end of a
    /// head; `None` if `bytes` contains none.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.at_line_start {
                match bytes.get(at)? {
                    b'\r' => {}
                    b'\n' => {
                        self.at_line_start = false;
                        return Some(at + 1);
                    }
                    _ => self.at_line_start = false,
                }
                at += 1;
            } else {
                at += memchr::memchr(b'\n', &bytes[at..])? + 1;
                self.at_line_start = true;
            }
        }
    }
}

impl DeadlineAction {
    fn by(deadline: Instant, cut: CloseCause, now: Instant) -> Self {
        if deadline <= now { Self::Now(cut) } else { Self::At(deadline) }
    }

    fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
            (Self::Never, due) | (Self::At(_), due @ Self::Now(_)) | (due, _) => due,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`now` is the only constructor of `Instant`")]
mod tests {
    use super::*;

    const PATIENCE: RequestTimeouts =
        RequestTimeouts { head: Duration::from_secs(6), idle: Duration::from_secs(70) };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns the number of seconds from `from` until the connection is closed, and the cause. The clock
    /// jumps from one due time to the next.
    fn cut(lifecycle: &Lifecycle, pressed: bool, from: Instant) -> Option<(u64, CloseCause)> {
        let mut now = from;
        for _ in 0..1000 {
            match lifecycle.due(&PATIENCE, pressed, now) {
                DeadlineAction::Now(cut) => return Some(((now - from).as_secs(), cut)),
                DeadlineAction::At(at) => now = at,
                DeadlineAction::Never => return None,
            }
        }
        panic!("no progress");
    }

    #[test]
    fn request_heads_must_arrive_in_time() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new(start);
        assert_eq!(cut(&lifecycle, false, start), Some((6, CloseCause::SlowRequest)), "the first");
        lifecycle.began();
        assert_eq!(cut(&lifecycle, true, start), None, "a handler may take as long as it wants");
        lifecycle.ended(start + s(30));
        lifecycle.received(start + s(40));
        lifecycle.received(start + s(45));
        assert_eq!(
            cut(&lifecycle, false, start + s(40)),
            Some((6, CloseCause::SlowRequest)),
            "a later request"
        );
    }

    #[test]
    fn idle_connections_yield_under_pressure() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new(start);
        lifecycle.began();
        lifecycle.ended(start);
        assert_eq!(cut(&lifecycle, false, start), Some((70, CloseCause::Idle)));
        assert_eq!(cut(&lifecycle, true, start), Some((5, CloseCause::Idle)));
        let DeadlineAction::At(at) = lifecycle.due(&PATIENCE, false, start) else { panic!("cut") };
        assert!(at <= start + s(5), "pressure that comes later is noticed");
    }

    #[test]
    fn slow_readers_are_cut_by_rate() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new(start);
        lifecycle.began();
        lifecycle.blocked(start);
        assert_eq!(cut(&lifecycle, false, start), Some((10, CloseCause::SlowReader)), "nothing read");
        lifecycle.wrote(20 * 4096, start);
        lifecycle.blocked(start + s(9));
        assert_eq!(cut(&lifecycle, false, start), Some((30, CloseCause::SlowReader)), "32 kbit/s for 20 s");
        lifecycle.flushed();
        assert_eq!(cut(&lifecycle, false, start), None, "all read");
        lifecycle.blocked(start + s(60));
        assert_eq!(
            cut(&lifecycle, false, start + s(60)),
            Some((10, CloseCause::SlowReader)),
            "the measurement starts over"
        );
    }

    #[test]
    fn responses_share_the_minimum_rate() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new(start);
        lifecycle.began();
        lifecycle.share(4);
        lifecycle.blocked(start);
        assert_eq!(cut(&lifecycle, false, start), Some((10, CloseCause::SlowReader)), "nothing read");
        lifecycle.wrote(20 * 1024, start);
        assert_eq!(cut(&lifecycle, false, start), Some((30, CloseCause::SlowReader)), "8 kbit/s for 20 s");
        lifecycle.share(1);
        assert_eq!(cut(&lifecycle, false, start), Some((15, CloseCause::SlowReader)), "the others ended");
    }

    /// Returns, for each piece, the number of bytes up to the end of a request head in it.
    fn heads(pieces: &[&str]) -> Vec<Option<usize>> {
        let mut ends = HeadEnds::default();
        pieces.iter().map(|piece| ends.find(piece.as_bytes())).collect()
    }

    #[test]
    fn head_ends_are_found_across_pieces() {
        assert_eq!(heads(&["GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /"]), [Some(27)]);
        assert_eq!(heads(&["GET / HTTP/1.1\nHost: a\n\nGET /"]), [Some(24)], "bare line feeds");
        assert_eq!(heads(&["GET / HTTP/1.1\r\nHost: a\r\n"]), [None]);
        let whole = "GET / HTTP/1.1\r\n\r\n";
        for split in 1..whole.len() {
            let (first, second) = whole.split_at(split);
            assert_eq!(heads(&[first, second]), [None, Some(second.len())], "{first:?}");
        }
        assert_eq!(heads(&["a\r\n\r\n", "b\r\n", "\r\n", "\r\n"]), [Some(5), None, Some(2), None]);
    }

    #[test]
    fn endless_responses_need_progress_only() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new(start);
        lifecycle.began();
        lifecycle.endless();
        lifecycle.blocked(start);
        for second in (9..=3600).step_by(9) {
            assert_eq!(
                lifecycle.due(&PATIENCE, false, start + s(second)),
                DeadlineAction::At(start + s(second + 1))
            );
            lifecycle.wrote(1, start + s(second));
            assert_eq!(
                lifecycle.due(&PATIENCE, false, start + s(second)),
                DeadlineAction::At(start + s(second + 10))
            );
        }
        assert_eq!(
            cut(&lifecycle, true, start + s(3600)),
            Some((10, CloseCause::SlowReader)),
            "nothing read"
        );
        lifecycle.flushed();
        assert_eq!(cut(&lifecycle, true, start + s(3600)), None);
        lifecycle.ended(start);
        lifecycle.began();
        lifecycle.blocked(start);
        lifecycle.wrote(1, start + s(9));
        assert_eq!(
            cut(&lifecycle, false, start),
            Some((10, CloseCause::SlowReader)),
            "the next response has an end"
        );
    }
}
