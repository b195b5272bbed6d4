//! Measures the player page in headless Chromium, on a live room with a tone: the time to the first sound,
//! and the distance behind live.

use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use stentor::domain::ids::{MediaAddr, Pin};
use stentor::domain::mix::MixShare;
use stentor::probe::{Listener, Mode, ToneSender};

use super::house::{Backend, House};
use super::support::browser::{self, ListeningResult};
use super::table::{Row, Times, short};

const PAGES: usize = 5;
const LISTEN_SECONDS: u32 = 8;
const BARE_SECONDS: u32 = 4;
const ROOM: &str = "page";
/// Page that plays a finished file with Media Source Extensions.
const FILE_PAGE: &str = r#"<!doctype html><audio></audio><script>
const audio = document.querySelector('audio'), source = new MediaSource();
audio.src = URL.createObjectURL(source);
source.onsourceopen = async () => {
  const buffer = source.addSourceBuffer('audio/mp4; codecs="mp4a.40.2"');
  buffer.appendBuffer(await (await fetch('tone.mp4')).arrayBuffer());
  audio.play();
};
</script>"#;
/// Page that plays the playlist in its fragment with hls.js, and does nothing else.
const HLS_PAGE: &str = r#"<!doctype html><audio></audio><script src="hls.min.js"></script><script>
const hls = new Hls();
hls.loadSource(location.hash.slice(1));
hls.attachMedia(document.querySelector('audio'));
document.querySelector('audio').play();
</script>"#;

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    house.node.room_on_air(ROOM).await;
    let pin = house.room(ROOM).await["room"]["pin"].as_str().and_then(|p| Pin::new(p).ok()).expect("a pin");
    let number = house.janus_room(ROOM).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let ours = MediaAddr { ip: address.ip(), port: address.port() };
    let speaker =
        house.gateway.client.join_rtp(number, &pin, "tone", ours, MixShare::of(3)).await.expect("joined");
    let target = MediaAddr { ip: speaker.ip, port: speaker.port };
    let tone = ToneSender::start("ffmpeg".as_ref(), socket, target, speaker.payload_type, 440);
    let _tone = tone.expect("a tone");
    let target = house.node.target(ROOM).await;
    let mut listener = Listener::open(&target, Mode::Parts).await.expect("a playlist");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    listener.hear_until(440.0, deadline).await.expect("the tone is on air");

    let url = format!("{}/listen/{ROOM}#token={}", house.node.hls, target.token);
    let floors = BarePages::open();
    let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={}", house.node.hls, target.token);
    let bare_url = format!("{}hls#{playlist}", floors.url);
    let (mut pages, mut hls, mut file) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAGES {
        pages.push(browser::listen(&url, LISTEN_SECONDS).await);
        hls.push(browser::listen(&bare_url, BARE_SECONDS).await);
        file.push(browser::listen(&floors.url, BARE_SECONDS).await);
    }
    let hold_back = listener.playlist().part_hold_back.unwrap_or_default();
    rows(&pages, &hls, &file, Duration::from_secs_f64(hold_back))
}

/// Baselines for the time to the first sound: a page that plays a finished file with Media Source Extensions,
/// and a page that plays the same room with nothing but hls.js.
struct BarePages {
    url: String,
    handle: ServerHandle,
}

impl BarePages {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tone.mp4");
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=440:sample_rate=48000", "-t", "5"])
            .args(["-c:a", "aac", "-movflags", "+empty_moov+default_base_moof", "-frag_duration", "192000"])
            .arg(&file)
            .status();
        assert!(made.expect("FFmpeg").success());
        let tone = web::Bytes::from(std::fs::read(&file).expect("a recording"));
        let library = browser::folder().join("node_modules/hls.js/dist/hls.min.js");
        let library = web::Bytes::from(std::fs::read(library).expect("hls.js is installed"));
        let server = HttpServer::new(move || {
            let (tone, library) = (tone.clone(), library.clone());
            let file_page = || async { HttpResponse::Ok().content_type("text/html").body(FILE_PAGE) };
            let hls_page = || async { HttpResponse::Ok().content_type("text/html").body(HLS_PAGE) };
            let library = move || {
                let library = library.clone();
                async { HttpResponse::Ok().content_type("text/javascript").body(library) }
            };
            let tone = move || {
                let tone = tone.clone();
                async { HttpResponse::Ok().content_type("audio/mp4").body(tone) }
            };
            App::new()
                .route("/", web::get().to(file_page))
                .route("/hls", web::get().to(hls_page))
                .route("/hls.min.js", web::get().to(library))
                .route("/tone.mp4", web::get().to(tone))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}/", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        Self { url, handle }
    }
}

impl Drop for BarePages {
    fn drop(&mut self) {
        // The server stops on its own, and no code waits for that.
        drop(self.handle.stop(false));
    }
}

fn first_sound(pages: &[ListeningResult]) -> Times {
    pages.iter().map(|p| Duration::from_secs_f64(p.first_sound_ms.expect("it sounded") / 1e3)).collect()
}

fn rows(
    pages: &[ListeningResult],
    hls: &[ListeningResult],
    file: &[ListeningResult],
    hold_back: Duration,
) -> Vec<Row> {
    let errors: usize = pages.iter().map(|p| p.errors.len()).sum();
    assert_eq!(errors, 0, "{pages:?}");
    let seconds = |s: Option<f64>| Duration::from_secs_f64(s.expect("it played"));
    let median: Times = pages.iter().map(|p| seconds(p.behind_live.p50)).collect();
    let late: Times = pages.iter().map(|p| seconds(p.behind_live.p95)).collect();
    vec![
        Row::new(
            "page opened -> first sound (floor: a page with nothing but hls.js)",
            first_sound(hls).to_string(),
            first_sound(pages).to_string(),
            "p50 ≤ 700 ms, ≤ 1.2 × floor",
        ),
        Row::new(
            "page opened -> first sound (floor: a finished file in Media Source)",
            first_sound(file).to_string(),
            first_sound(pages).to_string(),
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
