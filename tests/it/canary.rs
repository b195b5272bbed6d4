//! Searches for the secrets of a node in everything that the node writes: the log at the level trace,
//! metrics, `/actors`, the audit log, exported traces and metrics, answers to wrong requests, and command
//! lines and environments of the node and its child processes.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use stentor::probe::{Listener, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::caller::Caller;
use crate::support::node::{Node, request};
use crate::support::webrtc::WebRtcClient;
use crate::support::{opus, raw, until};

const ROOM: &str = "canary";
const API_KEY: &str = "canary-of-the-application";
const PIN: &str = "zQ7XkW";
const TURN: &str = "canary-of-the-turn-servers";
const WEBHOOK: &str = "canary-of-the-webhooks-01234567";
const COLLECTOR: &str = "canary-of-the-collector";
const OUTPUT: &str = "canary-of-an-output";

/// Secrets with their names, and texts that the node wrote, with the place of each.
#[derive(Default)]
pub struct Canary {
    secrets: Vec<(String, String)>,
    written: Vec<(String, String)>,
}

impl Canary {
    pub fn secret(&mut self, name: &str, value: &str) {
        assert!(value.len() >= 6, "{name} is too short to search for: {value:?}");
        self.secrets.push((name.to_owned(), value.to_owned()));
    }

    /// Adds a binary secret in the forms in which a program might print it.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        self.secret(name, &hex::encode(value));
        self.secret(name, &hex::encode_upper(value));
        self.secret(name, BASE64_STANDARD.encode(value).trim_end_matches('='));
        self.secret(name, &BASE64_URL_SAFE_NO_PAD.encode(value));
        self.secret(name, format!("{value:?}").trim_matches(['[', ']']));
    }

    /// Adds the ICE passwords (RFC 8839 section 5.4) and the fingerprints of a session description.
    fn sdp(&mut self, name: &str, sdp: &str) {
        let names = ["a=ice-pwd:", "a=fingerprint:"];
        for line in sdp.lines().filter(|line| names.iter().any(|name| line.starts_with(name))) {
            self.secret(name, line.split_once(':').unwrap().1.trim());
        }
    }

    /// Adds the strings in a JSON value as secrets, except the key ids in fields `kid`.
    fn texts(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.secret(name, text),
            Value::Array(items) => items.iter().for_each(|item| self.texts(name, item)),
            Value::Object(fields) => fields.iter().for_each(|(key, item)| {
                if key != "kid" {
                    self.texts(&format!("{name}.{key}"), item);
                }
            }),
            _ => {}
        }
    }

    pub fn written(&mut self, place: &str, text: String) {
        self.written.push((place.to_owned(), text));
    }

    /// Returns one line for each secret and each place that contains it.
    pub fn found(&self) -> String {
        let mut found = String::new();
        for (place, text) in &self.written {
            for (name, secret) in &self.secrets {
                if let Some(at) = text.find(secret) {
                    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
                    let line: String = text[line..end].chars().take(600).collect();
                    writeln!(found, "{name} in {place}: {line}").unwrap();
                }
            }
        }
        found
    }
}

#[actix::test]
async fn secrets_stay_out_of_everything_written() {
    let files = tempfile::tempdir().unwrap();
    let (collector, exported) = collector().await;
    // FFmpeg runs as another user than the tests, if these run as root.
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let ffmpeg = ffmpeg_that_keeps_input(files.path());
    let mut node = Node::prepare(&[
        ("recording.mode", "always"),
        ("outputs.networks", "127.0.0.0/8"),
        ("mixer.ffmpeg", &ffmpeg),
        ("telemetry.otlp.endpoint", &collector),
        ("telemetry.otlp.interval", "1s"),
    ]);
    node.configured_by(&configuration(files.path()));
    node.authorize(API_KEY);
    node.run();
    node.ready().await;
    let mut canary = Canary::default();
    for (name, secret) in [
        ("API key", API_KEY),
        ("PIN", PIN),
        ("TURN secret", TURN),
        ("webhook", WEBHOOK),
        ("key of the collector", COLLECTOR),
        ("password of an output", OUTPUT),
    ] {
        canary.secret(name, secret);
    }
    let made = fs::read_to_string(node.data_dir().join("secrets.json")).unwrap();
    canary.texts("secrets.json", &serde_json::from_str(&made).unwrap());

    speak_and_listen(&node, &mut canary).await;
    for key in srtp_keys(files.path()) {
        canary.secret("SRTP key", &key);
    }
    wrong_requests(&node, &mut canary).await;
    until("traces are exported", async || text(&exported).contains("POST /api/rooms/{id}/stop")).await;
    for path in ["metrics", "actors", "readyz", "livez", "audit"] {
        let key = format!("Bearer {API_KEY}");
        let answer = request("GET", &format!("{}/{path}", node.ops), &[("authorization", &key)], None).await;
        canary.written(&format!("/{path}"), answer.text());
    }
    node.stop();
    canary.written("traces and metrics", text(&exported));
    canary.written("the log", node.output());
    assert!(node.output().contains("TRACE"), "the level is trace");

    // The room id is not a secret and is in the log. If it is found, the search works.
    canary.secret("room id", ROOM);
    let found = canary.found();
    let (known, leaks): (Vec<&str>, Vec<&str>) =
        found.lines().partition(|line| line.starts_with("room id in"));
    for place in ["the log", "traces and metrics", "/audit"] {
        let found = format!("room id in {place}");
        assert!(known.iter().any(|line| line.starts_with(&found)), "{place}: {known:?}");
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// Starts a collector that accepts all requests. Returns its URL and everything that it receives, as text:
/// the strings of Protobuf are in clear.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = received.clone();
    actix::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            while !is_complete(&request) {
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            // The head has the key of the collector, which belongs there.
            let head = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(request.len());
            kept.lock().unwrap().extend_from_slice(&request[head..]);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    (url, received)
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let head = request.windows(4).position(|four| four == b"\r\n\r\n");
    head.zip(length).is_some_and(|(head, length)| request.len() >= head + 4 + length)
}

fn text(received: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&received.lock().unwrap()).into_owned()
}

/// Writes a script that runs FFmpeg, and returns its path. The script keeps the session descriptions that the
/// node passes to FFmpeg in files `sdp.*`.
fn ffmpeg_that_keeps_input(folder: &Path) -> String {
    let (script, kept) = (folder.join("ffmpeg"), folder.join("sdp"));
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
         *'-f sdp -i pipe:0'*) cat > {kept}.$$; exec ffmpeg \"$@\" < {kept}.$$ ;;\n\
         *) exec ffmpeg \"$@\" ;;\nesac\n",
        kept = kept.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script.display().to_string()
}

/// Returns the keys in the session descriptions (RFC 4568 section 9.1).
fn srtp_keys(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_stem().is_some_and(|stem| stem == "sdp"));
    let texts: Vec<_> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let keys = texts.iter().filter_map(|text| text.split_once("inline:"));
    let keys: Vec<_> = keys.map(|(_, key)| key.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(!keys.is_empty(), "FFmpeg got a key: {texts:?}");
    keys
}

fn configuration(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("config.yaml");
    let secret = BASE64_STANDARD.encode(WEBHOOK);
    let text = format!(
        "auth: {{mode: keys, api_keys: [{API_KEY}]}}\nlog: {{filter: trace}}\n\
         telemetry: {{otlp: {{headers: [\"x-key={COLLECTOR}\"], sample_percent: 100}}}}\n\
         ice: {{turn_secret: {TURN}, servers: [\"turn:127.0.0.1:3478\"]}}\n\
         webhooks:\n  endpoints: [{{name: app, url: \"http://127.0.0.1:9/hook\"}}]\n  \
         secrets: [{{name: app, secret: \"whsec_{secret}\"}}]\n"
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// Runs a room from its creation to its end: an anchor speaks and reconnects, a listener listens, and the
/// room is recorded.
async fn speak_and_listen(node: &Node, canary: &mut Canary) {
    let body = json!({ "roomId": ROOM, "pin": PIN, "start": true });
    assert_eq!(node.post("/api/rooms", body).await.status, 201);
    node.until_status(ROOM, "onair").await;
    let output = json!({ "url": format!("icecast://source:{OUTPUT}@127.0.0.1:9/live") });
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/outputs"), output).await.status, 200);
    let key = node.post("/api/keys", json!({ "name": "canary", "scopes": ["rooms"] })).await.json();
    canary.secret("stored API key", key["secret"].as_str().expect("a key"));
    let ann = json!({ "role": "host", "userId": "ann" });
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), ann).await.json();
    let token = invited["token"].as_str().expect("a token");
    canary.secret("token of an anchor", token);

    let mut ann = Caller::connect(&node.ws, token, "&clientId=a").await;
    let joined = ann.call("join", json!({ "pin": PIN })).await.expect("a join");
    canary.secret("resume token", joined["jtoken"].as_str().expect("a resume token"));
    for server in joined["iceServers"].as_array().into_iter().flatten() {
        if let Some(credential) = server["credential"].as_str() {
            canary.secret("TURN credential", credential);
        }
    }
    let media = WebRtcClient::new(opus::tone(440)).await;
    canary.sdp("offer", &media.offer());
    canary.sdp("answer", &ann.negotiate(&media, media.offer()).await);
    media.until("the connection", |progress| progress.connected).await;

    let target = node.target(ROOM).await;
    canary.secret("token of a listener", &target.token);
    let mut listener = Listener::open(&target, Mode::Parts).await.expect("a listener");
    let heard = listener.hear_segments(2).await.expect("sound");
    let uri = heard.pieces.iter().find_map(|piece| piece.key_uri.clone()).expect("a key");
    let path = format!("/hls/rooms/{ROOM}/{uri}");
    let bearer = format!("Authorization: Bearer {}\r\n", target.token);
    let content_key = raw::request(&node.hls, "GET", path.as_bytes(), &bearer, b"").await;
    assert_eq!((content_key.status, content_key.body.len()), (200, 16), "{}", content_key.text());
    canary.bytes("content key", &content_key.body);

    processes(node, canary);
    let outputs = node.get(&format!("/api/rooms/{ROOM}/outputs")).await;
    canary.written("the list of outputs", outputs.text());
    ann.cut();
    let (ann, resumed) = Caller::come_back(&node.ws, token, &joined["jtoken"]).await;
    canary.secret("second resume token", resumed["jtoken"].as_str().expect("a resume token"));
    ann.goodbye().await;
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), Value::Null).await.status, 200);
    node.until_status(ROOM, "created").await;
}

/// Collects the answers to requests that have a secret in a wrong place.
async fn wrong_requests(node: &Node, canary: &mut Canary) {
    node.post("/api/rooms", json!({ "roomId": "another" })).await;
    let token = node.token("another").await;
    canary.secret("token of another room", &token);
    let authorization = format!("Authorization: Bearer {API_KEY}x\r\n");
    let wrong: [(&str, &str, String, &str, String); 7] = [
        (&node.api, "GET", "/api/rooms".into(), &authorization, String::new()),
        (&node.api, "POST", format!("/api/{API_KEY}"), "", String::new()),
        (&node.api, "POST", "/api/rooms".into(), "", format!("{{\"roomId\": \"x\", \"pin\": \"{PIN}y\"}}")),
        (&node.api, "POST", "/api/token".into(), "", format!("{{\"token\": \"{token}\"}}")),
        (
            &node.hls,
            "GET",
            format!("/hls/rooms/{ROOM}/enc.key?n=0011aabbccdd&k=1&token={token}"),
            "",
            String::new(),
        ),
        (&node.hls, "GET", format!("/hls/rooms/{ROOM}/other?token={token}x"), "", String::new()),
        (&node.ws, "GET", format!("/ws?token={token}"), "", String::new()),
    ];
    for (base, method, path, headers, body) in wrong {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let headers = format!("{headers}{kind}");
        let answer = raw::request(base, method, path.as_bytes(), &headers, body.as_bytes()).await;
        assert!(answer.status >= 400, "{method} {path}: {}", answer.status);
        canary.written(
            &format!("the answer to {method} {path}"),
            format!("{:?} {}", answer.headers, answer.text()),
        );
    }
}

/// Collects the command lines and environments of the node and its child processes.
fn processes(node: &Node, canary: &mut Canary) {
    let read = |pid: i32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let children: Vec<i32> = ["janus", "ffmpeg"].iter().flat_map(|name| node.children(name)).collect();
    assert!(!children.is_empty(), "the node has a Janus");
    for pid in children.into_iter().chain([node.pid()]) {
        canary.written(&format!("command line of {}", read(pid, "comm").trim()), read(pid, "cmdline"));
        canary.written(&format!("environment of {}", read(pid, "comm").trim()), read(pid, "environ"));
    }
    let limits = read(node.pid(), "limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}: a core file has every secret");
}
