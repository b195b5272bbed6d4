//! Addresses that a node may connect to when an API user or a value in the store names the host.
//!
//! Without these rules, a caller could reach services that only this machine or its network may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Returns true if the address is public or in one of `networks`, which the configuration permits.
pub fn may_connect(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    is_public(address) || networks.iter().any(|network| network.contains(&address))
}

/// Returns true if a node of the cluster may have the address. With `networks`, the address must be in one of
/// them. Without them, all addresses are permitted except link-local, unspecified, multicast, reserved and
/// broadcast addresses and `fd00:ec2::254`: nodes do not have these, or clouds serve credentials there.
pub fn may_be_node(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    if !networks.is_empty() {
        return networks.iter().any(|network| network.contains(&address));
    }
    match address {
        IpAddr::V4(v4) => !matches!(v4.octets(), [0, ..] | [169, 254, ..] | [224..=255, ..]),
        IpAddr::V6(v6) => {
            let [first, second, .., last] = v6.segments();
            let is_metadata = (first, second, last) == (0xfd00, 0xec2, 0x254);
            !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || is_metadata)
        }
    }
}

/// Returns true for addresses of the public Internet. Loopback, private, link-local (where clouds serve
/// credentials), shared, multicast, reserved and documentation addresses are not public. Neither are IPv6
/// addresses that embed an IPv4 address, because a translator could lead to a private one.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Returns true for addresses outside the ranges of the IANA registry of special-purpose addresses (RFC
/// 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Returns true for ordinary addresses in 2000::/3, the only allocated range. In it, 2001::/23 is special
/// (Teredo, ORCHID), 2001:db8::/32 and 3fff::/20 are for documentation, and 2002::/16 is 6to4.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let special = matches!((a, b), (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff));
    (0x2000..0x4000).contains(&a) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_their_networks() {
        let may = |address: &str, networks: &[&str]| {
            let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
            may_be_node(address.parse().unwrap(), &networks)
        };
        for node in ["10.0.0.7", "127.0.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd00::7", "::1"] {
            assert!(may(node, &[]), "{node}");
        }
        let metadata = ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1"];
        for other in metadata.into_iter().chain(["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
        {
            assert!(!may(other, &[]), "{other}");
        }
        assert!(may("10.0.0.7", &["10.0.0.0/8", "fd00::/8"]) && may("fd00::7", &["10.0.0.0/8", "fd00::/8"]));
        assert!(may("::ffff:10.0.0.7", &["10.0.0.0/8"]) && may("169.254.1.1", &["169.254.1.0/24"]));
        assert!(!may("10.0.0.7", &["10.1.0.0/16"]) && !may("127.0.0.1", &["10.0.0.0/8"]));
    }

    #[test]
    fn only_public_addresses_are_permitted() {
        let networks = ["10.1.0.0/16".parse().unwrap()];
        let permits = |address: &str| may_connect(address.parse().unwrap(), &networks);
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "172.15.0.1",
            "172.32.0.1",
            "10.1.2.3",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(permits(public), "{public}");
        }
        for special in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "10.2.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.2.0.1",
            "64:ff9b::7f00:1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
        ] {
            assert!(!permits(special), "{special}");
        }
    }
}
