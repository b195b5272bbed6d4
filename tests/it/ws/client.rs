//! A WebSocket client that waits with a deadline.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::gateway::Gateway;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub pings: usize,
    next_id: u64,
}

/// A refused upgrade.
#[derive(Debug)]
pub struct RefusedUpgrade {
    pub status: u16,
    pub body: Value,
}

impl Client {
    pub async fn connect(gateway: &Gateway, user: &str) -> Self {
        Self::connect_to(gateway.address, &gateway.token(user)).await
    }

    pub async fn connect_to(address: SocketAddr, token: &str) -> Self {
        Self::open(address, &format!("?token={token}"), &[]).await.expect("an upgrade").0
    }

    /// Opens a connection and returns it with the response headers.
    pub async fn open(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response<Option<Vec<u8>>>), RefusedUpgrade> {
        Self::open_at(address, &format!("/ws{query}"), headers).await
    }

    /// Opens a connection to any path of a server.
    pub async fn open_at(
        address: SocketAddr,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response<Option<Vec<u8>>>), RefusedUpgrade> {
        let mut request = format!("ws://{address}{target}").into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        match tokio::time::timeout(PATIENCE, connect_async(request)).await.expect("an answer in time") {
            Ok((socket, answer)) => Ok((Self { socket, pings: 0, next_id: 0 }, answer)),
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let body = serde_json::from_slice(body).unwrap_or_default();
                Err(RefusedUpgrade { status: answer.status().as_u16(), body })
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        let text: String = text.into();
        self.socket.send(Message::text(text)).await.expect("an open connection");
    }

    /// Sends a call and returns its id.
    pub async fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let call = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.send(call.to_string()).await;
        self.next_id
    }

    /// Calls a method and returns the result or error; the next message must be the answer to this call.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer.get("result").or(answer.get("error")).cloned().expect("a result or an error")
    }

    pub async fn ask(&mut self, text: impl Into<String>) -> Value {
        self.send(text).await;
        self.next().await
    }

    /// Returns the next text message.
    pub async fn next(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// Waits for the close frame and returns its code and reason; skips texts and pongs.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Some(Message::Close(Some(frame))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Message::Text(_) | Message::Pong(_)) => {}
                other => panic!("a close frame was expected, not {other:?}"),
            }
        }
    }

    /// Waits until the connection ends, and asserts that no empty close frame comes.
    pub async fn cut(&mut self) {
        while let Some(message) = self.message().await {
            assert!(!matches!(message, Message::Close(None)), "no empty close frame");
        }
    }

    /// Returns the next message other than a ping; pings are answered meanwhile.
    async fn message(&mut self) -> Option<Message> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match next {
                Some(Ok(Message::Ping(_))) => {
                    self.pings += 1;
                    // If this fails, the next read reports the error.
                    let _ = self.socket.flush().await;
                }
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }
}
