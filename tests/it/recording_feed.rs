//! Results of a recording after its end: loudness, waveform, and podcast feeds.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stentor::probe::Mode;

use crate::rooms::tuned_in;
use crate::support::node::{Node, request};
use crate::support::studio::Studio;
use crate::support::{skipped, until};

const ROOM: &str = "podcast";
const FEEDPARSER: &str = "6.0.14";

/// Prints what feedparser reads from a feed.
const READ: &str = "
import feedparser, json, sys
feed = feedparser.parse(sys.stdin.buffer.read())
items = [{'id': e.id, 'title': e.title, 'duration': e.itunes_duration, 'date': e.published_parsed is not None,
          'enclosure': dict(e.enclosures[0])} for e in feed.entries]
print(json.dumps({'bozo': bool(feed.bozo), 'version': feed.version, 'title': feed.feed.title,
                  'author': feed.feed.author, 'image': feed.feed.image.href, 'items': items}))
";

/// Parses a feed with feedparser; `None` if it cannot be installed.
fn parsed(text: &[u8]) -> Option<Value> {
    use std::io::Write as _;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/feedparser.sh");
    let installed = Command::new(script).arg(FEEDPARSER).output().unwrap();
    if !installed.status.success() {
        skipped("feedparser cannot be installed from PyPI here");
        return None;
    }
    let python = String::from_utf8(installed.stdout).unwrap();
    let mut child = Command::new(python.trim())
        .args(["-c", READ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[actix::test]
async fn recordings_are_measured_and_published() {
    let node = Node::start(&[("recording.mode", "always"), ("hls.segment_ms", "500")]).await;
    node.room_on_air(ROOM).await;
    let fields =
        json!({ "title": "Tea & talk", "owner": "ann", "tags": ["Talk"], "description": "One <hour>" });
    let url = format!("{}/api/rooms/{ROOM}", node.api);
    assert_eq!(request("PATCH", &url, &[], Some(fields)).await.status, 200);
    let studio = Studio::managed(&node).await;
    let speaker = studio.speak(&node, ROOM, 440).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    listener.hear(Duration::from_secs(5)).await.unwrap();
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded without a request").to_owned();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    drop((listener, speaker, studio));
    let known = async || node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    until("the recording is measured", async || known().await["loudness"].is_object()).await;
    let recording = known().await;
    let lufs = recording["loudness"]["integratedLufs"].as_f64().unwrap();
    assert!((-40.0..-5.0).contains(&lufs), "{recording}");
    assert_eq!((&recording["owner"], &recording["tags"]), (&json!("ann"), &json!(["talk"])));

    let token = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let info = format!("{}/hls/recordings/{id}/info.json", node.hls);
    let info = request("GET", &info, &[("authorization", &bearer)], None).await.json();
    let waveform: Vec<u64> =
        info["waveform"].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect();
    assert!(waveform.len() >= 40, "a value per 0.1 s: {info}");
    let loud = waveform.iter().filter(|value| **value > 20).count();
    assert!(loud * 10 > waveform.len() * 8, "the tone is everywhere: {waveform:?}");

    let wanted =
        json!({ "tag": "talk", "title": "Talks", "author": "Ann", "coverUrl": "https://example.org/a.png" });
    let issued = node.post("/api/feeds", wanted).await.json();
    let feed = request("GET", issued["feedUrl"].as_str().unwrap(), &[], None).await;
    assert_eq!(feed.header("content-type"), Some("application/rss+xml; charset=utf-8"), "{feed:?}");
    let file = format!("{}/hls/recordings/{id}/recording.m4a", node.hls);
    let file = request("GET", &file, &[("authorization", &bearer)], None).await.body;
    if let Some(read) = parsed(&feed.body) {
        assert_eq!((&read["bozo"], &read["version"]), (&json!(false), &json!("rss20")), "{read}");
        assert_eq!((&read["title"], &read["author"]), (&json!("Talks"), &json!("Ann")));
        let item = &read["items"][0];
        assert_eq!(
            (&item["id"], &item["title"], &item["date"]),
            (&json!(id), &json!("Tea & talk"), &json!(true))
        );
        assert_eq!(item["enclosure"]["type"], "audio/mp4");
        assert_eq!(item["enclosure"]["length"], file.len().to_string());
        let enclosure = request("GET", item["enclosure"]["href"].as_str().unwrap(), &[], None).await;
        assert!(enclosure.status == 200 && enclosure.body == file, "{} bytes", enclosure.body.len());
    }
    let other = node.post("/api/feeds", json!({ "owner": "bob" })).await.json();
    let other = request("GET", other["feedUrl"].as_str().unwrap(), &[], None).await;
    assert!(other.status == 200 && !other.text().contains("<item>"));
}
