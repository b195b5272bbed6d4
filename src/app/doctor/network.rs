//! Checks of the network: UDP ports for media, and rules of the firewall of this machine.
//!
//! A firewall on another machine cannot be seen from here.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use super::{Finding, ran};
use crate::config::{Config, JanusMode};
use crate::domain::firewall::{Passage, Ruleset, Transport};

/// Program that lists the rules, also those of `iptables`.
const NFT: &str = "nft";
/// Folder of programs for administrators, which is not in every user's path.
const SBIN: &str = "/usr/sbin";
/// Maximum number of ports in use that a finding names.
const NAMED: usize = 3;
/// If at most one of this many ports is in use, enough are left.
const FEW: usize = 10;

/// A port or range of ports that other machines must reach.
struct RequiredPorts {
    key: &'static str,
    transport: Transport,
    ports: (u16, u16),
}

impl RequiredPorts {
    fn range(&self) -> String {
        let (first, last) = self.ports;
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    }
}

/// Checks that the UDP ports for media can be bound. Must not be called while the node runs, because it uses
/// some of them.
pub(super) fn udp_ports(config: &Config) -> Vec<Finding> {
    let media = media_ports(config).into_iter().map(|(wanted, address)| bound(&wanted, address));
    media.collect()
}

fn bound(wanted: &RequiredPorts, address: IpAddr) -> Finding {
    let (subject, (first, last)) = ("udp ports", wanted.ports);
    let name = format!("{} {first}-{last}", wanted.key);
    let mut taken = Vec::new();
    for port in first..=last {
        match UdpSocket::bind((address, port)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => taken.push(port.to_string()),
            Err(error) => {
                let text =
                    format!("{name}: cannot bind {address} port {port}: {error}; change {}", wanted.key);
                return Finding::of(subject, Err(text));
            }
        }
    }
    let all = usize::from(last - first) + 1;
    if taken.is_empty() {
        return Finding::of(subject, Ok(format!("{name} can be bound")));
    }
    let used = taken.len();
    taken.truncate(NAMED);
    if used * FEW <= all {
        let text = format!("{name} can be bound, except {used} that other programs use");
        return Finding::of(subject, Ok(text));
    }
    let text = format!(
        "{name}: {used} of {all} ports are in use by other programs ({}…): end these programs (`ss -lunp`), \
         or change {}",
        taken.join(", "),
        wanted.key
    );
    match used == all {
        true => Finding::of(subject, Err(text)),
        false => Finding::warning(subject, text),
    }
}

/// Checks whether the rules of this machine let in what other machines send to the node.
pub(super) async fn firewall(config: &Config) -> Finding {
    let subject = "firewall";
    let required = required(config);
    let all = list(&required);
    let unread = |why: &str| Finding::of(subject, Ok(format!("not checked: {why}. Let in {all}")));
    if required.is_empty() {
        return Finding::of(subject, Ok("the node needs nothing from other machines".into()));
    }
    if !rustix::process::geteuid().is_root() {
        return unread("only root can read the rules");
    }
    let in_sbin = Path::new(SBIN).join(NFT);
    let program = if in_sbin.exists() { &in_sbin } else { Path::new(NFT) };
    let rules = match ran(program, &["-j", "list", "ruleset"]).await {
        Ok(json) => Ruleset::parse(&json),
        Err(error) => return unread(&format!("nft, of the package nftables, lists no rules ({error})")),
    };
    let Some(rules) = rules else { return unread("the output of nft cannot be read") };
    let decided = |wanted: Passage| {
        let found = required.iter().filter(|one| rules.passage(one.transport, one.ports) == wanted);
        list(found)
    };
    let (closed, unclear) = (decided(Passage::Closed), decided(Passage::Unclear));
    match (closed.is_empty(), unclear.is_empty()) {
        (false, _) => Finding::warning(
            subject,
            format!(
                "the rules of this machine drop {closed}: add a rule that accepts it, such as `{}`, before \
                 the rules that drop (`nft -a list ruleset`)",
                example(&required, &rules)
            ),
        ),
        (true, false) => Finding::of(
            subject,
            Ok(format!("conditions that this check does not read decide about {unclear}; let it in")),
        ),
        (true, true) => Finding::of(subject, Ok(format!("the rules of this machine let in {all}"))),
    }
}

/// Returns a rule of nftables that accepts the first of these ports that are closed.
fn example(required: &[RequiredPorts], rules: &Ruleset) -> String {
    let closed = |one: &&RequiredPorts| rules.passage(one.transport, one.ports) == Passage::Closed;
    let rule = |one: &RequiredPorts| format!("{} dport {} accept", one.transport.as_str(), one.range());
    required.iter().find(closed).map_or(String::new(), rule)
}

fn list<'a>(required: impl IntoIterator<Item = &'a RequiredPorts>) -> String {
    let name = |one: &RequiredPorts| {
        format!("{} {} ({})", one.transport.as_str().to_uppercase(), one.range(), one.key)
    };
    required.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Returns the UDP ports of this node's roles, each with the address at which they are bound.
fn media_ports(config: &Config) -> Vec<(RequiredPorts, IpAddr)> {
    let roles = config.node.roles;
    let udp = |key, ports| RequiredPorts { key, transport: Transport::Udp, ports };
    let mut media = Vec::new();
    // The ports of an external Janus are in its own configuration, perhaps on another machine.
    if roles.janus && config.janus.mode == JanusMode::Managed {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        media.push((udp("janus.webrtc_ports", config.janus.webrtc_ports), any));
    }
    if roles.mixer {
        media.push((udp("mixer.rtp_ports", config.mixer.rtp_ports), config.listen.media));
    }
    media
}

/// Returns everything that other machines send to this node. Sockets on loopback are left out.
fn required(config: &Config) -> Vec<RequiredPorts> {
    let (roles, listen) = (config.node.roles, &config.listen);
    let mut required: Vec<RequiredPorts> = media_ports(config)
        .into_iter()
        .filter(|(_, address)| !address.is_loopback())
        .map(|(wanted, _)| wanted)
        .collect();
    let sockets: [(&'static str, Option<SocketAddr>); 5] = [
        ("listen.api", roles.rooms.then_some(listen.api)),
        ("listen.ws", roles.gateway.then_some(listen.ws)),
        ("listen.hls", (roles.hls || roles.mixer).then_some(listen.hls)),
        ("listen.relay", config.peer_address().and(listen.relay)),
        ("listen.redirect", listen.redirect),
    ];
    for (key, address) in sockets {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            let port = address.port();
            required.push(RequiredPorts { key, transport: Transport::Tcp, ports: (port, port) });
        }
    }
    required
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn ports_in_use_are_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let range = |ports| RequiredPorts { key: "mixer.rtp_ports", transport: Transport::Udp, ports };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let found = bound(&range((port, port)), address);
        assert_eq!(found.verdict, Verdict::Failure, "all are in use");
        assert!(found.text.contains(&format!("1 of 1 ports are in use by other programs ({port}…)")));
        let elsewhere = bound(&range((port, port)), "192.0.2.1".parse().unwrap());
        assert!(elsewhere.text.contains("cannot bind 192.0.2.1"), "{elsewhere:?}");
        drop(taken);
        assert_eq!(bound(&range((port, port)), address).verdict, Verdict::Good);
    }
}
