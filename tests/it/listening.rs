//! Tests of listener, page and HTTP side on a staged room: real media, real HTTP, real browser, no Janus.

use std::time::{Duration, Instant};

use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode, ProbeError};

use crate::support::node::{Node, request};
use crate::support::staged::{ROOM, Stage, TOKEN, Take};
use crate::support::until;

#[actix::test]
async fn part_listener_hears_across_key_change() {
    let stage = Stage::open(&[Take { hz: 440, segments: 4 }, Take { hz: 440, segments: 3 }]).await;
    let mut listener = Listener::open(&target(&stage), Mode::Parts).await.unwrap();
    let heard = listener.hear_segments(3).await.unwrap();
    assert_eq!(heard.violations, Vec::<String>::new());
    assert_eq!(heard.gaps, vec![]);
    assert_eq!((heard.strongest_hz(), heard.discontinuities()), (Some(440.0), 1));
    assert!(heard.keys().len() >= 2 && heard.level(440.0) > 0.1, "{:?} {}", heard.keys(), heard.level(440.0));
    let behind = heard.behind_live.unwrap();
    assert!((0.5..3.0).contains(&behind), "{behind}");
    let lost = heard.seconds() - heard.pcm.len() as f64 / 48_000.0;
    assert!(lost.abs() < 0.1, "{lost} s between what was listed and what was decoded");
}

#[actix::test]
async fn segment_listener_hears_tone() {
    let stage = Stage::open(&[Take { hz: 10_000, segments: 7 }]).await;
    let mut listener = Listener::open(&target(&stage), Mode::Segments).await.unwrap();
    let heard = listener.hear_segments(5).await.unwrap();
    assert_eq!((heard.violations.len(), heard.segments()), (0, vec![40, 41, 42, 43, 44]));
    assert_eq!(heard.strongest_hz(), Some(10_000.0));
    assert_eq!(heard.keys().len(), 3);
}

#[actix::test]
async fn hear_until_reports_other_tone() {
    let stage = Stage::open(&[Take { hz: 440, segments: 4 }, Take { hz: 880, segments: 3 }]).await;
    let mut listener = Listener::open(&target(&stage), Mode::Parts).await.unwrap();
    let refused = listener.hear_until(600.0, Instant::now()).await.err();
    assert!(matches!(refused, Some(ProbeError::NotHeard { strongest: Some(440.0), .. })), "{refused:?}");
    let heard = listener.hear_until(880.0, Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert!(heard.level(440.0) < heard.level(880.0));
}

#[actix::test]
async fn listener_needs_valid_token_for_key() {
    let stage = Stage::open(&[Take { hz: 440, segments: 4 }]).await;
    let stranger = Target { token: "another".into(), ..target(&stage) };
    let mut listener = Listener::open(&stranger, Mode::Parts).await.unwrap();
    let refused = listener.hear(Duration::from_secs(1)).await.err();
    assert!(
        matches!(
            &refused,
            Some(ProbeError::Refused { status: 401, code: Some(code), .. }) if code == "token_invalid"
        ),
        "{refused:?}"
    );
}

#[actix::test]
async fn head_returns_length_without_body() {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let playlist = node.token("live").await;
    let playlist = format!("{}/hls/rooms/live/index.m3u8?token={playlist}", node.hls);
    let listed = async || {
        let text = request("GET", &playlist, &[], None).await.text();
        text.lines().find(|line| !line.is_empty() && !line.starts_with(['#', '{'])).map(str::to_owned)
    };
    until("a segment is listed", async || listed().await.is_some()).await;
    let url = url::Url::parse(&playlist).unwrap().join(&listed().await.unwrap()).unwrap();
    let whole = request("GET", url.as_str(), &[], None).await;
    let head = request("HEAD", url.as_str(), &[], None).await;
    assert_eq!((whole.status, head.status), (200, 200));
    assert_eq!(head.header("content-length").unwrap(), whole.body.len().to_string());
    assert!(head.body.is_empty() && !whole.body.is_empty());
}

#[actix::test]
async fn committed_web_dist_matches_sources() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/web-check.sh");
    let mut check = stentor::process::command(script, [""; 0]);
    let output = check.envs(std::env::vars_os()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn target(stage: &Stage) -> Target {
    Target {
        base_url: stage.base_url(),
        room: RoomId::new(ROOM).unwrap(),
        token: TOKEN.clone(),
        ffmpeg: "ffmpeg".into(),
    }
}
