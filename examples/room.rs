//! Puts a room on air through the REST API and listens to it as a player does.
//!
//! ```sh
//! STENTOR_API=http://127.0.0.1:3000 STENTOR_API_KEY=... ROOM=example cargo run --example room
//! ```
//!
//! Needs a running node and `ffmpeg`, which decodes the audio. The room stays on air when the program ends.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use awc::http::Method;
use serde_json::{Value, json};
use stentor_domain::ids::RoomId;
use stentor_probe::listener::Target;
use stentor_probe::{Listener, Mode};
use url::Url;

/// Maximum time until the first audio of a room that starts.
const START: Duration = Duration::from_secs(20);

/// The REST API of a node.
struct Api {
    url: String,
    /// `None` if the node has `auth.mode: open`.
    key: Option<String>,
}

/// Error response of the API. The code is stable; the text is for people.
#[derive(Debug, thiserror::Error)]
#[error("{text} ({code})")]
struct ApiRefusal {
    code: String,
    text: String,
}

impl Api {
    async fn call(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let mut request = awc::Client::default().request(method, format!("{}/api/{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let sent = if body.is_null() { request.send() } else { request.send_json(&body) };
        let mut response = sent.await.map_err(|e| anyhow::anyhow!("{} does not answer: {e}", self.url))?;
        let answer: Value = response.json().await.context("the answer is not JSON")?;
        if !response.status().is_success() {
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            bail!(ApiRefusal { code: text("code"), text: text("error") });
        }
        Ok(answer)
    }

    /// Creates the room, unless it exists, and puts it on air.
    async fn open_room(&self, room: &RoomId) -> anyhow::Result<()> {
        let created = self.call(Method::POST, "rooms", json!({ "roomId": room.as_str() })).await;
        if let Err(error) = created
            && error.downcast_ref().is_none_or(|refused: &ApiRefusal| refused.code != "room_exists")
        {
            return Err(error);
        }
        self.call(Method::POST, &format!("rooms/{room}/start"), Value::Null).await?;
        Ok(())
    }

    /// Returns the stream of the room, with a token for one listener.
    async fn stream(&self, room: &RoomId) -> anyhow::Result<Target> {
        let token = self.call(Method::POST, "token", json!({ "roomId": room.as_str() })).await?;
        let found = self.call(Method::GET, &format!("rooms/{room}"), Value::Null).await?;
        let playlist = Url::parse(found["room"]["hlsUrl"].as_str().context("the room has no hlsUrl")?)?;
        Ok(Target {
            base_url: playlist.origin().ascii_serialization(),
            room: room.clone(),
            token: token["token"].as_str().context("the answer has no token")?.to_owned(),
            ffmpeg: "ffmpeg".into(),
        })
    }
}

#[actix::main]
async fn main() -> anyhow::Result<()> {
    let url = env::var("STENTOR_API").unwrap_or_else(|_| "http://127.0.0.1:3000".to_owned());
    let api = Api { url, key: env::var("STENTOR_API_KEY").ok() };
    let room = RoomId::new(&env::var("ROOM").unwrap_or_else(|_| "example".to_owned()))?;

    api.open_room(&room).await?;
    let target = api.stream(&room).await?;
    let mut listener = Listener::open_by(&target, Mode::Parts, Instant::now() + START).await?;
    let heard = listener.hear(Duration::from_secs(5)).await?;

    let seconds: f64 = heard.pieces.iter().map(|piece| piece.duration).sum();
    println!("{room}: {seconds:.1} s in {} parts, {} gaps", heard.pieces.len(), heard.gaps.len());
    match heard.behind_live {
        Some(delay) => println!("{room}: {delay:.1} s behind the speakers"),
        None => println!("{room}: the stream has no times"),
    }
    Ok(())
}
