//! Address of a client behind proxies, and the key under which limits count an address. This module is pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Proxies whose forwarding headers are trusted.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client whose request came from `peer`. `forwarded_for`: the entries of all
    /// `X-Forwarded-For` headers, in order; each proxy appends the address of its own peer. Only entries that
    /// a trusted proxy added count, so a client cannot forge its address. The search starts at `peer` and
    /// continues from the last entry to the first. It ends at the first address that does not belong to a
    /// trusted proxy, or before an entry that is not an address. The last address that was read is the
    /// result.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        for entry in forwarded_for.rev() {
            match parsed(entry.trim()) {
                Some(before) if self.trusts(client) => client = before,
                _ => break,
            }
        }
        client
    }
}

/// Parses a header entry, with or without a port: `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::7`,
/// `[2001:db8::7]:4711`.
fn parsed(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Returns one common address for all addresses that a host may use. For an IPv6 address, this is its /64
/// prefix (RFC 4291 section 2.5.1); for an IPv4 address, the address itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Returns the key under which limits count an address; `None` for loopback, private and link-local addresses
/// (RFC 1918, RFC 3927, RFC 4193, RFC 4291), which are not limited. Such an address often belongs to a proxy,
/// or to the gateway of a container network, that all clients share.
pub fn limited(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    let local = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    (!local).then(|| network(address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"].map(|net| net.parse().unwrap()).into())
    }

    fn client(peer: &str, forwarded_for: &str) -> String {
        let entries = forwarded_for.split(',').filter(|entry| !entry.is_empty());
        proxies().client(ip(peer), entries).to_string()
    }

    #[test]
    fn clients_of_trusted_proxies_are_named() {
        for (peer, forwarded_for, expected) in [
            ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
            ("fd00::1", "[2001:db8::7]:80", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            ("::ffff:10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded_for), expected, "{peer} {forwarded_for}");
        }
    }

    #[test]
    fn forged_entries_change_nothing() {
        for (peer, forwarded_for, expected) in [
            ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
            ("::ffff:203.0.113.7", "127.0.0.1", "203.0.113.7"),
            ("10.0.0.1", "127.0.0.1, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "10.0.0.9, 198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, _hidden, 10.0.0.2", "10.0.0.2"),
        ] {
            assert_eq!(client(peer, forwarded_for), expected, "{peer} {forwarded_for}");
        }
    }

    #[test]
    fn local_addresses_are_not_limited() {
        for address in
            ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "fd12::1", "fe80::1", "::ffff:10.0.0.1"]
        {
            assert_eq!(limited(ip(address)), None, "{address}");
        }
        assert_eq!(limited(ip("::ffff:203.0.113.7")), Some(ip("203.0.113.7")));
        assert_eq!(limited(ip("2001:db8:1:2:3:4:5:6")), Some(ip("2001:db8:1:2::")));
    }

    proptest! {
        #[test]
        fn untrusted_peers_stay_themselves(bits: u32, forged in "[0-9a-f.:,\\[\\] ]{0,40}") {
            let peer = IpAddr::from(bits.to_be_bytes());
            prop_assume!(!proxies().trusts(peer));
            prop_assert_eq!(proxies().client(peer, forged.split(',')), peer);
        }
    }
}
