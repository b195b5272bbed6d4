//! A signalling client as an app would write it: calls by id, notifications queued until the test reads them.
//!
//! Owns: one WebSocket. Does not reconnect by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::webrtc::WebRtcClient;
use super::{PATIENCE, in_time, opus, pause_async};

pub struct Caller {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    notes: VecDeque<Value>,
    closed: Option<u16>,
    next_id: u64,
    /// Mix gain of the last `join` result.
    mix_gain_db: f64,
}

impl Caller {
    /// Connects. `base`: `http://host:port` of the gateway; `query`: more parameters, like `&clientId=a`.
    pub async fn connect(base: &str, token: &str, query: &str) -> Self {
        Self::try_connect(base, token, query).await.unwrap_or_else(|error| panic!("no upgrade: {error}"))
    }

    /// Connects like [`connect`](Self::connect). Returns an error if the gateway refuses or is not reachable.
    pub async fn try_connect(base: &str, token: &str, query: &str) -> Result<Self, WsError> {
        let url = format!("{}/ws?token={token}{query}", base.replacen("http", "ws", 1));
        let request = url.into_client_request().expect("a request");
        let opened = tokio::time::timeout(PATIENCE, connect_async(request)).await.expect("an answer in time");
        let (socket, _) = opened?;
        Ok(Self { socket, notes: VecDeque::new(), closed: None, next_id: 0, mix_gain_db: 0.0 })
    }

    /// Reconnects like an app that got a request to reconnect: connects as the client `a` and joins with its
    /// resume token. Repeats both steps while the error is retryable. Returns the connection and the result
    /// of the join.
    pub async fn come_back(base: &str, token: &str, jtoken: &Value) -> (Self, Value) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut caller = Self::connect(base, token, "&clientId=a").await;
            match caller.call("join", json!({ "jtoken": jtoken })).await {
                Ok(joined) => return (caller, joined),
                Err(error) => {
                    let wait = error["data"]["retryable"] == true || !error["closed"].is_null();
                    assert!(wait && tokio::time::Instant::now() < end, "{error}");
                }
            }
            pause_async().await;
        }
    }

    /// Returns the result of a call, or its error.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next_id += 1;
        let id = self.next_id;
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        // A connection that was closed meanwhile is detected below.
        let _ = self.socket.send(Message::text(call.to_string())).await;
        loop {
            let Some(message) = self.read().await else {
                return Err(json!({ "closed": self.closed }));
            };
            if message["id"] == id {
                if let Some(gain) = message["result"]["mixGainDb"].as_f64() {
                    self.mix_gain_db = gain;
                }
                return message.get("result").cloned().ok_or_else(|| message["error"].clone());
            }
            self.notes.push_back(message);
        }
    }

    /// Returns the next notification of this method for which `wanted` holds; drops those before it.
    pub async fn note(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        in_time(method, async {
            loop {
                let note = match self.notes.pop_front() {
                    Some(note) => note,
                    None => self.read().await.unwrap_or_else(|| {
                        panic!("closed {:?} before {method}", self.closed);
                    }),
                };
                if note["method"] == method && wanted(&note["params"]) {
                    return note["params"].clone();
                }
            }
        })
        .await
    }

    /// Returns the oldest queued notification of this method.
    pub fn noted(&mut self, method: &str) -> Option<Value> {
        let at = self.notes.iter().position(|note| note["method"] == method)?;
        self.notes.remove(at).map(|note| note["params"].clone())
    }

    /// Waits until the room has `count` members and returns them.
    pub async fn members(&mut self, count: usize) -> Vec<Value> {
        let many = |params: &Value| params["members"].as_array().is_some_and(|all| all.len() == count);
        self.note("roomStatus", many).await["members"].as_array().expect("a list").clone()
    }

    /// Waits for the close frame and returns its code; 1006 if there was none.
    pub async fn closed(&mut self) -> u16 {
        while let Some(note) = self.read().await {
            self.notes.push_back(note);
        }
        self.closed.expect("it is closed")
    }

    /// Joins and establishes media; `hz` 0 publishes nothing.
    pub async fn speak(&mut self, hz: u32) -> (Value, WebRtcClient) {
        let joined = self.call("join", json!({})).await.expect("a join");
        (joined, self.offer(hz).await)
    }

    pub async fn offer(&mut self, hz: u32) -> WebRtcClient {
        let offered = self.try_offer(hz).await;
        offered.unwrap_or_else(|e| panic!("no answer: {e}; told before: {:?}", self.notes))
    }

    /// Offers media. Returns an error if the session ended before the offer arrived.
    pub async fn try_offer(&mut self, hz: u32) -> Result<WebRtcClient, Value> {
        self.try_play(if hz == 0 { Vec::new() } else { opus::tone(hz) }).await
    }

    /// Joins and publishes these Opus frames.
    pub async fn play(&mut self, frames: Vec<Arc<[u8]>>) -> WebRtcClient {
        self.call("join", json!({})).await.expect("a join");
        self.publish(frames).await
    }

    /// Publishes these Opus frames, after a join.
    pub async fn publish(&mut self, frames: Vec<Arc<[u8]>>) -> WebRtcClient {
        self.try_play(frames).await.expect("an answer")
    }

    async fn try_play(&mut self, frames: Vec<Arc<[u8]>>) -> Result<WebRtcClient, Value> {
        let mut media = WebRtcClient::new(frames).await;
        media.amplify(self.mix_gain_db);
        self.try_negotiate(&media, media.offer()).await?;
        media.until("the connection", |p| p.connected).await;
        Ok(media)
    }

    /// Sends the offer and applies the answer to `media`. Returns the SDP of the answer.
    pub async fn negotiate(&mut self, media: &WebRtcClient, sdp: String) -> String {
        self.try_negotiate(media, sdp).await.expect("an answer")
    }

    /// Sends the offer like [`negotiate`](Self::negotiate).
    ///
    /// # Errors
    /// Error of the call, for example because the session has ended.
    pub async fn try_negotiate(&mut self, media: &WebRtcClient, sdp: String) -> Result<String, Value> {
        let offer = json!({ "sdp": { "type": "offer", "sdp": sdp } });
        let answer = self.call("offer", offer).await?;
        let sdp = answer["sdp"]["sdp"].as_str().expect("an SDP");
        media.answer(sdp);
        Ok(sdp.to_owned())
    }

    /// Sends the client's candidate, and then the end of candidates.
    pub async fn trickle(&mut self, media: &WebRtcClient) {
        let one = json!({ "candidate": media.candidate(), "sdpMid": null, "sdpMLineIndex": 0 });
        for candidate in [one, Value::Null] {
            self.call("icecandidate", json!({ "candidate": candidate }))
                .await
                .expect("the candidate is accepted");
        }
    }

    /// Sends `leave` with another call in flight, and closes without waiting.
    pub async fn goodbye(mut self) {
        let said = [("keepalive", json!({ "status": "idle" })), ("leave", json!({}))];
        for (method, params) in said {
            let call = json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params });
            self.socket.feed(Message::text(call.to_string())).await.expect("it is open");
        }
        self.socket.close(None).await.expect("it is open");
    }

    /// Drops the connection without a close frame, like a client whose network failed.
    pub fn cut(self) {
        drop(self.socket);
    }

    /// Reads the next message; `None`: closed.
    async fn read(&mut self) -> Option<Value> {
        if self.closed.is_some() {
            return None;
        }
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let message = tokio::time::timeout_at(end, self.socket.next()).await.expect("a message in time");
            match message {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => {
                    self.closed = Some(frame.map_or(1005, |frame| frame.code.into()));
                    return None;
                }
                Some(Ok(_)) => {
                    // Flushing answers pings. If it fails, the next read reports the error.
                    let _ = self.socket.flush().await;
                }
                Some(Err(_)) | None => {
                    self.closed = Some(1006);
                    return None;
                }
            }
        }
    }
}
