//! Middleware around every request of every listening socket.
//!
//! Owns: the answer to HEAD, the deadline of request bodies, the size of writes, `nosniff` and HSTS. Does not
//! look at paths.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::error::PayloadError;
use actix_http::{BoxedPayloadStream, ConnectionType};
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::Stream;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::SLICE;
use super::clients::Clients;
use super::connection::{Connection, RequestInProgress};
use crate::domain::http_connection::{CloseCause, Transfer};

/// Rules of one listening socket.
#[derive(Clone)]
pub(super) struct Rules {
    pub hsts: Option<HeaderValue>,
    pub clients: Clients,
    /// Name of the listening socket in metrics.
    pub listener: &'static str,
}

/// Marker of a request that the client sent over TLS, to this node or to a trusted proxy.
#[derive(Clone, Copy)]
pub(in crate::http) struct OverTls;

/// Returns true if the client sent the request over TLS, to this node or to a trusted proxy.
pub(in crate::http) fn is_secure(request: &HttpRequest) -> bool {
    request.extensions().get::<OverTls>().is_some()
}

/// Applies the rules for every request and response of a listening socket.
pub(super) async fn exchange<B: MessageBody + 'static>(
    rules: Rules,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<SlicedBody<B>>, Error> {
    let connection = Connection::of(request.request());
    let in_progress = connection.as_ref().map(Connection::begin);
    let forwarded_securely = rules.clients.identify(&mut request);
    rules.clients.admit(request.head().peer_addr.map(|client| client.ip()), rules.listener)?;
    let secure = forwarded_securely || connection.as_ref().is_some_and(Connection::is_secure);
    if secure {
        request.extensions_mut().insert(OverTls);
    }
    let hsts = rules.hsts.filter(|_| secure);
    // Handlers see HEAD as GET. The encoder omits the body (RFC 9110 section 9.3.2), but would wait for the
    // end of an endless body, so `SlicedBody` ends immediately. An upgrade needs a real GET.
    let omitted = request.method() == Method::HEAD && !request.headers().contains_key(header::UPGRADE);
    if omitted {
        request.head_mut().method = Method::GET;
    }
    if let Some(connection) = connection.clone() {
        if request.headers().contains_key(header::UPGRADE) {
            connection.expect_upgrade();
        }
        let payload = match request.take_payload() {
            payload @ (Payload::H1 { .. } | Payload::Stream { .. }) => {
                let timed: BoxedPayloadStream = Box::pin(TimedBody::new(payload, connection));
                Payload::Stream { payload: timed }
            }
            other => other,
        };
        request.set_payload(payload);
    }
    let (is_old, copies) = (request.version() < Version::HTTP_11, request.version() == Version::HTTP_2);
    let mut response = next.call(request).await?;
    forbid_sniffing(response.headers_mut());
    if let Some(hsts) = hsts {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    let is_stream = response.response().body().size() == BodySize::Stream;
    if let Some(connection) = connection.as_ref().filter(|_| is_stream && !omitted) {
        connection.occupy()?;
    }
    let detached = connection.filter(|connection| is_stream && !omitted && connection.can_detach());
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let chunked = detached.is_some() && !is_old && !is_upgrade;
    if is_stream && !is_upgrade && (is_old || chunked) {
        // The dispatcher encodes no chunks here. HTTP/1.0 has none: the end of the connection is the end of
        // the body (RFC 9112 section 6.3). The chunks of a detached body are encoded later.
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
        if chunked {
            head.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    Ok(response.map_body(|_, body| match (detached, in_progress) {
        (Some(connection), Some(in_progress)) => {
            connection.detach(body.boxed(), chunked, in_progress);
            SlicedBody { body: None, omitted, rest: Bytes::new(), copies, copied: false, in_progress: None }
        }
        (_, in_progress) => {
            SlicedBody { body: Some(body), omitted, rest: Bytes::new(), copies, copied: false, in_progress }
        }
    }))
}

/// Returns the response for an error that no handler or middleware has answered.
pub(super) fn refuse(error: Error) -> HttpResponse {
    let mut response = error.error_response();
    forbid_sniffing(response.headers_mut());
    response
}

/// Returns the value of `Strict-Transport-Security` (RFC 6797 section 6.1).
pub(super) fn hsts(max_age: Duration) -> HeaderValue {
    // Cannot fail: digits and ASCII letters only.
    HeaderValue::from_str(&format!("max-age={}", max_age.as_secs())).expect("ASCII")
}

fn forbid_sniffing(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

pin_project! {
    /// Response body in pieces of at most [`SLICE`] bytes, because the dispatcher copies each piece as a
    /// whole. With HTTP/2, a piece also has at most as many bytes as the client permits.
    pub struct SlicedBody<B> {
        // `None`: sent without the dispatcher.
        #[pin]
        body: Option<B>,
        omitted: bool,
        rest: Bytes,
        // Copy the slices of larger pieces: HTTP/2 holds the last slices after the body has ended, and they
        // would hold the whole piece.
        copies: bool,
        copied: bool,
        in_progress: Option<RequestInProgress>,
    }
}

impl<B: MessageBody> MessageBody for SlicedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.as_ref().map_or(BodySize::Stream, B::size)
    }

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut().filter(|_| !*this.omitted) else {
            return Poll::Ready(None);
        };
        if this.rest.is_empty() {
            match body.poll_next(task) {
                Poll::Ready(Some(Ok(bytes))) => {
                    *this.copied = *this.copies && bytes.len() > SLICE;
                    *this.rest = bytes;
                }
                other => return other,
            }
        }
        let permitted = this.in_progress.as_ref().map_or(SLICE, RequestInProgress::permitted);
        let slice = this.rest.split_to(SLICE.min(permitted).min(this.rest.len()));
        Poll::Ready(Some(Ok(if *this.copied { Bytes::copy_from_slice(&slice) } else { slice })))
    }
}

/// Request body that fails when the client sends it too slowly.
struct TimedBody {
    payload: Payload,
    connection: Connection,
    transfer: Transfer,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    fn new(payload: Payload, connection: Connection) -> Self {
        Self { payload, connection, transfer: Transfer::new(Instant::now()), alarm: None }
    }

    fn poll_late(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.transfer.deadline());
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(task)
    }
}

impl Stream for TimedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let read = Pin::new(&mut self.payload).poll_next(task);
        self.connection.want_body(read.is_pending());
        match read {
            Poll::Ready(Some(Ok(bytes))) => {
                self.transfer.moved(bytes.len());
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Pending if self.poll_late(task).is_ready() => {
                self.connection.cut(CloseCause::SlowBody);
                Poll::Ready(Some(Err(PayloadError::Io(std::io::ErrorKind::TimedOut.into()))))
            }
            other => other,
        }
    }
}
