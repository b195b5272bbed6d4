//! Tests of plain streams: every request gets its documented response.

use actix_web::http::header;
use actix_web::{App, test};
use async_trait::async_trait;
use serde_json::Value;

use super::*;
use crate::auth::Role;
use crate::delivery::LiveMedia;
use crate::delivery::listener_counter::{ListenerCounter, Listeners};
use crate::domain::ids::{ModuleId, UnixMs};
use crate::http::hls_answer::Cors;
use crate::http::test_tokens::{ban, node_tokens, store, with_tokens};
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
        ("/live/demo.opus?token={good}", 404, "not_found"),
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
    let (side, counter) = side(public);
    let answer = ask_of(side, &format!("/live/demo.m3u?token={GOOD}"), &[host]).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with(&format!("{}\n", stream("https://live.example.org"))), "{text}");
    assert_eq!(counter.here(&RoomId::new("demo").unwrap(), Instant::now()), 0, "nobody listens yet");
}

#[actix::test]
async fn listeners_count_by_token() {
    let (side, counter) = side(None);
    for token in [GOOD, GOOD, "{one}"] {
        ask_of(side.clone(), &format!("/live/demo.aac?token={token}"), &[]).await;
    }
    assert_eq!(counter.here(&RoomId::new("demo").unwrap(), Instant::now()), 2);
}

#[actix::test]
async fn streams_end_with_token_or_ban() {
    let room = RoomId::new("expiring").unwrap();
    let tokens = node_tokens(Arc::default()).tokens;
    // The token expires in 2.5 to 3.5 s, because its expiry is in whole seconds. Even a slow machine must be
    // able to open the stream before that.
    let signed_at = UnixMs(now().0 + 2_500);
    let short = tokens.issue(Role::Listener, "short", &room, None, Duration::from_secs(1), signed_at).token;
    for (token, length) in [(GOOD, 9), (&*short, 3)] {
        let answer = ask(&format!("/live/expiring.aac?token={token}"), &[]).await;
        assert_eq!(answer.body.len(), length);
    }
    let store = store();
    let side = side_on(&store, None).0;
    let app = test::init_service(App::new().configure(|c| configure(c, web::Data::from(side)))).await;
    let request = test::TestRequest::get().uri(&with_tokens("/live/expiring.aac?token={two}", "expiring"));
    let answer = test::call_service(&app, request.to_request()).await;
    assert_eq!(answer.status(), 200);
    ban(&store, "expiring", "two");
    assert!(test::read_body(answer).await.is_empty());
}

#[actix::test]
async fn other_methods_are_answered() {
    let (side, _) = side(None);
    let app = test::init_service(App::new().configure(|c| configure(c, web::Data::from(side)))).await;
    let with = |method: Method| test::TestRequest::with_uri("/live/demo.aac").method(method).to_request();
    let preflight = test::call_service(&app, with(Method::OPTIONS)).await;
    assert_eq!(preflight.status(), 204);
    let allowed = preflight.headers().get("access-control-allow-headers").unwrap();
    assert_eq!(allowed, "authorization, icy-metadata, range");
    let post = test::call_service(&app, with(Method::POST)).await;
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers().get("allow").unwrap(), "GET, HEAD, OPTIONS");
}

struct Fake;

#[async_trait]
impl PlainMedia for Fake {
    async fn admit(&self, room: &RoomId, _: &Grant) -> Result<(), MediaError> {
        match room.as_str() {
            "nosuch" => Err(MediaError::NoSuchRoom),
            "notonair" => Err(MediaError::NotOnAir),
            "notyet" => Err(MediaError::NotYet),
            "away" => Err(MediaError::Unavailable),
            "earlier" => Err(MediaError::EarlierRoom),
            _ => Ok(()),
        }
    }

    async fn open(&self, room: &RoomId, grant: &Grant) -> Result<BoxStream<'static, Bytes>, MediaError> {
        self.admit(room, grant).await?;
        Ok(match room.as_str() {
            "long" => stream::iter(vec![Bytes::from(vec![b'a'; METADATA_INTERVAL]); 3]).boxed(),
            "expiring" => {
                let expires = grant.expires_at;
                let is_short = expires.0 < now().0 + 10_000;
                let parts = stream::iter(0..3).then(move |n| async move {
                    while n == 1 && is_short && now() < expires {
                        // Sleep: the clock cannot be moved, so this part comes after the token has expired.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Bytes::from_static(b"abc")
                });
                parts.boxed()
            }
            _ => stream::iter(["one ", "two ", "three"].map(Bytes::from)).boxed(),
        })
    }
}

#[async_trait]
impl LiveMedia for Fake {
    async fn playlist(&self, _: &RoomId, _: Option<(u64, Option<u32>)>) -> Result<PlaylistText, MediaError> {
        Err(MediaError::NotYet)
    }

    async fn file(&self, _: &RoomId, _: &str) -> Result<(Bytes, &'static str), MediaError> {
        Err(MediaError::Gone)
    }

    async fn key(&self, _: &RoomId, _: &Grant, _: &str, _: u64) -> Result<[u8; 16], MediaError> {
        Err(MediaError::KeyRefused)
    }
}

fn side(public_url: Option<String>) -> (Arc<LiveSide>, Arc<ListenerCounter>) {
    side_on(&store(), public_url)
}

fn side_on(store: &FakeStore, public_url: Option<String>) -> (Arc<LiveSide>, Arc<ListenerCounter>) {
    let (fake, counter) = (Arc::new(Fake), Arc::<ListenerCounter>::default());
    let (media, tokens) = (fake.clone(), Arc::new(node_tokens(store.directory())));
    let listeners =
        Listeners { me: ModuleId::new("one").unwrap(), counter: counter.clone(), directory: Arc::default() };
    let hls = HlsSide {
        media,
        tokens,
        replay: None,
        listeners,
        cors: Cors::default(),
        captions: Default::default(),
    };
    let base = PublicBase { url: public_url, ..PublicBase::default() };
    (Arc::new(LiveSide { hls: web::Data::new(hls), media: fake, base }), counter)
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
    ask_of(side(None).0, uri, headers).await
}

async fn ask_of(side: Arc<LiveSide>, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let app = test::init_service(App::new().configure(|c| configure(c, web::Data::from(side)))).await;
    let room = uri.trim_start_matches("/live/").split('.').next().unwrap();
    let mut request = test::TestRequest::get().uri(&with_tokens(uri, room));
    for (name, value) in headers {
        request = request.insert_header((*name, with_tokens(value, room)));
    }
    let answer = test::call_service(&app, request.to_request()).await;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, body: test::read_body(answer).await.to_vec() }
}
