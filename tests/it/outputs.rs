//! Outputs on a real node: an Icecast server, and RTMP and SRT receivers, which fail and come back.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use stentor::probe::{HeardAudio, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rooms::tuned_in;
use crate::support::abuse_table::withstood;
use crate::support::kept::KeptProcess;
use crate::support::node::{Node, request, signal};
use crate::support::receiver::Receiver;
use crate::support::studio::Studio;
use crate::support::{free_ports, until, wait_until};

const ROOM: &str = "pushed";
const PASSWORD: &str = "hackme-4711";

/// Configuration of an Icecast server on one port.
fn icecast_config(dir: &str, port: u16) -> String {
    format!(
        "<icecast><limits><sources>9</sources></limits><authentication>\
         <source-password>{PASSWORD}</source-password><admin-user>admin</admin-user>\
         <admin-password>{PASSWORD}</admin-password></authentication><hostname>localhost</hostname>\
         <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>\
         <paths><basedir>{dir}</basedir><logdir>{dir}</logdir><webroot>/usr/share/icecast2/web</webroot>\
         <adminroot>/usr/share/icecast2/admin</adminroot></paths>\
         <logging><loglevel>2</loglevel></logging>\
         <security><changeowner><user>nobody</user><group>nogroup</group></changeowner></security></icecast>"
    )
}

/// Starts Icecast and waits until it listens.
fn icecast(config: &std::path::Path, port: u16) -> KeptProcess {
    let mut command = Command::new("icecast2");
    command.arg("-c").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = KeptProcess::start(command);
    wait_until("Icecast listens", Duration::from_secs(20), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    running
}

/// Starts FFmpeg as a receiver that writes the received audio to a file.
fn receiver(options: &[&str], url: &str, file: &std::path::Path) -> KeptProcess {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y"]).args(options).args(["-i", url]);
    command.args(["-flush_packets", "1", "-f", "f32le", "-ac", "1", "-ar", "48000"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    KeptProcess::start(command)
}

/// Returns the last second that a receiver has written; `None` if the file is shorter.
fn heard(file: &std::path::Path) -> Option<HeardAudio> {
    let bytes = std::fs::read(file).ok()?;
    let samples: Vec<_> =
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let last = samples.len().checked_sub(48_000)?;
    Some(HeardAudio { pcm: samples[last..].to_vec(), ..HeardAudio::default() })
}

async fn hears_tone(what: &str, file: &std::path::Path) {
    until(what, async || heard(file).is_some_and(|audio| audio.level(440.0) > 0.03)).await;
}

async fn outputs(node: &Node) -> Vec<Value> {
    let listed = node.get(&format!("/api/rooms/{ROOM}/outputs")).await.json();
    listed["outputs"].as_array().cloned().unwrap_or_default()
}

async fn output(node: &Node, id: &str) -> Value {
    outputs(node).await.into_iter().find(|output| output["outputId"] == id).unwrap_or_default()
}

async fn add(node: &Node, body: Value) -> String {
    let added = node.post(&format!("/api/rooms/{ROOM}/outputs"), body).await;
    assert_eq!(added.status, 200, "{added:?}");
    added.json()["output"]["outputId"].as_str().expect("an id").to_owned()
}

async fn is_live(node: &Node, id: &str) {
    until("the output is live", async || output(node, id).await["state"] == "live").await;
}

async fn events(node: &Node, kind: &str, id: &str) -> usize {
    let page = node.get(&format!("/api/events?type={kind}&limit=1000")).await.json();
    let events = page["events"].as_array().cloned().unwrap_or_default();
    events.iter().filter(|event| event["data"]["outputId"] == id).count()
}

/// Asserts that the node's logs and answers contain no secret of a target.
async fn assert_no_secret(node: &Node, secrets: &[&str]) {
    let answers = [
        node.output(),
        node.actors().await.to_string(),
        node.get(&format!("/api/rooms/{ROOM}/outputs")).await.text(),
        node.get(&format!("/api/rooms/{ROOM}")).await.text(),
        node.get("/api/events?limit=1000").await.text(),
    ];
    for secret in secrets {
        assert!(answers.iter().all(|answer| !answer.contains(secret)), "{secret}");
    }
}

#[actix::test]
async fn rooms_are_pushed_to_icecast() {
    let [port] = free_ports();
    let scratch = tempfile::tempdir().unwrap();
    // Icecast refuses to run as root, so it changes to nobody.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let config = scratch.path().join("icecast.xml");
    std::fs::write(&config, icecast_config(scratch.path().to_str().unwrap(), port)).unwrap();
    let mut server = icecast(&config, port);

    let node = Node::start(&[("outputs.networks", "127.0.0.0/8")]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let url = |mount: &str| format!("icecast://source:{PASSWORD}@127.0.0.1:{port}/{mount}");
    let aac = add(&node, json!({ "url": url("live.aac") })).await;
    let mp3 = add(&node, json!({ "url": url("live.mp3"), "format": "mp3" })).await;
    let opus = add(&node, json!({ "url": url("live.ogg"), "format": "opus" })).await;
    for (id, mount) in [(&aac, "live.aac"), (&mp3, "live.mp3"), (&opus, "live.ogg")] {
        is_live(&node, id).await;
        let file = scratch.path().join(mount).with_extension("raw");
        let _listener = receiver(&[], &format!("http://127.0.0.1:{port}/{mount}"), &file);
        hears_tone(mount, &file).await;
    }
    let shown = output(&node, &aac).await;
    assert_eq!(shown["target"], format!("icecast://127.0.0.1:{port}/live.aac"));
    assert_eq!(node.states_of("output").await.len(), 3);

    // The server dies and comes back.
    server.kill();
    until("the output fails", async || output(&node, &aac).await["state"] == "failing").await;
    server = icecast(&config, port);
    is_live(&node, &aac).await;
    // The ledger follows the store independently of the states.
    until("the ledger has both states", async || {
        events(&node, "output_live", &aac).await >= 2 && events(&node, "output_failed", &aac).await >= 1
    })
    .await;

    // A refused password is reported as the reason, and the node tries again.
    let wrong =
        add(&node, json!({ "url": format!("icecast://source:wrong-pass@127.0.0.1:{port}/x.aac") })).await;
    until("the target refuses", async || {
        let output = output(&node, &wrong).await;
        output["reason"] == "the target refuses the credentials" && output["failures"].as_u64() > Some(1)
    })
    .await;
    until("one event for all attempts", async || events(&node, "output_failed", &wrong).await == 1).await;

    assert_no_secret(&node, &[PASSWORD, "wrong-pass"]).await;
    for id in [&aac, &mp3, &opus, &wrong] {
        assert_eq!(node.delete(&format!("/api/rooms/{ROOM}/outputs/{id}")).await.status, 200);
    }
    until("the actors are gone", async || node.states_of("output").await.is_empty()).await;
    let gone = format!("http://127.0.0.1:{port}/live.aac");
    until("the mount is gone", async || request("GET", &gone, &[], None).await.status == 404).await;
    assert_eq!(node.delete(&format!("/api/rooms/{ROOM}/outputs/{aac}")).await.code(), "output_not_found");
    drop(server);
}

#[actix::test]
async fn rooms_are_pushed_by_rtmp_and_srt() {
    let [rtmp_port, srt_port] = free_ports();
    let scratch = tempfile::tempdir().unwrap();
    let [by_rtmp, by_srt] = ["rtmp.raw", "srt.raw"].map(|name| scratch.path().join(name));
    let rtmp_url = format!("rtmp://127.0.0.1:{rtmp_port}/live/{PASSWORD}");
    let srt_url = format!("srt://127.0.0.1:{srt_port}?passphrase={PASSWORD}");
    let node = Node::start(&[("outputs.networks", "127.0.0.1")]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let rtmp = add(&node, json!({ "url": rtmp_url })).await;
    let srt = add(&node, json!({ "url": srt_url })).await;
    until("nobody listens yet", async || {
        let states = outputs(&node).await;
        states.len() == 2 && states.iter().all(|output| output["failures"].as_u64() > Some(1))
    })
    .await;
    assert_eq!(output(&node, &rtmp).await["reason"], "the target refuses connections");

    let listen = || receiver(&["-listen", "1"], &rtmp_url, &by_rtmp);
    let mut receivers = (listen(), receiver(&[], &format!("{srt_url}&mode=listener"), &by_srt));
    is_live(&node, &rtmp).await;
    is_live(&node, &srt).await;
    hears_tone("RTMP", &by_rtmp).await;
    hears_tone("SRT", &by_srt).await;

    // A killed FFmpeg is replaced. The receiver ends with the connection, so the test must restart it, too.
    let children = node.children("ffmpeg");
    let of_output = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("rtmp://")
    };
    let pid = *children.iter().find(|pid| of_output(pid)).expect("an FFmpeg of the RTMP output");
    signal(pid, rustix::process::Signal::KILL);
    until("the output fails", async || output(&node, &rtmp).await["state"] == "failing").await;
    assert_eq!(output(&node, &srt).await["state"], "live", "the SRT output stopped");
    receivers.0.kill();
    std::fs::remove_file(&by_rtmp).unwrap();
    receivers.0 = listen();
    is_live(&node, &rtmp).await;
    hears_tone("RTMP again", &by_rtmp).await;

    // The connections end with the room; the next broadcast opens them again.
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    until("the outputs wait", async || {
        outputs(&node).await.iter().all(|output| output["state"] == "waiting")
            && node.states_of("output").await.is_empty()
    })
    .await;
    assert_no_secret(&node, &[PASSWORD]).await;
    receivers.1.kill();
    std::fs::remove_file(&by_srt).unwrap();
    receivers.1 = receiver(&[], &format!("{srt_url}&mode=listener"), &by_srt);
    node.until_status(ROOM, "created").await;
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/start"), json!({})).await.status, 200);
    is_live(&node, &srt).await;
    drop(receivers);
}

#[actix::test]
async fn rtmps_targets_need_valid_certificate() {
    let server = Receiver::start_with_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, server.certificate.as_ref().unwrap()).unwrap();
    for path in [folder.path(), &authority] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let url = format!("rtmps://localhost:{}/live/{PASSWORD}", server.address.port());
    for trusted in [false, true] {
        let mut node = Node::prepare(&[("outputs.networks", "127.0.0.1,::1")]);
        if trusted {
            node.environment(vec![("SSL_CERT_FILE".to_owned(), authority.display().to_string())]);
        }
        node.run();
        node.ready().await;
        node.room_on_air(ROOM).await;
        let id = add(&node, json!({ "url": url })).await;
        // The server does not speak RTMP, so the output fails in both cases, for different reasons.
        until("the output fails", async || output(&node, &id).await["state"] == "failing").await;
        let reason = output(&node, &id).await["reason"].as_str().unwrap().to_owned();
        assert_eq!(reason.contains("certificate"), !trusted, "{reason}");
    }
}

#[actix::test]
async fn icecasts_targets_need_valid_certificate() {
    let server = Receiver::start_with_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, server.certificate.as_ref().unwrap()).unwrap();
    server.answer(403);
    let url = format!("icecasts://source:{PASSWORD}@localhost:{}/live.aac", server.address.port());
    for (trusted, part) in [(false, "certificate"), (true, "refuses the mount")] {
        let mut node = Node::prepare(&[("outputs.networks", "127.0.0.1,::1")]);
        if trusted {
            node.environment(vec![("SSL_CERT_FILE".to_owned(), authority.display().to_string())]);
        }
        node.run();
        node.ready().await;
        node.room_on_air(ROOM).await;
        let id = add(&node, json!({ "url": url })).await;
        until("the output fails", async || output(&node, &id).await["state"] == "failing").await;
        let reason = output(&node, &id).await["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(part), "{reason}");
        assert_no_secret(&node, &[PASSWORD]).await;
    }
    let requests = server.requests();
    let user = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("source:{PASSWORD}"));
    assert_eq!(requests[0].headers["authorization"], format!("Basic {user}"));
}

#[actix::test]
async fn icecast_redirects_are_not_followed() {
    let private = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    private.set_nonblocking(true).unwrap();
    let elsewhere = private.local_addr().unwrap();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    actix::spawn(async move {
        while let Ok((mut socket, _)) = server.accept().await {
            let _ = socket.read(&mut [0; 2048]).await;
            let to =
                format!("HTTP/1.1 307 Away\r\nLocation: http://{elsewhere}/x\r\nContent-Length: 0\r\n\r\n");
            let _ = socket.write_all(to.as_bytes()).await;
        }
    });
    let node = Node::start(&[("outputs.networks", "127.0.0.1")]).await;
    node.room_on_air(ROOM).await;
    let url = format!("icecast://source:{PASSWORD}@127.0.0.1:{port}/live.aac");
    let id = add(&node, json!({ "url": url })).await;
    until("the output fails twice", async || output(&node, &id).await["failures"].as_u64() > Some(1)).await;
    let reason = output(&node, &id).await["reason"].clone();
    assert_eq!(reason, "the target redirects to another address; redirects are not followed");
    let followed = private.accept().expect_err("no connection");
    assert_eq!(followed.kind(), std::io::ErrorKind::WouldBlock);
    withstood(
        "outputs: an Icecast server that redirects to a private address",
        "not followed, the output fails with the reason",
        "the room is on air",
    );
    node.until_status(ROOM, "onair").await;
}

#[actix::test]
async fn outputs_reach_no_private_network() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let refused =
        node.post(&format!("/api/rooms/{ROOM}/outputs"), json!({ "url": "srt://127.0.0.1:9000" })).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_output".into()));
    assert!(refused.text().contains("outputs.networks"), "{}", refused.text());
    // A name is checked when it is resolved.
    let id = add(&node, json!({ "url": format!("rtmp://localhost:9000/live/{PASSWORD}") })).await;
    until("the target is refused", async || output(&node, &id).await["state"] == "failing").await;
    let reason = output(&node, &id).await["reason"].clone();
    assert!(reason.as_str().unwrap().contains("is not a public address"), "{reason}");
    assert_no_secret(&node, &[PASSWORD]).await;
}
