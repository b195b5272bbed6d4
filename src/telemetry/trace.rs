//! Spans of traces, for `telemetry.otlp.endpoint`. Without that setting, no span exists, and every function
//! here returns after one atomic or thread-local read.
//!
//! A span is sent to the exporter when it is dropped. The queue in front of the exporter is bounded: when it
//! is full, the span is lost and counted. Owns: ids, sampling, and the context of the running task. Does not
//! encode or send anything; [`otlp`](super::otlp) does.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::domain::trace_context::TraceContext;

/// Maximum number of spans that wait for the exporter.
pub(super) const QUEUED: usize = 4096;

static TRACER: OnceLock<Tracer> = OnceLock::new();

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Recorder of spans.
#[derive(Debug)]
struct Tracer {
    spans: mpsc::Sender<SpanData>,
    /// Recorded share, from 0 to 1, of the traces that begin in this process.
    ratio: f64,
    dropped: AtomicU64,
}

/// Span in progress. Its methods do nothing if it is not recorded.
#[must_use = "a span ends when it is dropped"]
#[derive(Debug, Default)]
pub struct Span(Option<(Box<SpanData>, &'static Tracer)>);

/// Finished span.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SpanData {
    pub context: TraceContext,
    /// Id of the parent; `None`: the span is a root.
    pub parent: Option<[u8; 8]>,
    pub name: String,
    pub is_server: bool,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, String)>,
    pub error: Option<String>,
}

/// Begins to record traces. `ratio`: recorded share, from 0 to 1, of the traces that begin in this process.
/// Returns the receiver of the spans; `None` if this process records traces already.
pub(super) fn begin(ratio: f64) -> Option<mpsc::Receiver<SpanData>> {
    let (tracer, receiver) = Tracer::new(ratio);
    TRACER.set(tracer).ok().map(|()| receiver)
}

/// Returns the number of spans dropped since the last call.
pub(super) fn take_dropped() -> u64 {
    TRACER.get().map_or(0, |tracer| tracer.dropped.swap(0, Relaxed))
}

/// Counts spans that the collector did not accept.
pub(super) fn add_dropped(count: u64) {
    if let Some(tracer) = TRACER.get() {
        tracer.dropped.fetch_add(count, Relaxed);
    }
}

/// Returns true if traces are recorded.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Returns the recorded span in which the calling task runs.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Runs a future within the span that `context` identifies.
pub async fn scope<T>(context: TraceContext, future: impl Future<Output = T>) -> T {
    CURRENT.scope(context, future).await
}

/// Calls a function within the span that `context` identifies, so that log lines carry its ids.
pub fn within<T>(context: Option<TraceContext>, run: impl FnOnce() -> T) -> T {
    match context.filter(|context| context.sampled && is_on()) {
        Some(context) => CURRENT.sync_scope(context, run),
        None => run(),
    }
}

impl Tracer {
    fn new(ratio: f64) -> (Self, mpsc::Receiver<SpanData>) {
        let (spans, receiver) = mpsc::channel(QUEUED);
        (Self { spans, ratio, dropped: AtomicU64::new(0) }, receiver)
    }

    fn request(&'static self, caller: Option<TraceContext>) -> Span {
        let recorded = match caller {
            Some(caller) => caller.sampled,
            None => self.ratio >= 1.0 || rand::random::<f64>() < self.ratio,
        };
        if recorded { self.begin(caller, String::new(), true) } else { Span(None) }
    }

    fn begin(&'static self, parent: Option<TraceContext>, name: String, is_server: bool) -> Span {
        // An id of zero is invalid.
        let trace = parent.map_or_else(|| rand::random::<u128>().max(1).to_be_bytes(), |parent| parent.trace);
        let span = rand::random::<u64>().max(1).to_be_bytes();
        let (context, start) = (TraceContext { trace, span, sampled: true }, wall());
        let data = SpanData {
            context,
            parent: parent.map(|parent| parent.span),
            name,
            is_server,
            start,
            end: start,
            attributes: Vec::new(),
            error: None,
        };
        Span(Some((Box::new(data), self)))
    }
}

impl Span {
    /// Begins the span of a request. With the trace context of a caller, the span is a child of the caller's
    /// span, and is recorded if the caller records the trace. Otherwise the span begins a new trace;
    /// `telemetry.otlp.sample_percent` percent of these traces are recorded.
    pub fn of_request(caller: Option<TraceContext>) -> Self {
        TRACER.get().map_or(Self(None), |tracer| tracer.request(caller))
    }

    /// Begins a child of a recorded span; without a parent, nothing is recorded.
    pub fn child_of(parent: Option<TraceContext>, name: &str) -> Self {
        let recorded = parent.filter(|parent| parent.sampled).zip(TRACER.get());
        recorded.map_or(Self(None), |(parent, tracer)| tracer.begin(Some(parent), name.to_owned(), false))
    }

    /// Returns the identity of the span; `None` if it is not recorded.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|(span, _)| span.context)
    }

    /// Changes a recorded span.
    pub fn set(&mut self, change: impl FnOnce(&mut SpanEditor<'_>)) {
        if let Some((span, _)) = &mut self.0 {
            change(&mut SpanEditor(span));
        }
    }

    /// Runs a future within the span. The span ends with the future.
    pub async fn run<T>(self, future: impl Future<Output = T>) -> T {
        match self.context() {
            Some(context) => CURRENT.scope(context, future).await,
            None => future.await,
        }
    }
}

/// Access to a recorded span.
pub struct SpanEditor<'a>(&'a mut SpanData);

impl SpanEditor<'_> {
    pub fn name(&mut self, name: impl Into<String>) -> &mut Self {
        self.0.name = name.into();
        self
    }

    pub fn attribute(&mut self, key: &'static str, value: impl Into<String>) -> &mut Self {
        self.0.attributes.push((key, value.into()));
        self
    }

    /// Marks the span as failed.
    pub fn error(&mut self, why: impl Into<String>) -> &mut Self {
        self.0.error = Some(why.into());
        self
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some((mut span, tracer)) = self.0.take() else { return };
        span.end = wall().max(span.start);
        if tracer.spans.try_send(*span).is_err() {
            tracer.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Returns the wall-clock time in nanoseconds since the Unix epoch.
pub(super) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Calls a function within a span, even if traces are off.
    pub fn as_if_on(context: TraceContext, run: impl FnOnce()) {
        CURRENT.sync_scope(context, run);
    }

    fn tracer(ratio: f64) -> (&'static Tracer, mpsc::Receiver<SpanData>) {
        let (tracer, spans) = Tracer::new(ratio);
        (Box::leak(Box::new(tracer)), spans)
    }

    fn caller() -> TraceContext {
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap()
    }

    #[test]
    fn nothing_is_recorded_by_default() {
        assert!(Span::of_request(Some(caller())).context().is_none());
        assert!(Span::child_of(Some(caller()), "write").context().is_none());
        assert_eq!(within(Some(caller()), current), None);
    }

    #[tokio::test]
    async fn spans_form_one_trace() {
        let (tracer, mut spans) = tracer(1.0);
        let mut request = tracer.request(Some(caller()));
        request.set(|span| {
            span.name("POST /api/rooms").attribute("http.route", "/api/rooms");
        });
        let of_request = request.context();
        let written = request
            .run(async {
                assert_eq!(current(), of_request);
                let write = tracer.begin(current(), "store.write".into(), false);
                let context = write.context();
                write.run(async {}).await;
                context
            })
            .await;
        assert_eq!(current(), None);
        let (write, request) = (spans.recv().await.unwrap(), spans.recv().await.unwrap());
        assert_eq!((write.context.trace, request.context.trace), (caller().trace, caller().trace));
        assert_eq!((request.parent, write.parent), (Some(caller().span), Some(request.context.span)));
        assert_eq!((Some(write.context), write.name.as_str()), (written, "store.write"));
        assert!(request.is_server && request.start <= write.start && write.end <= request.end);
        assert_eq!(request.attributes, [("http.route", "/api/rooms".to_owned())]);
    }

    #[tokio::test]
    async fn callers_decide_about_sampling() {
        let (tracer, mut spans) = tracer(0.0);
        assert!(tracer.request(None).context().is_none());
        let unsampled = TraceContext { sampled: false, ..caller() };
        assert!(tracer.request(Some(unsampled)).context().is_none());
        drop(tracer.request(Some(caller())));
        assert_eq!(spans.recv().await.unwrap().parent, Some(caller().span));
    }

    #[test]
    fn full_queue_drops_spans() {
        let (tracer, _spans) = tracer(1.0);
        for _ in 0..QUEUED + 7 {
            drop(tracer.request(None));
        }
        assert_eq!(tracer.dropped.load(Relaxed), 7);
    }
}
