//! Replies that a real Janus cannot be made to send: truncated, in the wrong order, of the wrong form, and
//! frames of impossible sizes. They come from a small server that speaks only what these tests need.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use stentor::janus::{AudioBridge, ConnectOptions, DownReason, JanusClient, JanusError, LinkEvent};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::support::PATIENCE;
use crate::support::abuse_table::withstood;
use crate::support::janus::connect;

type Socket = WebSocketStream<TcpStream>;

/// Connects a client to a server that grants a session and a handle, and then runs `rest`.
async fn fake(rest: impl AsyncFnOnce(Socket) + 'static) -> (JanusClient, UnboundedReceiver<LinkEvent>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    actix::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        // tungstenite defines the type of the error.
        #[expect(clippy::result_large_err)]
        let accept = |_: &Request, mut response: Response| {
            let protocol = "janus-protocol".parse().unwrap();
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let mut socket = accept_hdr_async(socket, accept).await.unwrap();
        for id in [1, 2] {
            let request = requests(&mut socket, 1).await.remove(0);
            let granted =
                json!({ "janus": "success", "transaction": request["transaction"], "data": { "id": id } });
            socket.send(Message::text(granted.to_string())).await.unwrap();
        }
        rest(socket).await;
    });
    let options = ConnectOptions {
        url,
        api_secret: None,
        admin_key: None,
        request_timeout: PATIENCE,
        keep_alive: Duration::from_secs(3600),
    };
    connect(&options).await
}

/// Reads this number of requests.
async fn requests(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    while all.len() < count {
        let message = socket.next().await.expect("a request").unwrap();
        if let Message::Text(text) = message {
            all.push(serde_json::from_str(&text).unwrap());
        }
    }
    all
}

/// Returns the reply to a request that asks whether a room exists.
fn exists(request: &Value) -> Value {
    let even = request["body"]["room"].as_u64().unwrap().is_multiple_of(2);
    let data = json!({ "audiobridge": "success", "room": request["body"]["room"], "exists": even });
    let plugin = json!({ "plugin": "janus.plugin.audiobridge", "data": data });
    json!({ "janus": "success", "session_id": 1, "sender": 2, "transaction": request["transaction"],
        "plugindata": plugin })
}

/// Reads until the client has closed the connection.
async fn drain(mut socket: Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

#[actix::test]
async fn replies_in_any_order_are_matched() {
    let (client, _events) = fake(async |mut socket| {
        let asked = requests(&mut socket, 20).await;
        for request in asked.iter().rev() {
            let foreign = json!({ "janus": "success", "transaction": "of nobody", "data": {} });
            for reply in [exists(request), foreign, exists(request)] {
                socket.send(Message::text(reply.to_string())).await.unwrap();
            }
        }
        drain(socket).await;
    })
    .await;
    let answers = futures::future::join_all((0..20).map(|id| client.exists(id))).await;
    for (id, answer) in (0..20).zip(answers) {
        assert_eq!(answer, Ok(id % 2 == 0), "{id}");
    }
}

#[actix::test]
async fn malformed_replies_fail_their_request() {
    let (client, _events) = fake(async |mut socket| {
        let wrong: [fn(&mut Value); 4] = [
            |reply| reply["plugindata"] = 5.into(),
            |reply| drop(reply.as_object_mut().unwrap().remove("plugindata")),
            |reply| reply["plugindata"]["data"]["exists"] = "yes".into(),
            |reply| reply["plugindata"]["data"] = json!([[[[]]]]),
        ];
        for break_it in wrong {
            let request = requests(&mut socket, 1).await.remove(0);
            let mut reply = exists(&request);
            break_it(&mut reply);
            socket.send(Message::text(reply.to_string())).await.unwrap();
        }
        let request = requests(&mut socket, 1).await.remove(0);
        socket.send(Message::text(exists(&request).to_string())).await.unwrap();
        drain(socket).await;
    })
    .await;
    for n in 0..4 {
        let refused = timeout(PATIENCE / 2, client.exists(7)).await.expect("an answer");
        assert!(matches!(refused, Err(JanusError::BadReply { .. })), "{n}: {refused:?}");
    }
    assert_eq!(client.exists(8).await, Ok(true), "the connection lives on");
    withstood(
        "replies of Janus in the wrong order, doubled, of others, of the wrong form",
        "matched by their transaction; the request fails",
        "other requests are answered",
    );
}

#[actix::test]
async fn truncated_replies_end_link() {
    // A frame that says it has 2^62 bytes, one of 2 MB, a text that ends in the middle, no frame at all, and
    // a frame that never ends.
    let huge = [&[0x81, 127, 0x40, 0, 0, 0, 0, 0, 0, 0][..], b"{"].concat();
    let large = [&[0x81, 127, 0, 0, 0, 0, 0, 0x20, 0, 0][..], &[b' '; 2 << 20]].concat();
    let cut = [&[0x81, 16][..], b"{\"janus\":\"succes"].concat();
    let unfinished = cut[..9].to_vec();
    let none = b"\xff\xff\xff\xff".to_vec();
    let (other, _other_events) = fake(async |mut socket| {
        for _ in 0..5 {
            let request = requests(&mut socket, 1).await.remove(0);
            socket.send(Message::text(exists(&request).to_string())).await.unwrap();
        }
        drain(socket).await;
    })
    .await;
    for (bytes, waited_for) in
        [(huge, false), (large, false), (cut, false), (none, false), (unfinished, true)]
    {
        let beginning = bytes[..bytes.len().min(4)].to_vec();
        let (client, mut events) = fake(async move |mut socket: Socket| {
            requests(&mut socket, 2).await;
            // The client may have hung up already.
            let _ = socket.get_mut().write_all(&bytes).await;
            drain(socket).await;
        })
        .await;
        let (one, two) = timeout(PATIENCE / 2, async { tokio::join!(client.exists(1), client.exists(2)) })
            .await
            .expect("both requests end");
        assert_eq!((one, two), (Err(JanusError::Disconnected), Err(JanusError::Disconnected)));
        // The client waits for the rest of a frame only if its length is permitted. It gives up when its
        // pings stay unanswered.
        let ended = events.recv().await;
        let expected = match &ended {
            Some(LinkEvent::Down { reason: DownReason::Silent }) => waited_for,
            Some(LinkEvent::Down { reason: DownReason::Failed(_) }) => !waited_for,
            _ => false,
        };
        assert!(expected, "{beginning:x?} {ended:?}");
        assert_eq!(other.exists(8).await, Ok(true));
    }
    withstood(
        "truncated replies of Janus, frames of 2 MB and of 2^62 bytes",
        "the link ends, at once if the frame is too long, and is opened again",
        "requests to another Janus are answered",
    );
}
