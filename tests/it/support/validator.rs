//! An independent OpenAPI validator, in `tests/browser` with the other Node.js programs.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use stentor::process;
use tokio::io::AsyncWriteExt;

use super::browser;

/// Returns the validator's report on the document: `{valid, version, errors?}`.
pub async fn openapi(document: &[u8]) -> Value {
    browser::prepare().await;
    let mut run = process::command("node", ["openapi.mjs"])
        .envs(std::env::vars_os())
        .current_dir(browser::folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("node");
    let mut stdin = run.stdin.take().expect("a pipe");
    stdin.write_all(document).await.expect("it reads");
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_secs(60), run.wait_with_output());
    let output = output.await.expect("it ends in time").expect("its output");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
