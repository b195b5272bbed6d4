//! The player page in headless Chromium; `tests/browser/listen.mjs` captures its sound.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stentor::process;

/// Lock for one browser at a time: two browsers on a small machine stall each other's sound.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static INSTALL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Time for the start of Chromium and of the page, in addition to the listening time.
const OVERHEAD: Duration = Duration::from_secs(40);

/// Result of listening to the page, measured at its sound output.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListeningResult {
    /// Time from the start of navigation to the first sample that is not silent.
    pub first_sound_ms: Option<f64>,
    pub behind_live: BehindLive,
    /// Error events of hls.js and errors of the page itself.
    pub errors: Vec<serde_json::Value>,
    /// Longest silence after the first sound.
    longest_silence_ms: f64,
    /// Longest time in which no process of the machine ran.
    frozen_ms: f64,
    /// Loudest frequency at the end.
    pub dominant_hz: Option<f64>,
    pub state: String,
    /// Requests to any host other than the page's.
    pub foreign_requests: Vec<String>,
}

/// Distance behind live, in seconds.
#[derive(Debug, Deserialize)]
pub struct BehindLive {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

/// Errors that hls.js reports and recovers from after an unexpected delay: a busy or frozen machine, or media
/// that were not produced. Errors of the stream itself have other names.
const OF_TIME: [&str; 7] = [
    "loadingResumed",
    "bufferStalledError",
    "bufferNudgeOnStall",
    "aborted",
    "levelLoadTimeOut",
    "fragLoadTimeOut",
    "keyLoadTimeOut",
];

/// Returns the errors that a busy or frozen machine does not explain.
pub fn errors_of_ours(errors: &[serde_json::Value]) -> Vec<&serde_json::Value> {
    let of_time = |error: &serde_json::Value| {
        // A busy server answers a blocking reload with a timeout, and hls.js repeats the request.
        let known = error["detail"].as_str().is_some_and(|detail| OF_TIME.contains(&detail));
        error["fatal"] == false && (known || error["code"] == "media_timeout")
    };
    errors.iter().filter(|error| !of_time(error)).collect()
}

impl ListeningResult {
    /// Returns the errors that a busy or frozen machine does not explain.
    pub fn errors_of_ours(&self) -> Vec<&serde_json::Value> {
        errors_of_ours(&self.errors)
    }

    /// Returns the longest silence after the first sound, minus the longest time in which the machine was
    /// frozen.
    pub fn longest_silence(&self) -> Duration {
        Duration::from_secs_f64((self.longest_silence_ms - self.frozen_ms).max(0.0) / 1e3)
    }
}

/// Opens `url` and listens for `seconds`.
pub async fn listen(url: &str, seconds: u32) -> ListeningResult {
    run(url, seconds, &[]).await
}

/// Listens in a browser without Media Source, which plays HLS natively.
pub async fn listen_natively(url: &str, seconds: u32) -> ListeningResult {
    run(url, seconds, &["native"]).await
}

/// Listens in a browser that plays no HLS at all, so that the page uses the plain stream.
pub async fn listen_plainly(url: &str, seconds: u32) -> ListeningResult {
    run(url, seconds, &["plain"]).await
}

async fn run(url: &str, seconds: u32, more: &[&str]) -> ListeningResult {
    let _turn = TURN.lock().await;
    prepare().await;
    let script = folder().join("listen.mjs");
    let seconds_text = seconds.to_string();
    let args = [&[script.to_str().unwrap(), url, &seconds_text], more].concat();
    let run = process::command("node", args).envs(std::env::vars_os()).current_dir(folder()).output();
    let deadline = Duration::from_secs(seconds.into()) + OVERHEAD;
    let output = tokio::time::timeout(deadline, run).await.expect("the browser ends in time").unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Opens the API reference on several screens; see `tests/browser/reference.mjs`.
pub async fn reference(url: &str) -> Vec<serde_json::Value> {
    let _turn = TURN.lock().await;
    prepare().await;
    let script = folder().join("reference.mjs");
    let args = [script.to_str().unwrap(), url];
    let run = process::command("node", args).envs(std::env::vars_os()).current_dir(folder()).output();
    let output = tokio::time::timeout(2 * OVERHEAD, run).await.expect("the browser ends in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Drives the operators' dashboard; see `tests/browser/dashboard.mjs`.
pub async fn dashboard(ops: &str, api: &str, key: &str) -> serde_json::Value {
    let _turn = TURN.lock().await;
    prepare().await;
    let script = folder().join("dashboard.mjs");
    let args = [script.to_str().unwrap(), ops, api, key];
    let run = process::command("node", args).envs(std::env::vars_os()).current_dir(folder()).output();
    let output = tokio::time::timeout(4 * OVERHEAD, run).await.expect("the browser ends in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Opens pages in light and dark on several screens; see `tests/browser/looks.mjs`.
pub async fn looks(pages: &serde_json::Value) -> Vec<serde_json::Value> {
    let _turn = TURN.lock().await;
    prepare().await;
    let script = folder().join("looks.mjs");
    let args = [script.to_str().unwrap(), &pages.to_string()];
    let run = process::command("node", args).envs(std::env::vars_os()).current_dir(folder()).output();
    let output = tokio::time::timeout(6 * OVERHEAD, run).await.expect("the browser ends in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Installs the packages that the scripts import, once.
pub async fn prepare() {
    let _turn = INSTALL.lock().await;
    let wanted = ["playwright-core", "puppeteer-core", "@seriousme/openapi-schema-validator"];
    if wanted.iter().all(|name| folder().join("node_modules").join(name).exists()) {
        return;
    }
    let mut install = process::command("npm", ["ci", "--no-progress"]);
    let output = install.envs(std::env::vars_os()).current_dir(folder()).output().await.unwrap();
    assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}
