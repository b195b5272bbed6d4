//! A listener goes from the listen page to the stage and back, in Chromium, and one node dies at each step.
//! nginx is in front of the listener nodes and of the gateways, as in production.

use std::time::Instant;

use serde_json::json;

use super::stage::until_text;
use crate::channel::ROOM;
use crate::cluster::stage::{House, STEP_GOAL};
use crate::support::fault_table::recovered;
use crate::support::free_ports;
use crate::support::nginx::Nginx;
use crate::support::pages::{Pages, tone};
use crate::support::until;

const ON_STAGE: &str = "You are on the stage. Everybody hears you.";

#[actix::test]
async fn invited_listener_survives_node_deaths() {
    let [port] = free_ports();
    let (front, gateway) = (format!("http://127.0.0.1:{port}"), format!("ws://127.0.0.1:{port}/ws"));
    let mut house = House::start(&[
        ("http.public_hls_url", &front),
        ("http.public_ws_url", &gateway),
        ("http.trusted_proxies", "127.0.0.1/32"),
        ("auth.mode", "keys"),
        ("auth.api_keys", "sixteen-letters-1"),
    ])
    .await;
    let _front = front_of(&house, port).await;
    let desk = &house.managers[0];
    desk.room_on_air(ROOM).await;
    let invite = json!({ "role": "host", "userId": "ann" });
    let host = desk.post(&format!("/api/rooms/{ROOM}/users"), invite).await.json();
    let mut listen_urls = Vec::new();
    for (user, name) in [("bob", "Bob"), ("eve", "Eve")] {
        let listener = json!({ "roomId": ROOM, "userId": user, "name": name });
        let token = desk.post("/api/token", listener).await.json();
        let token = token["token"].as_str().expect("a token");
        listen_urls.push(format!("{front}/listen/{ROOM}#token={token}"));
    }

    let (mut pages, sounds) = (Pages::start().await, tempfile::tempdir().unwrap());
    let (low, high) = (tone(sounds.path(), 440).await, tone(sounds.path(), 660).await);
    let ann = json!({ "url": host["inviteUrl"], "wav": low, "displayName": "Ann" });
    pages.ask("ann", "open", ann).await;
    pages.connected("ann").await;
    pages.ask("eve", "open", json!({ "url": listen_urls[1] })).await;
    pages.ask("bob", "open", json!({ "url": listen_urls[0], "wav": high })).await;
    hears(&mut pages, "eve", true, false).await;

    // The listener node that serves the channels of all pages dies. The hand stays raised.
    pages.ask("bob", "press", json!({ "target": "#hand" })).await;
    pages.ask("bob", "press", json!({ "target": "#hand-send" })).await;
    until_text(&mut pages, "ann", ".hand .name", "Bob").await;
    let since = Instant::now();
    house.ears[0].kill();
    pages.ask("eve", "write", json!({ "target": "#say-text", "text": "still there?" })).await;
    pages.ask("eve", "press", json!({ "target": "#say button" })).await;
    until_text(&mut pages, "bob", ".message-text", "still there?").await;
    until_text(&mut pages, "bob", "#hand-place", "Your hand is up · place 1").await;
    hears(&mut pages, "eve", true, false).await;
    recovered("kill -9 listener node of a raised hand (browser)", "nothing", since.elapsed(), STEP_GOAL);

    // The invitation is sent and accepted while the cluster has no leader.
    let since = Instant::now();
    let desk = house.kill_leader().await;
    until_text(&mut pages, "ann", ".hand .name", "Bob").await;
    pages.ask("ann", "press", json!({ "target": "#hands [data-do=invite]" })).await;
    pages.ask("bob", "press", json!({ "target": "#accept" })).await;
    until_text(&mut pages, "bob", "#stage-state", ON_STAGE).await;
    hears(&mut pages, "eve", true, true).await;
    hears(&mut pages, "ann", false, true).await;
    recovered("kill -9 leader before an invitation (browser)", "nothing", since.elapsed(), STEP_GOAL);

    // Both anchors lose their gateway.
    let since = Instant::now();
    house.gates[0].kill();
    let other = &house.gates[1];
    until("both are on the other gateway", async || other.states_of("ws_client").await.len() == 2).await;
    pages.connected("ann").await;
    until_text(&mut pages, "bob", "#stage-state", ON_STAGE).await;
    hears(&mut pages, "eve", true, true).await;
    recovered("kill -9 gateway of the stage (browser)", "nothing: media go on", since.elapsed(), STEP_GOAL);

    // Listeners stay on their page when the mixer dies.
    let since = Instant::now();
    let lost = house.kill_mixer(desk).await;
    until("the room has another mixer", async || house.room(desk).await["mixer"]["id"] != lost).await;
    hears(&mut pages, "eve", true, true).await;
    recovered("kill -9 mixer of the stage (browser)", "media until then", since.elapsed(), STEP_GOAL);

    // The anchors go to the other Janus instance by themselves.
    let since = Instant::now();
    let lost = house.kill_janus(desk).await;
    until("the room has another Janus", async || house.room(desk).await["janus"]["id"] != lost).await;
    hears(&mut pages, "ann", false, true).await;
    until_text(&mut pages, "bob", "#stage-state", ON_STAGE).await;
    hears(&mut pages, "eve", true, true).await;
    recovered("kill -9 Janus of the stage (browser)", "media until then", since.elapsed(), STEP_GOAL);

    // Back among the listeners, Bob hears the room and may raise the hand again.
    pages.ask("bob", "press", json!({ "target": "#stage-leave" })).await;
    hears(&mut pages, "bob", true, false).await;
    hears(&mut pages, "eve", true, false).await;
    pages.ask("bob", "press", json!({ "target": "#hand" })).await;
    pages.ask("bob", "press", json!({ "target": "#hand-send" })).await;
    until_text(&mut pages, "ann", ".hand .name", "Bob").await;
}

/// Starts a proxy that prefers the first listener node and the first gateway.
async fn front_of(house: &House, port: u16) -> Nginx {
    let upstream = |name: &str, servers: [&str; 2]| {
        let [first, second] = servers.map(|url| url.trim_start_matches("http://").to_owned());
        format!("upstream {name} {{ server {first} max_fails=1 fail_timeout=1s; server {second} backup; }}\n")
    };
    let listen = upstream("listen", [&house.ears[0].hls, &house.ears[1].hls]);
    let gateways = upstream("gateway", [&house.gates[0].ws, &house.gates[1].ws]);
    let places = "location /ws { proxy_pass http://gateway; proxy_read_timeout 1h; }\n\
                  location / { proxy_pass http://listen; proxy_read_timeout 15s; }";
    Nginx::start(port, &format!("{listen}{gateways}"), places).await
}

/// Waits until the page plays exactly these tones: Ann's of 440 Hz and Bob's of 660 Hz.
async fn hears(pages: &mut Pages, name: &str, ann: bool, bob: bool) {
    pages.until_hears(name, &json!({ "440": ann, "660": bob })).await;
}
