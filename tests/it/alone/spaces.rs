//! The app in `examples/spaces/`, started by its command and used by a host and two listeners in browsers.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::alone::demo::tree;
use crate::alone::stage::until_text;
use crate::support::kept::KeptProcess;
use crate::support::node::until_gone;
use crate::support::pages::{Pages, tone};
use crate::support::{until, wait_until};

/// Ports for the app. They are below the ephemeral ports, so no other test gets one by chance.
const PORTS: Range<u16> = 19_800..19_900;
const RTP_PORTS: &str = "30400-30499";
/// Time limit that includes the installation of packages.
const STARTED_WITHIN: Duration = Duration::from_secs(300);
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const TITLE: &str = "Tea & talk";
const NO_MESSAGES: &str = "No messages yet. Say hello!";
const ON_STAGE: &str = "You are on the stage";

#[actix::test]
async fn spaces_app_works_end_to_end() {
    let temporary = tempfile::tempdir().unwrap();
    let output = tempfile::tempdir().unwrap();
    let app = App::start(&temporary, &output.path().join("output"));
    assert_eq!(folders_in(&temporary), 1);
    let mut pages = Pages::start().await;
    let (low, high) = (tone(output.path(), 440).await, tone(output.path(), 660).await);
    for (name, hands, wav) in [("Ann", "mouse", &low), ("Bob", "keyboard", &high), ("Eve", "touch", &high)] {
        let opened = pages.ask(name, "open", json!({ "url": app.url, "wav": wav, "hands": hands })).await;
        assert_eq!(opened["fit"], json!({ "wide": 0, "small": [] }), "{name}");
        write(&mut pages, name, "#sign-in-name", name).await;
        press(&mut pages, name, "#sign-in button").await;
        until_text(&mut pages, name, "#me bdi", name).await;
    }

    // The host plans a space, starts it early, and talks; the others see it in their lists.
    press(&mut pages, "Ann", "#new").await;
    write(&mut pages, "Ann", "#title", TITLE).await;
    write(&mut pages, "Ann", "#starts-at", "2099-01-01T10:00").await;
    press(&mut pages, "Ann", "#create-send").await;
    until_text(&mut pages, "Ann", "#status", "Upcoming").await;
    until_text(&mut pages, "Eve", "#upcoming .card a", TITLE).await;
    press(&mut pages, "Ann", "#start").await;
    until_text(&mut pages, "Ann", "#status", "Live").await;
    press(&mut pages, "Ann", "#join").await;
    until_text(&mut pages, "Ann", "#state", ON_STAGE).await;
    for name in ["Bob", "Eve"] {
        until_text(&mut pages, name, "#live .card a", TITLE).await;
        press(&mut pages, name, "#live .card a").await;
        until_text(&mut pages, name, "#speakers .name", "Ann").await;
        play(&mut pages, name).await;
        let fit = pages.ask(name, "fit", json!({})).await;
        assert_eq!(fit, json!({ "wide": 0, "small": [] }), "{name}");
    }
    until_text(&mut pages, "Eve", ".talking .muted", "Host · Talking").await;
    pages.until_hears("Eve", &json!({ "440": true, "660": false })).await;

    // A listener raises a hand, is invited, speaks, and is heard by the other listener.
    press(&mut pages, "Bob", "#hand").await;
    write(&mut pages, "Bob", "#note", "about tea").await;
    press(&mut pages, "Bob", "#hand-send").await;
    until_text(&mut pages, "Bob", "#state", "Your hand is up · place 1").await;
    until_text(&mut pages, "Ann", "#hands .note", "about tea").await;
    press(&mut pages, "Ann", "#hands [aria-label^=Invite]").await;
    press(&mut pages, "Bob", "#accept").await;
    until_text(&mut pages, "Bob", "#state", ON_STAGE).await;
    pages.until_hears("Eve", &json!({ "440": true, "660": true })).await;

    chat(&mut pages).await;
    react(&mut pages).await;

    // The host mutes the speaker, who returns to listening, and is then removed.
    press(&mut pages, "Ann", "[data-name=Bob] [aria-label^=Mute]").await;
    until_text(&mut pages, "Eve", "[data-name=Bob] .muted", "Muted").await;
    press(&mut pages, "Bob", "#leave").await;
    until_text(&mut pages, "Bob", "#hand", "✋ Raise hand").await;
    pages.until_hears("Bob", &json!({ "440": true, "660": false })).await;
    press(&mut pages, "Ann", "#messages [aria-label='Remove Bob']").await;
    press(&mut pages, "Ann", "#sure-yes").await;
    until_text(&mut pages, "Bob", "#refused", "The host removed you from this space.").await;

    // The host ends the space; the pages and the list show that, and the recording is offered.
    press(&mut pages, "Ann", "#end").await;
    press(&mut pages, "Ann", "#sure-yes").await;
    for name in ["Ann", "Bob", "Eve"] {
        until_text(&mut pages, name, "#status", "Ended").await;
        until_text(&mut pages, name, "#history li:last-child span", "The recording is ready").await;
        until_text(&mut pages, name, "#replay", "").await;
        let state = pages.ask(name, "state", json!({})).await;
        assert_eq!(state["errors"], json!([]), "{name}: {state}");
    }
    pages.ask("Eve", "go", json!({ "to": app.url })).await;
    until_text(&mut pages, "Eve", "#ended .card a", TITLE).await;
    app.end();
    assert_eq!(folders_in(&temporary), 0);
}

/// Sends a message that looks like markup, which is shown as text. The host pins and deletes it.
async fn chat(pages: &mut Pages) {
    write(pages, "Eve", "#say-text", "<b>hello</b> & more").await;
    press(pages, "Eve", "#say button").await;
    for name in ["Ann", "Bob", "Eve"] {
        until_text(pages, name, "#messages .text", "<b>hello</b> & more").await;
    }
    press(pages, "Ann", "#messages [aria-label^=Pin]").await;
    until_text(pages, "Bob", "#pinned-text", "Eve: <b>hello</b> & more").await;
    press(pages, "Ann", "#messages [aria-label^=Delete]").await;
    for name in ["Ann", "Bob", "Eve"] {
        until_text(pages, name, ".chat .empty", NO_MESSAGES).await;
    }
    write(pages, "Bob", "#say-text", "Thank you!").await;
    press(pages, "Bob", "#say button").await;
    until_text(pages, "Ann", "#messages .text", "Thank you!").await;
}

/// Sends reactions until the host sees one, because a reaction is shown for only three seconds.
async fn react(pages: &mut Pages) {
    let pages = tokio::sync::Mutex::new(pages);
    until("Ann sees a reaction of Eve", async || {
        let mut pages = pages.lock().await;
        press(&mut pages, "Eve", "#reactions [aria-label=clap]").await;
        pages.ask("Ann", "text", json!({ "target": "#rising span" })).await == "👏"
    })
    .await;
}

async fn press(pages: &mut Pages, name: &str, target: &str) {
    pages.ask(name, "press", json!({ "target": target })).await;
}

async fn write(pages: &mut Pages, name: &str, target: &str, text: &str) {
    pages.ask(name, "write", json!({ "target": target, "text": text })).await;
}

/// Waits until the page plays the room, and presses Play where the browser requires that.
async fn play(pages: &mut Pages, name: &str) {
    let state = "stentor-player >>> [part=state]";
    let locked = tokio::sync::Mutex::new(&mut *pages);
    until(&format!("{name} plays the room"), async || {
        let mut pages = locked.lock().await;
        let shown = pages.ask(name, "text", json!({ "target": state })).await;
        if shown == "On air. Press play to listen" {
            press(&mut pages, name, "stentor-player [part=play]").await;
        }
        shown == "Live"
    })
    .await;
}

/// Counts the folders of the app in the temporary directory. npm may leave caches of its own there.
fn folders_in(temporary: &TempDir) -> usize {
    let entries = std::fs::read_dir(temporary.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("stentor-")).count()
}

/// The app and its node, as `run.sh` starts them.
struct App {
    script: KeptProcess,
    url: String,
    output: PathBuf,
}

impl App {
    fn start(temporary: &TempDir, output: &Path) -> Self {
        // A shell cannot trap a signal that was ignored when it started (POSIX.1-2017, trap), and programs
        // that a script starts in the background ignore INT.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/spaces/run.sh"));
        command.arg(env!("CARGO_BIN_EXE_stentor")).stdin(Stdio::null());
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let mut ports = PORTS;
        let port = ports.find(free).expect("a free port").to_string();
        command.envs([("PORT", port.as_str()), ("STENTOR__MIXER__RTP_PORTS", RTP_PORTS)]);
        command.env("TMPDIR", temporary.path());
        let file = File::create(output).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let script = KeptProcess::start(command);
        let printed = || std::fs::read_to_string(output).unwrap();
        wait_until("the app prints its address", STARTED_WITHIN, || {
            assert!(!script.has_ended(), "{}", printed());
            printed().contains("Spaces is at")
        });
        let url = printed().split_once("Spaces is at ").unwrap().1.trim().to_owned();
        Self { script, url, output: output.to_owned() }
    }

    /// Ends the app as Ctrl-C does.
    fn end(self) {
        let processes = tree(self.script.pid());
        for name in ["stentor", "node", "janus"] {
            assert!(processes.iter().any(|(_, n)| n == name), "{name} is not among {processes:?}");
        }
        self.script.signal(Signal::INT);
        let status = self.script.end(ENDED_WITHIN);
        let printed = std::fs::read_to_string(&self.output).unwrap();
        assert_eq!(status.code(), Some(0), "{printed}");
        assert!(printed.contains("no process and no file is left"), "{printed}");
        until_gone(&processes.iter().map(|(pid, _)| *pid).collect::<Vec<_>>());
    }
}
