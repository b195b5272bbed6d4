//! Conformance of the stage stores: the same cases on the embedded store and on Redis.

use std::sync::Arc;

use stentor::domain::ids::{RoomId, UnixMs};
use stentor::domain::signalling::DisplayName;
use stentor::domain::stage::{
    ChatText, Command, Event, HistoryId, Person, PersonId, Reaction, SpeakingTimes, Stage, StageRole,
};
use stentor::presence::embedded_stages::EmbeddedStages;
use stentor::presence::redis::{RedisOptions, RedisPresence};
use stentor::presence::stage::{
    StageContent, StageKey, StageMessage, StageStore, StageWrite, TransientEvent,
};
use stentor::presence::{Lifetimes, PresenceEvent};

use super::conformance::{attentive, next};
use crate::support::redis::Redis;

type Store = Arc<dyn StageStore>;

/// Two nodes that share a store.
type Pair = (Store, Store);

fn embedded() -> (Pair, Option<Redis>) {
    let store = EmbeddedStages::new();
    ((store.clone(), store), None)
}

fn redis() -> (Pair, Option<Redis>) {
    let redis = Redis::start();
    let open = || -> Store {
        let (request_timeout, lifetimes) = (std::time::Duration::from_secs(2), Lifetimes::default());
        let options = RedisOptions { url: redis.url(), ca: None, request_timeout, lifetimes };
        RedisPresence::new(options).unwrap()
    };
    ((open(), open()), Some(redis))
}

macro_rules! on_both {
    ($($case:ident => $embedded:ident, $redis:ident;)+) => {$(
        #[actix::test]
        async fn $embedded() {
            let (pair, _) = embedded();
            $case(pair).await;
        }

        #[actix::test]
        async fn $redis() {
            let (pair, _redis) = redis();
            $case(pair).await;
        }
    )+};
}

on_both! {
    writes_compare_versions => embedded_stages_compare_versions, redis_stages_compare_versions;
    nodes_hear_events_in_order => embedded_stage_events_arrive_in_order, redis_stage_events_arrive_in_order;
    nodes_hear_speaking_times => embedded_stages_add_speech, redis_stages_add_speech;
    concurrent_writes_conflict => embedded_stage_writes_conflict, redis_stage_writes_conflict;
}

async fn writes_compare_versions((one, two): Pair) {
    let first = key(1);
    assert_eq!(one.read(&first).await.unwrap(), None);
    let (stage, events) = said(&Stage::new(HistoryId("h".into())), "hello");
    let history = HistoryId("h".into());
    assert_eq!(one.write(&first, Some((&history, 0)), &stage, &events).await.unwrap(), StageWrite::Conflict);
    assert_eq!(one.write(&first, None, &stage, &events).await.unwrap(), StageWrite::Written);
    assert_eq!(two.read(&first).await.unwrap().as_ref(), Some(&stage));
    let (other, others) = said(&Stage::new(HistoryId("h".into())), "other");
    assert_eq!(two.write(&first, None, &other, &others).await.unwrap(), StageWrite::Conflict);
    let (next, events) = said(&stage, "again");
    for wrong in [(&history, 0), (&history, 2), (&HistoryId("other".into()), 1)] {
        assert_eq!(two.write(&first, Some(wrong), &next, &events).await.unwrap(), StageWrite::Conflict);
    }
    assert_eq!(two.write(&first, Some((&history, 1)), &next, &events).await.unwrap(), StageWrite::Written);
    assert_eq!(one.read(&first).await.unwrap(), Some(next));
    assert_eq!(one.read(&key(2)).await.unwrap(), None, "a later room of the same id");
    one.remove(&first).await.unwrap();
    assert_eq!(two.read(&first).await.unwrap(), None);
}

async fn nodes_hear_events_in_order((one, two): Pair) {
    let mut messages = attentive(two.follow()).await;
    let mut stage = Stage::new(HistoryId("h".into()));
    for n in 0..20 {
        let expected = (n > 0).then(|| (stage.history.clone(), stage.version));
        let (next, events) = said(&stage, &format!("message {n}"));
        let expected = expected.as_ref().map(|(history, version)| (history, *version));
        assert_eq!(one.write(&key(1), expected, &next, &events).await.unwrap(), StageWrite::Written);
        stage = next;
    }
    let reactions = [(Reaction::Clap, 3)].into_iter().collect();
    let passing = TransientEvent::Reactions { at: UnixMs(1), counts: reactions };
    one.pass(&room(), &passing).await.unwrap();
    let mut copy = Stage::new(HistoryId("h".into()));
    for _ in 0..20 {
        let PresenceEvent::Told(StageMessage {
            content: StageContent::Changed { version, events, .. }, ..
        }) = next(&mut messages).await
        else {
            panic!("another message")
        };
        events.iter().for_each(|event| copy.fold(event));
        assert_eq!(copy.version, version);
    }
    assert_eq!(copy, stage);
    let content = StageContent::Passing(passing);
    assert_eq!(next(&mut messages).await, PresenceEvent::Told(StageMessage { room: room(), content }));
}

async fn nodes_hear_speaking_times((one, two): Pair) {
    let mut messages = attentive(two.follow()).await;
    let (ann, bob) = (person(1), person(2));
    assert!(two.speech(&key(1)).await.unwrap().is_empty());
    for (store, person, ms) in [(&one, &ann, 1_500), (&two, &bob, 700), (&two, &ann, 2_500)] {
        store.add_speech(&key(1), person, ms, UnixMs(9)).await.unwrap();
    }
    let mut heard = SpeakingTimes::default();
    for _ in 0..3 {
        let PresenceEvent::Told(StageMessage {
            content: StageContent::Passing(TransientEvent::Spoken { person, total_ms, .. }),
            ..
        }) = next(&mut messages).await
        else {
            panic!("another message")
        };
        heard.fold(&person, total_ms);
    }
    let times = one.speech(&key(1)).await.unwrap();
    assert_eq!((times.of(&ann), times.of(&bob), &times), (4_000, 700, &heard));
    assert!(one.speech(&key(2)).await.unwrap().is_empty(), "a later room of the same id");
    two.remove(&key(1)).await.unwrap();
    assert!(one.speech(&key(1)).await.unwrap().is_empty());
}

async fn concurrent_writes_conflict((one, two): Pair) {
    let base = Stage::new(HistoryId("h".into()));
    let attempts = (0..20).map(|n| {
        let store = if n % 2 == 0 { one.clone() } else { two.clone() };
        let (stage, events) = said(&base, &format!("message {n}"));
        async move { store.write(&key(1), None, &stage, &events).await.unwrap() }
    });
    let results = futures::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| **result == StageWrite::Written).count(), 1);
    assert_eq!(one.read(&key(1)).await.unwrap().unwrap().messages.len(), 1);
}

/// Returns the stage after a message, and its event.
fn said(stage: &Stage, text: &str) -> (Stage, Vec<Event>) {
    let id = PersonId::new("0123456789abcdef").unwrap();
    let name = Some(DisplayName::new("Ann").unwrap());
    let by = Person { id, name, role: StageRole::Anchor, verified: true, subject: None };
    let at = UnixMs(1000 * stage.version);
    let events = stage.decide(&by, Command::Say(ChatText::new(text).unwrap()), at).unwrap();
    let mut next = stage.clone();
    events.iter().for_each(|event| next.fold(event));
    (next, events)
}

fn person(n: u8) -> PersonId {
    PersonId::new(&format!("{n:016x}")).unwrap()
}

fn key(created_at: u64) -> StageKey {
    StageKey { room: room(), created_at: UnixMs(created_at) }
}

fn room() -> RoomId {
    RoomId::new("studio").unwrap()
}
