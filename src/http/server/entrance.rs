//! Steps between the accept of a TCP connection and its first request: taking a connection slot, finding the
//! client's address, and the TLS handshake, which chooses the protocol.
//!
//! Owns: the order of these steps, and their deadline. Does not read HTTP.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_web::rt::net::TcpStream;
use rustls::ServerConfig;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::clients::Clients;
use super::connection::Connection;
use super::gate::{Gate, Refusal};
use super::stream::GuardedSocket;
use super::wire::{HTTP1, HTTP2, Stream, Wire};
use super::{AdmittedConnection, SLICE, proxy_protocol};
use crate::domain::http_connection::{CloseCause, RequestTimeouts};

#[derive(Clone)]
pub(super) struct Entrance {
    pub gate: Arc<Gate>,
    pub clients: Clients,
    /// True if connections from trusted proxies begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// `None`: plain HTTP.
    pub tls: Option<Acceptors>,
    /// Time limit of the PROXY protocol header, and also of the TLS handshake.
    pub handshake: Duration,
    pub patience: RequestTimeouts,
}

/// Acceptors of TLS connections.
#[derive(Clone)]
pub(super) struct Acceptors {
    served: TlsAcceptor,
    /// Offers HTTP/1.1 only, in which refusals are written.
    refused: TlsAcceptor,
}

impl Acceptors {
    pub fn new(config: &ServerConfig) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            TlsAcceptor::from(Arc::new(config))
        };
        Self { served: offering(&[HTTP2, HTTP1]), refused: offering(&[HTTP1]) }
    }
}

impl Entrance {
    /// Admits a connection.
    ///
    /// # Errors
    /// No connection slot is free, the address has too many connections, or the PROXY protocol header or the
    /// TLS handshake was wrong or late.
    pub async fn admit(self, mut socket: TcpStream) -> Result<AdmittedConnection, DispatchError> {
        let mut peer = socket.peer_addr()?;
        let mut admitted = self.gate.enter();
        if let Ok(place) = &admitted
            && self.proxy_protocol
            && self.clients.proxies().trusts(peer.ip())
        {
            let header = timeout(self.handshake, proxy_protocol::read(&mut socket)).await;
            let header = header.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let client = header.inspect_err(|_| place.cut(CloseCause::ProxyHeader))?;
            peer = client.unwrap_or(peer);
        }
        if !self.clients.proxies().trusts(peer.ip()) {
            admitted = admitted.and_then(|place| place.of(peer.ip()));
        }
        let place = match admitted {
            Ok(place) => place,
            Err(refusal) => {
                self.refuse(refusal, socket).await;
                return Err(DispatchError::Io(io::ErrorKind::ConnectionRefused.into()));
            }
        };
        let connection = Connection::new(place, self.patience, self.tls.is_some());
        let wire = Wire::new(socket, connection.clone());
        let stream = match &self.tls {
            None => Stream::Plain(wire),
            Some(tls) => Stream::Tls(Box::new(self.shake_hands(&tls.served, wire).await?)),
        };
        // The time limit of the first request begins after the handshake.
        connection.restart(Instant::now());
        let protocol = stream.protocol();
        if protocol == Protocol::Http2 {
            connection.speaks_http2();
        }
        Ok((GuardedSocket::new(stream, connection), protocol, Some(peer)))
    }

    async fn shake_hands(&self, tls: &TlsAcceptor, wire: Wire) -> io::Result<TlsStream<Wire>> {
        let accepted = tls.accept_with(wire, |session| session.set_buffer_limit(Some(SLICE)));
        let accepted = timeout(self.handshake, accepted).await;
        self.gate.handshake(match &accepted {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => "failed",
            Err(_) => "timeout",
        });
        accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn refuse(&self, refusal: Refusal, socket: TcpStream) {
        match self.tls.clone() {
            None => refusal.tell(async { Ok(socket) }).await,
            Some(tls) => refusal.tell(async move { tls.refused.accept(socket).await }).await,
        }
    }
}
