//! Checks of the addresses in room keys against the heartbeats of the modules that the keys name.
//!
//! A room key outlives its writer and may have been written manually. Therefore Janus sends RTP, and listener
//! nodes send requests, only to addresses that a heartbeat announces as the module's own.

use std::collections::BTreeSet;

use ipnet::IpNet;
use url::Url;

use super::ids::ModuleId;
use super::keys::ModuleKind;
use super::model::{Heartbeat, MixerState};
use super::outbound::may_be_node;
use super::view::Modules;

/// Returns the nodes whose `hls.secret` has another fingerprint than `own`. A heartbeat of an earlier version
/// has no fingerprint, and is not compared.
pub fn nodes_with_other_secret(own: &str, modules: &Modules) -> BTreeSet<ModuleId> {
    let differs = |heartbeat: &Heartbeat| heartbeat.secret_fingerprint.as_ref().is_some_and(|f| f != own);
    let others =
        modules.iter().filter(|(_, view)| view.heartbeat.as_ref().is_some_and(|h| differs(&h.value)));
    others.map(|((_, id), _)| id.clone()).collect()
}

/// Returns the reason why no forwarder may be started to the mixer that this key names; `None` if one may be
/// started.
pub fn rtp_refusal(mixer: &MixerState, modules: &Modules) -> Option<String> {
    let Some(heartbeat) = heartbeat(&mixer.id, modules) else { return Some(no_heartbeat(&mixer.id)) };
    let announced = match heartbeat.rtp {
        Some(rtp) => rtp.ip == mixer.rtp.ip && (rtp.first..=rtp.last).contains(&mixer.rtp.port),
        // A mixer of an earlier version announces no RTP addresses.
        None => heartbeat.host == mixer.rtp.ip.to_string(),
    };
    (!announced)
        .then(|| format!("{} is not an RTP address in the heartbeat of mixer {}", mixer.rtp, mixer.id))
}

/// Returns the reason why `url` must not be used as the mixer's address; `None` if it may be used.
pub fn url_refusal(mixer: &ModuleId, url: &str, modules: &Modules) -> Option<String> {
    let Some(heartbeat) = heartbeat(mixer, modules) else { return Some(no_heartbeat(mixer)) };
    let announced = heartbeat.url == url && is_base_of(url, &heartbeat.host);
    (!announced).then(|| format!("{url:?} is not the address in the heartbeat of mixer {mixer}"))
}

/// Returns the reason why a heartbeat must not be used: an address in it is not in `networks`
/// ([`may_be_node`]). `None`: it may be used. With `networks`, names instead of addresses are refused,
/// because a name can lead to any address.
pub fn heartbeat_refusal(heartbeat: &Heartbeat, networks: &[IpNet]) -> Option<String> {
    if let Some(rtp) = heartbeat.rtp.filter(|rtp| !may_be_node(rtp.ip, networks)) {
        return Some(format!("the RTP address {} is not in node.networks", rtp.ip));
    }
    // Schemes are not case-sensitive (RFC 3986 section 3.1).
    let url = heartbeat.url.to_ascii_lowercase();
    host_refusal(&heartbeat.host, networks).or_else(|| {
        match Url::parse(&url).ok().as_ref().and_then(Url::host_str) {
            Some(host) => host_refusal(host, networks),
            None if url.starts_with("http") || url.starts_with("ws") => {
                Some("the URL is not valid".to_owned())
            }
            // No node connects to a text that is not a URL. A managed Janus announces such a text.
            None => None,
        }
    })
}

/// Returns the reason why a host of the cluster is refused; `None` if it is permitted.
pub fn host_refusal(host: &str, networks: &[IpNet]) -> Option<String> {
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) => (!may_be_node(address, networks))
            .then(|| format!("the address {address} is not in node.networks")),
        Err(_) => (!networks.is_empty())
            .then(|| format!("{host:?} is a name; node.networks permits addresses only")),
    }
}

fn heartbeat<'a>(mixer: &ModuleId, modules: &'a Modules) -> Option<&'a Heartbeat> {
    let module = modules.get(&(ModuleKind::Mixer, mixer.clone()))?;
    module.heartbeat.as_ref().map(|heartbeat| &heartbeat.value)
}

fn no_heartbeat(mixer: &ModuleId) -> String {
    format!("mixer {mixer} has no heartbeat")
}

/// Returns true if the URL is exactly `http://host:port` (RFC 3986 section 3.2: IPv6 addresses in brackets).
fn is_base_of(url: &str, host: &str) -> bool {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = url.strip_prefix("http://").and_then(|rest| rest.strip_prefix(host.as_str()));
    let port = port.and_then(|rest| rest.strip_prefix(':'));
    port.and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::ModulePart;
    use crate::model::RtpRange;
    use crate::view::ModuleView;

    #[test]
    fn rtp_goes_to_announced_addresses() {
        let modules = modules(r#","rtp":{"ip":"10.0.0.7","first":27000,"last":28999}"#);
        for (ip, port, may) in [
            ("10.0.0.7", 27000, true),
            ("10.0.0.7", 28998, true),
            ("10.0.0.7", 22, false),
            ("10.0.0.7", 29000, false),
            ("10.0.0.8", 27000, false),
            ("8.8.8.8", 27000, false),
        ] {
            assert_eq!(rtp_refusal(&key("m", ip, port), &modules).is_none(), may, "{ip}:{port}");
        }
        assert!(rtp_refusal(&key("gone", "10.0.0.7", 27000), &modules).is_some());
    }

    #[test]
    fn heartbeats_stay_in_configured_networks() {
        let heartbeat = |host: &str, url: &str, rtp: &str| Heartbeat {
            host: host.into(),
            url: url.into(),
            rtp: Some(RtpRange { ip: rtp.parse().unwrap(), first: 27000, last: 28999 }),
            ..modules("")[&(ModuleKind::Mixer, ModuleId::new("m").unwrap())].heartbeat.clone().unwrap().value
        };
        let (any, private): ([IpNet; 0], _) = ([], ["10.0.0.0/8".parse().unwrap()]);
        for (host, url, rtp, by_default, in_private) in [
            ("10.0.0.7", "http://10.0.0.7:8080", "10.0.0.7", true, true),
            ("10.0.0.7", "ws://10.0.0.7:8188", "10.0.0.7", true, true),
            ("10.0.0.7", "", "10.0.0.7", true, true),
            ("10.0.0.7", "http://10.0.0.7:8080", "8.8.8.8", true, false),
            ("10.0.0.7", "http://8.8.8.8:8080", "10.0.0.7", true, false),
            ("m.example", "http://m.example:8080", "10.0.0.7", true, false),
            ("fd00::7", "http://[fd00::7]:8080", "fd00::7", true, false),
            ("10.0.0.7", "http://169.254.169.254:80", "10.0.0.7", false, false),
            ("169.254.169.254", "http://169.254.169.254:80", "10.0.0.7", false, false),
            ("10.0.0.7", "http://[fe80::1]:80", "10.0.0.7", false, false),
            ("10.0.0.7", "http://10.0.0.7:8080", "169.254.1.1", false, false),
            ("10.0.0.7", "HTTP://169.254.169.254:80", "10.0.0.7", false, false),
            ("10.0.0.7", "ftp://8.8.8.8", "10.0.0.7", true, false),
            ("10.0.0.7", "ws:no url", "10.0.0.7", false, false),
            ("10.0.0.7", "WS:no url", "10.0.0.7", false, false),
            ("10.0.0.7", "managed", "10.0.0.7", true, true),
        ] {
            let heartbeat = heartbeat(host, url, rtp);
            assert_eq!(heartbeat_refusal(&heartbeat, &any).is_none(), by_default, "{host} {url} {rtp}");
            assert_eq!(heartbeat_refusal(&heartbeat, &private).is_none(), in_private, "{host} {url} {rtp}");
        }
    }

    #[test]
    fn earlier_versions_announce_no_rtp() {
        assert_eq!(rtp_refusal(&key("m", "10.0.0.7", 27000), &modules("")), None);
        // If any address were accepted, a forged heartbeat could simply omit the RTP addresses.
        assert!(rtp_refusal(&key("m", "10.0.0.9", 27000), &modules("")).is_some());
    }

    #[test]
    fn other_secrets_are_noticed() {
        let with = |more: &str| nodes_with_other_secret("a1", &modules(more));
        assert!(with("").is_empty(), "a heartbeat of an earlier version");
        assert!(with(r#","secretFingerprint":"a1""#).is_empty());
        let other = BTreeSet::from([ModuleId::new("m").unwrap()]);
        assert_eq!(with(r#","secretFingerprint":"b2""#), other);
    }

    #[test]
    fn fetches_go_to_announced_urls() {
        let (modules, m) = (modules(""), ModuleId::new("m").unwrap());
        assert_eq!(url_refusal(&m, "http://10.0.0.7:8080", &modules), None);
        for url in [
            "http://10.0.0.8:8080",
            "http://10.0.0.7:8081",
            "http://10.0.0.7:8080/internal?x=",
            "http://10.0.0.7:8080@evil:1",
            "https://10.0.0.7:8080",
            "file:///etc/passwd",
            "",
        ] {
            assert!(url_refusal(&m, url, &modules).is_some(), "{url}");
        }
        assert!(url_refusal(&ModuleId::new("gone").unwrap(), "http://10.0.0.7:8080", &modules).is_some());
    }

    #[test]
    fn bases_are_host_and_port() {
        for (url, host, is) in [
            ("http://[fd00::7]:8080", "fd00::7", true),
            ("http://fd00::7:8080", "fd00::7", false),
            ("http://media.example:8080", "media.example", true),
            ("http://media.example.evil:8080", "media.example", false),
            ("http://10.0.0.7:0", "10.0.0.7", false),
            ("http://10.0.0.7:99999", "10.0.0.7", false),
            ("http://10.0.0.7:8080/", "10.0.0.7", false),
            ("http://10.0.0.7", "10.0.0.7", false),
        ] {
            assert_eq!(is_base_of(url, host), is, "{url}");
        }
    }

    fn key(mixer: &str, ip: &str, port: u16) -> MixerState {
        let json =
            format!(r#"{{"id":"{mixer}","ip":"{ip}","port":{port},"hlsUrl":"http://{ip}:8080","epoch":1}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn modules(more: &str) -> Modules {
        let json = format!(
            r#"{{"status":"healthy","host":"10.0.0.7","url":"http://10.0.0.7:8080","capacity":1,"startedAt":1,
                "incarnation":"i","version":"0"{more}}}"#
        );
        let mut view = ModuleView::default();
        view.apply(ModulePart::Heartbeat, Some((json.as_bytes(), 1))).unwrap();
        Modules::from([((ModuleKind::Mixer, ModuleId::new("m").unwrap()), Arc::new(view))])
    }
}
