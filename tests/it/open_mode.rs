//! Open mode serves only the node's own machine: requests that came through a proxy are refused.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::abuse_table::withstood;
use crate::support::kept::KeptProcess;
use crate::support::node::{Node, request};
use crate::support::{free_ports, until};
use crate::ws::client::Client;

const ROOM: &str = "demo";

#[actix::test]
async fn open_mode_refuses_proxied_requests() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let (api, hls, ops) = (node.api.as_str(), node.hls.as_str(), node.ops.as_str());
    let (create, token) = (json!({ "roomId": "other" }), json!({ "role": "host", "name": "Mallory" }));
    for forwarded in
        [("x-forwarded-for", "203.0.113.66"), ("forwarded", "for=203.0.113.66"), ("via", "1.1 x")]
    {
        for (method, url, body) in [
            ("POST", format!("{api}/api/rooms"), Some(&create)),
            ("GET", format!("{api}/api/openapi.json"), None),
            ("GET", format!("{api}/nowhere"), None),
            ("POST", format!("{hls}/pages/rooms/{ROOM}/token"), Some(&token)),
            ("GET", format!("{hls}/pages/rooms"), None),
            ("GET", format!("{hls}/listen/{ROOM}"), None),
            ("GET", format!("{hls}/hls/rooms/{ROOM}/index.m3u8"), None),
            ("GET", format!("{ops}/metrics"), None),
        ] {
            let answer = request(method, &url, &[forwarded], body.cloned()).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "proxy_not_allowed"), "{url}");
            assert!(answer.header("x-request-id").is_some(), "{url}");
        }
        let gateway: SocketAddr = node.ws.trim_start_matches("http://").parse().unwrap();
        let refused = Client::open(gateway, "", &[forwarded]).await.err().expect("a refusal");
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("proxy_not_allowed")));
    }
    assert_eq!(node.get("/api/rooms/other").await.status, 404, "nothing was created");
    assert_eq!(request("GET", &format!("{ops}/metrics"), &[], None).await.status, 200);
    let warned = node.log().into_iter().filter(|line| line["level"] == "WARN");
    let warned =
        warned.filter(|line| line["message"].as_str().is_some_and(|text| text.contains("auth.mode is open")));
    assert_eq!(warned.count(), 1, "a warning at each start");
    assert!(node.stop().success());
    withstood("open mode behind a proxy on the same host", "403", "no access");
}

#[actix::test]
async fn keys_mode_accepts_proxied_requests() {
    const KEY: &str = "sixteen-letters-1";
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let authorization = format!("Bearer {KEY}");
    let headers = [("x-forwarded-for", "203.0.113.66"), ("authorization", &authorization)];
    assert_eq!(request("GET", &format!("{}/api/rooms", node.api), &headers, None).await.status, 200);
    assert_eq!(request("GET", &format!("{}/", node.hls), &headers[..1], None).await.status, 200);
    assert_eq!(node.problems(), Vec::<String>::new());
}

/// With only `proxy_pass`, nginx adds no forwarding header and sends the backend's address as `Host`.
#[actix::test]
async fn stock_nginx_gets_nothing_from_open_mode() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let folder = tempfile::tempdir().unwrap();
    let front = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let _nginx = nginx(folder.path(), &front, &node);
    until("nginx listens", async || tokio::net::TcpStream::connect(&front).await.is_ok()).await;
    let stranger = [("host", "live.example.org")];
    for (method, path, body) in [
        ("POST", "/api/rooms", Some(json!({ "roomId": "other" }))),
        ("DELETE", "/api/rooms/demo", None),
        ("POST", "/pages/rooms/demo/token", Some(json!({ "role": "host", "name": "Mallory" }))),
    ] {
        let answer = request(method, &format!("http://{front}{path}"), &stranger, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "proxy_not_allowed"), "{path}");
    }
    assert_eq!(node.get("/api/rooms/demo").await.status, 200, "the room was deleted");
    withstood("open mode behind nginx without forwarding headers", "403", "no access");
}

/// Starts an nginx in the foreground, as one process, with a stock `proxy_pass` to the node.
fn nginx(folder: &Path, front: &str, node: &Node) -> KeptProcess {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()))
        .concat();
    let config = format!(
        "pid {}/pid; error_log stderr; daemon off; master_process off; events {{}}\n\
         http {{ access_log off; {temporary} server {{ listen {front};\n\
         location /api/ {{ proxy_pass {}; }} location / {{ proxy_pass {}; }} }} }}\n",
        folder.display(),
        node.api,
        node.hls
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    // Debian installs nginx outside the path of normal users.
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
    KeptProcess::start(command)
}
