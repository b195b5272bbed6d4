//! Admission of connections to one listening socket.
//!
//! Owns: the number of connections, and the refusal. Never does: close a connection that it admitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::large::Turns;
use crate::domain::descriptors::Allotment;
use crate::domain::http_connection::Cut;
use crate::http::error::{ApiError, Code};
use crate::http::request_id;
use crate::telemetry::Metrics;

/// Time a refused client has to read the refusal.
const LINGER: Duration = Duration::from_secs(1);
pub(super) struct Gate {
    name: &'static str,
    allotment: Allotment,
    open: AtomicUsize,
    refusing: AtomicUsize,
    turns: Turns,
    metrics: Metrics,
}

/// Admitted connection. Dropping it frees its place.
pub(super) struct Place(Arc<Gate>);

/// Connection for which there was no place.
pub(super) struct Refusal(Option<Refusing>);

struct Refusing(Arc<Gate>);

impl Gate {
    pub fn new(name: &'static str, allotment: Allotment, metrics: Metrics) -> Self {
        let (open, refusing) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { name, allotment, open, refusing, turns: Turns::new(), metrics }
    }

    /// Takes a place for a new connection.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Refusal> {
        if self.open.fetch_add(1, Relaxed) < self.allotment.served {
            self.metrics.connection_opened(self.name);
            return Ok(Place(self.clone()));
        }
        self.open.fetch_sub(1, Relaxed);
        self.metrics.connection_refused(self.name);
        let told = self.refusing.fetch_add(1, Relaxed) < self.allotment.refused();
        let refusing = Refusing(self.clone());
        Err(Refusal(told.then_some(refusing)))
    }
}

impl Place {
    /// Returns true if more than three quarters of the places are taken.
    pub fn pressed(&self) -> bool {
        self.0.open.load(Relaxed) > self.0.allotment.served / 4 * 3
    }

    /// Turns of the listening socket for large responses.
    pub fn turns(&self) -> &Turns {
        &self.0.turns
    }

    pub fn cut(&self, cut: Cut) {
        self.0.metrics.connection_cut(cut.as_str());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.metrics.connection_closed(self.0.name);
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.refusing.fetch_sub(1, Relaxed);
    }
}

impl Refusal {
    /// Sends the refusal, unless too many are being sent already, and waits until the client has closed:
    /// closing a socket with unread bytes would discard what was sent (RFC 9293 section 3.10.4).
    pub async fn tell(self, mut socket: TcpStream) {
        let Some(_refusing) = self.0 else { return };
        let told = async {
            socket.write_all(&refusal()).await?;
            socket.shutdown().await?;
            let mut ignored = [0; 1024];
            while socket.read(&mut ignored).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Errors and slow clients change nothing: the socket is closed in any case.
        let _ = tokio::time::timeout(LINGER, told).await;
    }
}

/// Builds the response without the HTTP dispatcher, which would need a place.
fn refusal() -> Vec<u8> {
    let error = ApiError::new(Code::TooManyClients, "too many connections are open at this address");
    let retry_after = error.code.retry_after().unwrap_or_default();
    let body = serde_json::to_string(&error.body(request_id::fresh())).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/json\r\n\
         content-length: {length}\r\n\
         cache-control: no-store\r\n\
         retry-after: {retry_after}\r\n\
         x-content-type-options: nosniff\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
        let gate = Arc::new(Gate::new("hls", Allotment { served: 4, accepted: 5 }, metrics.clone()));
        let places: Vec<_> = (0..4).map(|_| gate.enter().ok().unwrap()).collect();
        assert!(places[0].pressed());
        let told = gate.enter().err().unwrap();
        let untold = gate.enter().err().unwrap();
        assert!(told.0.is_some() && untold.0.is_none(), "refusals are bounded too");
        drop((told, untold, places));
        assert!(!gate.enter().ok().unwrap().pressed());
        assert_eq!((gate.open.load(Relaxed), gate.refusing.load(Relaxed)), (0, 0));
        let text = metrics.render();
        assert!(text.contains("stentor_connections{listener=\"hls\"} 0\n"), "{text}");
        assert!(text.contains("stentor_connections_refused_total{listener=\"hls\"} 2\n"), "{text}");
    }
}
