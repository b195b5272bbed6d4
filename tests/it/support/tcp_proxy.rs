//! A TCP proxy between a client and a server under test, which can be frozen or cut.
//!
//! It runs on the runtime of the test that started it. Owns: the connections through it. Does not lose or
//! change a byte while it passes data.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Connections stay open, new ones are accepted, no byte moves: a dead host behind a working route.
    Frozen,
    /// Existing and new connections are closed.
    Cut,
}

pub struct TcpProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl TcpProxy {
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::start_at([127, 0, 0, 1].into(), upstream).await
    }

    /// Starts the proxy on a free port of this address.
    pub async fn start_at(ip: IpAddr, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (mode, seen) = watch::channel(Mode::Pass);
        let accepting = tokio::spawn(accept(listener, upstream, seen));
        Self { address, mode, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Resumes passing. Frozen connections continue where they stopped; cut ones are gone, new ones work.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

/// Ends every connection. The tasks of the connections watch the mode, and end when its sender is dropped.
impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, mode: watch::Receiver<Mode>) {
    while let Ok((client, _)) = listener.accept().await {
        if *mode.borrow() != Mode::Cut {
            tokio::spawn(connect(client, upstream, mode.clone()));
        }
    }
}

async fn connect(client: TcpStream, upstream: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, mode.clone()) => {}
        () = pass(from_server, to_client, mode.clone()) => {}
        () = cut(mode) => {}
    }
}

async fn cut(mut mode: watch::Receiver<Mode>) {
    // Fails if the proxy was dropped, which also ends the connection.
    let _ = mode.wait_for(|mode| *mode == Mode::Cut).await;
}

/// Copies until either side ends.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // Bytes read before the freeze are kept until it ends.
        if mode.wait_for(|mode| *mode == Mode::Pass).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
