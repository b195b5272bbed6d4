//! Captions on real nodes: a recogniser gets the room's audio with its positions, and its results reach
//! listeners.

pub mod recogniser;

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::probe::{Listener, Mode};
use tokio::net::TcpSocket;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::channel::{Events, ROOM, listener};
use crate::rooms::tuned_in;
use crate::support::abuse_table::withstood;
use crate::support::node::{Node, request, signal};
use crate::support::pages::Pages;
use crate::support::studio::Studio;
use crate::support::until;
use recogniser::{Recogniser, onsets};

/// Tone of 0.3 s every 1.7 s.
const BEEPS: &str = "aevalsrc='if(lt(mod(t,1.7),0.3),0.5*sin(2*PI*440*t),0)':s=48000";

#[actix::test]
async fn recogniser_hears_and_captions() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let studio = Studio::managed(&node).await;
    let _speaker = studio.play(&node, ROOM, BEEPS).await;
    let target = node.target(ROOM).await;
    let mut heard = tuned_in(&target, Mode::Segments, 440.0).await;
    let mixing = node.children("ffmpeg");
    let mut events = Events::open(&node.hls, &listener(&node, "ann", None).await, None).await;
    events.next("snapshot").await;

    let mut recogniser = Recogniser::connect(&node, ROOM, "?language=en").await;
    assert_eq!(
        (&recogniser.start["sampleRate"], &recogniser.start["channels"], &recogniser.start["encoding"]),
        (&json!(16_000), &json!(1), &json!("s16le"))
    );
    assert_eq!(node.children("ffmpeg").len(), mixing.len() + 1, "one decoder");
    let (of_segments, ()) = futures::join!(onsets_of_segments(&mut heard), recogniser.listen(8));
    assert!(recogniser.longest_gap() <= 2);
    let of_recogniser = recogniser.onsets();
    let mut compared = 0;
    for onset in &of_recogniser {
        if of_segments.first() <= Some(onset) && Some(onset) <= of_segments.last() {
            let nearest = of_segments.iter().map(|other| other.abs_diff(*onset)).min();
            assert!(nearest < Some(100), "{onset}: {of_segments:?}");
            compared += 1;
        }
    }
    assert!(compared >= 2, "{of_recogniser:?} {of_segments:?}");

    let from = of_recogniser[0];
    recogniser.say(from, from + 300, "a beep", false).await;
    let shown = events.next("caption").await;
    let mut expected = json!({
        "at": from, "from": from, "to": from + 300, "text": "a beep", "final": false, "language": "en",
    });
    assert_eq!(shown, expected);
    recogniser.say(from, from + 300, "A  beep.", true).await;
    (expected["text"], expected["final"]) = (json!("A beep."), json!(true));
    assert_eq!(events.next("caption").await, expected);

    drop(recogniser);
    until("the decoder has ended", async || node.children("ffmpeg") == mixing).await;
    until("the language is free", async || Recogniser::open(&node, ROOM, "?language=en", &[]).await.is_ok())
        .await;
}

#[actix::test]
async fn listen_page_shows_captions() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let url = format!("{}/listen/{ROOM}?lang=de#token={}", node.hls, node.token(ROOM).await);
    let mut pages = Pages::start().await;
    pages.ask("eve", "open", json!({ "url": url })).await;
    pages.until_hears("eve", &json!({ "440": true })).await;
    let text =
        async |pages: &mut Pages, target: &str| pages.ask("eve", "text", json!({ "target": target })).await;
    assert!(!text(&mut pages, "#captions").await.is_string(), "no recogniser is connected");
    let mut recogniser = Recogniser::connect(&node, ROOM, "?language=en").await;
    let mut shown = Value::Null;
    for number in 0..30 {
        recogniser.listen(1).await;
        let end = recogniser.end();
        recogniser.say(end - 1_000, end, &format!("Words {number}"), true).await;
        if text(&mut pages, "#captions").await == "Untertitel" {
            if !text(&mut pages, "#caption").await.is_string() {
                pages.ask("eve", "press", json!({ "target": "#captions" })).await;
            }
            shown = text(&mut pages, "#caption").await;
            if shown.as_str().is_some_and(|shown| shown.starts_with("Words ")) {
                break;
            }
        }
    }
    assert!(shown.as_str().is_some_and(|shown| shown.starts_with("Words ")), "{shown}");
    pages.ask("eve", "press", json!({ "target": "#captions" })).await;
    assert!(!text(&mut pages, "#caption").await.is_string(), "switched off");
}

/// Returns the times at which a tone begins, in milliseconds since the Unix epoch, as an HLS listener
/// computes them.
async fn onsets_of_segments(listener: &mut Listener) -> Vec<u64> {
    let heard = listener.hear_segments(4).await.unwrap();
    let segments = &listener.playlist().segments;
    let first = segments.iter().find(|segment| segment.sequence == heard.pieces[0].sequence).unwrap();
    let began = (first.date.unwrap() * 1000.0).round() as u64;
    let loud = |block: &[f32]| block.iter().any(|sample| sample.abs() > 0.02);
    let blocks: Vec<_> = (0..).zip(heard.pcm.chunks(480)).map(|(n, b)| (began + n * 10, loud(b))).collect();
    onsets(&blocks)
}

#[actix::test]
async fn live_captions_are_a_rendition() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.play(&node, ROOM, BEEPS).await;
    let target = node.target(ROOM).await;
    let mut heard = tuned_in(&target, Mode::Segments, 440.0).await;
    let mut recogniser = Recogniser::connect(&node, ROOM, "?language=en").await;
    recogniser.listen(4).await;
    let beep = *recogniser.onsets().last().expect("a beep");
    recogniser.say(beep, beep + 300, "A beep.", true).await;
    let url = |name: &str| format!("{}/hls/rooms/{ROOM}/{name}?token={}", node.hls, target.token);
    let get = async |name: &str| request("GET", &url(name), &[], None).await.text();
    let find = async {
        let (mut file, mut text) = (String::new(), String::new());
        until("a file has the caption", async || {
            let list = get("captions.en.m3u8").await;
            for line in list.lines().filter(|line| line.starts_with("captions.en.")) {
                let name = line.split('?').next().unwrap();
                let found = get(name).await;
                if found.contains("\nA beep.\n") {
                    return true;
                }
            }
            false
        })
        .await;
        for line in get("captions.en.m3u8").await.lines().filter(|line| line.starts_with("captions.en.")) {
            let name = line.split('?').next().unwrap();
            let found = get(name).await;
            if found.contains("\nA beep.\n") {
                (file, text) = (name.to_owned(), found);
            }
        }
        (file, text)
    };
    let ((file, text), heard) = futures::join!(find, heard.hear_segments(6));
    let msn: u64 = file.split('.').nth(2).unwrap().parse().unwrap();

    // The file has the timestamp of its segment, and the caption is where the beep is.
    let list = get("captions.en.m3u8").await;
    let before = list.split(&file).next().unwrap();
    let started = before.rsplit("#EXT-X-PROGRAM-DATE-TIME:").next().unwrap().lines().next().unwrap();
    let started = stentor::domain::schedule::StartTime::parse(started).unwrap().0.0;
    let segment = heard.unwrap().pieces.into_iter().find(|piece| piece.sequence == msn);
    let pts = segment.expect("the listener has the segment").audio.pts;
    assert!(text.contains(&format!("X-TIMESTAMP-MAP=MPEGTS:{pts},LOCAL:01:00:00.000\n")), "{pts}: {text}");
    let cues = subtitles(&url(&file));
    assert_eq!(cues, [(3_600_000 + beep - started, "A beep.".to_owned())]);

    let multivariant = get("captions.m3u8").await;
    assert!(multivariant.contains("TYPE=SUBTITLES,GROUP-ID=\"captions\",LANGUAGE=\"en\""), "{multivariant}");
    let args = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &url("captions.m3u8")];
    let probed = Command::new("ffprobe").args(args).output().expect("ffprobe");
    assert!(String::from_utf8_lossy(&probed.stdout).contains("aac"), "{probed:?}");
    assert!(!get("index.m3u8").await.contains("captions"), "players without captions lose nothing");
    let open = request("GET", &format!("{}/hls/rooms/{ROOM}/{file}", node.hls), &[], None).await;
    assert_eq!((open.status, open.code().as_str()), (401, "token_missing"));
    let later = request("GET", &url("captions.en.99999999.vtt"), &[], None).await;
    assert_eq!(later.status, 404);
}

#[actix::test]
async fn recordings_have_transcripts() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.play(&node, ROOM, BEEPS).await;
    let target = node.target(ROOM).await;
    tuned_in(&target, Mode::Segments, 440.0).await;
    let asked = node.post(&format!("/api/rooms/{ROOM}/recording"), json!({})).await.json();
    let id = asked["room"]["recording"].as_str().unwrap().to_owned();
    let listed = async || node.get(&format!("/api/recordings/{id}")).await.status == 200;
    until("the recording has begun", listed).await;
    let mut recogniser = Recogniser::connect(&node, ROOM, "?language=en").await;
    recogniser.listen(5).await;
    let onsets = recogniser.onsets();
    let beep = onsets[onsets.len() - 2];
    recogniser.say(beep, beep + 150, "a be", false).await;
    recogniser.say(beep, beep + 300, "A beep & <more>.", true).await;
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    recogniser.until("the end", |this| this.messages.iter().any(|message| message["type"] == "end")).await;
    let last = recogniser.end();
    recogniser.say(last - 200, last, "The last words.", true).await;
    let transcript = async || node.get(&format!("/api/recordings/{id}/transcript")).await;
    until("both captions are stored", async || transcript().await.text().lines().count() == 2).await;
    let lines: Vec<Value> =
        transcript().await.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = json!({
        "from": beep, "to": beep + 300, "text": "A beep & <more>.", "language": "en", "speaker": null,
    });
    assert_eq!((&lines[0], &lines[1]["text"]), (&first, &json!("The last words.")));

    let found = async |words: &str| {
        let answer = node.get(&format!("/api/recordings/{id}/transcript?q={words}")).await;
        (answer.status, answer.text().lines().count())
    };
    assert_eq!(found("%26%20%3CMORE").await, (200, 1));
    assert_eq!(found("nothing").await, (200, 0));
    assert_eq!((found("").await.0, found(&"x".repeat(201)).await.0), (400, 400));

    let known = async || node.get(&format!("/api/recordings/{id}")).await.json();
    until("the recording can be played", async || known().await["recording"]["state"] == "ready").await;
    let answer = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = answer["token"].as_str().unwrap();
    let url = |name: &str, token: &str| format!("{}/hls/recordings/{id}/{name}?token={token}", node.hls);
    let refused = request("GET", &url("captions.vtt", &target.token), &[], None).await;
    assert_eq!(refused.code(), "token_wrong_audience");
    let captions = request("GET", &url("captions.vtt", token), &[], None).await;
    assert_eq!(captions.header("content-type"), Some("text/vtt; charset=utf-8"));
    assert!(captions.text().contains("\nA beep &amp; &lt;more&gt;.\n"), "{}", captions.text());
    let none = request("GET", &format!("{}&language=de", url("captions.vtt", token)), &[], None).await;
    assert_eq!(none.text(), "WEBVTT\n");

    // The cue is where the beep is in the file.
    let cues = subtitles(&url("captions.vtt", token));
    assert_eq!((cues.len(), cues[0].1.as_str()), (2, "A beep & <more>."));
    let beeps = onsets_of_file(&url("recording.m4a", token));
    let nearest = beeps.iter().map(|beep| beep.abs_diff(cues[0].0)).min();
    assert!(nearest < Some(100), "{cues:?} {beeps:?}");

    let mut pages = Pages::start().await;
    let at = cues[0].0 as f64 / 1000.0 + 0.1;
    let url = format!("{}&t={at:.1}", answer["replayUrl"].as_str().unwrap());
    pages.ask("replay", "open", json!({ "url": url, "hands": "mouse" })).await;
    let pages = tokio::sync::Mutex::new(pages);
    let shown = async || pages.lock().await.ask("replay", "text", json!({ "target": "#caption" })).await;
    until("the page offers captions", async || {
        let pressed = pages.lock().await.ask("replay", "text", json!({ "target": "#captions" })).await;
        pressed.is_string()
    })
    .await;
    assert!(!shown().await.is_string(), "captions are off at first");
    pages.lock().await.ask("replay", "press", json!({ "target": "#captions" })).await;
    until("the page shows the caption", async || shown().await == "A beep & <more>.").await;

    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.status, 200);
    assert_eq!(transcript().await.code(), "recording_not_found");
}

/// Returns the starts (in milliseconds) and texts of the cues that FFmpeg reads at a URL.
fn subtitles(url: &str) -> Vec<(u64, String)> {
    let ffprobe = Command::new("ffprobe")
        .args(["-v", "error", "-show_packets", "-show_data", "-of", "json", url])
        .output()
        .expect("ffprobe");
    assert!(ffprobe.status.success(), "{}", String::from_utf8_lossy(&ffprobe.stderr));
    let shown: Value = serde_json::from_slice(&ffprobe.stdout).expect("JSON");
    let srt =
        Command::new("ffmpeg").args(["-v", "error", "-i", url, "-f", "srt", "-"]).output().expect("ffmpeg");
    let texts = String::from_utf8(srt.stdout).expect("text");
    let texts = texts.split("\n\n").filter_map(|cue| cue.lines().nth(2).map(str::to_owned));
    let starts = shown["packets"].as_array().expect("packets").iter().map(|packet| {
        let seconds: f64 = packet["pts_time"].as_str().expect("a time").parse().expect("seconds");
        (seconds * 1000.0).round() as u64
    });
    starts.zip(texts).collect()
}

/// Returns the positions in milliseconds at which a tone begins in a file.
fn onsets_of_file(url: &str) -> Vec<u64> {
    let args = ["-v", "error", "-i", url, "-ac", "1", "-ar", "48000", "-f", "s16le", "-"];
    let pcm = Command::new("ffmpeg").args(args).output().expect("ffmpeg").stdout;
    let samples: Vec<_> = pcm.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect();
    let loud = |block: &[i16]| block.iter().any(|sample| sample.unsigned_abs() > 655);
    let blocks: Vec<_> = (0..).zip(samples.chunks(480)).map(|(n, block)| (n * 10, loud(block))).collect();
    onsets(&blocks)
}

#[actix::test]
async fn audio_survives_killed_processes() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let mixing = node.children("ffmpeg");
    let mut recogniser = Recogniser::connect(&node, ROOM, "").await;
    recogniser.listen(2).await;
    let decoder = |node: &Node| node.children("ffmpeg").into_iter().find(|pid| !mixing.contains(pid));
    let first = decoder(&node).expect("a decoder");
    signal(first, Signal::KILL);
    recogniser.listen(3).await;
    let second = decoder(&node).expect("a decoder");
    assert_ne!(first, second);
    assert!(recogniser.longest_gap() <= 2, "the new decoder begins where the first has stopped");

    // A stopped decoder is replaced, and its audio is not lost either.
    signal(second, Signal::STOP);
    recogniser.listen(3).await;
    assert_ne!(decoder(&node), Some(second));
    assert!(recogniser.longest_gap() <= 2);

    signal(mixing[0], Signal::KILL);
    recogniser.listen(6).await;
    assert!(recogniser.longest_gap() <= 2, "the room's timeline continues");
    let last: Vec<f32> = recogniser.chunks.iter().rev().take(10).flat_map(|(_, s)| s.clone()).collect();
    assert!(last.iter().any(|sample| *sample > 0.02), "the tone is back");
    until("failures are counted", async || {
        let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
        metrics.contains("stentor_caption_decoder_failures_total 2")
            && metrics.contains("stentor_recognisers 1")
    })
    .await;
}

#[actix::test]
async fn recognisers_are_refused_and_bounded() {
    const KEY: &str = "a-key-of-the-tests-0123456789";
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    node.room_on_air(ROOM).await;
    node.post("/api/rooms", json!({ "roomId": "other" })).await;
    let body = json!({ "name": "reader", "scopes": ["read"] });
    let reader = node.post("/api/keys", body).await.json()["secret"].as_str().unwrap().to_owned();
    let bearer = |key: &str| format!("Bearer {key}");
    let (good, wrong, reader) = (bearer(KEY), bearer("wrong"), bearer(&reader));
    let with = |key| [("authorization", key)];
    for (room, query, key, status, code) in [
        (ROOM, "", wrong.as_str(), 401, "unauthorized"),
        (ROOM, "", reader.as_str(), 403, "scope_missing"),
        ("nowhere", "", good.as_str(), 404, "room_not_found"),
        ("other", "", good.as_str(), 404, "room_not_on_air"),
        (ROOM, "?language=x", good.as_str(), 400, "invalid_room_field"),
        (ROOM, "?more=x", good.as_str(), 400, "invalid_query"),
    ] {
        let refused = Recogniser::open(&node, room, query, &with(key)).await.err().expect("a refusal");
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)), "{refused:?}");
    }
    let plain = node.get(&format!("/api/rooms/{ROOM}/captions")).await;
    assert_eq!((plain.status, plain.code().as_str()), (400, "websocket_expected"));

    let mut first = Recogniser::open(&node, ROOM, "?language=en", &with(&good)).await.unwrap();
    let second = Recogniser::open(&node, ROOM, "?language=EN", &with(&good)).await.err().unwrap();
    assert_eq!((second.status, &second.body["code"]), (409, &json!("recogniser_connected")));
    let _other = Recogniser::open(&node, ROOM, "?language=de", &with(&good)).await.unwrap();
    first.until("audio", |this| !this.chunks.is_empty()).await;
    let from = first.chunks[0].0;
    let result = |from: u64, to: u64, text: &str| {
        json!({ "from": from, "to": to, "text": text, "final": true }).to_string()
    };
    for garbage in [
        "garbage".to_owned(),
        "[]".to_owned(),
        result(from, from, "empty span"),
        result(from, from + 1_000, ""),
        result(from, from + 1_000, &"x".repeat(501)),
        result(from - 10_000, from, "before the audio"),
        result(from + 3_600_000, from + 3_601_000, "in an hour"),
    ] {
        assert_eq!(first.refused(&garbage).await, "invalid_result", "{garbage}");
    }
    for (language, message, code) in
        [("fr", Message::text("x".repeat(20_000)), 1009), ("it", Message::binary(vec![1]), 1003)]
    {
        let query = format!("?language={language}");
        let mut client = Recogniser::open(&node, ROOM, &query, &with(&good)).await.unwrap().client;
        use futures::SinkExt;
        client.socket.send(message).await.unwrap();
        assert_eq!(closed(&mut client).await, code);
        until("the language is free", async || {
            let again = Recogniser::open(&node, ROOM, &query, &with(&good)).await;
            match again {
                Ok(mut again) => again.client.socket.close(None).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    // This recogniser does not read. It loses its place, and the others get all audio.
    let address: SocketAddr = node.api.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/api/rooms/{ROOM}/captions?language=es");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", good.parse().unwrap());
    let deaf = client_async(request, stream).await.expect("an upgrade").0;
    let (mut listening, freed) = (first, async {
        until("the language is free", async || {
            Recogniser::open(&node, ROOM, "?language=es", &with(&good)).await.is_ok()
        })
        .await;
    });
    futures::join!(freed, listening.listen(20));
    assert!(listening.longest_gap() <= 2);
    drop(deaf);

    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    assert_eq!(closed(&mut listening.client).await, 4410);
    withstood(
        "recognisers with wrong keys, garbage and huge messages; one that never reads",
        "401, 403, an error for each result, closed",
        "another recogniser gets all audio",
    );
}

/// Waits for the close frame and returns its code; skips everything else.
async fn closed(client: &mut crate::ws::client::Client) -> u16 {
    use futures::StreamExt;
    let close = async {
        loop {
            if let Message::Close(Some(frame)) =
                client.socket.next().await.expect("a frame").expect("a frame")
            {
                return frame.code.into();
            }
        }
    };
    crate::support::in_time("a close frame", close).await
}
