//! Keys of the section `outputs`, and their values.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::super::parse::{list, network, number};
use super::super::reader::Reader;
use crate::domain::outbound::may_connect;

/// Settings of outputs: pushes of rooms to targets such as an Icecast server.
#[derive(Debug, Clone)]
pub struct OutputsConfig {
    /// Maximum number of outputs per room; 0: outputs are switched off.
    pub max_per_room: usize,
    /// Networks that targets may be in, besides the public Internet.
    pub networks: Vec<IpNet>,
}

impl OutputsConfig {
    /// Returns true if a target may have this address.
    pub fn allows(&self, ip: IpAddr) -> bool {
        may_connect(ip, &self.networks)
    }
}

pub(super) fn outputs(r: &mut Reader) -> OutputsConfig {
    OutputsConfig {
        max_per_room: r.read(
            "outputs.max_per_room",
            5,
            "Maximum number of outputs (Icecast, RTMP, SRT) of a room; 0 switches outputs off.",
            number(0..=20usize),
        ),
        networks: r.read(
            "outputs.networks",
            json!([]),
            "Private networks that targets of outputs may be in; public addresses are always allowed.",
            list(network),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_targets_must_be_listed() {
        let allows = |networks: &[&str], ip: &str| {
            let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
            OutputsConfig { max_per_room: 5, networks }.allows(ip.parse().unwrap())
        };
        assert!(allows(&[], "8.8.8.8") && !allows(&[], "10.0.0.1") && !allows(&[], "::1"));
        assert!(allows(&["10.0.0.0/8"], "10.0.0.1") && allows(&["10.0.0.0/8"], "::ffff:10.0.0.1"));
        assert!(!allows(&["10.0.0.0/8"], "127.0.0.1") && allows(&["10.0.0.0/8"], "8.8.8.8"));
    }
}
