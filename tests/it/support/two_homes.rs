//! A network interface for the test with two addresses, for clients that move from one to the other.
//!
//! Both addresses are on one interface, because Janus (libnice) sends through the interface of its socket,
//! regardless of the routes. Owns: the interface. Does not touch one that it did not create. Requires
//! root.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::netns::ip;

pub struct TwoHomes {
    interface: String,
    net: String,
}

impl TwoHomes {
    pub fn make() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), MADE.fetch_add(1, Relaxed));
        let made = Self { interface: format!("st{pid}h{n}"), net: format!("10.215.{}", (pid + n) % 256) };
        let (here, there) = (made.interface.as_str(), format!("st{pid}t{n}"));
        ip(&["link", "add", here, "type", "veth", "peer", "name", &there]);
        for address in made.addresses() {
            // The scope is not global, so that other programs do not choose these addresses.
            ip(&["addr", "add", &format!("{address}/32"), "scope", "link", "dev", here]);
        }
        ip(&["link", "set", here, "up"]);
        ip(&["link", "set", &there, "up"]);
        made
    }

    pub fn interface(&self) -> &str {
        &self.interface
    }

    pub fn addresses(&self) -> [IpAddr; 2] {
        [1, 2].map(|host| format!("{}.{host}", self.net).parse().expect("an address"))
    }
}

impl Drop for TwoHomes {
    fn drop(&mut self) {
        // The other end of the link is deleted with this one.
        ip(&["link", "del", &self.interface]);
    }
}
