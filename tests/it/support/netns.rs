//! A network namespace for the test, with two links to this machine: one for the store, and one for
//! everything else. On request it has a third link to itself, with IPv6 addresses only.
//!
//! Owns: the namespace and the links. Does not touch an interface that it did not create. Requires root.

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Network namespaces (`sched.h`).
const CLONE_NEWNET: i32 = 0x4000_0000;

unsafe extern "C" {
    /// Moves the calling thread into a namespace (setns(2)).
    fn setns(fd: i32, kind: i32) -> i32;
}

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

    /// Returns the namespace's own address on the link that is not the store link.
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

    /// Returns this machine's address on the link that is not the store link.
    pub fn here(&self) -> IpAddr {
        self.address(5)
    }

    /// Drops each UDP packet that arrives in the namespace or is sent from it, without an error to the sender
    /// outside. TCP passes.
    pub fn drop_udp(&self) {
        // By default the table of local addresses comes first, and no rule can precede it: move it behind the
        // new rule.
        self.inside(&["rule", "add", "pref", "10", "ipproto", "udp", "blackhole"]);
        self.inside(&["rule", "add", "pref", "20", "table", "local"]);
        self.inside(&["rule", "del", "pref", "0"]);
    }

    /// Creates an interface in the namespace that has IPv6 addresses only, two of them, and returns its name
    /// and the addresses.
    pub fn ipv6_only(&self) -> (&'static str, [IpAddr; 2]) {
        let (name, addresses) = ("six", ["fd00:214::1", "fd00:214::2"]);
        self.inside(&["link", "add", name, "type", "veth", "peer", "name", "six-end"]);
        for address in addresses {
            // Without duplicate address detection the address is usable at once.
            self.inside(&["addr", "add", &format!("{address}/64"), "dev", name, "nodad"]);
        }
        for end in [name, "six-end"] {
            self.inside(&["link", "set", end, "up"]);
        }
        (name, addresses.map(|address| address.parse().expect("an address")))
    }

    /// Removes IPv6 from the namespace, as on a machine that has it switched off.
    pub fn without_ipv6(&self) {
        let switch = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
        ip(&["netns", "exec", &self.name, "sh", "-c", switch]);
    }

    /// Returns a UDP socket of the namespace, bound to a free port.
    pub fn socket(&self, address: IpAddr) -> UdpSocket {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        // Use a separate thread, because a thread that has entered the namespace stays in it.
        let bound = std::thread::spawn(move || {
            // SAFETY: changes the network namespace of this thread only, and touches no memory.
            let entered = unsafe { setns(namespace.as_raw_fd(), CLONE_NEWNET) };
            assert_eq!(entered, 0, "{}; this test needs root", std::io::Error::last_os_error());
            UdpSocket::bind((address, 0)).expect("a free port")
        });
        bound.join().expect("a socket")
    }

    /// Creates a link. `first`: the address at this end; the next one is inside. The scope is not global, so
    /// that other programs do not choose these addresses.
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
        // The links are deleted with the namespace.
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
