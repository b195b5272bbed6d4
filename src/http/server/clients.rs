//! The client behind each request, and the limit on requests from one address.
//!
//! Owns: the headers of trusted proxies. Does not decide whom to trust; the configuration does.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use arc_swap::ArcSwap;

use crate::domain::client_address::{TrustedProxies, limited};
use crate::domain::request_rates::{RequestLimits, RequestRates};
use crate::http::error::{ApiError, Code};
use crate::telemetry::Metrics;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Number of locks among which the addresses are divided.
const SHARDS: usize = 16;

/// Rules about clients, shared by all listening sockets of a node.
#[derive(Clone)]
pub struct Clients(Arc<ClientRules>);

struct ClientRules {
    proxies: TrustedProxies,
    rates: [Mutex<RequestRates<IpAddr>>; SHARDS],
    limits: Arc<ArcSwap<RequestLimits>>,
    began: Instant,
    metrics: Metrics,
}

impl Clients {
    pub fn new(proxies: TrustedProxies, limits: Arc<ArcSwap<RequestLimits>>, metrics: &Metrics) -> Self {
        let (began, metrics) = (Instant::now(), metrics.clone());
        Self(Arc::new(ClientRules { proxies, rates: Default::default(), limits, began, metrics }))
    }

    pub(super) fn proxies(&self) -> &TrustedProxies {
        &self.0.proxies
    }

    pub(super) fn limits(&self) -> &Arc<ArcSwap<RequestLimits>> {
        &self.0.limits
    }

    /// If a trusted proxy names the client and the host that the client requested, replaces the peer and the
    /// host of the request with them. Returns true if the client used https to reach that proxy.
    pub(super) fn identify(&self, request: &mut ServiceRequest) -> bool {
        let Some(peer) = request.head().peer_addr else { return false };
        if !self.0.proxies.trusts(peer.ip()) {
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            request.head_mut().peer_addr = Some(peer);
            return false;
        }
        let headers = request.headers();
        let lines: Vec<_> = headers.get_all(&FOR).map(|line| line.to_str().unwrap_or("unknown")).collect();
        let entries = lines.iter().flat_map(|line| line.split(','));
        let client = self.0.proxies.client(peer.ip(), entries);
        let secure = last(headers, &PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let host = last(headers, &HOST).and_then(|host| HeaderValue::from_str(host).ok());
        request.head_mut().peer_addr = Some(SocketAddr::new(client, peer.port()));
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, host);
        }
        secure
    }

    /// Counts a request from this address.
    ///
    /// # Errors
    /// `too_many_requests`, with the time after which the client may try again.
    pub(super) fn admit(&self, client: Option<IpAddr>, listener: &'static str) -> Result<(), ApiError> {
        let Some(address) = client.and_then(limited) else { return Ok(()) };
        let octets = match address {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        // Fibonacci hashing spreads neighbouring addresses as evenly as whole networks.
        let shard = (octets.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize;
        let rate = self.0.limits.load().requests_per_address;
        // A poisoned lock is usable: its counters are valid.
        let mut rates = self.0.rates[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let retry_after = match rates.take(address, rate, self.0.began.elapsed()) {
            Ok(()) => return Ok(()),
            Err(retry_after) => retry_after.max(Duration::from_secs(1)),
        };
        drop(rates);
        self.0.metrics.sockets().limited(listener);
        tracing::debug!(?retry_after, listener, "request refused: its address has sent too many");
        Err(ApiError::new(
            Code::TooManyRequests,
            "too many requests from this address (http.requests_per_address)",
        ))
    }
}

/// Returns the last entry, which the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).last()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim).filter(|entry| !entry.is_empty())
}
