//! Malformed media: Opus that no encoder makes, over WebRTC, and datagrams to the ports of Janus.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use stentor::probe::{Listener, Mode};

use super::{ROOM, token};
use crate::support::PATIENCE;
use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::node::Node;

const SEED: u64 = 4711;
/// Number of malformed packets in each test.
const PACKETS: u64 = 500;

#[actix::test]
async fn malformed_opus_harms_no_other() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let janus = node.children("janus");
    let mut witness = Caller::connect(&node.ws, &token(&node, "witness").await, "").await;
    let (_, media) = witness.speak(440).await;
    let mut mallory = Caller::connect(&node.ws, &token(&node, "mallory").await, "").await;
    let garbage = mallory.play(garbage()).await;
    garbage.until("the packets are sent", |progress| progress.sent > PACKETS).await;
    let packets = media.progress().received;
    media.until("media goes on", |progress| progress.received > packets + 10).await;
    mallory.goodbye().await;
    hears(&node, 440.0).await;
    assert_eq!(node.children("janus"), janus, "Janus was not restarted");
    withstood(
        "malformed Opus over WebRTC: broken counts, lengths and padding, random bytes",
        "decoded as noise or ignored; Janus lives",
        "another anchor is heard",
    );
}

/// Returns packets that break RFC 6716 section 3.4, and random ones.
fn garbage() -> Vec<Arc<[u8]>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let broken: [&[u8]; 7] = [
        // Code 1 with an even length (RFC 6716 section 3.4), code 2 with a length beyond the packet.
        &[0xf9, 1],
        &[0xfa, 0xff, 0xff],
        // Code 3: no frame, 63 frames, lengths beyond the packet, padding without end.
        &[0xfb, 0],
        &[0xfb, 0x3f],
        &[0xfb, 0xbf, 0xff, 0xff, 0xff],
        &[0xfb, 0x41, 0xff, 0xff, 0xff, 0xff],
        &[0xff],
    ];
    let random = (0..200).map(|_| {
        let length = random.random_range(1..1_000);
        (0..length).map(|_| random.random()).collect::<Vec<u8>>().into()
    });
    broken.iter().cycle().take(200).map(|packet| Arc::from(*packet)).chain(random).collect()
}

#[actix::test]
async fn datagrams_to_janus_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tone.ogg");
    let tone = "sine=frequency=440:sample_rate=48000:duration=300";
    let mut ffmpeg = std::process::Command::new("ffmpeg");
    let made = ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", tone]).arg(&path).status();
    assert!(made.unwrap().success());
    let node = Node::start(&[("sources.folder", folder.path().to_str().unwrap())]).await;
    node.room_on_air(ROOM).await;
    let janus = node.children("janus");
    let added = node.post(&format!("/api/rooms/{ROOM}/sources"), json!({ "file": "tone.ogg" })).await;
    assert_eq!(added.status, 201, "{}", added.text());
    hears(&node, 440.0).await;

    let ports = udp_sockets(janus[0]);
    assert!(!ports.is_empty(), "Janus receives the source");
    let (mut random, socket) = (StdRng::seed_from_u64(SEED), UdpSocket::bind("127.0.0.1:0").unwrap());
    for n in 0..PACKETS {
        let length = random.random_range(0..1_400);
        let mut packet: Vec<u8> = (0..length).map(|_| random.random()).collect();
        if let (Some(first), true) = (packet.first_mut(), n % 2 == 0) {
            // RTP version 2 with random flags: padding, extension, up to 15 contributing sources.
            *first = 0x80 | (*first & 0x3f);
        }
        for port in &ports {
            // A packet that cannot be sent does not matter: many others arrive.
            let _ = socket.send_to(&packet, port);
        }
    }
    hears(&node, 440.0).await;
    assert_eq!(node.children("janus"), janus, "Janus was not restarted");
    withstood(
        "random datagrams and malformed RTP to every UDP port of Janus",
        "ignored; Janus lives",
        "a source plays on",
    );
}

async fn hears(node: &Node, hz: f64) {
    let deadline = Instant::now() + PATIENCE;
    let mut listener = Listener::open_by(&node.target(ROOM).await, Mode::Parts, deadline).await.unwrap();
    listener.hear_until(hz, deadline).await.unwrap();
}

/// Returns the addresses of the UDP sockets of a process, from `/proc` (proc(5)).
fn udp_sockets(pid: i32) -> Vec<SocketAddr> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    let sockets: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/udp")).unwrap();
    let address = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let inode = format!("socket:[{}]", columns.get(9)?);
        let (ip, port) = columns.get(1)?.split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?.to_le_bytes();
        let ip = if ip == [0; 4] { [127, 0, 0, 1] } else { ip };
        let address = SocketAddr::from((ip, u16::from_str_radix(port, 16).ok()?));
        sockets.contains(&inode).then_some(address)
    };
    table.lines().skip(1).filter_map(address).collect()
}
