//! Users, listeners, pages and the API document on a real node.

use std::net::SocketAddr;

use serde_json::{Value, json};
use stentor::probe::{Listener, Mode};

use crate::support::abuse_table::withstood;
use crate::support::browser::reference;
use crate::support::node::{Answer, Node, PUBLIC_HLS_URL, PUBLIC_WS_URL, request};
use crate::support::{in_time, until, validator};
use crate::ws::client::Client;

const ALL_ROLES: (&str, &str) = ("node.roles", "rooms,janus,mixer,hls,gateway");

#[actix::test]
async fn removal_survives_node_restart() {
    let mut node = Node::start(&[ALL_ROLES]).await;
    node.room_on_air("demo").await;
    let made = invite(&node, "ann").await;
    assert_eq!(made.status, 201, "{made:?}");
    let (token, ws) = (text(&made, "token"), gateway(&made));
    let mut client = Client::connect_to(ws, &token).await;
    join(&mut client).await;
    let ann =
        |users: &Value| users["users"].as_array().unwrap().iter().find(|u| u["userId"] == "ann").cloned();
    until("ann is listed as there", async || {
        let users = node.get("/api/rooms/demo/users").await.json();
        ann(&users).is_some_and(|ann| ann["connected"] == true)
    })
    .await;
    assert_eq!(node.get("/api/rooms/demo").await.json()["room"]["anchors"], 1);

    assert_eq!(node.delete("/api/rooms/demo/users/ann").await.status, 200);
    assert_eq!(client.closed().await, (4403, "removed".to_owned()));
    let mut again = Client::connect_to(ws, &token).await;
    assert_eq!(again.closed().await, (4403, "removed".to_owned()), "the old token was accepted");
    assert_eq!(invite(&node, "ann").await.code(), "user_removed");

    node.kill();
    node.run();
    node.ready().await;
    assert_eq!(invite(&node, "ann").await.code(), "user_removed", "the store remembers");
    let users = node.get("/api/rooms/demo/users").await.json();
    assert!(ann(&users).unwrap()["removedAt"].is_u64(), "{users}");

    node.delete("/api/rooms/demo").await;
    until("the room goes", async || node.get("/api/rooms/demo").await.status == 404).await;
    assert_eq!(node.post("/api/rooms", json!({"roomId": "demo"})).await.status, 201);
    assert_eq!(node.get("/api/rooms/demo/users").await.json()["users"], json!([]));
    assert_eq!(invite(&node, "ann").await.status, 201, "the new room of the same name refuses ann");
}

#[actix::test]
async fn listeners_are_counted_while_they_listen() {
    let node = Node::start(&[]).await;
    node.room_on_air("demo").await;
    let mut listeners = Vec::new();
    for _ in 0..2 {
        let target = node.target("demo").await;
        listeners.push(Listener::open(&target, Mode::Parts).await.expect("a listener"));
    }
    let count = async || node.get("/api/rooms/demo").await.json()["room"]["listeners"].as_u64().unwrap();
    for listener in &mut listeners {
        listener.hear_segments(1).await.expect("sound");
    }
    assert_eq!(count().await, 2);
    assert_eq!(node.get("/api/stats").await.json()["listeners"], 2);
    let shown = request("GET", &format!("{}/pages/rooms", node.hls), &[], None).await.json();
    assert_eq!((&shown["rooms"][0]["roomId"], &shown["rooms"][0]["listeners"]), (&json!("demo"), &json!(2)));
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    assert!(metrics.contains("\nstentor_listeners 2\n"), "{metrics}");
    let peaks = async || node.get("/api/events?type=listener_peak").await.json()["events"].clone();
    until("the ledger has a peak", async || peaks().await[0]["roomId"] == "demo").await;
    let peak = peaks().await[0]["data"]["listeners"].as_u64();
    assert!(matches!(peak, Some(1 | 2)), "{peak:?}");
    drop(listeners);
    until("nobody listens any more", async || count().await == 0).await;
}

#[actix::test]
async fn open_mode_page_issues_working_tokens() {
    let node = Node::start(&[ALL_ROLES]).await;
    node.room_on_air("demo").await;
    let config = page(&node, "/pages/config").await.json();
    assert_eq!(config["open"], true);
    let speak = page(&node, "/speak/demo").await;
    let (policy, ws) = (speak.header("content-security-policy").unwrap(), config["wsUrl"].as_str().unwrap());
    assert!(policy.contains(ws.trim_end_matches("/ws")), "{policy}");
    let token = async |role| page_token(&node, json!({ "role": role, "name": "Ann" })).await;
    let anchor = token("anchor").await;
    assert_eq!(anchor.status, 200, "{anchor:?}");
    // Connect as the page does: from its own origin, with the token as a subprotocol.
    let protocols = format!("stentor, bearer.{}", text(&anchor, "token"));
    let headers = [("origin", node.hls.as_str()), ("sec-websocket-protocol", &protocols)];
    let address = ws.trim_start_matches("ws://").trim_end_matches("/ws").parse().unwrap();
    let (mut client, _) = Client::open(address, "", &headers).await.expect("our own page is let in");
    join(&mut client).await;
    let foreign = [("origin", "http://evil.example"), headers[1]];
    assert_eq!(Client::open(address, "", &foreign).await.err().expect("a refusal").status, 403);
    let listener = text(&token("listener").await, "token");
    let playlist = format!("{}/hls/rooms/demo/index.m3u8?token={listener}", node.hls);
    until("the room is heard", async || request("GET", &playlist, &[], None).await.status == 200).await;
}

#[actix::test]
async fn keys_mode_pages_expose_nothing() {
    let keys = [("auth.mode", "keys"), ("auth.api_keys", "sixteen-letters-1")];
    let node = Node::start(&[keys[0], keys[1], ("http.embed_origins", "https://blog.example.org")]).await;
    node.room_on_air("demo").await;
    let ancestors = async |path: &str| {
        let policy = page(&node, path).await.header("content-security-policy").unwrap().to_owned();
        policy.split("frame-ancestors ").nth(1).unwrap().to_owned()
    };
    assert_eq!(ancestors("/embed/demo").await, "https://blog.example.org");
    assert_eq!(ancestors("/listen/demo").await, "'self'");
    let described = page(&node, &format!("/oembed?url={}/listen/demo", node.hls)).await;
    assert!(described.json()["html"].as_str().unwrap().contains("/embed/demo"), "{described:?}");
    let foreign = format!("{}/oembed?url=https://evil.example/listen/demo", node.hls);
    assert_eq!(request("GET", &foreign, &[], None).await.status, 404);
    withstood("frames on foreign sites, oEmbed of foreign URLs", "frame-ancestors, 404", "no access");
    let shown = page(&node, "/pages/rooms").await.json();
    assert_eq!((&shown["open"], &shown["rooms"]), (&json!(false), &json!([])));
    let refused = page_token(&node, json!({"role": "listener"})).await;
    assert_eq!((refused.status, refused.code()), (403, "pages_closed".to_owned()));
    let url = format!("{}/api/rooms/demo/users", node.api);
    assert_eq!(request("POST", &url, &[], Some(json!({"role": "host"}))).await.code(), "unauthorized");
    assert_eq!(invite(&node, "ann").await.status, 201);
    assert!(!node.output().contains(&text(&invite(&node, "ann").await, "token")));
}

#[actix::test]
async fn previews_show_public_rooms_only() {
    let keys = [("auth.mode", "keys"), ("auth.api_keys", "sixteen-letters-1")];
    let node = Node::start(&[keys[0], keys[1], ("http.embed_origins", "https://blog.example.org")]).await;
    let cover = "https://img.example.org:8443/tea.png?a=1&b=\"2\"";
    for (room, public) in [("tea", true), ("secret", false)] {
        let title = "Tea <b>\"time\"</b> & more";
        let profile =
            json!({ "title": title, "description": "One\ntwo", "coverUrl": cover, "public": public });
        let mut body = profile.as_object().unwrap().clone();
        body.insert("roomId".into(), json!(room));
        assert_eq!(node.post("/api/rooms", json!(body)).await.status, 201);
    }
    for path in ["/listen/tea", "/listen/secret", "/embed/tea", "/speak/tea", "/listen/absent"] {
        let policy = page(&node, path).await.header("content-security-policy").unwrap().to_owned();
        let images = policy.split("; ").find(|part| part.starts_with("img-src")).unwrap();
        let expected = if path.ends_with("absent") { "" } else { " https://img.example.org:8443" };
        assert_eq!(images, format!("img-src 'self'{expected}"), "{path}");
        assert!(
            policy.contains("script-src 'self'; ") && policy.contains("default-src 'none'; "),
            "{policy}"
        );
    }
    let shown = page(&node, "/listen/tea").await.text();
    for tag in [
        "<title>Tea &lt;b&gt;&quot;time&quot;&lt;/b&gt; &amp; more · Stentor</title>",
        "<meta property=\"og:title\" content=\"Tea &lt;b&gt;&quot;time&quot;&lt;/b&gt; &amp; more\" />",
        "<meta property=\"og:description\" content=\"One two\" />",
        "<meta property=\"og:image\" content=\"https://img.example.org:8443/tea.png?a=1&amp;b=%222%22\" />",
        "<meta name=\"twitter:card\" content=\"summary_large_image\" />",
    ] {
        assert!(shown.contains(tag), "{tag}\n{shown}");
    }
    let described = page(&node, &format!("/oembed?url={}/listen/tea&maxwidth=240", node.hls)).await.json();
    assert_eq!(
        (&described["title"], &described["thumbnail_width"], &described["thumbnail_height"]),
        (&json!("Tea <b>\"time\"</b> & more"), &json!(240), &json!(135))
    );
    assert_eq!(described["thumbnail_url"], "https://img.example.org:8443/tea.png?a=1&b=%222%22");
    // Another room differs from one that does not exist in its id only.
    let oembed = |room: &str| format!("/oembed?url={}/listen/{room}", node.hls);
    for path in [|room: &str| format!("/listen/{room}"), |room: &str| format!("/speak/{room}")] {
        let [secret, absent] = ["secret", "absent"].map(path);
        let secret = page(&node, &secret).await.text();
        assert_eq!(secret.replace("secret", "absent"), page(&node, &absent).await.text());
    }
    let secret = page(&node, &oembed("secret")).await.text();
    assert_eq!(secret.replace("secret", "absent"), page(&node, &oembed("absent")).await.text());
    let notice = async |room: &str| page(&node, &format!("/pages/rooms/{room}/recording")).await.json();
    assert_eq!(
        (&notice("secret").await["title"], &notice("secret").await["coverUrl"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(notice("tea").await["title"], "Tea <b>\"time\"</b> & more");
    withstood(
        "markup in titles of link previews, oEmbed and previews of rooms that are not public",
        "escaped; for such a room, the texts of one that does not exist",
        "no title without a token",
    );
}

#[actix::test]
async fn invitations_use_public_gateway_url() {
    let desk = Node::start(&[("node.roles", "rooms")]).await;
    assert_eq!(desk.post("/api/rooms", json!({ "roomId": "demo" })).await.status, 201);
    let made = invite(&desk, "ann").await;
    assert_eq!((made.status, text(&made, "wsUrl").as_str()), (201, PUBLIC_WS_URL));
    let invite = text(&made, "inviteUrl");
    assert!(invite.starts_with(&format!("{PUBLIC_HLS_URL}/speak/demo#token=")), "{invite}");

    let ear = Node::start(&[("node.roles", "hls")]).await;
    assert_eq!(page(&ear, "/pages/config").await.json(), json!({ "open": true, "wsUrl": null }));
    let told = Node::start(&[("node.roles", "hls"), ("http.public_ws_url", PUBLIC_WS_URL)]).await;
    assert_eq!(page(&told, "/pages/config").await.json()["wsUrl"], PUBLIC_WS_URL);
}

#[actix::test]
async fn api_reference_fits_every_screen() {
    let keys = [("auth.mode", "keys"), ("auth.api_keys", "sixteen-letters-1")];
    let node = Node::start(&keys).await;
    let document = node.get("/api/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap().values();
    let operations: usize = paths.map(|path| path.as_object().unwrap().len()).sum();
    let api = request("GET", &format!("{}/docs", node.api), &[], None).await;
    assert_eq!((api.status, &api.body), (200, &page(&node, "/docs").await.body));
    let screens = reference(&format!("{}/docs", node.hls)).await;
    assert_eq!(screens.len(), 4);
    for screen in &screens {
        assert_eq!(screen["operations"], operations, "{screen}");
        assert_eq!((&screen["found"], &screen["target"]), (&json!(1), &json!("createRoom")), "{screen}");
        assert_eq!((&screen["tooWide"], &screen["errors"]), (&json!(0), &json!([])), "{screen}");
        assert_eq!(screen["foreign"], json!([]), "{screen}");
    }
    assert_ne!(screens[0]["colour"], screens[1]["colour"], "light and dark");
}

#[actix::test]
async fn openapi_is_valid_and_served() {
    let node = Node::start(&[]).await;
    let answer = node.get("/api/openapi.json").await;
    let verdict = validator::openapi(&answer.body).await;
    assert_eq!((&verdict["valid"], &verdict["version"]), (&json!(true), &json!("3.1")), "{verdict}");
    let document = answer.json();
    let known = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap().clone();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete", "patch"] {
            let base = if path.starts_with("/hls/") { &node.hls } else { &node.api };
            let url = format!("{base}{}", filled(path));
            let answer = request(&method.to_uppercase(), &url, &[], None).await;
            let Some(operation) = operations.get(method) else {
                assert_eq!(
                    answer.code(),
                    "method_not_allowed",
                    "{method} {path} is there and not documented"
                );
                continue;
            };
            assert!(!["method_not_allowed", "not_found"].contains(&&*answer.code()), "{method} {path}");
            let documented = &operation["responses"][answer.status.to_string()];
            assert!(documented.is_object(), "{method} {path}: {answer:?}");
            for code in codes(operation) {
                assert!(known.contains(&json!(code)), "{method} {path}: {code} is not a known code");
            }
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["apiKey"]["scheme"], "bearer");
}

async fn invite(node: &Node, user: &str) -> Answer {
    node.post("/api/rooms/demo/users", json!({"role": "anchor", "userId": user})).await
}

/// Joins, and skips messages until the answer.
async fn join(client: &mut Client) {
    let id = client.begin("join", json!({})).await;
    in_time("the answer", async {
        loop {
            let message = client.next().await;
            if message["id"] == id {
                assert!(message["result"]["jtoken"].is_string(), "{message}");
                return;
            }
        }
    })
    .await;
}

fn gateway(invitation: &Answer) -> SocketAddr {
    let url = text(invitation, "wsUrl");
    url.trim_start_matches("ws://").trim_end_matches("/ws").parse().expect("an address")
}

async fn page(node: &Node, path: &str) -> Answer {
    let answer = request("GET", &format!("{}{path}", node.hls), &[], None).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer
}

async fn page_token(node: &Node, body: Value) -> Answer {
    request("POST", &format!("{}/pages/rooms/demo/token", node.hls), &[], Some(body)).await
}

fn text(answer: &Answer, field: &str) -> String {
    answer.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {answer:?}")).to_owned()
}

/// Fills the path's parameters with names that do not exist.
fn filled(path: &str) -> String {
    path.replace("{kind}", "mixers")
        .replace("{id}", "nothing")
        .replace("{userId}", "nobody")
        .replace("{room}", "nothing")
        .replace("{message}", "1")
        .replace("{person}", "0123456789abcdef")
}

/// Returns the codes in the descriptions of an operation's refusals: words with an underscore, or one of the
/// three words without one.
fn codes(operation: &Value) -> Vec<String> {
    let refusals =
        operation["responses"].as_object().unwrap().iter().filter(|(status, _)| *status >= &"400".to_owned());
    let texts = refusals.map(|(_, response)| response["description"].as_str().unwrap().to_owned());
    let words = texts.flat_map(|text| {
        text.split(|c: char| c != '_' && !c.is_ascii_alphabetic()).map(str::to_owned).collect::<Vec<_>>()
    });
    words
        .filter(|word| word.contains('_') || ["unauthorized", "internal", "busy"].contains(&&**word))
        .collect()
}
