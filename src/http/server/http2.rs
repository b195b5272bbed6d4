//! One connection of HTTP/2 (RFC 9113): accepts its requests, and serves them at the same time.
//!
//! actix-http's dispatcher for HTTP/2 bounds neither the concurrent streams nor the sizes of headers. This
//! one is built on the same library, h2, and sets all of its limits.
//!
//! | file | owns |
//! |---|---|
//! | `heads` | request and response heads, converted between h2 and actix |
//! | `bodies` | request bodies, and the sending of response bodies |
//!
//! Owns: the limits of a connection, its requests, and its end. Deadlines are in `stream`.

mod bodies;
mod heads;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use actix_http::{Payload, Request, Response};
use actix_server::GracefulShutdownSignal;
use actix_service::Service;
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};

use super::SLICE;
use super::connection::Connection;
use super::stream::GuardedSocket;
use crate::domain::http_connection::CloseCause;
use crate::domain::http2_limits::CancelBudget;
use bodies::RequestBody;

/// Maximum number of requests in progress on one connection. A page or player needs fewer than ten.
const REQUESTS: u32 = 32;
/// Maximum size of a request head, in bytes after decompression. The library answers a larger one with 431.
const HEAD: u32 = 16 * 1024;
/// Number of bytes of one request body that the client may send before the handler reads them.
const UNREAD: u32 = 32 * 1024;
/// Total of these bytes for all request bodies of a connection: the initial size of its window (section
/// 6.9.2).
const UNREAD_IN_TOTAL: u32 = 65_535;
/// Maximum number of requests that the client has canceled and that are not accepted yet.
const CANCELED_UNSEEN: usize = 20;
/// Maximum number of requests that the library has refused or canceled, in the life of a connection. A client
/// may send a hundred requests before it has read the limit on concurrent requests.
const REFUSED: usize = 256;
/// Number of canceled requests that the library remembers, because frames for them may still arrive.
const REMEMBERED: usize = 32;

/// Service of a listening socket.
pub(super) type App = Rc<dyn Fn(Request) -> LocalBoxFuture<'static, Response<BoxBody>>>;

/// End of a request.
#[derive(PartialEq, Eq)]
enum RequestEnd {
    /// The response was sent, or the server has ended the request.
    Here,
    /// The client has canceled the request.
    Canceled,
    /// The request head was malformed.
    Malformed,
}

/// Returns `service` without its types.
pub(super) fn app<S, B>(service: Rc<S>) -> App
where
    S: Service<Request> + 'static,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    Rc::new(move |request| {
        let answered = service.call(request);
        Box::pin(async move {
            match answered.await {
                Ok(response) => response.into().map_body(|_, body| body.boxed()),
                Err(error) => error.into(),
            }
        })
    })
}

/// Serves a connection until it ends. After `stopping`, no more requests are accepted, and the connection
/// ends with the last response.
pub(super) async fn serve(
    socket: GuardedSocket,
    peer: Option<SocketAddr>,
    app: App,
    stopping: GracefulShutdownSignal,
) {
    let connection = socket.connection();
    let Ok(mut http2) = limited().handshake(socket).await else { return };
    let (mut requests, began) = (FuturesUnordered::new(), Instant::now());
    let mut cancellations = CancelBudget::new(began.elapsed());
    let (mut stopped, mut is_stopping, mut is_flooded) = (pin!(stopping.notified()), false, false);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped, if !is_stopping => {
                is_stopping = true;
                // The library accepts requests until the client has acknowledged a PING, because those on
                // their way could otherwise be lost (RFC 9113 section 6.8). actix-server looks once per
                // second whether connections are left, so the round trip delays no stop.
                http2.graceful_shutdown();
            }
            Some(ended) = requests.next() => {
                connection.serves(requests.len());
                let is_misuse = ended != RequestEnd::Here;
                // The abrupt shutdown below also ends the other requests as misuse; `is_flooded` ignores
                // these.
                if is_misuse && !is_flooded && !cancellations.take(began.elapsed()) {
                    is_flooded = true;
                    connection.cut(CloseCause::Flood);
                    http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
            }
            accepted = http2.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    requests.push(exchange(request, respond, peer, app.clone(), connection.carry()));
                    connection.serves(requests.len());
                }
                Some(Err(error)) => {
                    // The library itself ends the connection if the client sends too many empty DATA frames,
                    // or cancels too many requests.
                    let is_misuse = error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
                    if is_misuse && !is_flooded {
                        connection.cut(CloseCause::Flood);
                    }
                    break;
                }
                None => break,
            }
        }
    }
}

fn limited() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(REQUESTS)
        .max_header_list_size(HEAD)
        .initial_window_size(UNREAD)
        .initial_connection_window_size(UNREAD_IN_TOTAL)
        .max_send_buffer_size(SLICE)
        .max_pending_accept_reset_streams(CANCELED_UNSEEN)
        .max_local_error_reset_streams(Some(REFUSED))
        .max_concurrent_reset_streams(REMEMBERED);
    builder
}

/// Serves one request.
async fn exchange(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: Option<SocketAddr>,
    app: App,
    connection: Connection,
) -> RequestEnd {
    let (head, body) = request.into_parts();
    let Some(mut request) = heads::request(&head) else {
        respond.send_reset(Reason::PROTOCOL_ERROR);
        return RequestEnd::Malformed;
    };
    connection.moved(heads::size(&head));
    if !body.is_end_stream() {
        // The client may send a part of the body before it learns that it is not read.
        connection.moved(UNREAD as usize);
        *request.payload() =
            Payload::Stream { payload: Box::pin(RequestBody::new(body, connection.clone())) };
        if heads::expects_continue(&head) {
            // An error means that the client has canceled the request, which is noticed below.
            let _ = respond.send_informational(heads::go_on());
        }
    }
    request.head_mut().peer_addr = peer;
    request.extensions_mut().insert(connection.clone());
    let response = tokio::select! {
        biased;
        _ = poll_fn(|task| respond.poll_reset(task)) => return RequestEnd::Canceled,
        response = app(request) => response,
    };
    let (response, body) = response.into_parts();
    let (answer, size) = heads::response(response.head(), body.size());
    let is_empty = head.method == http::Method::HEAD || size.is_eof();
    match respond.send_response(answer, is_empty) {
        Ok(_) if is_empty => RequestEnd::Here,
        Ok(stream) => bodies::send(stream, body, size, &connection).await,
        Err(_) => RequestEnd::Canceled,
    }
}
