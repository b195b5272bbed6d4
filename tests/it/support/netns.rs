//! A network namespace of the test's own, with two cables to this machine: one for the store, and one for all else.
//!
//! Owns: the namespace and the cables. Never does: touch an interface that it did not make. Only root may have one.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub struct Netns {
    name: String,
    /// This machine's end of the store's cable.
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

    /// This machine at the store's cable.
    pub fn store(&self) -> IpAddr {
        self.address(1)
    }

    /// Who is inside, at the other cable.
    pub fn node(&self) -> IpAddr {
        self.address(6)
    }

    /// Pulls the store's cable: what is sent is gone, and nobody is told.
    pub fn cut(&self) {
        ip(&["link", "set", &self.store_end, "down"]);
    }

    pub fn heal(&self) {
        ip(&["link", "set", &self.store_end, "up"]);
    }

    /// `first`: the address at this end; the next one is inside. Not of global scope, by which others would choose them.
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
        // The cables go with it.
        ip(&["netns", "del", &self.name]);
    }
}

/// # Panics
/// Where it may not: as a user, or in a container without the capability.
pub fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().expect("iproute2");
    assert!(done.success(), "ip {args:?}: {done}; this test needs root");
}
