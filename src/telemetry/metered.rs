//! Wrapper of a backend that counts its requests and measures their duration.

use std::time::{Duration, Instant};

use super::Metrics;

/// Error of a metered request.
pub trait RequestError {
    /// Method that records a request: its label `op`, its outcome and its duration.
    const RECORD: fn(&Metrics, &'static str, &'static str, Duration);

    /// Returns the label `outcome` of the failure.
    fn outcome(&self) -> &'static str;
}

/// Backend whose requests are metered. It implements the traits of `B`.
pub struct MeteredBackend<B> {
    pub inner: B,
    pub metrics: Metrics,
}

impl<B> MeteredBackend<B> {
    /// Performs a request and records it. `answer` returns the label `outcome` of a success.
    pub async fn timed<T, E: RequestError>(
        &self,
        op: &'static str,
        request: impl Future<Output = Result<T, E>>,
        answer: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, E> {
        let start = Instant::now();
        let result = request.await;
        let outcome = result.as_ref().map_or_else(E::outcome, answer);
        E::RECORD(&self.metrics, op, outcome, start.elapsed());
        result
    }
}

/// Returns the label of every success of a request that has one kind of answer.
pub fn ok<T>(_: &T) -> &'static str {
    "ok"
}
