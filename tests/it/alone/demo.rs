//! The demo as its user sees it: started in a terminal, heard by a listener, and ended with nothing left
//! behind.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};
use tempfile::TempDir;

use crate::support::kept::KeptProcess;
use crate::support::node::{request, until_gone};
use crate::support::terminal::Terminal;
use crate::support::wait_until;

/// Time limit that includes compilation by `make demo`.
const BUILT_WITHIN: Duration = Duration::from_secs(1200);
const ON_AIR_WITHIN: Duration = Duration::from_secs(120);
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// Returns ports that no other node of this test run uses: free ports, and a separate RTP range for each
/// demo.
fn ports(rtp: &'static str) -> [(&'static str, &'static str); 5] {
    let any = "127.0.0.1:0";
    [
        ("STENTOR__LISTEN__API", any),
        ("STENTOR__LISTEN__WS", any),
        ("STENTOR__LISTEN__HLS", any),
        ("STENTOR__LISTEN__OPS", any),
        ("STENTOR__MIXER__RTP_PORTS", rtp),
    ]
}

#[actix::test]
async fn make_demo_is_heard_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let mut environment = ports("30000-30099").to_vec();
    environment.push(("TMPDIR", temporary.path().to_str().unwrap()));
    let terminal = Terminal::run("make demo", Path::new(env!("CARGO_MANIFEST_DIR")), &environment);
    let on_air = || {
        let text = terminal.text();
        assert!(!terminal.has_ended(), "{text}");
        text.contains("440 Hz heard") && text.contains("behind live")
    };
    wait_until("the room is on air", BUILT_WITHIN, on_air);
    let screen = terminal.text();
    assert_eq!(folders_in(&temporary), 1);

    let names = [
        "Listen in a browser",
        "Speak in a browser",
        "In any HLS player",
        "Watch the actors",
        "The room as JSON",
    ];
    for name in names {
        let url = shown(&screen, name);
        let answer = request("GET", url.split('#').next().unwrap(), &[], None).await;
        assert_eq!(answer.status, 200, "{name}: {url}");
    }
    hear_it(shown(&screen, "Listen in a browser")).await;

    let processes = tree(terminal.pid());
    for name in ["make", "stentor", "janus", "ffmpeg"] {
        assert!(processes.iter().any(|(_, n)| n == name), "{name} is not among {processes:?}");
    }
    terminal.press("C-c");
    wait_until("the demo ends", ENDED_WITHIN, || terminal.has_ended());
    assert!(terminal.text().contains("no process and no file is left"), "{}", terminal.text());
    until_gone(&processes.iter().map(|(pid, _)| *pid).collect::<Vec<_>>());
    assert_eq!(folders_in(&temporary), 0);
}

#[test]
fn demo_without_terminal_prints_lines() {
    let temporary = tempfile::tempdir().unwrap();
    let told = temporary.path().join("told");
    let mut command = demo(&temporary, "30100-30199");
    command.stdout(File::create(&told).unwrap()).stderr(Stdio::inherit());
    let demo = KeptProcess::start(command);
    let read = || std::fs::read_to_string(&told).unwrap();
    wait_until("the tone is heard", ON_AIR_WITHIN, || read().contains("440 Hz heard"));
    let processes = tree(demo.pid());
    assert!(processes.iter().any(|(_, name)| name == "janus"), "{processes:?}");
    demo.signal(Signal::TERM);
    let status = demo.end(ENDED_WITHIN);
    assert_eq!(status.code(), Some(0), "{}", read());
    assert!(!read().contains(['\r', '\u{1b}']), "{:?}", read());
    until_gone(&processes.iter().map(|(pid, _)| *pid).collect::<Vec<_>>());
    assert_eq!(folders_in(&temporary), 0);
}

#[test]
fn demo_without_janus_names_package() {
    let temporary = tempfile::tempdir().unwrap();
    let output =
        demo(&temporary, "30200-30299").args(["--set", "janus.binary=/nonexistent"]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("apt-get install janus"), "{errors}");
    let log = errors.lines().find_map(|line| line.split_once("The log of the demo: ")).unwrap().1;
    assert!(std::fs::read_to_string(log).unwrap().contains("/nonexistent"));
    assert!(!Path::new(log).with_file_name("data").exists(), "secrets and rooms are gone");
}

#[test]
fn demo_fails_on_chosen_taken_port() {
    let temporary = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("listen.hls={}", holder.local_addr().unwrap());
    let output = demo(&temporary, "30300-30399").args(["--set", &taken]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("change listen.hls or free the port"), "{errors}");
    assert_eq!(folders_in(&temporary), 0);
}

fn demo(temporary: &TempDir, rtp: &'static str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(["demo", "--config", "/dev/null"]).envs(ports(rtp)).env("TMPDIR", temporary.path());
    command
}

/// Returns the URL shown after `name` on the screen.
fn shown<'a>(screen: &'a str, name: &str) -> &'a str {
    let line = screen.lines().find_map(|line| line.trim().strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is not on the screen: {screen}")).trim()
}

/// Listens with only the page's URL, which is all that a listener gets.
async fn hear_it(page: &str) {
    let (page, token) = page.split_once("#token=").unwrap();
    let (base_url, room) = page.split_once("/listen/").unwrap();
    let target = Target {
        base_url: base_url.to_owned(),
        room: RoomId::new(room).unwrap(),
        token: token.to_owned(),
        ffmpeg: "ffmpeg".into(),
    };
    let mut listener = Listener::open(&target, Mode::Parts).await.unwrap();
    let heard = listener.hear_until(440.0, Instant::now() + Duration::from_secs(60)).await.unwrap();
    assert_eq!(heard.violations, Vec::<String>::new());
}

/// Counts the demo folders in the temporary directory.
fn folders_in(temporary: &TempDir) -> usize {
    let entries = std::fs::read_dir(temporary.path()).unwrap();
    entries.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("stentor-demo-")).count()
}

/// Returns pid and name of the process and of all its descendants.
pub fn tree(root: i32) -> Vec<(i32, String)> {
    let entries =
        std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let all: Vec<(i32, i32, String)> = entries.filter_map(parent_and_name).collect();
    let mut found: Vec<(i32, String)> = Vec::new();
    let mut open = vec![root];
    while let Some(next) = open.pop() {
        found.extend(all.iter().filter(|(pid, ..)| *pid == next).map(|(pid, _, name)| (*pid, name.clone())));
        open.extend(all.iter().filter(|(_, parent, _)| *parent == next).map(|(pid, ..)| *pid));
    }
    found
}

/// Returns pid, parent pid and name of a process; `None` if it has ended.
fn parent_and_name(pid: i32) -> Option<(i32, i32, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    Some((pid, tail.split_whitespace().nth(1)?.parse().ok()?, name))
}
