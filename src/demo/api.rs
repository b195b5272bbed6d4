//! Client of the room API. Like any other client, it uses only HTTP and documented responses.
//!
//! Owns: the few requests a demo needs. Does not access the node's internals.

use std::time::Duration;

use anyhow::{Context as _, bail};
use awc::http::Method;
use serde_json::{Value, json};

use crate::config::{AuthMode, Config};
use crate::domain::ids::{Pin, RoomId};
use crate::domain::mix::MixShare;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Poll interval while a room is about to go on air.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Api {
    client: awc::Client,
    base: String,
    key: Option<String>,
    open: bool,
}

impl Api {
    pub fn new(config: &Config, base: String) -> Self {
        let key = config.auth.api_keys.first().map(|key| String::from_utf8_lossy(&key.0).into_owned());
        let open = config.auth.mode == AuthMode::Open;
        Self { client: awc::Client::builder().timeout(TIMEOUT).finish(), base, key, open }
    }

    /// Creates the room and starts it. Returns its PIN and the share of each participant in its mix.
    pub async fn start_new(&self, room: &RoomId) -> anyhow::Result<(Pin, MixShare)> {
        let body = json!({ "roomId": room, "start": true });
        let answer = self.ask(Method::POST, "/api/rooms", Some(body)).await?;
        let pin = answer["room"]["pin"].as_str().context("the new room has no PIN")?;
        let max_anchors = answer["room"]["maxAnchors"].as_u64().and_then(|n| u8::try_from(n).ok());
        let max_anchors = max_anchors.context("the new room has no maxAnchors")?;
        Ok((Pin::new(pin)?, MixShare::of(max_anchors)))
    }

    pub async fn until_on_air(&self, room: &RoomId) -> anyhow::Result<()> {
        let path = format!("/api/rooms/{room}");
        while self.ask(Method::GET, &path, None).await?["room"]["status"] != "onair" {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Returns a listener token.
    pub async fn token(&self, room: &RoomId) -> anyhow::Result<String> {
        let answer = self.ask(Method::POST, "/api/token", Some(json!({ "roomId": room }))).await?;
        Ok(answer["token"].as_str().context("the answer holds no token")?.to_owned())
    }

    /// Returns the URL of the page to speak from. In open mode, each browser that opens it requests a token;
    /// otherwise the URL contains the token of a newly invited host.
    pub async fn speak_page(&self, room: &RoomId, base_url: &str) -> anyhow::Result<String> {
        if self.open {
            return Ok(format!("{base_url}/speak/{room}"));
        }
        let path = format!("/api/rooms/{room}/users");
        let answer = self.ask(Method::POST, &path, Some(json!({ "role": "host" }))).await?;
        Ok(answer["inviteUrl"].as_str().context("the answer holds no link")?.to_owned())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let unanswered = |e: &dyn std::fmt::Display| anyhow::anyhow!("{method} {url}: {e}");
        let mut request = self.client.request(method.clone(), &url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let sent = match &body {
            Some(body) => request.send_json(body).await,
            None => request.send().await,
        };
        let mut answer = sent.map_err(|e| unanswered(&e))?;
        let value: Value = answer.json().await.map_err(|e| unanswered(&e))?;
        if !answer.status().is_success() {
            bail!("{method} {url} answered with {}: {} ({})", answer.status(), value["error"], value["code"]);
        }
        Ok(value)
    }
}
