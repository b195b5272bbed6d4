//! The player page opened on a live room with a tone, in headless Chromium: first sound, seconds behind live.

use std::time::Duration;

use stentor::domain::ids::{MediaAddr, Pin};
use stentor::probe::{Listener, Mode, ToneSender};

use super::house::{Backend, House};
use super::support::browser::{self, Listened};
use super::table::{Row, Times, short};

const PAGES: usize = 5;
const LISTEN_SECONDS: u32 = 8;
const ROOM: &str = "page";

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    house.node.room_on_air(ROOM).await;
    let pin = house.room(ROOM).await["room"]["pin"].as_str().and_then(|p| Pin::new(p).ok()).expect("a pin");
    let number = house.janus_room(ROOM).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let ours = MediaAddr { ip: address.ip(), port: address.port() };
    let speaker = house.gateway.client.join_rtp(number, &pin, "tone", ours).await.expect("joined");
    let target = MediaAddr { ip: speaker.ip, port: speaker.port };
    let tone = ToneSender::start("ffmpeg".as_ref(), socket, target, speaker.payload_type, 440);
    let _tone = tone.expect("a tone");
    let target = house.node.target(ROOM).await;
    let mut listener = Listener::open(&target, Mode::Parts).await.expect("a playlist");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    listener.hear_until(440.0, deadline).await.expect("the tone is on air");

    let url = format!("{}/listen/{ROOM}#token={}", house.node.hls, target.token);
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        pages.push(browser::listen(&url, LISTEN_SECONDS).await);
    }
    let hold_back = listener.playlist().part_hold_back.unwrap_or_default();
    rows(&pages, Duration::from_secs_f64(hold_back))
}

fn rows(pages: &[Listened], hold_back: Duration) -> Vec<Row> {
    let errors: usize = pages.iter().map(|p| p.errors.len()).sum();
    assert_eq!(errors, 0, "{pages:?}");
    let seconds = |s: Option<f64>| Duration::from_secs_f64(s.expect("it played"));
    let first: Times = pages.iter().map(|p| seconds(p.first_sound_ms.map(|ms| ms / 1e3))).collect();
    let median: Times = pages.iter().map(|p| seconds(p.behind_live.p50)).collect();
    let late: Times = pages.iter().map(|p| seconds(p.behind_live.p95)).collect();
    vec![
        Row::new(
            "page opened -> first sound (floor: a bare page of this kind, as once measured)",
            "≈ 400 ms",
            first.to_string(),
            "p50 ≤ 700 ms",
        ),
        Row::new(
            "listener behind live in the page, p50 / p95 (floor: PART-HOLD-BACK)",
            short(hold_back),
            format!("{} / {}", short(median.quantile(0.5)), short(late.quantile(0.99))),
            "p95 ≤ 1.3 s",
        ),
    ]
}
