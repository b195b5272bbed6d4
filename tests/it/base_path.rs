//! A node below a path of a reverse proxy (`http.base_path`): nginx in front of a real node, with the pages
//! in Chromium.

use serde_json::{Value, json};

use crate::support::browser;
use crate::support::free_ports;
use crate::support::nginx::Nginx;
use crate::support::node::{Node, request};
use crate::support::pages::{Pages, tone};
use crate::support::studio::Studio;
use crate::support::until;

const ROOM: &str = "live";
const KEY: &str = "sixteen-letters-1";
const BASE: &str = "/media/audio";

/// nginx in front of a node.
struct Proxy {
    /// URL of the node at the proxy, with the path.
    url: String,
    _nginx: Nginx,
}

impl Proxy {
    /// Starts nginx. It serves the node below [`BASE`] and nothing else. With `keep`, it passes the path on
    /// unchanged; otherwise it removes [`BASE`].
    async fn start(port: u16, keep: bool, [api, ws, hls]: [&str; 3]) -> Self {
        let end = if keep { "" } else { "/" };
        let place = |path: &str, to: &str| {
            let rest = if keep { "" } else { path };
            format!("location {BASE}/{path} {{ proxy_pass {to}{end}{rest}; }}\n")
        };
        let places = [place("api/", api), place("ws", ws), place("whip/", ws), place("", hls)].concat();
        let nginx = Nginx::start(port, "", &format!("{places}location / {{ return 404; }}")).await;
        Self { url: format!("http://127.0.0.1:{port}{BASE}"), _nginx: nginx }
    }
}

async fn node_behind(port: u16) -> Node {
    let public = format!("http://127.0.0.1:{port}");
    let gateway = format!("ws://127.0.0.1:{port}{BASE}/ws");
    Node::start(&[
        ("auth.mode", "keys"),
        ("auth.api_keys", KEY),
        ("http.base_path", &format!("{BASE}/")),
        ("http.public_hls_url", &public),
        ("http.public_ws_url", &gateway),
        ("http.trusted_proxies", "127.0.0.1/32"),
        ("http.embed_origins", "*"),
    ])
    .await
}

#[actix::test]
async fn pages_work_below_a_path() {
    let [port] = free_ports();
    let node = node_behind(port).await;
    let proxy = Proxy::start(port, true, [&node.api, &node.ws, &node.hls]).await;
    let base = proxy.url.as_str();
    let bearer = format!("Bearer {KEY}");
    let key = [("authorization", bearer.as_str())];
    let body = json!({ "roomId": ROOM, "start": true });
    let made = request("POST", &format!("{base}/api/rooms"), &key, Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["room"]["hlsUrl"], format!("{base}/hls/rooms/{ROOM}/index.m3u8"));
    node.until_status(ROOM, "onair").await;

    // Every URL that the node returns works unchanged.
    let invite = json!({ "userId": "ann", "role": "anchor" });
    let users = format!("{base}/api/rooms/{ROOM}/users");
    let invited = request("POST", &users, &key, Some(invite)).await.json();
    let invite_url = invited["inviteUrl"].as_str().unwrap();
    assert!(invite_url.starts_with(&format!("{base}/speak/{ROOM}#token=")), "{invite_url}");
    assert_eq!(invited["whipUrl"], format!("{base}/whip/{ROOM}"));
    let page = format!("{base}/listen/{ROOM}");
    let oembed = format!("{base}/oembed?url={page}");
    let described = request("GET", &oembed, &[], None).await;
    assert_eq!(described.status, 200, "{described:?}");
    assert!(described.text().contains(&format!("{base}/embed/{ROOM}")), "{}", described.text());
    let html = request("GET", &page, &[], None).await.text();
    assert!(html.contains(&format!("content=\"{page}\"")) && html.contains(&format!("\"{BASE}/assets/")));
    assert_eq!(request("GET", &format!("{base}/embed/{ROOM}"), &[], None).await.status, 200);
    let token = node.token(ROOM).await;
    let plain = request("GET", &format!("{base}/live/{ROOM}.m3u?token={token}"), &[], None).await.text();
    assert!(plain.contains(&format!("{base}/live/{ROOM}.aac?token=")), "{plain}");
    assert_eq!(request("GET", &format!("{base}/docs"), &[], None).await.status, 200);
    assert_eq!(request("GET", &format!("{base}/assets/none.js"), &[], None).await.status, 404);
    let direct = request("GET", &format!("{}/listen/{ROOM}", node.hls), &[], None).await;
    assert_eq!(direct.status, 200, "other nodes send no prefix");

    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, ROOM, 440).await;
    let listened = browser::listen(&format!("{page}#token={token}"), 10).await;
    assert!(listened.errors_of_ours().is_empty(), "{listened:?}");
    assert_eq!((listened.state.as_str(), &listened.foreign_requests), ("playing", &vec![]), "{listened:?}");
    assert!((listened.dominant_hz.unwrap() - 440.0).abs() < 15.0, "{listened:?}");
}

#[actix::test]
async fn anchors_speak_below_a_path() {
    // This proxy removes the path.
    let [port] = free_ports();
    let node = node_behind(port).await;
    let proxy = Proxy::start(port, false, [&node.api, &node.ws, &node.hls]).await;
    node.room_on_air(ROOM).await;
    let invite = json!({ "userId": "ann", "role": "anchor" });
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), invite).await.json();
    let url = invited["inviteUrl"].as_str().unwrap();
    assert!(url.starts_with(&proxy.url), "{url}");
    let (folder, mut pages) = (tempfile::tempdir().unwrap(), Pages::start().await);
    let wav = tone(folder.path(), 440).await;
    pages.ask("ann", "open", json!({ "url": url, "wav": wav })).await;
    let ann = pages.connected("ann").await;
    assert_eq!(ann["errors"], json!([]), "{ann:#}");
    let of_ann = async || {
        let users = node.get(&format!("/api/rooms/{ROOM}/users")).await.json();
        users["users"].as_array().unwrap().iter().find(|user| user["userId"] == "ann").cloned()
    };
    until("ann is on air", async || of_ann().await.is_some_and(|user: Value| user["connected"] == true))
        .await;
}
