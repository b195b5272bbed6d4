//! Channels of two listener nodes that share a store, and their subscribers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame};
use bytes::BytesMut;
use futures::{FutureExt, Stream, StreamExt};

use super::Transport::{EventStream, WebSocket};
use super::{
    CommandError, Dependencies, FoundPerson, OpenError, StageHub, Subscription, SubscriptionEnd, Transport,
};
use crate::auth::Secrets;
use crate::config::{JwtSecret, Secret};
use crate::delivery::listener_counter::Listeners;
use crate::domain::ids::{ModuleId, RoomId, UserId};
use crate::domain::signalling::DisplayName;
use crate::domain::stage::{ChatText, Command, Person, PersonId, Reaction, Refusal, StageRole};
use crate::presence::PresenceEvent;
use crate::presence::embedded_stages::EmbeddedStages;
use crate::presence::stage::{StageMessage, StageStore};
use crate::rooms::{Directory, Scope, WatchApplier};
use crate::telemetry::Metrics;

/// A listener node.
struct Node {
    hub: StageHub,
    messages: crate::presence::EventStream<StageMessage>,
}

/// Decoded events of a client.
struct Client(Subscription);

#[actix::test]
async fn both_nodes_show_the_same_events() {
    let (mut one, mut two) = pair();
    let (mut host, mut ann) = (one.client(&person(9, StageRole::Host)).await, two.client(&listener(1)).await);
    assert_eq!(names(&host.events()), ["hello", "snapshot"]);
    assert_eq!(names(&ann.events()), ["hello", "snapshot"]);
    two.raise(&listener(1)).await.unwrap();
    one.hub.command(&room(), &listener(2), say("hi")).await.unwrap();
    one.hear().await;
    two.hear().await;
    let (host, ann) = (host.events(), ann.events());
    assert_eq!((names(&host), names(&ann)), (vec!["hand_raised", "message_sent"], names(&host)));
    assert!(host[0].contains("\"name\":\"P1\"") && !ann[0].contains("P1"), "{} {}", host[0], ann[0]);
    assert!(ann[0].contains(&format!("\"id\":\"{}\"", id(1))), "{}", ann[0]);
    assert_eq!(host[1], ann[1]);
}

#[actix::test]
async fn commands_of_two_nodes_are_kept() {
    let (mut one, mut two) = pair();
    let mut ann = one.client(&listener(1)).await;
    ann.events();
    for n in 0..10 {
        one.raise(&listener(n)).await.unwrap();
        two.raise(&listener(n + 10)).await.unwrap();
    }
    one.hear().await;
    two.hear().await;
    assert_eq!(names(&ann.events()), vec!["hand_raised"; 20]);
    let late = two.client(&person(9, StageRole::Host)).await.events();
    let snapshot: serde_json::Value = data(&late[1]);
    assert_eq!(snapshot["hands"].as_array().unwrap().len(), 20);
}

#[actix::test]
async fn reconnecting_clients_get_what_they_missed() {
    let (one, mut two) = pair();
    let mut ann = one.client(&listener(1)).await;
    ann.events();
    one.hub.command(&room(), &listener(2), say("first")).await.unwrap();
    let last = event_id(&ann.events()[0]);
    drop(ann);
    one.hub.command(&room(), &listener(2), say("second")).await.unwrap();
    two.client(&listener(3)).await;
    two.hear().await;
    let again = one.connect(&listener(1), Some(&last)).await.events();
    assert_eq!(names(&again), ["hello", "message_sent", "room", "members", "talking", "spoken"]);
    assert!(again[1].contains("second"));
    // The buffer of the other node begins later.
    let other = two.connect(&listener(1), Some(&last)).await.events();
    assert_eq!(names(&other), ["hello", "snapshot"]);
    for unknown in ["", "x.1", "nonsense", &last.replace(".1", ".99")] {
        let fresh = one.connect(&listener(1), Some(unknown)).await.events();
        assert_eq!(names(&fresh), ["hello", "snapshot"], "{unknown}");
    }
}

#[actix::test]
async fn both_transports_carry_the_same_events() {
    let (one, _) = pair();
    for (role, last) in
        [(StageRole::Host, None), (StageRole::Listener, None), (StageRole::Listener, Some("x.1"))]
    {
        let mut by_stream = one.connect_by(EventStream, &person(9, role), last).await;
        let mut by_socket = one.connect_by(WebSocket, &person(9, role), last).await;
        one.raise(&listener(1)).await.unwrap();
        one.hub.command(&room(), &listener(2), say("\"a\" <b>")).await.unwrap();
        one.hub.tick(15);
        let (events, messages) = (by_stream.events(), by_socket.messages());
        assert!(events.len() >= 3);
        for (event, message) in events.iter().zip(&messages) {
            let id = event.lines().find_map(|line| line.strip_prefix("id: "));
            let mut expected = serde_json::json!({ "event": field(event, "event"), "data": data(event) });
            if let Some(id) = id {
                expected["id"] = id.into();
            }
            assert_eq!(*message, expected);
        }
        assert_eq!(messages.len(), events.len());
    }
}

#[actix::test]
async fn slow_clients_are_dropped_alone() {
    let (one, _) = pair();
    let (mut slow, mut quick) = (one.client(&listener(1)).await, one.client(&listener(2)).await);
    slow.events();
    quick.events();
    for n in 0..600 {
        let on = n % 2 == 1;
        let settings = crate::domain::stage::Settings::new(on, true, 0).unwrap();
        let host = person(9, StageRole::Host);
        one.hub.command(&room(), &host, Command::Configure(settings)).await.unwrap();
        let text = Some(ChatText::new(&format!("{n} {}", "x".repeat(480))).unwrap());
        one.hub.command(&room(), &host, Command::Announce(text)).await.unwrap();
        assert_eq!(quick.events().len(), 2);
    }
    assert_eq!(slow.ended(), Some(SubscriptionEnd::TooSlow));
    assert!(one.hub.metrics().render().contains("stentor_channel_dropped_total 1"));
}

#[actix::test]
async fn reactions_are_summed_over_nodes() {
    let (mut one, mut two) = pair();
    let mut ann = two.client(&listener(1)).await;
    ann.events();
    for _ in 0..3 {
        one.hub.react(&room(), Reaction::Clap).await.unwrap();
        two.hub.react(&room(), Reaction::Clap).await.unwrap();
    }
    for node in [&one, &two] {
        for (room, passing) in node.hub.tick(1).passing {
            node.hub.store().pass(&room, &passing).await.unwrap();
        }
    }
    one.hear().await;
    two.hear().await;
    two.hub.tick(2);
    let shown = ann.events();
    assert_eq!(names(&shown), ["reactions"]);
    assert_eq!(data(&shown[0])["counts"], serde_json::json!({ "clap": 6 }));
}

#[actix::test]
async fn channels_end_with_token_room_and_node() {
    let (one, _) = pair();
    let mut expired =
        one.hub.subscribe(&room(), &listener(1), EventStream, None, Instant::now()).await.unwrap();
    assert!(expired.next().await.is_some(), "the first bytes");
    assert!(expired.next().await.is_none());
    assert_eq!(expired.ended(), Some(SubscriptionEnd::TokenExpired));
    let mut ann = one.client(&listener(1)).await;
    ann.events();
    one.raise(&listener(1)).await.unwrap();
    ann.events();
    put(&one.hub.directory(), None);
    assert_eq!(one.hub.tick(1).gone.len(), 1, "the stage can be removed");
    assert_eq!(one.hub.tick(2).gone.len(), 0);
    assert_eq!(names(&ann.events()), ["closed"]);
    assert_eq!(ann.ended(), Some(SubscriptionEnd::RoomGone));
    let gone = one.hub.subscribe(&room(), &listener(1), EventStream, None, Instant::now()).await;
    assert_eq!(gone.err(), Some(OpenError::NoSuchRoom));
    put(&one.hub.directory(), Some(1));
    let mut ann = one.client(&listener(1)).await;
    ann.events();
    one.hub.close();
    assert_eq!(ann.ended(), Some(SubscriptionEnd::Closed));
}

#[actix::test]
async fn bans_end_channels_and_lower_hands() {
    let (one, _) = pair();
    let (mut host, mut ann) = (one.client(&person(9, StageRole::Host)).await, one.client(&listener(1)).await);
    let mut bob = one.client(&listener(2)).await;
    one.raise(&listener(1)).await.unwrap();
    one.hub.command(&room(), &listener(2), say("hi")).await.unwrap();
    let seen = [host.events(), ann.events(), bob.events()].concat().concat();
    assert!(!seen.contains("subject") && !seen.contains("\"p1\"") && !seen.contains("\"p9\""), "{seen}");
    let found = one.hub.find(&room(), &listener(2).id).await.unwrap();
    let expected = FoundPerson { user: UserId::new("p2").unwrap(), name: listener(2).name, role: None };
    assert_eq!(found, Some(expected), "who has written");
    assert_eq!(one.hub.find(&room(), &listener(3).id).await.unwrap(), None);

    ban(&one.hub.directory(), &["p1"]);
    let due = one.hub.tick(1).banned;
    assert_eq!(due, [(room(), listener(1).id)]);
    assert_eq!(ann.ended(), Some(SubscriptionEnd::Removed));
    one.hub.lower_banned(&room(), listener(1).id).await.unwrap();
    assert!(one.hub.tick(2).banned.is_empty());
    let (host, bob) = (host.events(), bob.events());
    assert_eq!((names(&host), names(&bob)), (vec!["bans", "hand_lowered"], vec!["hand_lowered"]));
    let banned = &data(&host[0])["people"];
    assert_eq!((&banned[0]["name"], &banned[0]["bannedAt"]), (&"P1".into(), &7.into()), "{banned}");
    let person = PersonId::new(banned[0]["id"].as_str().unwrap()).unwrap();
    assert_eq!(one.hub.banned(&room(), &person), UserId::new("p1").ok());
    let snapshots = [one.client(&person_of_host()).await.events(), one.client(&listener(3)).await.events()];
    assert_eq!(snapshots.map(|events| data(&events[1])["bans"].is_array()), [true, false]);

    ban(&one.hub.directory(), &[]);
    assert!(one.client(&listener(1)).await.events().len() > 1, "the ban is lifted");
}

#[actix::test]
async fn requests_of_one_person_are_limited() {
    let (one, _) = pair();
    let admit = |n| one.hub.admit(&room(), &listener(n), None);
    let taken = (0..100).filter(|_| admit(1).is_ok()).count();
    assert!((12..20).contains(&taken), "{taken}");
    assert!(matches!(admit(1), Err(CommandError::TooManyRequests { .. })) && admit(2).is_ok());
    let refused = one.hub.command(&room(), &listener(1), Command::Accept).await;
    assert_eq!(refused, Err(CommandError::Refused(Refusal::NotInvited)));
}

impl Node {
    fn new(store: Arc<EmbeddedStages>, directory: Arc<Directory>) -> Self {
        let secret = || Secret(vec![1; 32]);
        let jwt = vec![JwtSecret { kid: "k".into(), secret: secret() }];
        let me = ModuleId::new("ear").unwrap();
        let listeners = Listeners { me, counter: Arc::default(), directory: directory.clone() };
        let mut messages = store.follow();
        // The feed handles the opening notice before there is a client.
        assert_eq!(messages.next().now_or_never(), Some(Some(PresenceEvent::LookAgain)));
        let parts = Dependencies {
            store,
            presence: None,
            directory,
            listeners,
            secrets: Arc::new(Secrets { jwt, hls: secret(), janus_room: secret() }),
            metrics: Metrics::new(std::time::SystemTime::UNIX_EPOCH),
            rewind: Duration::ZERO,
        };
        Self { hub: StageHub::new(parts), messages }
    }

    async fn client(&self, person: &Person) -> Client {
        self.connect(person, None).await
    }

    async fn connect(&self, person: &Person, last: Option<&str>) -> Client {
        self.connect_by(EventStream, person, last).await
    }

    async fn connect_by(&self, transport: Transport, person: &Person, last: Option<&str>) -> Client {
        let until = Instant::now() + Duration::from_secs(3600);
        Client(self.hub.subscribe(&room(), person, transport, last, until).await.unwrap())
    }

    async fn raise(&self, by: &Person) -> Result<Vec<crate::domain::stage::Event>, CommandError> {
        self.hub.command(&room(), by, Command::RaiseHand { note: None }).await
    }

    /// Handles all messages that have arrived, as the feed does.
    async fn hear(&mut self) {
        while let Some(Some(event)) = self.messages.next().now_or_never() {
            match event {
                PresenceEvent::Told(message) if self.hub.heard(&message) => self.hub.reread(&room()).await,
                PresenceEvent::Told(_) => {}
                PresenceEvent::LookAgain => self.hub.reread(&room()).await,
            }
        }
    }
}

impl Client {
    fn poll(&mut self) -> Poll<Option<String>> {
        let mut task = Context::from_waker(Waker::noop());
        Pin::new(&mut self.0).poll_next(&mut task).map(|item| {
            item.map(|bytes| {
                String::from_utf8(bytes.unwrap_or_else(|never| match never {}).to_vec()).unwrap()
            })
        })
    }

    /// Returns the reason why the events have ended.
    fn ended(&mut self) -> Option<SubscriptionEnd> {
        assert!(matches!(self.poll(), Poll::Ready(None)));
        self.0.ended()
    }

    /// Returns the WebSocket messages that have arrived. Skips pings.
    fn messages(&mut self) -> Vec<serde_json::Value> {
        let mut bytes = BytesMut::new();
        let mut task = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(more))) = Pin::new(&mut self.0).poll_next(&mut task) {
            bytes.extend_from_slice(&more);
        }
        let mut codec = Codec::new().client_mode();
        let frames = std::iter::from_fn(|| codec.decode(&mut bytes).unwrap());
        let texts = frames.filter_map(|frame| match frame {
            Frame::Text(text) => Some(serde_json::from_slice(&text).unwrap()),
            other => {
                assert_eq!(other, Frame::Ping("".into()));
                None
            }
        });
        texts.collect()
    }

    /// Returns the events that have arrived, each as its text.
    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Poll::Ready(Some(text)) = self.poll() {
            events.extend(text.split_terminator("\n\n").filter(|event| *event != ":").map(str::to_owned));
        }
        events
    }
}

/// Returns two nodes that share a store, with one room.
fn pair() -> (Node, Node) {
    let (store, directory) = (EmbeddedStages::new(), Arc::new(Directory::default()));
    put(&directory, Some(1));
    (Node::new(store.clone(), directory.clone()), Node::new(store, directory))
}

/// Puts the room into the directory, or removes it.
fn put(directory: &Arc<Directory>, created_at: Option<u64>) {
    let mut fold = WatchApplier::new(directory.clone(), Scope::Rooms);
    fold.begin_init();
    if let Some(at) = created_at {
        let meta = format!(r#"{{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":{at}}}"#);
        fold.put("/rooms/tea-room/meta", meta.as_bytes(), 1);
    }
    fold.end_init(1);
}

/// Bans exactly these users.
fn ban(directory: &Arc<Directory>, users: &[&str]) {
    let mut fold = WatchApplier::new(directory.clone(), Scope::Rooms);
    fold.begin_init();
    fold.put("/rooms/tea-room/meta", br#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":1}"#, 1);
    for user in users {
        let record = format!(
            r#"{{"role":"anchor","createdAt":7,"removedAt":7,"bannedName":"{}"}}"#,
            user.to_uppercase()
        );
        fold.put(&format!("/rooms/tea-room/users/{user}"), record.as_bytes(), 2);
    }
    fold.end_init(2);
}

fn person_of_host() -> Person {
    person(9, StageRole::Host)
}

fn room() -> RoomId {
    RoomId::new("tea-room").unwrap()
}

fn id(n: u8) -> String {
    format!("{n:016x}")
}

fn person(n: u8, role: StageRole) -> Person {
    let name = Some(DisplayName::new(&format!("P{n}")).unwrap());
    let (id, subject) = (PersonId::new(&id(n)).unwrap(), UserId::new(&format!("p{n}")).ok());
    Person { id, name, role, verified: true, subject }
}

fn listener(n: u8) -> Person {
    person(n, StageRole::Listener)
}

fn say(text: &str) -> Command {
    Command::Say(ChatText::new(text).unwrap())
}

fn names(events: &[String]) -> Vec<&str> {
    events.iter().map(|event| field(event, "event")).collect()
}

fn event_id(event: &str) -> String {
    field(event, "id").to_owned()
}

fn data(event: &str) -> serde_json::Value {
    serde_json::from_str(field(event, "data")).unwrap()
}

fn field<'a>(event: &'a str, name: &str) -> &'a str {
    let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {event}"))
}
