//! The connection: many concurrent requests, large answers, and every way it can end.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stentor::domain::ids::MediaAddr;
use stentor::domain::mix::MixShare;
use stentor::janus::{
    AudioBridge, ConnectOptions, CoreError, DownReason, JanusClient, JanusError, LinkEvent, NewRoom, Secret,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::PATIENCE;
use crate::support::abuse_table::withstood;
use crate::support::janus::{MOMENT, TestJanus, connect, pin, room, secret};
use crate::support::janus_proxy::JanusProxy;

#[actix::test]
async fn concurrent_requests_get_their_own_replies() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    let every_tenth = (0..20).map(|n| client.clone().create_owned(200_000 + 10 * n));
    assert!(join_all(every_tenth).await.into_iter().all(|created| created.is_ok()));
    let answers = join_all((200_000..200_200).map(|id| client.exists(id))).await;
    for (id, exists) in (200_000..200_200).zip(answers) {
        assert_eq!(exists, Ok(id % 10 == 0), "{id}");
    }
}

#[actix::test]
async fn failed_connections_leave_nothing() {
    // The listener is dropped at once, so nothing listens on this port.
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unwilling = unwilling_janus().await;
    for (address, attempts) in [(refusing, 10_000), (unwilling, 500)] {
        let options = ConnectOptions {
            url: format!("ws://{address}"),
            api_secret: None,
            admin_key: None,
            request_timeout: MOMENT,
            keep_alive: MOMENT,
        };
        for _ in 0..attempts {
            let (sender, mut events) = unbounded_channel();
            let error = JanusClient::connect(&options, sender).await.unwrap_err();
            assert_eq!(matches!(error, JanusError::Core(_)), address == unwilling, "{error}");
            // A failed attempt leaves no sender behind, so the channel closes, and a future that waits on it
            // completes.
            assert_eq!(timeout(PATIENCE, events.recv()).await.expect("the channel ends"), None);
        }
    }
}

/// Starts a server that opens WebSockets and refuses sessions.
async fn unwilling_janus() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            actix::spawn(refuse(socket));
        }
    });
    address
}

/// Answers each request with an error.
async fn refuse(socket: TcpStream) {
    let Ok(mut socket) = accept_async(socket).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let Ok(request) = serde_json::from_slice::<Value>(&message.into_data()) else { continue };
        let refusal = json!({
            "janus": "error",
            "transaction": request["transaction"],
            "error": { "code": 403, "reason": "unauthorized" },
        });
        if socket.send(Message::text(refusal.to_string())).await.is_err() {
            return;
        }
    }
}

#[actix::test]
async fn held_request_delays_no_other() {
    let janus = TestJanus::start().await;
    let mut proxy = JanusProxy::start(janus.janus.url()).await;
    let (client, _events) =
        connect(&ConnectOptions { url: proxy.url.clone(), ..janus.connect_options() }).await;
    proxy.hold("stentor/test/room-200301/1");
    let slow = actix::spawn(client.clone().create_owned(200_301));
    proxy.held(1).await;
    for id in 200_302..200_310 {
        timeout(PATIENCE, client.create_room(&room(id))).await.expect("another request was held up").unwrap();
    }
    assert!(!client.exists(200_301).await.unwrap() && !slow.is_finished());
    proxy.release("stentor/test/room-200301/1");
    timeout(PATIENCE, slow).await.unwrap().unwrap().unwrap();
    assert!(client.exists(200_301).await.unwrap());
}

#[actix::test]
async fn oversized_janus_reply_is_refused() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    let described = |id, len| NewRoom { description: "d".repeat(len), ..room(id) };
    for id in 200_400..200_410 {
        client.create_room(&described(id, 20_000)).await.unwrap();
    }
    let rooms = client.list_rooms().await.unwrap();
    assert_eq!(rooms.iter().map(|room| room.description.len()).sum::<usize>(), 200_000);

    for id in 200_410..200_422 {
        client.create_room(&described(id, 90_000)).await.unwrap();
    }
    let refused = client.list_rooms().await;
    assert!(matches!(refused, Err(JanusError::TooLarge { request: "list", .. })), "{:?}", refused.err());
    assert!(client.exists(200_400).await.unwrap(), "the connection lives on");
    withstood("a reply of Janus above the limit", "refused, the link stays", "other requests are answered");
}

#[actix::test]
async fn pending_requests_fail_when_janus_dies() {
    let mut janus = TestJanus::start().await;
    let (client, events) = slow_client(&janus).await;
    // Freeze Janus first, so that the requests are certainly unanswered when it dies.
    signal(&janus, Signal::STOP);
    let pending: Vec<_> = (0..5).map(|n| actix::spawn(client.clone().create_owned(200_500 + n))).collect();
    signal(&janus, Signal::KILL);
    for request in pending {
        assert_eq!(timeout(PATIENCE, request).await.unwrap().unwrap(), Err(JanusError::Disconnected));
    }
    assert!(matches!(down(events).await, DownReason::Closed | DownReason::Failed(_)));
    assert_eq!(
        client.exists(200_500).await,
        Err(JanusError::Disconnected),
        "a call after the end was retried"
    );
    janus.janus.wait().await.unwrap();
}

#[actix::test]
async fn frozen_janus_is_detected_by_silence() {
    let janus = TestJanus::start().await;
    let (client, events) = slow_client(&janus).await;
    signal(&janus, Signal::STOP);
    let pending = actix::spawn(client.create_owned(200_600));
    assert_eq!(down(events).await, DownReason::Silent);
    assert_eq!(pending.await.unwrap(), Err(JanusError::Disconnected));
}

#[actix::test]
async fn timed_out_request_has_unknown_outcome() {
    let janus = TestJanus::start().await;
    let patience = Duration::from_millis(300);
    let (client, _events) =
        connect(&ConnectOptions { request_timeout: patience, ..janus.connect_options() }).await;
    signal(&janus, Signal::STOP);
    let failed = client.create_room(&room(200_700)).await.unwrap_err();
    assert_eq!(failed, JanusError::Timeout { request: "create", after: patience });
    assert!(failed.outcome_unknown());
    signal(&janus, Signal::CONT);
    // Janus handles the request late; its late answer has no effect.
    let made = async { while client.exists(200_700).await != Ok(true) {} };
    timeout(PATIENCE, made).await.expect("the request was carried out after all");
}

#[actix::test]
async fn wrong_api_secret_is_unauthorized() {
    let janus = TestJanus::start().await;
    for wrong in [None, Some(Secret("not the secret".to_owned()))] {
        let options = ConnectOptions { api_secret: wrong, ..janus.connect_options() };
        let refused = JanusClient::connect(&options, unbounded_channel().0).await;
        assert_eq!(refused.err(), Some(CoreError::Unauthorized.into()));
    }
}

#[actix::test]
async fn unreachable_error_names_url() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ConnectOptions {
        url: format!("ws://127.0.0.1:{port}"),
        api_secret: None,
        admin_key: None,
        request_timeout: MOMENT,
        keep_alive: MOMENT,
    };
    let error = JanusClient::connect(&options, unbounded_channel().0).await.unwrap_err();
    assert!(matches!(&error, JanusError::Unreachable { url, .. } if *url == options.url));
    assert!(!error.outcome_unknown());
}

#[actix::test]
async fn dropped_client_closes_connection_quietly() {
    let janus = TestJanus::start().await;
    let (client, mut events) = janus.client().await;
    let other = client.clone();
    drop(client);
    assert!(other.info().await.is_ok());
    drop(other);
    assert_eq!(timeout(PATIENCE, events.recv()).await.unwrap(), None);
}

#[actix::test]
async fn rooms_outlive_connection_participants_do_not() {
    let janus = TestJanus::start_with(|options| options.session_timeout = Duration::from_secs(2)).await;
    let (client, mut events) = janus.client().await;
    client.create_room(&room(200_800)).await.unwrap();
    let nowhere = MediaAddr { ip: [127, 0, 0, 1].into(), port: 9 };
    let participant = client.join_rtp(200_800, &pin(), "someone", nowhere, MixShare::of(3)).await.unwrap();
    drop((client, participant));
    assert_eq!(timeout(PATIENCE, events.recv()).await.unwrap(), None);

    let (client, _events) = janus.client().await;
    let gone = async { while !client.participants(200_800).await.unwrap().is_empty() {} };
    timeout(PATIENCE, gone).await.expect("the participant goes when its session times out");
    assert_eq!(client.list_rooms().await.unwrap()[0].id, 200_800);
    client.destroy_room(200_800, &secret()).await.expect("the room's secret suffices");
}

/// Creation of a room as a future that owns its client, so that it can run in a separate task.
trait CreateOwned {
    fn create_owned(self, id: u32) -> impl Future<Output = Result<(), JanusError>> + 'static;
}

impl CreateOwned for JanusClient {
    async fn create_owned(self, id: u32) -> Result<(), JanusError> {
        self.create_room(&room(id)).await
    }
}

/// Connects with a request timeout that is too long to matter.
async fn slow_client(janus: &TestJanus) -> (JanusClient, UnboundedReceiver<LinkEvent>) {
    connect(&ConnectOptions { request_timeout: 10 * MOMENT, ..janus.connect_options() }).await
}

async fn down(mut events: UnboundedReceiver<LinkEvent>) -> DownReason {
    let LinkEvent::Down { reason } = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(events.recv().await, None, "comes once, and last");
    reason
}

fn signal(janus: &TestJanus, signal: Signal) {
    let pid = Pid::from_raw(janus.janus.pid().unwrap() as i32).unwrap();
    kill_process(pid, signal).unwrap();
}
