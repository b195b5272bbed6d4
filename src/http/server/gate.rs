//! Admission of connections to one listening socket.
//!
//! Owns: the number of connections, and the refusal. Does not close a connection that it admitted.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::detached::{CountedConnection, DetachedConnections};
use super::large::Turns;
use crate::domain::client_address::limited;
use crate::domain::descriptors::Allotment;
use crate::domain::http_connection::CloseCause;
use crate::domain::request_rates::RequestLimits;
use crate::http::error::{ApiError, Code};
use crate::http::request_id;
use crate::telemetry::Metrics;

/// Time limit for a refused client to read the refusal.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Gate {
    name: &'static str,
    allotment: Allotment,
    open: AtomicUsize,
    refusing: AtomicUsize,
    turns: Turns,
    /// Number of open connections of each limited address.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    limits: Arc<ArcSwap<RequestLimits>>,
    detached: DetachedConnections,
    metrics: Metrics,
}

/// Slot of an admitted connection. Dropping it frees the slot.
pub(super) struct ConnectionSlot {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

/// Refusal of a connection: no slot was free, or its address had too many connections.
pub(super) struct Refusal {
    /// `None`: too many refusals are being sent already, so this one is not sent.
    refusing: Option<RefusalGuard>,
    why: Code,
}

struct RefusalGuard(Arc<Gate>);

impl Gate {
    pub fn new(
        name: &'static str,
        allotment: Allotment,
        limits: Arc<ArcSwap<RequestLimits>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            name,
            allotment,
            open: AtomicUsize::new(0),
            refusing: AtomicUsize::new(0),
            addresses: Mutex::default(),
            turns: Turns::new(),
            limits,
            detached: DetachedConnections::default(),
            metrics,
        }
    }

    /// Takes a slot for a new connection.
    ///
    /// # Errors
    /// No slot is free.
    pub fn enter(self: &Arc<Self>) -> Result<ConnectionSlot, Refusal> {
        if self.open.fetch_add(1, Relaxed) < self.allotment.served {
            self.metrics.sockets().opened(self.name);
            return Ok(ConnectionSlot { gate: self.clone(), address: None });
        }
        self.open.fetch_sub(1, Relaxed);
        Err(self.refusal(Code::TooManyClients))
    }

    /// Returns the maximum number of connections from one address, which is at most half of the slots.
    fn per_address(&self) -> usize {
        self.limits.load().connections_per_address.min(self.allotment.served.div_ceil(2))
    }

    /// Returns the count of the connections that are served without the dispatcher.
    pub fn detached(&self) -> &DetachedConnections {
        &self.detached
    }

    fn refusal(self: &Arc<Self>, why: Code) -> Refusal {
        self.metrics.sockets().refused(self.name);
        let told = self.refusing.fetch_add(1, Relaxed) < self.allotment.refused();
        let refusing = RefusalGuard(self.clone());
        Refusal { refusing: told.then_some(refusing), why }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A poisoned lock is usable: its counts are valid.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a TLS handshake. `outcome`: `ok`, `failed` or `timeout`.
    pub fn handshake(&self, outcome: &'static str) {
        self.metrics.sockets().handshake(outcome);
    }
}

impl ConnectionSlot {
    /// Counts the connection for its address, unless the address is exempt from the limit.
    ///
    /// # Errors
    /// The address has too many connections; the slot is freed.
    pub fn of(mut self, address: IpAddr) -> Result<Self, Refusal> {
        let Some(address) = limited(address) else { return Ok(self) };
        let mut addresses = self.gate.addresses();
        let count = addresses.entry(address).or_insert(0);
        if *count >= self.gate.per_address() {
            drop(addresses);
            return Err(self.gate.refusal(Code::TooManyRequests));
        }
        *count += 1;
        drop(addresses);
        self.address = Some(address);
        Ok(self)
    }

    /// Takes a further slot, which counts for the same address.
    ///
    /// # Errors
    /// No slot is free, or the address has too many connections.
    pub fn another(&self) -> Result<Self, ApiError> {
        let slot = self.gate.enter();
        let slot = match self.address {
            Some(address) => slot.and_then(|slot| slot.of(address)),
            None => slot,
        };
        slot.map_err(|refusal| error(refusal.why))
    }

    /// Counts the connection as detached until the returned value is dropped.
    pub fn count_detached(&self) -> CountedConnection {
        self.gate.detached.enter()
    }

    /// Returns true if more than three quarters of the slots are taken.
    pub fn pressed(&self) -> bool {
        self.gate.open.load(Relaxed) > self.gate.allotment.served / 4 * 3
    }

    /// Returns the turns of the listening socket for large responses.
    pub fn turns(&self) -> &Turns {
        &self.gate.turns
    }

    pub fn cut(&self, cut: CloseCause) {
        self.gate.metrics.sockets().cut(cut.as_str());
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Relaxed);
        self.gate.metrics.sockets().closed(self.gate.name);
        let Some(address) = self.address else { return };
        let mut addresses = self.gate.addresses();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

impl Drop for RefusalGuard {
    fn drop(&mut self) {
        self.0.refusing.fetch_sub(1, Relaxed);
    }
}

impl Refusal {
    /// Sends the refusal, unless too many are being sent already, and waits until the client has closed:
    /// closing a socket with unread bytes sends a reset, which may discard what was sent before (RFC 9293
    /// section 3.6.1). `stream` returns the connection, after its TLS handshake if it has TLS.
    pub async fn tell<S: AsyncRead + AsyncWrite + Unpin>(self, stream: impl Future<Output = io::Result<S>>) {
        let Some(_refusing) = self.refusing else { return };
        let told = async {
            let mut socket = stream.await?;
            socket.write_all(&refusal(self.why)).await?;
            socket.shutdown().await?;
            let mut ignored = [0; 1024];
            while socket.read(&mut ignored).await? > 0 {}
            io::Result::Ok(())
        };
        // Errors and slow clients change nothing: the socket is closed in any case.
        let _ = tokio::time::timeout(LINGER, told).await;
    }
}

fn error(why: Code) -> ApiError {
    let message = match why {
        Code::TooManyRequests => "too many connections from this address (http.connections_per_address)",
        _ => "this listening socket has too many open connections; try again later",
    };
    ApiError::new(why, message)
}

/// Builds the response by hand: the HTTP dispatcher would need a connection slot.
fn refusal(why: Code) -> Vec<u8> {
    let error = error(why);
    let status = error.code.status();
    let retry_after = error.code.retry_after().unwrap_or_default();
    let body = serde_json::to_string(&error.body(request_id::fresh())).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n\
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
    use crate::config::defaults;

    fn limits(connections_per_address: usize) -> Arc<ArcSwap<RequestLimits>> {
        let limits = RequestLimits { connections_per_address, ..defaults().http.limits };
        Arc::new(ArcSwap::from_pointee(limits))
    }

    #[test]
    fn gate_bounds_and_releases_connections() {
        let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
        let gate =
            Arc::new(Gate::new("hls", Allotment { served: 4, accepted: 5 }, limits(9), metrics.clone()));
        let places: Vec<_> = (0..4).map(|_| gate.enter().ok().unwrap()).collect();
        assert!(places[0].pressed());
        let told = gate.enter().err().unwrap();
        let untold = gate.enter().err().unwrap();
        assert!(told.refusing.is_some() && untold.refusing.is_none(), "refusals are bounded too");
        drop((told, untold, places));
        assert!(!gate.enter().ok().unwrap().pressed());
        assert_eq!((gate.open.load(Relaxed), gate.refusing.load(Relaxed)), (0, 0));
        let text = metrics.render();
        assert!(text.contains("stentor_connections{listener=\"hls\"} 0\n"), "{text}");
        assert!(text.contains("stentor_connections_refused_total{listener=\"hls\"} 2\n"), "{text}");
    }

    #[test]
    fn addresses_have_half_the_places() {
        let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
        let limits = limits(9);
        let gate = Arc::new(Gate::new("hls", Allotment { served: 6, accepted: 7 }, limits.clone(), metrics));
        let [one, other]: [IpAddr; 2] = ["203.0.113.7", "203.0.113.8"].map(|ip| ip.parse().unwrap());
        let enter = |address| gate.enter().ok().unwrap().of(address);
        let held: Vec<_> = (0..3).map(|_| enter(one).ok().unwrap()).collect();
        assert_eq!(enter(one).err().unwrap().why, Code::TooManyRequests);
        assert!(enter(other).is_ok());
        let local = "127.0.0.1".parse().unwrap();
        let locals: Vec<_> = (0..3).map(|_| enter(local).ok().unwrap()).collect();
        drop((held, locals));
        assert!(enter(one).is_ok());
        assert!(gate.addresses().is_empty());
        limits.store(self::limits(1).load_full());
        let _only = enter(one).ok().unwrap();
        assert!(enter(one).is_err() && enter(other).is_ok(), "a changed limit applies at once");
    }
}
