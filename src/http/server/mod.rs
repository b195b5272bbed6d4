//! One listening socket: bounded connections, deadlines for slow clients, and rules for every response.
//!
//! `actix_web::HttpServer` has no deadline for a client that does not read, and stops accepting when it
//! reaches its limit. So this module assembles the same parts (actix-server, actix-http) around a stream of
//! its own.
//!
//! | file | owns |
//! |---|---|
//! | `entrance` | the steps from an accepted connection to its first request: slot, address, TLS handshake |
//! | `proxy_protocol` | the header by which a trusted proxy names the client of a connection |
//! | `clients` | the client behind each request, and the limit on requests from one address |
//! | `gate` | the number of open connections, in total and per address, and the refusal of further ones |
//! | `wire` | the socket, which records the bytes that pass, and TLS above it |
//! | `stream` | the stream with its deadlines |
//! | `connection` | [`Connection`], a request's handle on its connection: deadlines, slot, response in progress |
//! | `exchange` | middleware around every request: HEAD, body deadline, small writes, `nosniff`, HSTS |
//! | `detached` | connections without the dispatcher: endless responses and WebSockets |
//! | `http2` | connections of HTTP/2: their limits, and their requests, which are served at the same time |
//! | `large` | middleware for resources with large responses: few at a time |
//!
//! Owns: sockets and their limits. Does not depend on what is served.

mod clients;
mod connection;
mod detached;
mod entrance;
mod exchange;
mod gate;
mod http2;
mod large;
mod proxy_protocol;
mod stream;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error};
use futures::FutureExt;
use futures::future::{Either, ready};
use rustls::ServerConfig;
use socket2::{Domain, SockRef, Socket, Type};

use crate::domain::descriptors::Allotment;
use crate::domain::http_connection::RequestTimeouts;
use crate::telemetry::Metrics;

use entrance::{Acceptors, Entrance};
use exchange::Rules;
use gate::Gate;
use stream::GuardedSocket;

pub use clients::Clients;
pub use connection::Connection;
pub use detached::{ClientBytes, DetachedConnections};
#[cfg(test)]
pub(in crate::http) use exchange::OverTls;
pub(in crate::http) use exchange::is_secure;
pub use large::large;

/// Maximum number of connections that the kernel completes before they are accepted. A thousand listeners may
/// reload a page at once.
const BACKLOG: i32 = 4096;
/// Time after which an unused connection is closed. Longer than in proxies (nginx: 60 s, our own relay: 15
/// s), so that the proxy closes first. If the node closed the connection while the proxy sends a request, the
/// proxy would treat the node as failed.
const KEEP_ALIVE: Duration = Duration::from_secs(65);
/// Maximum number of bytes of one write. Limits how much of a large response is held for a client that does
/// not read.
const SLICE: usize = 16 * 1024;
/// Number of bytes of a response that the kernel accepts beyond those it can send at once
/// (`TCP_NOTSENT_LOWAT`). Unlike a small send buffer, this does not slow down a distant client that reads.
const UNSENT: u32 = 16 * 1024;
/// Size of the kernel's receive buffer, in bytes. Requests are small.
const RECEIVE_BUFFER: usize = 32 * 1024;
/// Time after which the kernel drops a connection whose peer does not acknowledge sent bytes, even after a
/// close (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Margin beyond the dispatcher's deadline for a request head. The dispatcher answers a late head with 408;
/// the stream only closes connections that the dispatcher does not watch.
const HEAD_MARGIN: Duration = Duration::from_secs(1);
/// Margin beyond the dispatcher's deadline for unused connections.
const IDLE_MARGIN: Duration = Duration::from_secs(5);

/// Options of one listening socket.
#[derive(Clone)]
pub struct Options {
    /// Name of the listening socket in metrics.
    pub name: &'static str,
    /// Number of worker threads; `None` means one per processor.
    pub workers: Option<usize>,
    pub allotment: Allotment,
    /// Time limit from the first byte of a request to the end of its head. Also the limit of a TLS handshake.
    pub header_timeout: Duration,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// `max-age` of `Strict-Transport-Security`. Sent only if the client uses https, here or to a trusted
    /// proxy.
    pub hsts: Option<Duration>,
    /// Rules about clients, shared by all sockets of the node.
    pub clients: Clients,
    /// True if trusted proxies begin a connection with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Grace period of requests in progress when the server stops.
    pub shutdown_timeout: Duration,
}

/// Returns the number of processors, which is the default number of worker threads.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get)
}

/// Serves `app` at `listener` until the returned server is stopped. Also returns the count of its
/// detached connections: the server does not wait for them when it stops.
///
/// # Errors
/// The socket's options cannot be set.
pub fn serve<F, T, B>(
    listener: TcpListener,
    options: Options,
    metrics: &Metrics,
    app: F,
) -> io::Result<(Server, DetachedConnections)>
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    prepare(&listener)?;
    let workers = options.workers.unwrap_or_else(processors);
    let clients = options.clients;
    let limits = clients.limits().clone();
    let gate = Arc::new(Gate::new(options.name, options.allotment, limits, metrics.clone()));
    let detached = gate.detached().clone();
    let patience =
        RequestTimeouts { head: options.header_timeout + HEAD_MARGIN, idle: KEEP_ALIVE + IDLE_MARGIN };
    let entrance = Entrance {
        gate,
        clients: clients.clone(),
        proxy_protocol: options.proxy_protocol,
        tls: options.tls.as_deref().map(Acceptors::new),
        handshake: options.header_timeout,
        patience,
    };
    let rules = Rules { hsts: options.hsts.map(exchange::hsts), clients, listener: options.name };
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections((options.allotment.accepted / workers).max(1))
        .disable_signals()
        .shutdown_timeout(options.shutdown_timeout.as_secs());
    let stopping = builder.graceful_shutdown_signal();
    let service = move || {
        let (stopping, rules, app) = (stopping.clone(), rules.clone(), app.clone());
        let protocols = fn_factory(move || {
            protocols(options.header_timeout, stopping.clone(), rules.clone(), app.clone())
        });
        let entrance = entrance.clone();
        fn_service(move |socket: TcpStream| entrance.clone().admit(socket)).and_then(protocols)
    };
    Ok((builder.listen(options.name, listener, service)?.run(), detached))
}

/// Connection after its handshake, its protocol, and the address of its client.
type AdmittedConnection = (GuardedSocket, Protocol, Option<SocketAddr>);

/// Creates the service of one worker, which serves `app` over HTTP/1.1 and HTTP/2.
async fn protocols<F, T, B>(
    header_timeout: Duration,
    stopping: GracefulShutdownSignal,
    rules: Rules,
    app: F,
) -> Result<impl Service<AdmittedConnection, Response = (), Error = DispatchError>, ()>
where
    F: Fn() -> App<T>,
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let app = app().wrap(from_fn(move |request, next| exchange::exchange(rules.clone(), request, next)));
    let app = actix_service::IntoServiceFactory::into_factory(app);
    let app = map_config(app.map_err(exchange::refuse), |()| AppConfig::default());
    let app = Rc::new(app.new_service(()).await?);
    let (shared, http2) = (app.clone(), http2::app(app));
    let signal = stopping.clone();
    let http1 = HttpService::build()
        // Same as `HttpServer`: idle connections are closed at once when the server stops.
        .graceful_shutdown_signal(move || {
            let signal = signal.clone();
            async move { signal.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(header_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1_write_buffer_size(SLICE)
        .on_connect_ext(|stream: &GuardedSocket, data| {
            data.insert(stream.connection());
        });
    let http1 = http1.finish(fn_factory(move || ready(Ok::<_, ()>(shared.clone()))));
    let http1 = Rc::new(http1.new_service(()).await?);
    Ok(fn_service(move |(socket, protocol, peer): AdmittedConnection| match protocol {
        Protocol::Http2 => {
            let served = http2::serve(socket, peer, http2.clone(), stopping.clone());
            Either::Left(served.map(Ok).boxed_local())
        }
        _ => Either::Right(http1.call((socket, protocol, peer))),
    }))
}

/// Binds a listening socket. `[::]` accepts IPv4 connections too, whatever the system's default is.
///
/// # Errors
/// The address is taken, or is not one of this machine.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets the options that accepted sockets inherit.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_nodelay(true)?;
    // The listener may have been bound elsewhere, with a shorter backlog; a second call changes it.
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests;
