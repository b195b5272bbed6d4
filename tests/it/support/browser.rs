//! The player page in headless Chromium, listened to by `tests/browser/listen.mjs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stentor::process;

/// One browser at a time: two of them on a small machine stall each other's sound.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static INSTALL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Chromium's start and the page's, beside the time it listens.
const OVERHEAD: Duration = Duration::from_secs(40);

/// What the page played, as measured at its sound output.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listened {
    /// From the start of navigation to the first sample that is not silent.
    pub first_sound_ms: Option<f64>,
    pub behind_live: BehindLive,
    /// hls.js error events and errors of the page itself.
    pub errors: Vec<serde_json::Value>,
    /// After the first sound.
    longest_silence_ms: f64,
    /// The longest time in which no process of the machine ran.
    frozen_ms: f64,
    /// Loudest frequency at the end.
    pub dominant_hz: Option<f64>,
    pub state: String,
    /// Requests to any other host than the page's.
    pub foreign_requests: Vec<String>,
}

/// Seconds.
#[derive(Debug, Deserialize)]
pub struct BehindLive {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

/// What hls.js reports where time passed that it had not reckoned with, and mends by itself: a busy or frozen
/// machine, or media that were not made. Errors of the stream itself have other names.
const OF_TIME: [&str; 7] = [
    "loadingResumed",
    "bufferStalledError",
    "bufferNudgeOnStall",
    "aborted",
    "levelLoadTimeOut",
    "fragLoadTimeOut",
    "keyLoadTimeOut",
];

/// What no state of the machine explains, of what a player reported.
pub fn errors_of_ours(errors: &[serde_json::Value]) -> Vec<&serde_json::Value> {
    let of_time = |error: &serde_json::Value| {
        // A server that is as busy answers a blocking reload in vain, which hls.js repeats.
        let known = error["detail"].as_str().is_some_and(|detail| OF_TIME.contains(&detail));
        error["fatal"] == false && (known || error["code"] == "media_timeout")
    };
    errors.iter().filter(|error| !of_time(error)).collect()
}

impl Listened {
    /// What no state of the machine explains.
    pub fn errors_of_ours(&self) -> Vec<&serde_json::Value> {
        errors_of_ours(&self.errors)
    }

    /// The longest silence after the first sound, without what the machine itself was away.
    pub fn longest_silence(&self) -> Duration {
        Duration::from_secs_f64((self.longest_silence_ms - self.frozen_ms).max(0.0) / 1e3)
    }
}

/// Opens `url` and listens for this long.
pub async fn listen(url: &str, seconds: u32) -> Listened {
    run(url, seconds, &[]).await
}

/// The same in a browser without Media Source, which plays HLS by itself.
pub async fn listen_natively(url: &str, seconds: u32) -> Listened {
    run(url, seconds, &["native"]).await
}

async fn run(url: &str, seconds: u32, more: &[&str]) -> Listened {
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

/// Installs what the scripts import, once.
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
