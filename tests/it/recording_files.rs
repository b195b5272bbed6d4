//! Files of a recording: title and chapters in the M4A and Opus files, and the metadata on the disk.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::node::{Node, request};
use crate::support::until;

/// Checks the files of a recording of one anchor, Ann, in the room "Tea & talk".
pub async fn have_title_and_chapters(node: &Node, id: &str, token: &str) {
    let url = |name: &str| format!("{}/hls/recordings/{id}/{name}?token={token}", node.hls);
    for name in ["recording.m4a", "recording.opus"] {
        let told = probed(&url(name));
        // An M4A file has its tags in the format, an Ogg file in the stream.
        let tags = [&told["format"]["tags"], &told["streams"][0]["tags"]];
        let has = |tag: &str, part: &str| tags.iter().any(|tags| has_tag(tags, tag, part));
        assert!(has("title", "Tea & talk") && has("date", "20"), "{name}: {told}");
        assert_eq!(told["chapters"][0]["tags"]["title"], "Ann", "{name}: {told}");
        assert_eq!(told["chapters"][0]["start_time"], "0.000000", "{name}: {told}");
    }
    let first = request("GET", &url("recording.opus"), &[], None).await;
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.header("content-type"), Some("audio/ogg"));
    let range = [("range", "bytes=10-19"), ("if-range", etag.as_str())];
    let part = request("GET", &url("recording.opus"), &range, None).await;
    assert_eq!((part.status, &part.body[..]), (206, &first.body[10..20]), "the file is kept");
    let clip = url("recording.opus") + "&from=1&to=3";
    // Only a complete file shows its duration.
    assert_eq!(request("GET", &clip, &[], None).await.status, 200);
    let clip = probed(&clip);
    let seconds: f64 = clip["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((1.9..2.2).contains(&seconds), "{clip}");
    let refused =
        request("GET", &format!("{}/hls/recordings/{id}/recording.opus", node.hls), &[], None).await;
    assert_eq!(refused.code(), "token_missing");
}

/// Checks that the API and the file on the disk have the speaking time of the only anchor.
pub async fn have_speaking_time(node: &Node, id: &str) {
    let known = async || node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    let file = node.data_dir().join("recordings").join(id).join("metadata.json");
    let read = || std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    until("the metadata are complete", async || {
        let (known, read) = (known().await, read().unwrap_or_default());
        known["anchors"][0]["spokenMs"].as_u64() > Some(2_000)
            && read["anchors"] == known["anchors"]
            && read["loudness"] == known["loudness"]
            && known["loudness"].is_object()
    })
    .await;
    let read = read().unwrap();
    assert_eq!((&read["recordingId"], &read["title"]), (&json!(id), &json!("Tea & talk")), "{read}");
    assert_eq!(read["chapters"][0]["title"], "Ann", "{read}");
}

fn has_tag(tags: &Value, name: &str, part: &str) -> bool {
    let tag = |(known, value): (&String, &Value)| {
        known.eq_ignore_ascii_case(name) && value.as_str().is_some_and(|value| value.contains(part))
    };
    tags.as_object().is_some_and(|tags| tags.iter().any(tag))
}

/// Returns what ffprobe tells about the file at a URL.
fn probed(url: &str) -> Value {
    let show = ["-show_chapters", "-show_format", "-show_streams"];
    let output =
        Command::new("ffprobe").args(["-v", "error", "-of", "json"]).args(show).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
