//! The README's commands, run as they stand there.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::node::Node;

#[actix::test]
async fn the_room_with_curl_works_as_written() {
    let node = Node::start(&[]).await;
    let script = first_script()
        .replace("http://127.0.0.1:3000", &node.api)
        .replace("http://127.0.0.1:8080", &node.hls);
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert_eq!(said.matches("\"success\":true").count(), 3, "created, started, deleted: {said}");
    // 48 kHz, 16 bit, mono.
    let heard = std::fs::metadata(folder.path().join("heard.wav")).unwrap().len();
    assert!(heard > 3 * 48_000 * 2 * 9 / 10, "{heard} bytes");
    let gone = async {
        while node.get("/api/rooms/tea-room").await.status != 404 {
            crate::support::pause_async().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the room goes");
}

/// What stands in the README's first shell block.
fn first_script() -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```sh\n").expect("a shell block");
    rest.split_once("```").expect("its end").0.to_owned()
}
