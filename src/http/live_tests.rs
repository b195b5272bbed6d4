//! Tests of plain streams: every request gets its documented response.

use std::sync::Arc;

use actix_web::dev::ServiceResponse;
use actix_web::http::header;
use actix_web::{App, test};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::auth::Role;
use crate::delivery::listener_counter::{ListenerCounter, Listeners};
use crate::delivery::{LiveMedia, PlainStreams};
use crate::domain::ids::{ModuleId, UnixMs};
use crate::http::hls_answer::Cors;
use crate::http::test_tokens::{ban, node_tokens, store, with_tokens};
use crate::packager::ogg_stream::{OggPackets, opus_part};
use crate::packager::plain::PlainPart;
use crate::packager::{MediaError, PlaylistText};
use crate::rooms::FakeStore;

const GOOD: &str = "{good}";

#[actix::test]
async fn streams_are_endless_aac() {
    let answer = ask("/live/demo.aac?token={good}", &[]).await;
    assert_eq!((answer.status, &answer.body[..]), (200, "one two three".as_bytes()));
    let expected = [
        ("content-type", "audio/aac"),
        ("cache-control", "no-store"),
        ("accept-ranges", "none"),
        ("icy-name", ""),
        ("icy-metaint", ""),
        ("access-control-allow-origin", "*"),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

#[actix::test]
async fn titles_are_sent_on_request() {
    let answer = ask("/live/long.aac?token={good}", &[("icy-metadata", "1")]).await;
    assert_eq!(answer.header("icy-metaint"), METADATA_INTERVAL.to_string());
    assert_eq!((answer.header("icy-name"), answer.header("icy-pub")), ("long", "0"));
    let (audio, title) = answer.body.split_at(METADATA_INTERVAL);
    assert!(audio.iter().all(|byte| *byte == b'a'));
    assert_eq!(&title[1..1 + 19], b"StreamTitle='long';");
    for value in ["0", "", "yes"] {
        let answer = ask("/live/long.aac?token={good}", &[("icy-metadata", value)]).await;
        assert_eq!((answer.header("icy-metaint"), answer.body.len()), ("", 3 * METADATA_INTERVAL), "{value}");
    }
}

#[actix::test]
async fn opus_streams_are_ogg() {
    let answer = ask("/live/opus.opus?token={good}", &[("icy-metadata", "1")]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "audio/ogg"));
    assert_eq!((answer.header("icy-name"), answer.header("icy-metaint")), ("opus", ""));
    let packets = OggPackets::default().push(&answer.body).unwrap();
    assert_eq!(packets, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert!(answer.body.windows(10).any(|bytes| bytes == b"TITLE=opus"));
    let text = String::from_utf8(ask("/live/demo.opus.m3u?token={good}", &[]).await.body).unwrap();
    assert!(text.contains("/live/demo.opus?token="), "{text}");
}

#[actix::test]
async fn tokens_come_in_header_cookie_or_query() {
    let bearer = ask("/live/demo.aac", &[("authorization", &format!("Bearer {GOOD}"))]).await;
    let cookie = ask("/live/demo.aac", &[("cookie", &format!("a=b; stentor_listener={GOOD}"))]).await;
    assert_eq!((bearer.status, cookie.status), (200, 200));
}

#[actix::test]
async fn refusals_are_those_of_hls() {
    for (uri, status, code) in [
        ("/live/demo.aac", 401, "token_missing"),
        ("/live/nosuch.aac", 401, "token_missing"),
        ("/live/demo.aac?token=bad", 401, "token_invalid"),
        ("/live/demo.aac?token={expired}", 401, "token_expired"),
        ("/live/demo.aac?token={other}", 403, "token_wrong_room"),
        ("/live/demo.aac?token={banned}", 409, "user_removed"),
        ("/live/demo.aac?token=a%22b", 400, "invalid_query"),
        ("/live/nosuch.aac?token={good}", 404, "room_not_found"),
        ("/live/notonair.aac?token={good}", 404, "room_not_on_air"),
        ("/live/notyet.aac?token={good}", 503, "media_not_ready"),
        ("/live/away.aac?token={good}", 503, "media_unavailable"),
        ("/live/earlier.aac?token={good}", 401, "token_invalid"),
        ("/live/demo.opus?token=bad", 401, "token_invalid"),
        ("/live/notonair.opus?token={good}", 404, "room_not_on_air"),
        ("/live/demo.ogg?token={good}", 404, "not_found"),
        ("/live/demo.opus.aac?token={good}", 400, "invalid_room_id"),
        ("/live/demo?token={good}", 404, "not_found"),
        ("/live/d.aac?token={good}", 400, "invalid_room_id"),
        ("/live/demo%2f.aac?token={good}", 400, "invalid_room_id"),
        ("/live/nosuch.m3u?token={good}", 404, "room_not_found"),
        ("/live/demo.pls?token=bad", 401, "token_invalid"),
    ] {
        let answer = ask(uri, &[]).await;
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, json["code"].as_str()), (status, Some(code)), "{uri}");
        assert_eq!((answer.header("cache-control"), answer.header("icy-name")), ("no-store", ""), "{uri}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{uri}");
    }
}

#[actix::test]
async fn playlists_name_the_stream() {
    let stream = |base: &str| with_tokens(&format!("{base}/live/demo.aac?token={GOOD}"), "demo");
    let host = ("host", "radio.example:8080");
    let m3u = ask(&format!("/live/demo.m3u?token={GOOD}"), &[host]).await;
    assert_eq!(m3u.header("content-type"), "audio/x-mpegurl");
    let text = String::from_utf8(m3u.body).unwrap();
    assert_eq!(text, format!("#EXTM3U\n#EXTINF:-1,demo\n{}\n", stream("http://radio.example:8080")));
    let authorization = format!("Bearer {GOOD}");
    let pls = ask("/live/demo.pls", &[host, ("authorization", &authorization)]).await;
    assert_eq!((pls.header("content-type"), pls.header("cache-control")), ("audio/x-scpls", "no-store"));
    let text = String::from_utf8(pls.body).unwrap();
    assert!(text.contains(&format!("\nFile1={}\n", stream("http://radio.example:8080"))), "{text}");
    let public = Some("https://live.example.org/".to_owned());
    let side = side(public);
    let answer = ask_of(&side, &format!("/live/demo.m3u?token={GOOD}"), &[host]).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with(&format!("{}\n", stream("https://live.example.org"))), "{text}");
    assert_eq!(side.counter.here(&RoomId::new("demo").unwrap(), Instant::now()), 0, "nobody listens yet");
}

#[actix::test]
async fn listeners_count_by_token() {
    let side = side(None);
    for token in [GOOD, GOOD, "{one}"] {
        ask_of(&side, &format!("/live/demo.aac?token={token}"), &[]).await;
    }
    assert_eq!(side.counter.here(&RoomId::new("demo").unwrap(), Instant::now()), 2);
}

#[actix::test]
async fn streams_end_with_token_or_ban() {
    let room = RoomId::new("expiring").unwrap();
    let tokens = node_tokens(Arc::default()).tokens;
    // The token expires in 2.5 to 3.5 s, because its expiry is in whole seconds. Even a slow machine must be
    // able to open the stream before that.
    let signed_at = UnixMs(now().0 + 2_500);
    let short = tokens.issue(Role::Listener, "short", &room, None, Duration::from_secs(1), signed_at);
    for (token, expires_at, length) in [(GOOD, UnixMs(0), 9), (&*short.token, short.expires_at, 3)] {
        let side = side(None);
        let answer = open(&side, &format!("/live/expiring.aac?token={token}"), &[]).await;
        let (_, stream) = side.streams.all().remove(0);
        let publish = async {
            let part = || PlainPart { bytes: Bytes::from_static(b"abc"), frames: 9, place: None };
            stream.publish([part()], None);
            while now() < expires_at {
                // Sleep: the clock cannot be moved, so the other parts come after the token has expired.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stream.publish([part(), part()], None);
            stream.end();
        };
        let (body, ()) = future::join(test::read_body(answer), publish).await;
        assert_eq!(body.len(), length);
    }
    let store = store();
    let side = side_on(&store, None);
    let answer = open(&side, "/live/expiring.aac?token={two}", &[]).await;
    assert_eq!(answer.status(), 200);
    ban(&store, "expiring", "two");
    publish(&side.streams);
    assert!(test::read_body(answer).await.is_empty());
}

#[actix::test]
async fn other_methods_are_answered() {
    let live = web::Data::from(side(None).live);
    let app = test::init_service(App::new().configure(|c| configure(c, live))).await;
    let with = |method: Method| test::TestRequest::with_uri("/live/demo.aac").method(method).to_request();
    let preflight = test::call_service(&app, with(Method::OPTIONS)).await;
    assert_eq!(preflight.status(), 204);
    let allowed = preflight.headers().get("access-control-allow-headers").unwrap();
    assert_eq!(allowed, "authorization, icy-metadata, range");
    let post = test::call_service(&app, with(Method::POST)).await;
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers().get("allow").unwrap(), "GET, HEAD, OPTIONS");
}

/// Live media of which only the playlist is requested.
struct Playlists;

#[async_trait]
impl LiveMedia for Playlists {
    async fn playlist(
        &self,
        room: &RoomId,
        _: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistText, MediaError> {
        match room.as_str() {
            "notyet" => Err(MediaError::NotYet),
            "away" => Err(MediaError::Unavailable),
            _ => Ok(Bytes::from_static(b"#EXTM3U\n").into()),
        }
    }

    async fn file(&self, _: &RoomId, _: &str) -> Result<(Bytes, &'static str), MediaError> {
        Err(MediaError::Gone)
    }

    async fn key(&self, _: &RoomId, _: &Grant, _: &str, _: u64) -> Result<[u8; 16], MediaError> {
        Err(MediaError::KeyRefused)
    }
}

/// Services under test, and what the tests read and control of them.
struct Side {
    live: Arc<LiveSide>,
    counter: Arc<ListenerCounter>,
    streams: Arc<PlainStreams>,
}

fn side(public_url: Option<String>) -> Side {
    side_on(&store(), public_url)
}

fn side_on(store: &FakeStore, public_url: Option<String>) -> Side {
    for (room, created_at) in [
        ("demo", 1),
        ("long", 1),
        ("opus", 1),
        ("expiring", 1),
        ("notyet", 1),
        ("away", 1),
        ("notonair", 1),
        ("earlier", u64::MAX),
    ] {
        let meta = json!({ "pin": "abc123", "maxAnchors": 3, "hlsPath": "/h", "createdAt": created_at });
        store.put_now(&format!("/rooms/{room}/meta"), &meta.to_string());
        if room != "notonair" {
            let live =
                r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":1,"epoch":1}"#;
            store.put_now(&format!("/rooms/{room}/livemeta"), live);
        }
    }
    let (counter, streams) = (Arc::<ListenerCounter>::default(), Arc::<PlainStreams>::default());
    let (media, tokens) = (Arc::new(Playlists), Arc::new(node_tokens(store.directory())));
    let listeners =
        Listeners { me: ModuleId::new("one").unwrap(), counter: counter.clone(), directory: Arc::default() };
    let hls = HlsSide {
        media: media.clone(),
        tokens,
        replay: None,
        listeners,
        cors: Cors::default(),
        captions: Default::default(),
    };
    let base = PublicBase { url: public_url, ..PublicBase::default() };
    let opus = streams.clone();
    let media = PlainListening { media, directory: store.directory(), streams: streams.clone(), opus };
    Side { live: Arc::new(LiveSide { hls: web::Data::new(hls), media, base }), counter, streams }
}

/// Publishes the audio of the streams that have been opened, and ends them.
fn publish(streams: &PlainStreams) {
    for (room, stream) in streams.all() {
        let all: [Bytes; 3] = match room.as_str() {
            "opus" => ["one", "two", "three"].map(|packet| opus_part(&[packet.into()]).bytes),
            "long" => [(); 3].map(|()| vec![b'a'; METADATA_INTERVAL].into()),
            _ => ["one ", "two ", "three"].map(Bytes::from),
        };
        let part = |bytes| PlainPart { bytes, frames: 9, place: None };
        stream.publish(all.map(part), None);
        stream.end();
    }
}

struct Answer {
    status: u16,
    headers: header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(uri: &str, headers: &[(&str, &str)]) -> Answer {
    ask_of(&side(None), uri, headers).await
}

/// Sends a request, publishes audio in all open streams and ends them, and reads the whole answer.
async fn ask_of(side: &Side, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = open(side, uri, headers).await;
    publish(&side.streams);
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, body: test::read_body(answer).await.to_vec() }
}

async fn open(side: &Side, uri: &str, headers: &[(&str, &str)]) -> ServiceResponse {
    let live = web::Data::from(side.live.clone());
    let app = test::init_service(App::new().configure(|c| configure(c, live))).await;
    let room = uri.trim_start_matches("/live/").split('.').next().unwrap();
    let mut request = test::TestRequest::get().uri(&with_tokens(uri, room));
    for (name, value) in headers {
        request = request.insert_header((*name, with_tokens(value, room)));
    }
    test::call_service(&app, request.to_request()).await
}
