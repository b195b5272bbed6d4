//! A client's TCP socket, which records the bytes that pass, and the HTTP stream above it: the socket itself
//! or TLS.
//!
//! Bytes are counted below TLS, because TLS accepts bytes that the client has not read yet.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_http::Protocol;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::connection::Connection;

/// TCP socket. Reports to its connection the bytes that arrive and the bytes that the kernel takes.
pub(super) struct Wire {
    socket: TcpStream,
    connection: Connection,
}

/// Protocols offered over TLS (ALPN, RFC 7301), the preferred one first.
pub(super) const HTTP2: &[u8] = b"h2";
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// Stream of HTTP bytes.
pub(super) enum Stream {
    Plain(Wire),
    /// Boxed: it is far larger than the other variant.
    Tls(Box<TlsStream<Wire>>),
    /// The stream now belongs to a detached connection.
    Detached,
}

impl Wire {
    pub fn new(socket: TcpStream, connection: Connection) -> Self {
        Self { socket, connection }
    }
}

impl Stream {
    /// Returns the protocol that the client chose (ALPN, RFC 7301).
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(HTTP2) => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }

    /// Returns ready if a read may return bytes. TLS is always ready, because it may hold decrypted bytes.
    pub fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(wire) => wire.socket.poll_read_ready(task),
            Self::Tls(_) | Self::Detached => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(task, buffer);
        if buffer.filled().len() > before {
            self.connection.received(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write(task, bytes);
        match &write {
            Poll::Ready(Ok(written)) => self.connection.lifecycle().wrote(*written, Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.lifecycle().blocked(Instant::now()),
        }
        write
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_read(task, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(task, buffer),
            Self::Detached => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_write(task, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(task, bytes),
            Self::Detached => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_write_vectored(task, pieces),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(task, pieces),
            Self::Detached => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_flush(task),
            Self::Tls(tls) => Pin::new(tls).poll_flush(task),
            Self::Detached => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_shutdown(task),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(task),
            Self::Detached => Poll::Ready(Ok(())),
        }
    }
}
