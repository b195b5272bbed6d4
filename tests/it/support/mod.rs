//! Real components for the tests: started on free ports, stopped by the test that started them.

pub mod abuse_table;
pub mod anchor_rig;
pub mod browser;
pub mod caller;
pub mod etcd;
pub mod external;
pub mod fault_table;
pub mod janus;
pub mod janus_proxy;
pub mod kept;
pub mod moto;
pub mod netns;
pub mod nginx;
pub mod node;
pub mod opus;
pub mod pages;
pub mod pebble;
pub mod raw;
pub mod receiver;
pub mod redis;
pub mod srtp;
pub mod stage;
pub mod staged;
pub mod studio;
pub mod tcp_proxy;
pub mod terminal;
pub mod two_homes;
pub mod validator;
pub mod webrtc;

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Once;
use std::time::{Duration, Instant};

/// Time limit for every condition that a test waits for, sufficient on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Prints a line in the test output even if the test passes; the output of the print macros is shown only for
/// failed tests.
pub fn report(line: impl Display) {
    // One write, because tests run concurrently. If nothing reads the output, an error does not matter.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Reports the message of every panic from now on. A failed test shows it too, but between thousands of lines
/// of the logs of its nodes.
pub fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            report(format!("{}: {panic}", thread.name().unwrap_or("a thread")));
            default(panic);
        }));
    });
}

/// Reports that the running test, or a part of it, cannot run on this machine. `make test` lists these tests
/// at its end. A program that `scripts/setup.sh test` installs is no reason: without it, a test fails.
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let line = format!("{}: {why}", thread.name().unwrap_or("a test"));
    report(format!("skipped: {line}"));
    add_to_table("SKIPPED_TESTS", &line);
}

/// Appends a line to the file that this environment variable names, if it is set.
fn add_to_table(variable: &str, line: &str) {
    if let Some(path) = std::env::var_os(variable) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // One write, because concurrent tests append to the same file.
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.expect("the table is written");
    }
}

/// Returns loopback ports that are free at the moment; all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

/// Blocks until `condition` holds; panics with `what` if it takes longer than `deadline`.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen within {deadline:?}");
        pause();
    }
}

/// Waits like [`wait_until`], for an async condition.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    until_within(what, PATIENCE, condition).await;
}

/// Waits like [`until`], with another deadline.
pub async fn until_within<F: Future<Output = bool>>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> F,
) {
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "{what} did not happen within {deadline:?}");
        pause_async().await;
    }
}

/// Returns the output of `future`; panics with `what` if it takes longer than [`PATIENCE`].
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// Pauses between two checks of a condition.
#[expect(clippy::disallowed_methods, reason = "the caller is a test that waits for another process")]
fn pause() {
    // Sleep: see above.
    std::thread::sleep(Duration::from_millis(5));
}

/// Pauses between two checks of a condition in an async test.
pub async fn pause_async() {
    // Sleep: the interval between two checks of another process.
    tokio::time::sleep(Duration::from_millis(5)).await;
}
