//! The web components in the examples for plain HTML, React and Vue, on a page from another origin.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stentor::process;

use crate::alone::stage::until_text;
use crate::support::browser::{folder, prepare};
use crate::support::kept::KeptProcess;
use crate::support::node::Node;
use crate::support::pages::{Pages, tone};
use crate::support::until;

const ROOM: &str = "talk";

#[actix::test]
async fn examples_play_and_speak() {
    prepare().await;
    build().await;
    let sounds = tempfile::tempdir().unwrap();
    let output = sounds.path().join("address");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web/dist");
    let mut command = Command::new("node");
    command.arg(folder().join("serve.mjs")).arg(examples);
    command.stdin(Stdio::null()).stdout(File::create(&output).unwrap());
    let _server = KeptProcess::start(command);
    let printed = || std::fs::read_to_string(&output).unwrap();
    until("the server of the examples prints its address", async || printed().ends_with('\n')).await;
    let site = printed().trim().to_owned();

    let node = Node::start(&[("http.allowed_origins", &site)]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let host = json!({ "role": "host", "userId": "ann" });
    let host = node.post(&format!("/api/rooms/{ROOM}/users"), host).await;
    let (low, high) = (tone(sounds.path(), 440).await, tone(sounds.path(), 660).await);
    let url = host.json()["inviteUrl"].clone();
    pages.ask("ann", "open", json!({ "url": url, "wav": low, "displayName": "Ann" })).await;
    pages.connected("ann").await;

    host_page_controls_room(&node, &mut pages, &site, &high).await;
    for (name, hands) in [("plain", "mouse"), ("react", "touch"), ("vue", "keyboard")] {
        let body = json!({ "roomId": ROOM, "userId": name, "name": name });
        let token = node.post("/api/token", body).await.json()["token"].as_str().unwrap().to_owned();
        let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
        let url = format!("{site}/{name}.html#url={playlist}&token={token}");
        let opened = pages.ask(name, "open", json!({ "url": url, "wav": high, "hands": hands })).await;
        assert_eq!(opened["fit"]["wide"], 0, "{opened}");
        until_text(&mut pages, name, "stentor-stage >>> [part~=member] bdi", "Ann").await;
        pages.ask(name, "press", json!({ "target": "stentor-player [part=play]" })).await;
        until_text(&mut pages, name, "stentor-player >>> [part=state]", "Live").await;
        until_text(&mut pages, name, "output", "playing").await;
        until_text(&mut pages, name, "stentor-stage >>> [part~=talking] .muted", "Talking").await;

        pages.ask(name, "write", json!({ "target": "stentor-stage form input", "text": "<b>hi</b>" })).await;
        pages.ask(name, "press", json!({ "target": "stentor-stage [type=submit]" })).await;
        until_text(&mut pages, name, "stentor-stage >>> [part=message]:last-child .text", "<b>hi</b>").await;
        if name != "react" {
            pages.ask(name, "close", json!({})).await;
            continue;
        }
        // The host pins the message once it has arrived on the host's page.
        until_text(&mut pages, "ann", ".message:last-child bdi", name).await;
        pages.ask("ann", "press", json!({ "target": ".message:last-child [data-do=pin]" })).await;
        until_text(&mut pages, name, "stentor-stage >>> [part=pinned]", "Pinned · react <b>hi</b>").await;
        // The listener comes to the stage and returns.
        pages.ask(name, "write", json!({ "target": "stentor-stage [part~=note]", "text": "tea" })).await;
        pages.ask(name, "press", json!({ "target": "stentor-stage [part~=hand]" })).await;
        until_text(&mut pages, "ann", ".hand .name", name).await;
        until_text(&mut pages, "ann", ".hand-note", "tea").await;
        pages.ask("ann", "press", json!({ "target": "#hands [data-do=invite]" })).await;
        pages.ask(name, "press", json!({ "target": "stentor-stage [part~=accept]" })).await;
        until_text(&mut pages, name, "stentor-stage >>> [part=speaking] p", "You are on the stage.").await;
        pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
        until_text(&mut pages, name, "output", "paused").await;
        pages.ask(name, "press", json!({ "target": "stentor-stage [part~=leave]" })).await;
        until_text(&mut pages, name, "output", "playing").await;
        let state = pages.ask(name, "state", json!({})).await;
        assert_eq!(state["errors"], json!([]), "{state}");
        pages.ask(name, "close", json!({})).await;
    }
}

/// Drives the controls of hosts in `<stentor-stage>`: invitation, floor, mute all, lock and kick.
async fn host_page_controls_room(node: &Node, pages: &mut Pages, site: &str, wav: &str) {
    let user = json!({ "role": "host", "userId": "hera" });
    let hera = node.post(&format!("/api/rooms/{ROOM}/users"), user).await.json();
    let body = json!({ "roomId": ROOM, "userId": "lena", "name": "Lena" });
    let lena = node.post("/api/token", body).await.json();
    let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
    let open = async |pages: &mut Pages, name: &str, page: &str, token: &Value| {
        let url = format!("{site}/{page}.html#url={playlist}&token={}", token.as_str().unwrap());
        let opened = pages.ask(name, "open", json!({ "url": url, "wav": wav, "hands": "mouse" })).await;
        assert_eq!(opened["fit"]["wide"], 0, "{opened}");
    };
    open(pages, "hera", "host", &hera["token"]).await;
    open(pages, "lena", "plain", &lena["token"]).await;
    until_text(pages, "hera", "stentor-stage >>> [part~=member] bdi", "Ann").await;
    pages.ask("lena", "write", json!({ "target": "stentor-stage [part~=note]", "text": "tea" })).await;
    pages.ask("lena", "press", json!({ "target": "stentor-stage [part~=hand]" })).await;
    until_text(pages, "hera", "stentor-stage >>> [part=raised] .text", "tea").await;
    pages.ask("hera", "press", json!({ "target": "stentor-stage [part~=invite]" })).await;
    until_text(pages, "lena", "stentor-stage >>> [part=invitation] p", "The host invites you to speak.")
        .await;
    pages.ask("lena", "press", json!({ "target": "stentor-stage [part~=accept]" })).await;
    until_text(pages, "lena", "stentor-stage >>> [part=speaking] p", "You are on the stage.").await;

    // Lena is the last member in the list.
    let item = "[part~=member]:last-child";
    until_text(pages, "hera", &format!("stentor-stage >>> {item} bdi"), "Lena").await;
    pages.ask("hera", "press", json!({ "target": format!("stentor-stage {item} [part~=floor]") })).await;
    let shared = tokio::sync::Mutex::new(pages);
    for name in ["hera", "lena"] {
        let target = json!({ "target": format!("stentor-stage >>> {item} > .muted") });
        until(&format!("{name} sees the floor"), async || {
            let text = shared.lock().await.ask(name, "text", target.clone()).await;
            text.as_str().is_some_and(|text| text.starts_with("has the floor · 1:"))
        })
        .await;
    }
    let pages = shared.into_inner();
    pages.ask("hera", "press", json!({ "target": "stentor-stage [part~=mute-all]" })).await;
    until("Lena is muted", async || {
        let users = node.get(&format!("/api/rooms/{ROOM}/users")).await.json();
        users["users"]
            .as_array()
            .unwrap()
            .iter()
            .any(|user| user["userId"] == "lena" && user["muted"] == true)
    })
    .await;
    pages.ask("ann", "wait", json!({ "muted": true })).await;
    pages.ask("ann", "mute", json!({ "muted": false })).await;
    pages.ask("hera", "press", json!({ "target": "stentor-stage [part~=lock]" })).await;
    until("the room is locked", async || {
        node.get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["locked"] == true
    })
    .await;
    // The button unlocks only once the page has learned that the room is locked.
    until_text(pages, "hera", "stentor-stage >>> [part~=lock][aria-pressed=true]", "Lock the room").await;
    pages.ask("hera", "press", json!({ "target": "stentor-stage [part~=lock]" })).await;
    until("the room is open", async || {
        node.get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["locked"] != true
    })
    .await;
    for name in ["hera", "lena"] {
        pages.ask(name, "close", json!({})).await;
    }
}

/// Builds the client library and the examples.
async fn build() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let steps: [(&str, &[&str]); 4] = [
        ("web", &["ci", "--no-audit", "--no-fund"]),
        ("web", &["run", "build", "--workspace=@stentor/client"]),
        ("examples/web", &["ci", "--no-audit", "--no-fund"]),
        ("examples/web", &["run", "build"]),
    ];
    for (place, args) in steps {
        let modules = root.join(place).join("node_modules/.package-lock.json");
        if args[0] == "ci" && modules.exists() {
            continue;
        }
        let mut npm = process::command("npm", args);
        let output = npm.envs(std::env::vars_os()).current_dir(root.join(place)).output().await.unwrap();
        let words = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "npm {args:?}: {}", String::from_utf8_lossy(&words));
    }
}
