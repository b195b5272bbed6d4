//! Tests of the HLS side: every request gets its documented response.

use actix_web::http::header::HeaderName;
use actix_web::{App, test};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::delivery::samples::sample_rewind;
use crate::domain::ids::ModuleId;
use crate::http::test_tokens::{node_tokens, store, with_tokens};
use crate::packager::Rewind;

const GOOD: &str = "{good}";
const TEXT: &str =
    "#EXTM3U\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=ab&k=1\"\ns1\n";

#[actix::test]
async fn playlist_is_public_key_is_not() {
    let playlist = ask("/hls/rooms/demo/index.m3u8", &[]).await;
    assert_eq!((playlist.status, playlist.body.as_str()), (200, TEXT));
    assert_eq!(playlist.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("cache-control"), "public, no-cache");
    assert_eq!(ask("/hls/rooms/demo/enc.key?n=ab&k=1", &[]).await.refusal(), (401, "token_missing".into()));
}

#[actix::test]
async fn banned_listeners_get_nothing() {
    let banned = ("authorization", "Bearer {banned}");
    for uri in ["/hls/rooms/demo/enc.key?n=ab&k=1", "/hls/rooms/demo/index.m3u8"] {
        assert_eq!(ask(uri, &[banned]).await.refusal(), (409, "user_removed".into()), "{uri}");
        let in_query = format!("{uri}{}token={{banned}}", if uri.contains('?') { "&" } else { "?" });
        assert_eq!(ask(&in_query, &[]).await.refusal(), (409, "user_removed".into()), "{uri}");
    }
    assert_eq!(ask("/hls/rooms/demo/index.m3u8", &[]).await.status, 200, "the playlist itself is public");
}

#[actix::test]
async fn rewind_playlist_has_delta_updates() {
    let full = ask("/hls/rooms/demo/rewind.m3u8", &[]).await;
    assert_eq!((full.status, full.header("cache-control")), (200, "public, no-cache"));
    assert_eq!(full.header("content-type"), "application/vnd.apple.mpegurl");
    assert!(full.body.contains("#EXT-X-MEDIA-SEQUENCE:10\n") && !full.body.contains("#EXT-X-SKIP"));
    for (skip, is_delta) in [("YES", true), ("v2", true), ("NO", false), ("", false)] {
        let answer = ask(&format!("/hls/rooms/demo/rewind.m3u8?_HLS_skip={skip}"), &[]).await;
        assert_eq!(answer.body.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=24\n"), is_delta, "{skip}");
    }
    let own = ask(&format!("/hls/rooms/demo/rewind.m3u8?_HLS_skip=YES&token={GOOD}"), &[]).await;
    let key = with_tokens("&k=13&token={good}\"\n", "demo");
    assert!(own.body.contains(&key), "{}", own.body);
    assert_eq!(own.header("cache-control"), "no-store");
}

#[actix::test]
async fn rewind_refusals_name_the_cause() {
    for (room, status, code) in [("plain", 404, "rewind_off"), ("starting", 503, "media_not_ready")] {
        let answer = ask(&format!("/hls/rooms/{room}/rewind.m3u8"), &[]).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{room}");
    }
    let banned = ask("/hls/rooms/demo/rewind.m3u8", &[("authorization", "Bearer {banned}")]).await;
    assert_eq!(banned.refusal(), (409, "user_removed".into()));
    let invalid = ask("/hls/rooms/demo/rewind.m3u8?token=a%22b", &[]).await;
    assert_eq!(invalid.refusal(), (400, "invalid_query".into()));
}

#[actix::test]
async fn playlist_is_gzipped_if_accepted() {
    let uri = "/hls/rooms/demo/index.m3u8";
    for (accepts, encoding) in [
        ("gzip, deflate, br, zstd", "gzip"),
        ("identity", ""),
        ("gzip;q=0, identity", ""),
        ("br", ""),
        ("gzip;q=nine", ""),
    ] {
        let answer = ask(uri, &[("accept-encoding", accepts)]).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, encoding), "{accepts}");
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(answer.body == TEXT, encoding.is_empty());
    }
    let own = ask(&format!("{uri}?token={GOOD}"), &[("accept-encoding", "gzip")]).await;
    assert_eq!((own.header("content-encoding"), own.header("vary")), ("", "origin"));
}

#[actix::test]
async fn hls_token_in_header_cookie_or_query() {
    let uri = "/hls/rooms/demo/enc.key?n=ab&k=1";
    let bearer = ask(uri, &[("authorization", &format!("Bearer {GOOD}"))]).await;
    let cookie = ask(uri, &[("cookie", &format!("other=1; {TOKEN_COOKIE}={GOOD}"))]).await;
    let query = ask(&format!("{uri}&token={GOOD}"), &[]).await;
    for answer in [bearer, cookie, query] {
        assert_eq!((answer.status, answer.body.len()), (200, 16));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(ask(uri, &[("authorization", "Bearer bad")]).await.refusal(), (401, "token_invalid".into()));
    assert_eq!(
        ask(uri, &[("authorization", "Bearer {other}")]).await.refusal(),
        (403, "token_wrong_room".into())
    );
    // The header has precedence: if its token is wrong, a valid cookie is not used.
    let both = [("authorization", "Bearer bad"), ("cookie", "stentor_listener={good}")];
    assert_eq!(ask(uri, &both).await.status, 401);
}

#[actix::test]
async fn query_token_is_repeated_in_key_uri() {
    let answer = ask(&format!("/hls/rooms/demo/index.m3u8?token={GOOD}"), &[]).await;
    assert_eq!(answer.body, TEXT.replace("k=1\"", &with_tokens("k=1&token={good}\"", "demo")));
    assert_eq!(answer.header("cache-control"), "no-store");
    for injection in ["a%22b", "a%0ab", "a\"b", ""] {
        let uri = format!("/hls/rooms/demo/index.m3u8?token={}", injection.replace('"', "%22"));
        assert_eq!(ask(&uri, &[]).await.refusal(), (400, "invalid_query".into()), "{injection}");
    }
}

#[actix::test]
async fn invented_tokens_count_by_address() {
    let side = side();
    let app = test::init_service(App::new().configure(|c| configure(c, side.clone()))).await;
    let ask = async |query: &str, address: &str, agent: &str| {
        let uri = with_tokens(&format!("/hls/rooms/demo/index.m3u8{query}"), "demo");
        let request = test::TestRequest::get().uri(&uri).insert_header(("user-agent", agent));
        let request = request.peer_addr(format!("{address}:1").parse().unwrap());
        assert_eq!(test::call_service(&app, request.to_request()).await.status(), 200);
    };
    for n in 0..100 {
        ask(&format!("?token=invented-{n}"), "192.0.2.1", &format!("agent {n}")).await;
        ask("", &format!("[2001:db8::{n:x}]"), "agent").await;
        ask("", "[::ffff:192.0.2.1]", "agent").await;
    }
    ask(&format!("?token={GOOD}"), "192.0.2.1", "agent").await;
    ask(&format!("?token={GOOD}"), "192.0.2.2", "another").await;
    let here = side.listeners.counter.here(&RoomId::new("demo").unwrap(), Instant::now());
    assert_eq!(here, 3, "one token and two networks");
}

#[actix::test]
async fn blocking_reload_parameters_are_passed_on() {
    let blocking = ask("/hls/rooms/demo/index.m3u8?_HLS_msn=7&_HLS_part=2&_HLS_skip=YES", &[]).await;
    assert_eq!((blocking.status, blocking.body.as_str()), (200, "7 Some(2)"));
    assert_eq!(blocking.header("cache-control"), "public, max-age=1");
    assert_eq!(ask("/hls/rooms/demo/index.m3u8?_HLS_msn=7", &[]).await.body, "7 None");
    for bad in ["_HLS_part=1", "_HLS_msn=x", "_HLS_msn=-1", "_HLS_msn=1&_HLS_part=99999999999", "_HLS_msn="] {
        let answer = ask(&format!("/hls/rooms/demo/index.m3u8?{bad}"), &[]).await;
        assert_eq!(answer.refusal(), (400, "invalid_query".into()), "{bad}");
    }
}

#[actix::test]
async fn every_refusal_has_its_status_and_code() {
    let cases = [
        ("nosuch", 404, "room_not_found"),
        ("notonair", 404, "room_not_on_air"),
        ("notyet", 503, "media_not_ready"),
        ("gone", 410, "media_gone"),
        ("ahead", 400, "too_far_ahead"),
        ("badname", 404, "not_found"),
        ("timeout", 503, "media_timeout"),
        ("unavailable", 503, "media_unavailable"),
    ];
    for (name, status, code) in cases {
        let answer = ask(&format!("/hls/rooms/demo/{name}"), &[]).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    assert_eq!(ask("/hls/rooms/demo/notyet", &[]).await.header("retry-after"), "1");
    let auth: [(&str, &str); 1] = [("authorization", "Bearer {good}")];
    let keys = [
        ("off", 1, 403, "key_refused"),
        ("cd", 1, 404, "key_not_found"),
        ("ab", 9, 403, "key_out_of_window"),
        ("early", 1, 503, "media_not_ready"),
        ("earlier", 1, 401, "token_invalid"),
    ];
    for (hint, index, status, code) in keys {
        let answer = ask(&format!("/hls/rooms/demo/enc.key?n={hint}&k={index}"), &auth).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()));
    }
    for bad in ["", "?n=ab", "?k=1", "?n=../x&k=1", "?n=ab&k=x", "?n=ab&k=18446744073709551616"] {
        assert_eq!(ask(&format!("/hls/rooms/demo/enc.key{bad}"), &auth).await.status, 400, "{bad}");
    }
}

#[actix::test]
async fn path_tricks_reach_nothing() {
    let tricks = [
        "/hls/rooms/demo/%2e%2e",
        "/hls/rooms/demo/%2e%2e%2fsecret",
        "/hls/rooms/demo/..%5csecret",
        "/hls/rooms/demo/a%2fb",
        "/hls/rooms/demo/a%00.ts",
        "/hls/rooms/demo/a%0a",
        "/hls/rooms/demo/.hidden",
        "/hls/rooms/demo/%252e%252e",
        "/hls/rooms/demo/../../etc/passwd",
        "/hls/rooms/demo/",
        "/hls/rooms/demo/a/b",
        "/hls/rooms//seg.ts",
        "/hls/rooms/a%2fb/seg.ts",
        "/hls/rooms/%00%00%00/seg.ts",
        "/hls/rooms/demo%0a/seg.ts",
        "/hls/rooms/%ff%fe%fd/seg.ts",
        "/hls/",
    ];
    for uri in tricks {
        let answer = ask(uri, &[]).await;
        assert!(matches!(answer.status, 400 | 404), "{uri}: {}", answer.status);
        assert_eq!(answer.json()["success"], false, "{uri}");
    }
    let long = format!("/hls/rooms/demo/{}", "a".repeat(129));
    assert_eq!(ask(&long, &[]).await.status, 404);
}

#[actix::test]
async fn media_is_cacheable_and_ranges_ignored() {
    let answer = ask("/hls/rooms/demo/seg.ts", &[("range", "bytes=0-1")]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "media"));
    assert_eq!(answer.header("content-type"), "video/mp2t");
    assert_eq!(answer.header("cache-control"), "public, max-age=300, immutable");
}

#[actix::test]
async fn only_allowed_origins_may_use_a_cookie() {
    let uri = "/hls/rooms/demo/seg.ts";
    let known = ask(uri, &[("origin", "https://app.example")]).await;
    assert_eq!(known.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(known.header("access-control-allow-credentials"), "true");
    assert_eq!(known.header("vary"), "origin");
    let stranger = ask(uri, &[("origin", "https://evil.example")]).await;
    assert_eq!(stranger.header("access-control-allow-origin"), "*");
    assert_eq!(stranger.header("access-control-allow-credentials"), "");
}

#[actix::test]
async fn preflight_and_other_methods_are_answered() {
    let app = test::init_service(App::new().configure(|c| configure(c, side()))).await;
    let with = |method: &str| {
        let method = actix_web::http::Method::from_bytes(method.as_bytes()).unwrap();
        test::TestRequest::with_uri("/hls/rooms/demo/enc.key?n=ab&k=1").method(method).to_request()
    };
    let preflight = test::call_service(&app, with("OPTIONS")).await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(
        preflight.headers().get("access-control-allow-headers").unwrap(),
        "authorization, icy-metadata, range"
    );
    let post = test::call_service(&app, with("POST")).await;
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers().get("allow").unwrap(), "GET, HEAD, OPTIONS");
}

#[actix::test]
async fn playlist_requests_count_each_listener_once() {
    let side = side();
    let app = test::init_service(App::new().configure(|c| configure(c, side.clone()))).await;
    let asks = [
        ("/hls/rooms/demo/index.m3u8", "authorization", "Bearer {one}"),
        ("/hls/rooms/demo/index.m3u8?token={one}&_HLS_msn=3", "user-agent", "another program"),
        ("/hls/rooms/demo/index.m3u8", "cookie", "a=b; stentor_listener={two}"),
        ("/hls/rooms/demo/index.m3u8", "user-agent", "curl"),
        ("/hls/rooms/demo/index.m3u8", "user-agent", "curl"),
        ("/hls/rooms/demo/index.m3u8", "user-agent", "mpv"),
        ("/hls/rooms/demo/seg.ts", "user-agent", "a cache"),
    ];
    for (uri, name, value) in asks {
        let (uri, value) = (with_tokens(uri, "demo"), with_tokens(value, "demo"));
        let request = test::TestRequest::get().uri(&uri).insert_header((name, value)).to_request();
        assert_eq!(test::call_service(&app, request).await.status(), 200);
    }
    let demo = RoomId::new("demo").unwrap();
    assert_eq!(side.listeners.counter.here(&demo, Instant::now()), 3, "two tokens, and one address without");
}

struct Fake;

#[async_trait]
impl LiveMedia for Fake {
    async fn playlist(&self, _: &RoomId, at: Option<(u64, Option<u32>)>) -> Result<PlaylistText, MediaError> {
        let text = at.map_or(TEXT.to_owned(), |(msn, part)| format!("{msn} {part:?}"));
        Ok(Bytes::from(text).into())
    }

    async fn rewind(&self, room: &RoomId) -> Result<Arc<Rewind>, MediaError> {
        let window = |until| Ok(Arc::new(sample_rewind(10..until)));
        match room.as_str() {
            "plain" => Err(MediaError::NoRewind),
            "starting" => window(10),
            _ => window(40),
        }
    }

    async fn file(&self, _: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaError> {
        Err(match name {
            "seg.ts" => return Ok((Bytes::from_static(b"media"), "video/mp2t")),
            "nosuch" => MediaError::NoSuchRoom,
            "notonair" => MediaError::NotOnAir,
            "notyet" => MediaError::NotYet,
            "gone" => MediaError::Gone,
            "ahead" => MediaError::TooFarAhead,
            "timeout" => MediaError::Timeout,
            "unavailable" => MediaError::Unavailable,
            _ => MediaError::NoSuchFile,
        })
    }

    async fn key(&self, _: &RoomId, _: &Grant, hint: &str, index: u64) -> Result<[u8; 16], MediaError> {
        match (hint, index) {
            ("ab", 1) => Ok(*b"sixteen bytes ok"),
            ("ab", _) => Err(MediaError::KeyOutOfWindow),
            ("early", _) => Err(MediaError::NotYet),
            ("earlier", _) => Err(MediaError::EarlierRoom),
            ("off", _) => Err(MediaError::KeyRefused),
            _ => Err(MediaError::NoSuchKey),
        }
    }
}

fn side() -> web::Data<HlsSide> {
    let tokens = Arc::new(node_tokens(store().directory()));
    let cors = Cors::new(vec!["https://app.example".into()]);
    let listeners =
        Listeners { me: ModuleId::new("one").unwrap(), counter: Arc::default(), directory: Arc::default() };
    web::Data::new(HlsSide {
        media: Arc::new(Fake),
        tokens,
        replay: None,
        listeners,
        cors,
        captions: Default::default(),
    })
}

struct Answer {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn refusal(&self) -> (u16, String) {
        let json = self.json();
        assert!(json["requestId"].as_str().is_some_and(|id| id.len() == 32), "{json}");
        (self.status, json["code"].as_str().unwrap().to_owned())
    }
}

async fn ask(uri: &str, headers: &[(&str, &str)]) -> Answer {
    let app = test::init_service(App::new().configure(|c| configure(c, side()))).await;
    let mut request = test::TestRequest::get().uri(&with_tokens(uri, "demo"));
    for (name, value) in headers {
        request = request.insert_header((*name, with_tokens(value, "demo")));
    }
    let answer = test::call_service(&app, request.to_request()).await;
    let status = answer.status().as_u16();
    let text = |v: &header::HeaderValue| v.to_str().unwrap().to_owned();
    let headers = answer.headers().iter().map(|(n, v)| (n.clone(), text(v))).collect();
    let body = String::from_utf8_lossy(&test::read_body(answer).await).into_owned();
    Answer { status, headers, body }
}
