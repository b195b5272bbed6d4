//! The application servers in `examples/app-server/` and the program `examples/room.rs`, run with a node that
//! requires an API key.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::kept::KeptProcess;
use crate::support::node::{Answer, Node};
use crate::support::{raw, until};

const KEY: &str = "a-key-of-the-application";

#[actix::test]
async fn node_app_server_invites_anchors() {
    app_server_invites_anchors("node", "server.mjs").await;
}

#[actix::test]
async fn python_app_server_invites_anchors() {
    app_server_invites_anchors("python3", "server.py").await;
}

#[actix::test]
async fn rust_example_hears_its_room() {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let built = Path::new(env!("CARGO_BIN_EXE_stentor")).with_file_name("examples").join("room");
    // The second run finds the room on air.
    for _ in 0..2 {
        let mut example = tokio::process::Command::new(&built);
        example.envs([("STENTOR_API", node.api.as_str()), ("STENTOR_API_KEY", KEY), ("ROOM", "rust")]);
        let output = example.output().await.expect("cargo build --example room has built it");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{printed} {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            printed.contains(" parts, 0 gaps\n") && printed.contains(" s behind the speakers\n"),
            "{printed}"
        );
    }
}

async fn app_server_invites_anchors(interpreter: &str, file: &str) {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let mut command = Command::new(interpreter);
    command
        .arg(format!("{}/examples/app-server/{file}", env!("CARGO_MANIFEST_DIR")))
        .envs([("STENTOR_API", node.api.as_str()), ("STENTOR_API_KEY", KEY), ("PORT", "0")])
        .stdin(Stdio::null())
        .stdout(File::create(&output).unwrap());
    let _server = KeptProcess::start(command);
    let printed = || std::fs::read_to_string(&output).unwrap();
    until("the example prints its address", async || printed().ends_with("/\n")).await;
    let base = printed().trim().trim_end_matches('/').to_owned();

    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let invited = raw::request(&base, "POST", b"/speak", form, b"name=ann").await;
    assert_eq!(location(&invited).split_once("#token=").unwrap().0, format!("{}/speak/example", node.hls));
    let refused = raw::request(&base, "POST", b"/speak", form, b"name=%3Cb%3E").await;
    assert_eq!(refused.status, 403, "{}", refused.text());

    let listener = raw::request(&base, "GET", b"/listen", "", b"").await;
    let (page, token) = location(&listener).split_once("#token=").unwrap();
    assert_eq!(page, format!("{}/listen/example", node.hls));
    let playlist = format!("/hls/rooms/example/index.m3u8?token={token}");
    until("the room is heard", async || {
        raw::request(&node.hls, "GET", playlist.as_bytes(), "", b"").await.status == 200
    })
    .await;
}

fn location(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").expect("a location")
}
