//! Speak and listen pages in headless Chromium and Firefox, one browser each, driven by
//! `tests/browser/speak.mjs`.
//!
//! Owns: the driver process; all browsers end with it. Does not run two requests at once.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use stentor::process;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::browser::{folder, prepare};
use super::until;

/// Time for a browser to start on a busy machine, or for a wait of half a minute inside the driver.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

pub struct Pages {
    _driver: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    next_id: u64,
    /// Profiles and sockets of the browsers. A killed browser leaves them behind.
    _scratch: TempDir,
}

impl Pages {
    pub async fn start() -> Self {
        prepare().await;
        let script = folder().join("speak.mjs");
        let mut driver = process::command("node", [script]);
        let scratch = tempfile::tempdir().expect("a folder");
        driver.envs(std::env::vars_os()).env("TMPDIR", scratch.path());
        driver.current_dir(folder()).stdin(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut driver = driver.spawn().expect("node runs");
        let requests = driver.stdin.take().expect("its input is ours");
        let answers = BufReader::new(driver.stdout.take().expect("its output is ours")).lines();
        Self { _driver: driver, requests, answers, next_id: 0, _scratch: scratch }
    }

    /// Sends a request to the driver. `more`: further members of the request, see `speak.mjs`.
    pub async fn ask(&mut self, name: &str, act: &str, more: Value) -> Value {
        self.next_id += 1;
        let mut request = json!({ "id": self.next_id, "do": act, "name": name });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let line = format!("{request}\n");
        self.requests.write_all(line.as_bytes()).await.expect("the driver listens");
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.answers.next_line()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name} {act}: no answer within {ANSWER_WITHIN:?}"));
        let answer = answer.unwrap().expect("the driver runs");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["ok"] == true && answer["id"] == self.next_id, "{name} {act}: {answer}");
        answer["result"].clone()
    }

    pub async fn connected(&mut self, name: &str) -> Value {
        self.ask(name, "wait", json!({ "state": "connected", "timeoutMs": 60_000 })).await
    }

    /// Waits until the page's loudspeaker gets exactly the `wanted` tones.
    pub async fn until_hears(&mut self, name: &str, wanted: &Value) {
        let hz: Vec<u32> = wanted.as_object().unwrap().keys().map(|hz| hz.parse().unwrap()).collect();
        let mut last = Value::Null;
        let pages = tokio::sync::Mutex::new((self, &mut last));
        until(&format!("{name} hears {wanted}"), async || {
            let mut pages = pages.lock().await;
            let heard = pages.0.ask(name, "analyse", json!({ "hz": hz, "ms": 1500 })).await;
            *pages.1 = heard.clone();
            heard["hears"] == *wanted
        })
        .await;
    }

    /// Returns the packets of the page's peer connection so far: sent and received.
    pub async fn packets(&mut self, name: &str) -> (u64, u64) {
        let stats = self.ask(name, "stats", json!({})).await;
        let count = |flow: &str| stats[flow]["packets"].as_u64().unwrap_or(0);
        (count("sent"), count("received"))
    }
}

/// Creates a file with half a minute of a tone, for a microphone that loops it.
pub async fn tone(folder: &Path, hz: u32) -> String {
    let path = folder.join(format!("{hz}.wav")).display().to_string();
    let source = format!("sine=frequency={hz}:sample_rate=48000:duration=30");
    let args = ["-loglevel", "error", "-y", "-f", "lavfi", "-i", &source, "-ac", "1", &path];
    let made = process::command("ffmpeg", args).output().await.expect("ffmpeg runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}
