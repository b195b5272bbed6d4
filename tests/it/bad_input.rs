//! Invalid requests to a running node: each gets its documented status and code, changes nothing, and does
//! not disturb the room on air.

mod api_keys;
mod bodies;
mod path_tricks;
mod tokens;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stentor::probe::{Listener, Mode};

use crate::support::abuse_table::withstood;
use crate::support::node::{Answer, Node};
use crate::support::raw;

use path_tricks::PATH_TRICKS;

const KEY: &str = "a-key-of-the-tests-0123456789";
const KEYS: [(&str, &str); 2] = [("auth.mode", "keys"), ("auth.api_keys", KEY)];
const JSON: &str = "Content-Type: application/json\r\n";
const ROOMS: &str = "/api/rooms";
const TOKEN: &str = "/api/token";
const ROOM: &str = "/api/rooms/{id}";
const SOURCES: &str = "/api/rooms/{id}/sources";
const OUTPUTS: &str = "/api/rooms/{id}/outputs";
const MARK: &str = "/api/modules/{kind}/{id}/mark";
const REPLAY: &str = "/api/webhooks/{name}/replay";
const DEAD: &str = "/api/webhooks/{name}/dead";
const LETTER: &str = "/api/webhooks/{name}/dead/{event}";
const API_KEYS: &str = "/api/keys";
const API_KEY: &str = "/api/keys/{id}";
const PATIENCE: Duration = Duration::from_secs(60);
const TEN_MEGABYTES: usize = 10 << 20;

#[actix::test]
async fn bad_bodies_are_refused() {
    for settings in [&[][..], &KEYS[..]] {
        let house = House::open(settings).await;
        house.bad_bodies().await;
        house.bad_api_keys().await;
        house.stands_unharmed().await;
    }
    withstood(
        "wrong JSON: syntax, types, depth, names, PINs, doubled fields",
        "400 with a code",
        "nothing is written; the room plays on",
    );
}

#[actix::test]
async fn invalid_and_unknown_names_are_refused() {
    for settings in [&[][..], &KEYS[..]] {
        let house = House::open(settings).await;
        house.bad_names().await;
        house.unknown_names().await;
        house.stands_unharmed().await;
    }
    withstood(
        "names that are invalid or unknown, on every path",
        "400, 404",
        "nothing is written; the room plays on",
    );
}

#[actix::test]
async fn ten_megabyte_bodies_are_refused() {
    let house = House::open(&[]).await;
    for (method, path) in house.with_bodies() {
        let body = vec![b'x'; TEN_MEGABYTES];
        house.refuses(&method, &path, body, (413, "body_too_large")).await;
    }
    // These services read no body, so its size does not matter. A large body must not use resources either.
    let body = vec![b'x'; TEN_MEGABYTES];
    for base in [&house.node.hls, &house.node.ops] {
        let answer = raw::request(base, "POST", b"/", JSON, &body).await;
        assert!([404, 405, 413].contains(&answer.status), "{base}: {}", answer.status);
    }
    house.stands_unharmed().await;
    withstood("bodies of ten megabytes", "413", "the room plays on");
}

#[actix::test]
async fn start_is_idempotent_create_conflicts() {
    let house = House::open(&[]).await;
    let before = house.node.get("/api/rooms/live").await.json();
    for _ in 0..3 {
        let again = house.node.post("/api/rooms/live/start", json!({})).await;
        assert_eq!((again.status, again.json()), (200, before.clone()));
    }
    for body in [json!({ "roomId": "live" }), json!({ "roomId": "live", "start": true, "pin": "000000" })] {
        let refused = house.node.post(ROOMS, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "room_exists"));
    }
    house.stands_unharmed().await;
}

#[actix::test]
async fn unplaceable_start_is_refused() {
    let house = House::open(&[]).await;
    let id = house.node.id().await;
    for (kind, code) in [("januses", "no_janus_available"), ("mixers", "no_mixer_available")] {
        let path = format!("/api/modules/{kind}/{id}/mark");
        for label in ["cordon", "draining", "drained", "unready"] {
            assert_eq!(house.node.put(&path, json!({ "label": label })).await.status, 200);
            house.nothing_starts(code, &format!("marked {label}")).await;
        }
        assert_eq!(house.node.delete(&path).await.status, 200);
    }
    house.stands_unharmed().await;
}

#[actix::test]
async fn zero_capacity_takes_no_rooms() {
    for (key, code) in [("janus.capacity", "no_janus_available"), ("mixer.capacity", "no_mixer_available")] {
        let node = Node::start(&[(key, "0")]).await;
        let house = House::of(node).await;
        assert_eq!(house.node.post(ROOMS, json!({ "roomId": "idle" })).await.status, 201);
        let house = House::of(house.node).await;
        house.nothing_starts(code, "closed: it announces capacity 0").await;
        house.stands_unharmed().await;
    }
}

#[actix::test]
async fn operations_require_valid_api_key() {
    let house = House::open(&KEYS).await;
    let wrong = ["", "Bearer wrong", "Bearer ", KEY, "Basic YTpi", "bearer", &format!("Bearer {KEY}x")];
    for (method, path) in house.operations() {
        let target = house.fill(&path);
        // The listener channel takes listener tokens instead of API keys, and is served on `listen.hls`.
        let of_listeners = path.starts_with("/hls/");
        let server = if of_listeners { &house.node.hls } else { &house.node.api };
        let ask = async |authorization: &str| {
            let line = format!("Authorization: {authorization}\r\n");
            let header = format!("{JSON}{}", if authorization.is_empty() { "" } else { &line });
            raw::request(server, &method, target.as_bytes(), &header, b"{}").await
        };
        // Send all at once: a server that has not read the body closes the connection a second later.
        for answer in futures::future::join_all(wrong.map(ask)).await {
            house.is_documented(&method, &path, &answer);
            let code = answer.code();
            let expected = match (of_listeners, answer.status) {
                (true, 401) => code.starts_with("token_"),
                // The channel checks the form of the body first.
                (true, 400) => code == "invalid_body",
                _ => (answer.status, code.as_str()) == (401, "unauthorized"),
            };
            assert!(expected, "{method} {path}: {} {code}", answer.status);
            assert!(of_listeners || answer.header("www-authenticate") == Some("Bearer"));
        }
    }
    // An API key is not a listener token, and does not change access to HLS or operations.
    let as_token = house.ask_key(&house.key_uri().await, &format!("Authorization: Bearer {KEY}\r\n")).await;
    assert_eq!((as_token.status, as_token.code().as_str()), (401, "token_invalid"));
    house.stands_unharmed().await;
    withstood("no API key, wrong, cut and prolonged keys", "401", "nothing is written");
}

#[actix::test]
async fn key_endpoint_serves_only_room_listeners() {
    let house = House::open(&[]).await;
    let uri = house.key_uri().await;
    let good = house.node.token("live").await;
    for (token, status, code) in house.bad_tokens().await {
        let bearer = house.ask_key(&uri, &format!("Authorization: Bearer {token}\r\n")).await;
        let cookie = house.ask_key(&uri, &format!("Cookie: stentor_listener={token}\r\n")).await;
        for answer in [bearer, cookie] {
            assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{token}");
        }
    }
    let missing = house.ask_key(&uri, "").await;
    assert_eq!((missing.status, missing.code().as_str()), (401, "token_missing"));
    assert_eq!(house.ask_key(&uri, &format!("Authorization: Bearer {good}\r\n")).await.body.len(), 16);
    let (path, query) = uri.split_once('?').unwrap();
    let (hint, index) = query.split_once('&').unwrap();
    for (query, status, code) in [
        (String::new(), 400, "invalid_query"),
        (format!("?{hint}"), 400, "invalid_query"),
        (format!("?{index}"), 400, "invalid_query"),
        (format!("?{hint}&k=-1"), 400, "invalid_query"),
        (format!("?{hint}&k=1e3"), 400, "invalid_query"),
        (format!("?n=..%2f&{index}"), 400, "invalid_query"),
        (format!("?n=000000000000&{index}"), 404, "key_not_found"),
    ] {
        let answer =
            house.ask_key(&format!("{path}{query}"), &format!("Authorization: Bearer {good}\r\n")).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query}");
    }
    house.stands_unharmed().await;
    withstood(
        "tokens: expired, of another room, role or issuer, forged, unsigned, cut",
        "401, 403",
        "no access",
    );
}

#[actix::test]
async fn path_tricks_reach_no_file() {
    let house = House::open(&[]).await;
    for (target, status, code) in PATH_TRICKS {
        let answer = raw::request(&house.node.hls, "GET", target.as_bytes(), "", b"").await;
        let shown = answer.text();
        assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{target:?}: {shown}");
        assert!(!shown.contains("jwt") && !shown.contains("root:"), "{target:?}: {shown}");
    }
    // Malformed targets. Most of them are not valid HTTP: the server then responds with 400 or closes the
    // connection.
    for target in
        [&b"/hls/rooms/live/\0"[..], b"/hls/rooms/live/a\nb", b"/hls/rooms/\xff\xfe/index.m3u8", b""]
    {
        let answer = raw::request(&house.node.hls, "GET", target, "", b"").await;
        assert!([0, 400, 404].contains(&answer.status), "{target:?}: {}", answer.status);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let answer = raw::request(&house.node.hls, method, b"/hls/rooms/live/index.m3u8", "", b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"), "{method}");
    }
    house.stands_unharmed().await;
    withstood("paths with dots, percent signs, backslashes and null bytes", "400, 404", "the room plays on");
}

/// A node with the room `live` on air and the room `idle`, and their state before any bad input.
struct House {
    node: Node,
    before: Value,
    ffmpeg: Vec<i32>,
    document: Value,
    id: String,
}

/// Returns the rooms as the API lists them, without the changing listener counts.
async fn rooms(node: &Node) -> Value {
    let mut listed = node.get(ROOMS).await.json();
    for room in listed["rooms"].as_array_mut().unwrap() {
        room.as_object_mut().unwrap().remove("listeners");
    }
    listed
}

impl House {
    async fn open(settings: &[(&str, &str)]) -> Self {
        // The watchdog must not interfere on a busy machine.
        let node = Node::start(&[settings, &[("mixer.watchdog", "60s")]].concat()).await;
        assert_eq!(node.post(ROOMS, json!({ "roomId": "idle" })).await.status, 201);
        node.room_on_air("live").await;
        let house = Self::of(node).await;
        house.plays().await;
        house
    }

    async fn of(node: Node) -> Self {
        let before = rooms(&node).await;
        let document = node.get("/api/openapi.json").await.json();
        let (ffmpeg, id) = (node.children("ffmpeg"), node.id().await);
        Self { node, before, ffmpeg, document, id }
    }

    /// Asserts that nothing has changed, the sound continues, and the log contains no errors.
    async fn stands_unharmed(mut self) {
        assert_eq!(rooms(&self.node).await, self.before);
        assert_eq!(self.node.readyz().await.status, 200);
        assert_eq!(self.node.children("ffmpeg"), self.ffmpeg, "no FFmpeg was replaced");
        if !self.ffmpeg.is_empty() {
            self.plays().await;
        }
        let errors: Vec<_> = self.node.log().into_iter().filter(|l| l["level"] == "ERROR").collect();
        assert_eq!(errors, Vec::<Value>::new());
        assert!(self.node.stop().success());
    }

    async fn plays(&self) {
        let mut listener =
            Listener::open_by(&self.node.target("live").await, Mode::Parts, Instant::now() + PATIENCE)
                .await
                .unwrap();
        let heard = listener.hear(Duration::from_secs(1)).await.unwrap();
        assert_eq!(heard.violations, Vec::<String>::new());
        assert!(heard.seconds() >= 1.0, "{}", heard.seconds());
    }

    /// Asserts the refusal of a request. `path` is the path as in the API's document.
    async fn refuses(&self, method: &str, path: &str, body: impl Into<Vec<u8>>, expected: (u16, &str)) {
        self.refuses_at(method, path, &self.fill(path), body.into(), expected).await;
    }

    async fn refuses_at(&self, method: &str, path: &str, target: &str, body: Vec<u8>, expected: (u16, &str)) {
        let headers = format!("{JSON}Authorization: Bearer {KEY}\r\n");
        let answer = raw::request(&self.node.api, method, target.as_bytes(), &headers, &body).await;
        self.is_documented(method, path, &answer);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let got = (answer.status, answer.code());
        assert_eq!(got, (expected.0, expected.1.to_owned()), "{method} {target} {shown}: {}", answer.text());
        assert_eq!(answer.json()["success"], false);
        assert_eq!(answer.header("x-request-id"), answer.json()["requestId"].as_str());
    }

    fn is_documented(&self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.document["paths"][path][method.to_lowercase()];
        let described = operation["responses"][answer.status.to_string()]["description"].as_str();
        let described =
            described.unwrap_or_else(|| panic!("{method} {path}: {} is not documented", answer.status));
        assert!(described.contains(&answer.code()), "{method} {path}: {} in {described}", answer.code());
    }

    fn operations(&self) -> Vec<(String, String)> {
        let methods = |(path, item): (&String, &Value)| -> Vec<(String, String)> {
            item.as_object().unwrap().keys().map(|m| (m.to_uppercase(), path.clone())).collect()
        };
        let all: Vec<_> = self.document["paths"].as_object().unwrap().iter().flat_map(methods).collect();
        assert!(all.len() >= 12, "{all:?}");
        all
    }

    fn fill(&self, path: &str) -> String {
        let id = match path {
            path if path.contains("{kind}") => &self.id,
            path if path.contains("/recordings/") => "0123456789abcdef",
            path if path.contains("/keys/") => "abcdefghijkl",
            _ => "live",
        };
        let path = path.replace("{room}", "live").replace("{person}", "0123456789abcdef");
        let path = path.replace("{name}", "app").replace("{event}", "evt_1").replace("{message}", "1");
        path.replace("{kind}", "mixers").replace("{id}", id)
    }

    async fn bad_names(&self) {
        let names = [
            "a%2Fb",
            "..%2F..",
            "abc%0A",
            "a%0Ab",
            "ab%00c",
            "%00",
            "ab",
            "a%20b%20c",
            "%FF%FE%FD",
            "%C3%BCber",
        ];
        for (method, path) in self.operations().iter().filter(|(_, path)| path.contains("/rooms/{id}")) {
            for name in names.iter().copied().chain([&*"x".repeat(33)]) {
                let target = path.replace("{id}", name);
                self.refuses_at(method, path, &target, Vec::new(), (400, "invalid_room_id")).await;
            }
        }
        for method in ["PUT", "DELETE"] {
            for name in ["a%2Fb", "a%0Ab", "a%00b", "%FF", "a%20b", &"x".repeat(65)] {
                let target = MARK.replace("{kind}", "mixers").replace("{id}", name);
                let body = if method == "PUT" { r#"{"label":"cordon"}"# } else { "" };
                self.refuses_at(method, MARK, &target, body.into(), (400, "invalid_module_id")).await;
            }
        }
        for query in ["?limit=0", "?limit=1001", "?limit=x", "?limit=-1", "?page=2", "?limit=1&limit=2"] {
            self.refuses_at("GET", ROOMS, &format!("{ROOMS}{query}"), Vec::new(), (400, "invalid_query"))
                .await;
        }
        for query in ["?after=a%2Fb", "?after=a%0Ab", "?after="] {
            self.refuses_at("GET", ROOMS, &format!("{ROOMS}{query}"), Vec::new(), (400, "invalid_room_id"))
                .await;
        }
    }

    async fn unknown_names(&self) {
        for (method, path) in self.operations().iter().filter(|(_, path)| path.contains("/rooms/{id}")) {
            let target = path.replace("{id}", "no-such-room");
            let target = target.replace("{userId}", "ann").replace("{sourceId}", "ann");
            let target = target.replace("{outputId}", "0123456789abcdef");
            // Operations without a body ignore the body that is sent here.
            let body = match &**path {
                SOURCES => r#"{"file":"a.mp3"}"#,
                OUTPUTS => r#"{"url":"srt://radio.example.org:9000"}"#,
                _ if method == "PATCH" => r#"{"title":"Tea"}"#,
                _ => r#"{"role":"anchor"}"#,
            };
            self.refuses_at(method, path, &target, body.into(), (404, "room_not_found")).await;
        }
        self.refuses("POST", TOKEN, r#"{"roomId":"no-such-room"}"#, (404, "room_not_found")).await;
        for name in ["other", "a%2Fb", "a%0Ab", "%00", "%FF", "..", &"x".repeat(300)] {
            for (method, path, body) in
                [("POST", REPLAY, r#"{"after":"0"}"#), ("GET", DEAD, ""), ("POST", LETTER, "")]
            {
                let target = path.replace("{name}", name).replace("{event}", "evt_1");
                self.refuses_at(method, path, &target, body.into(), (404, "webhook_not_found")).await;
            }
        }
        let cordon = || br#"{"label":"cordon"}"#.to_vec();
        let mark = |kind: &str, id: &str| MARK.replace("{kind}", kind).replace("{id}", id);
        self.refuses_at("PUT", MARK, &mark("mixers", "nobody"), cordon(), (404, "module_not_found")).await;
        self.refuses_at("PUT", MARK, &mark("gateways", &self.id), cordon(), (404, "not_found")).await;
        for target in ["/api", "/api/", "/api/nothing", "/api/rooms/", "/api/rooms/live/nothing", "/"] {
            let headers = format!("Authorization: Bearer {KEY}\r\n");
            let answer = raw::request(&self.node.api, "GET", target.as_bytes(), &headers, b"").await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{target}");
        }
    }

    async fn nothing_starts(&self, code: &str, reason: &str) {
        let start = self.node.post("/api/rooms/idle/start", json!({})).await;
        let create = self.node.post(ROOMS, json!({ "roomId": "other", "start": true })).await;
        for answer in [start, create] {
            assert_eq!((answer.status, answer.code().as_str()), (503, code), "{}", answer.text());
            assert!(answer.header("retry-after").is_some());
            let considered = &answer.json()["details"]["considered"][0];
            assert_eq!((&considered["id"], &considered["reason"]), (&json!(self.id), &json!(reason)));
        }
        assert_eq!(rooms(&self.node).await, self.before, "nothing was written");
    }

    /// Returns path and query of the newest key in the playlist.
    async fn key_uri(&self) -> String {
        let playlist =
            raw::request(&self.node.hls, "GET", b"/hls/rooms/live/index.m3u8", "", b"").await.text();
        let key =
            playlist.rsplit("METHOD=AES-128,URI=\"").next().and_then(|rest| rest.split('"').next()).unwrap();
        format!("/hls/rooms/live/{key}")
    }

    async fn ask_key(&self, uri: &str, headers: &str) -> Answer {
        raw::request(&self.node.hls, "GET", uri.as_bytes(), headers, b"").await
    }
}
