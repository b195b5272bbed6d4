//! A network namespace for the test, with two links to this machine: one for the store, and one for
//! everything else.
//!
//! Owns: the namespace and the links. Never does: touch an interface that it did not create. Requires root.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub struct Netns {
    name: String,
    /// This machine's end of the store link.
    store_end: String,
    net: String,
}

impl Netns {
    pub fn make() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), MADE.fetch_add(1, Relaxed));
        let (name, net) = (format!("stentor-{pid}-{n}"), format!("10.214.{}", (pid + n) % 256));
        let made = Self { store_end: format!("st{pid}s{n}"), name, net };
        ip(&["netns", "add", &made.name]);
        made.inside(&["link", "set", "lo", "up"]);
        made.cable(&made.store_end, "store", 1);
        made.cable(&format!("st{pid}m{n}"), "media", 5);
        made
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns this machine's address on the store link.
    pub fn store(&self) -> IpAddr {
        self.address(1)
    }

    /// Returns the address inside the namespace on the other link.
    pub fn node(&self) -> IpAddr {
        self.address(6)
    }

    /// Takes the store link down: packets are lost without an error to either side.
    pub fn cut(&self) {
        ip(&["link", "set", &self.store_end, "down"]);
    }

    pub fn heal(&self) {
        ip(&["link", "set", &self.store_end, "up"]);
    }

    /// Creates a link. `first`: the address at this end; the next one is inside. The scope is not global, so
    /// that others do not choose these addresses.
    fn cable(&self, here: &str, there: &str, first: u8) {
        let ends = [self.address(first), self.address(first + 1)].map(|address| format!("{address}/30"));
        ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", &self.name]);
        ip(&["addr", "add", &ends[0], "scope", "link", "dev", here]);
        ip(&["link", "set", here, "up"]);
        self.inside(&["addr", "add", &ends[1], "scope", "link", "dev", there]);
        self.inside(&["link", "set", there, "up"]);
    }

    fn address(&self, host: u8) -> IpAddr {
        format!("{}.{host}", self.net).parse().expect("an address")
    }

    fn inside(&self, args: &[&str]) {
        ip(&[&["-n", &self.name], args].concat());
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // The links are deleted with it.
        ip(&["netns", "del", &self.name]);
    }
}

/// Runs `ip`.
///
/// # Panics
/// Without the privilege: as a normal user, or in a container without the capability.
pub fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().expect("iproute2");
    assert!(done.success(), "ip {args:?}: {done}; this test needs root");
}
