//! A recogniser that speaks the protocol of captions, and measures the audio that it gets.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::node::Node;
use crate::ws::client::{Client, RefusedUpgrade};

/// Samples per second of the audio.
pub const RATE: f64 = 16_000.0;
const PATIENCE: Duration = Duration::from_secs(60);
/// Samples in 10 ms.
const BLOCK: usize = 160;
/// Amplitude above which a block counts as a tone.
const LOUD: f64 = 0.02;

pub struct Recogniser {
    pub client: Client,
    pub start: Value,
    /// Position, in milliseconds since the Unix epoch, and samples of each chunk.
    pub chunks: Vec<(u64, Vec<f32>)>,
    /// Other messages of the server.
    pub messages: Vec<Value>,
}

impl Recogniser {
    /// Connects and waits for the first message.
    pub async fn connect(node: &Node, room: &str, query: &str) -> Self {
        let mut this = Self::open(node, room, query, &[]).await.expect("an upgrade");
        while this.start.is_null() {
            this.take().await.expect("the connection is open");
        }
        this
    }

    pub async fn open(
        node: &Node,
        room: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, RefusedUpgrade> {
        let address = node.api.trim_start_matches("http://").parse().expect("an address");
        let target = format!("/api/rooms/{room}/captions{query}");
        let (client, _) = Client::open_at(address, &target, headers).await?;
        Ok(Self { client, start: Value::Null, chunks: Vec::new(), messages: Vec::new() })
    }

    /// Reads one message. Returns `None` after the close frame, or if the connection is lost.
    pub async fn take(&mut self) -> Option<()> {
        let next =
            tokio::time::timeout(PATIENCE, self.client.socket.next()).await.expect("a message in time");
        match next?.ok()? {
            Message::Binary(bytes) => {
                assert!(!self.start.is_null(), "the first message is the start");
                let (position, pcm) = bytes.split_at(8);
                let samples =
                    pcm.chunks_exact(2).map(|s| f32::from(i16::from_le_bytes([s[0], s[1]])) / 32_768.0);
                self.chunks.push((u64::from_be_bytes(position.try_into().unwrap()), samples.collect()));
            }
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                match message["type"] == "start" {
                    true => self.start = message,
                    false => self.messages.push(message),
                }
            }
            Message::Close(_) => return None,
            _ => {}
        }
        Some(())
    }

    /// Reads messages until the condition holds.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(std::time::Instant::now() < deadline, "{what}");
            self.take().await.unwrap_or_else(|| panic!("the connection has ended before: {what}"));
        }
    }

    /// Reads messages until `seconds` more of audio have arrived.
    pub async fn listen(&mut self, seconds: u64) {
        self.until("audio", |this| !this.chunks.is_empty()).await;
        let to = self.end() + seconds * 1000;
        self.until("more audio", |this| this.end() >= to).await;
    }

    /// Returns the position after the last sample, in milliseconds since the Unix epoch.
    pub fn end(&self) -> u64 {
        self.chunks.last().map_or(0, |(at, samples)| at + (samples.len() as f64 * 1000.0 / RATE) as u64)
    }

    pub async fn say(&mut self, from: u64, to: u64, text: &str, is_final: bool) {
        let result = json!({ "from": from, "to": to, "text": text, "final": is_final });
        self.send(&result.to_string()).await;
    }

    pub async fn send(&mut self, text: &str) {
        self.client.socket.send(Message::text(text)).await.expect("an open connection");
    }

    /// Sends a message and returns the code of the answer.
    pub async fn refused(&mut self, text: &str) -> String {
        let known = self.messages.len();
        self.send(text).await;
        self.until("an answer", |this| this.messages.len() > known).await;
        let message = &self.messages[known];
        assert_eq!(message["type"], "error", "{message}");
        message["code"].as_str().expect("a code").to_owned()
    }

    /// Asserts that no chunk overlaps the one before by more than 3 ms. Returns the longest gap in
    /// milliseconds.
    pub fn longest_gap(&self) -> u64 {
        let mut longest = 0;
        for pair in self.chunks.windows(2) {
            let end = pair[0].0 + (pair[0].1.len() as f64 * 1000.0 / RATE) as u64;
            assert!(pair[1].0 + 3 >= end, "{} follows {end}", pair[1].0);
            longest = longest.max(pair[1].0.saturating_sub(end));
        }
        longest
    }

    /// Returns the positions at which a tone begins, in milliseconds since the Unix epoch.
    pub fn onsets(&self) -> Vec<u64> {
        let mut blocks = Vec::new();
        for (at, samples) in &self.chunks {
            let level = |block: &[f32]| block.iter().map(|s| f64::from(s.abs())).fold(0.0, f64::max);
            blocks
                .extend(samples.chunks(BLOCK).zip(0..).map(|(block, n)| (at + n * 10, level(block) > LOUD)));
        }
        onsets(&blocks)
    }
}

/// Returns the position of each loud block that follows at least 100 ms of quiet. `blocks`: position of each
/// block of 10 ms, and whether it is loud.
pub fn onsets(blocks: &[(u64, bool)]) -> Vec<u64> {
    let (mut found, mut quiet) = (Vec::new(), 0);
    for (at, loud) in blocks {
        if *loud && quiet >= 10 {
            found.push(*at);
        }
        quiet = if *loud { 0 } else { quiet + 1 };
    }
    found
}
