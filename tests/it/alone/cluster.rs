//! `make cluster`'s cluster as its user meets it, through its one address: heard, spoken into, broken, and gone
//! without a trace. With the timers of production.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use super::demo::tree;
use crate::support::caller::Caller;
use crate::support::fault_table::recovered;
use crate::support::node::{request, signal, until_gone};
use crate::support::terminal::Terminal;
use crate::support::wait_until;

/// Apart from all ports that tests choose by themselves.
const FIRST_PORT: &str = "15100";
const FRONT: &str = "http://127.0.0.1:15100";
const UP_WITHIN: Duration = Duration::from_secs(120);
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(120);
const ROOM: &str = "demo";
const HZ: f64 = 440.0;

#[actix::test]
async fn a_cluster_behind_one_address_is_heard_whoever_of_it_dies() {
    let temporary = tempfile::tempdir().unwrap();
    let environment = [("CLUSTER_PORT", FIRST_PORT), ("TMPDIR", temporary.path().to_str().unwrap())];
    let script = format!("scripts/cluster.sh {}", env!("CARGO_BIN_EXE_stentor"));
    let terminal = Terminal::run(&script, Path::new(env!("CARGO_MANIFEST_DIR")), &environment);
    let up = || {
        assert!(!terminal.has_ended(), "{}", terminal.text());
        terminal.text().contains("Ctrl-C ends everything")
    };
    wait_until("the cluster is up", UP_WITHIN, up);
    let processes = tree(terminal.pid());

    let invited = post("/api/rooms/demo/users", json!({ "role": "anchor" })).await;
    let token = invited["token"].as_str().unwrap();
    let mut ann = Caller::connect(FRONT, token, "&clientId=ann").await;
    let (joined, media) = ann.speak(HZ as u32).await;
    let listener = listen(None).await;

    // A mixer node: the listener keeps its URL.
    let owner = room().await["mixer"]["id"].as_str().unwrap().to_owned();
    let (since, edge) = (Instant::now(), listener.playlist().edge().0);
    signal(pid_of(&terminal, &owner), Signal::KILL);
    until_within("the room is on another mixer", async || {
        let room = room().await;
        room["status"] == "onair" && room["mixer"]["id"] != owner.as_str()
    })
    .await;
    let mut listener = listen(Some(edge)).await;
    let goal = Duration::from_secs(12);
    recovered("kill -9 mixer node (TTL 10 s)", "media until then", since.elapsed(), goal);

    // The gateway of the anchor: another claims the session, and the media never stop.
    let (since, sent) = (Instant::now(), media.progress().sent);
    for gateway in ["g1", "g2"] {
        if connections(&terminal, gateway).await > 0 {
            signal(pid_of(&terminal, gateway), Signal::KILL);
        }
    }
    let rejoin = json!({ "jtoken": joined["jtoken"], "clientId": "ann" });
    let mut back = None;
    until_within("the anchor is back", async || {
        let mut ann = Caller::connect(FRONT, token, "&clientId=ann").await;
        let joined = ann.call("join", rejoin.clone()).await;
        back = joined.ok().map(|joined| (ann, joined));
        back.is_some()
    })
    .await;
    let goal = Duration::from_secs(3);
    recovered("kill -9 gateway (two of them)", "nothing: media go on", since.elapsed(), goal);
    let (_ann, joined) = back.unwrap();
    assert_eq!(joined["resume"], true, "{joined}");
    assert!(media.progress().sent > sent);
    listener.hear_until(HZ, Instant::now() + LONG).await.unwrap();

    // A node of the API: the front asks the other one.
    let since = Instant::now();
    signal(pid_of(&terminal, "r1"), Signal::KILL);
    until_within("the API answers", async || {
        request("GET", &format!("{FRONT}/api/rooms/demo"), &[], None).await.status == 200
    })
    .await;
    recovered("kill -9 room manager", "nothing", since.elapsed(), Duration::from_secs(1));
    assert_eq!(room().await["status"], "onair");

    terminal.press("C-c");
    wait_until("the cluster ends", ENDED_WITHIN, || terminal.has_ended());
    until_gone(&processes.iter().map(|(pid, _)| *pid).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "no file is left");
}

/// A listener through the front that has found the tone, in segments behind `past`.
async fn listen(past: Option<u64>) -> Listener {
    let deadline = Instant::now() + LONG;
    let token = post("/api/token", json!({ "roomId": ROOM })).await["token"].as_str().unwrap().to_owned();
    let target = Target {
        base_url: FRONT.to_owned(),
        room: RoomId::new(ROOM).unwrap(),
        token,
        ffmpeg: "ffmpeg".into(),
    };
    loop {
        let mut listener = Listener::open_by(&target, Mode::Parts, deadline).await.unwrap();
        // What only the lost mixer had is refused for a moment; a player asks again, too.
        let heard = listener.hear_until(HZ, deadline).await;
        assert!(Instant::now() < deadline, "{:?}", heard.map(drop));
        if heard.is_ok() && past.is_none_or(|past| listener.playlist().edge().0 > past) {
            return listener;
        }
    }
}

async fn post(path: &str, body: Value) -> Value {
    request("POST", &format!("{FRONT}{path}"), &[], Some(body)).await.json()
}

async fn room() -> Value {
    request("GET", &format!("{FRONT}/api/rooms/{ROOM}"), &[], None).await.json()["room"].clone()
}

async fn connections(terminal: &Terminal, gateway: &str) -> u64 {
    let url = format!("{}metrics", line_of(terminal, gateway).split_whitespace().nth(3).unwrap());
    let metrics = request("GET", &url, &[], None).await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("stentor_ws_connections "));
    line.unwrap().parse().unwrap()
}

fn pid_of(terminal: &Terminal, node: &str) -> i32 {
    line_of(terminal, node).split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// `m1  pid 4711  http://…`
fn line_of(terminal: &Terminal, node: &str) -> String {
    let screen = terminal.text();
    let line =
        screen.lines().find(|line| line.split_whitespace().next() == Some(node) && line.contains("pid"));
    line.unwrap_or_else(|| panic!("{node} is not on the screen: {screen}")).to_owned()
}

async fn until_within(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition().await {
        assert!(Instant::now() < deadline, "not yet: {what}");
        crate::support::pause_async().await;
    }
}
