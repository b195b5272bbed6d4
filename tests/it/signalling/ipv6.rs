//! Anchors on machines with only IPv6, and on machines without IPv6.

use std::net::IpAddr;
use std::path::Path;

use serde_json::json;
use tokio::net::UdpSocket;

use crate::support::caller::Caller;
use crate::support::netns::Netns;
use crate::support::node::Node;
use crate::support::opus;
use crate::support::stage::ROOM;
use crate::support::webrtc::WebRtcClient;

/// One second of audio, in frames.
const SECOND: u64 = 50;

#[actix::test]
async fn anchors_connect_over_ipv6_alone() {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return crate::support::skipped("the kernel has no IPv6");
    }
    let netns = Netns::make();
    let (interface, [_, anchor]) = netns.ipv6_only();
    let node = inside(&netns, &[("janus.ice_interface", interface)]).await;
    let candidates = speak(&node, netns.socket(anchor)).await;
    assert!(candidates.iter().all(IpAddr::is_ipv6), "{candidates:?}");
}

#[actix::test]
async fn anchors_connect_without_ipv6() {
    let netns = Netns::make();
    if Path::new("/proc/sys/net/ipv6").exists() {
        netns.without_ipv6();
    }
    let node = inside(&netns, &[]).await;
    let socket = std::net::UdpSocket::bind((netns.here(), 0)).unwrap();
    let candidates = speak(&node, socket).await;
    assert!(candidates.iter().all(IpAddr::is_ipv4), "{candidates:?}");
}

/// Starts a node in the namespace, whose signalling and API are reached from outside.
async fn inside(netns: &Netns, settings: &[(&str, &str)]) -> Node {
    let open = format!("{}:0", netns.node());
    let mut all = vec![
        ("listen.api", open.as_str()),
        ("listen.ws", open.as_str()),
        ("listen.hls", open.as_str()),
        // This node also listens on addresses other than loopback, which requires API keys.
        ("auth.mode", "keys"),
        ("auth.api_keys", "0123456789abcdef"),
    ];
    all.extend_from_slice(settings);
    let mut node = Node::prepare(&all);
    node.within(netns.name());
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    node
}

/// Joins an anchor that speaks, waits until media flow both ways, and returns the addresses that Janus
/// offers.
async fn speak(node: &Node, socket: std::net::UdpSocket) -> Vec<IpAddr> {
    let user = json!({ "role": "anchor", "userId": "anna" });
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), user).await.json();
    let mut anna = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await;
    anna.call("join", json!({})).await.unwrap();
    socket.set_nonblocking(true).unwrap();
    let media = WebRtcClient::on(UdpSocket::from_std(socket).unwrap(), opus::tone(440));
    let answer = anna.negotiate(&media, media.offer()).await;
    media.until("the connection", |p| p.connected).await;
    anna.note("talking", |p| *p == json!({ "userId": "anna", "talking": true })).await;
    media.hear(SECOND).await;
    let candidates = WebRtcClient::candidates(&answer);
    assert!(!candidates.is_empty(), "{answer}");
    candidates.into_iter().map(|(ip, _)| ip).collect()
}
