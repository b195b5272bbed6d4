//! Real components for the tests: started on free ports, stopped by whoever started them.

pub mod browser;
pub mod etcd;
pub mod janus;
pub mod janus_proxy;
pub mod kept;
pub mod node;
pub mod redis;
pub mod staged;
pub mod tcp_proxy;

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Loopback ports nobody listens on at the moment; all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

/// Blocks until `condition` holds; panics with `what` when it takes longer than `deadline`.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen within {deadline:?}");
        pause();
    }
}

/// The step between two looks at a condition.
#[expect(clippy::disallowed_methods, reason = "the caller is a test that waits for another process")]
fn pause() {
    // Sleep: see above.
    std::thread::sleep(Duration::from_millis(5));
}

/// The same for async tests.
pub async fn pause_async() {
    // Sleep: the step between two looks at another process.
    tokio::time::sleep(Duration::from_millis(5)).await;
}
