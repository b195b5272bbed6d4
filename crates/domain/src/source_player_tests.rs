//! Tests of the machine that plays a source, in a world of store, Janus and runs.

use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, UnixMs};
use crate::keys::{RoomKey, RoomPart};
use crate::plan::Failure;
use crate::sources::{Input, SourceFile};

const JANUS_ROOM: u32 = 123_456;

/// Simulated environment of a player: the store, as this node sees it, and the run in progress.
struct World {
    player: SourcePlayer,
    view: RoomView,
    revision: i64,
    now: Duration,
    linked: bool,
    running: Option<u32>,
}

impl World {
    fn new(repeats: bool) -> Self {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(8) };
        let player = SourcePlayer::new(me(), id(), backoff);
        let mut world = Self {
            player,
            view: RoomView::default(),
            revision: 0,
            now: Duration::ZERO,
            linked: true,
            running: None,
        };
        world.assign("here", JANUS_ROOM);
        let input = Input::File(SourceFile::new("a.mp3").unwrap());
        world.put(Source::new(input, None, Some(repeats), UnixMs(1)));
        world
    }

    fn apply(&mut self, part: RoomPart, value: &str) {
        self.revision += 1;
        self.view.apply(RoomKey::Part(part), Some((value.as_bytes(), self.revision))).unwrap();
        self.player.observe_revision(self.revision);
    }

    fn assign(&mut self, janus: &str, number: u32) {
        let live = format!(
            r#"{{"status": "onair", "mixerId": "m", "janusId": "{janus}", "nonce": "n", "createdAt": 0,
                "epoch": 1}}"#
        );
        self.apply(RoomPart::LiveMeta, &live);
        let janus = JanusState {
            id: ModuleId::new(janus).unwrap(),
            janus_room_id: number,
            status: crate::model::JanusStatus::Forwarding,
            forwarder: None,
            timestamp: UnixMs(0),
            epoch: Epoch(1),
            unheard: false,
            incarnation: None,
        };
        self.apply(RoomPart::Janus, &serde_json::to_string(&janus).unwrap());
    }

    fn put(&mut self, source: Source) {
        let sources = Sources([(id(), source)].into());
        self.apply(RoomPart::Sources, &serde_json::to_string(&sources).unwrap());
    }

    fn source(&self) -> Option<&Source> {
        self.view.sources.as_ref()?.0.get(&id())
    }

    /// Runs effects until the player waits. Returns the reason.
    fn settle(&mut self) -> String {
        for _ in 0..20 {
            match self.player.plan(&self.view, self.linked, self.now) {
                Plan::Do { effect: Effect::Start { janus_room_id, .. }, .. } => {
                    assert!(self.running.replace(janus_room_id).is_none(), "one run at a time");
                    self.player.started(janus_room_id);
                }
                Plan::Do { effect: Effect::Stop, .. } => {
                    assert!(self.running.take().is_some());
                    self.player.stopping();
                    self.end(RunEnd::Stopped);
                }
                Plan::Do { effect: Effect::Write { sources, key_revision, live_revision }, .. } => {
                    let live = self.view.live.as_ref().unwrap().mod_revision;
                    assert_eq!(live_revision, live);
                    assert_eq!(key_revision, self.view.sources.as_ref().unwrap().mod_revision);
                    self.apply(RoomPart::Sources, &serde_json::to_string(&sources).unwrap());
                    let written = WriteOutcome::Written { revision: self.revision };
                    self.player.written(written, self.now, 0.5);
                }
                Plan::Wait { reason, .. } => return reason.into_owned(),
                Plan::Finished => return "finished".into(),
            }
        }
        panic!("the player does not settle");
    }

    fn hear(&mut self) {
        self.player.playing(self.now);
    }

    fn end(&mut self, end: RunEnd) {
        self.running = None;
        let repeats = self.source().is_none_or(|source| source.repeats);
        self.player.run_ended(end, repeats, self.now, 0.5);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn wanted_source_is_played_and_recorded() {
    let mut world = World::new(false);
    assert_eq!(world.settle(), "waits for the first sound of the input");
    assert_eq!((world.running, &world.source().unwrap().state), (Some(JANUS_ROOM), &SourceState::New));
    world.hear();
    assert_eq!(world.settle(), "playing");
    assert_eq!(world.source().unwrap().state, SourceState::Playing);
    world.end(RunEnd::Finished);
    assert_eq!(world.settle(), "the input has ended");
    assert_eq!((world.running, &world.source().unwrap().state), (None, &SourceState::Ended));
}

#[test]
fn repeated_failures_delay_next_run() {
    let mut world = World::new(true);
    let mut waits = Vec::new();
    for _ in 0..4 {
        world.settle();
        assert!(world.running.is_some());
        world.end(RunEnd::Failed("no route".into()));
        assert_eq!(world.settle(), "tries again after: no route");
        let since = world.now;
        while world.running.is_none() {
            world.pass(1);
            world.settle();
        }
        waits.push((world.now - since).as_secs());
    }
    assert!(waits.is_sorted() && waits[3] > waits[0], "{waits:?}");
    assert_eq!(
        world.source().unwrap().state,
        SourceState::Waiting { reason: Some("no route".into()) },
        "until it is heard again"
    );
    world.hear();
    world.settle();
    world.pass(60);
    world.end(RunEnd::Finished);
    assert_eq!(world.player.attempt(), 1, "a long run resets the delay");
    assert_eq!(world.settle(), "tries again after: the input has ended");
}

#[test]
fn run_follows_the_janus_room() {
    let mut world = World::new(true);
    world.settle();
    world.hear();
    world.settle();
    world.assign("here", 777_777);
    world.settle();
    assert_eq!(world.running, Some(777_777), "Janus was restarted and has the room under another number");
    world.assign("elsewhere", 777_777);
    assert_eq!(world.settle(), "finished");
    assert_eq!(world.running, None);
}

#[test]
fn disconnected_janus_is_awaited() {
    let mut world = World::new(true);
    world.linked = false;
    assert_eq!(world.settle(), "waits for the connection to Janus");
    world.linked = true;
    world.settle();
    assert!(world.running.is_some());
}

#[test]
fn mute_by_host_survives_restart() {
    let mut world = World::new(true);
    world.settle();
    world.hear();
    world.player.muted(true);
    world.settle();
    assert!(world.source().unwrap().muted);
    let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(8) };
    let fresh = SourcePlayer::new(me(), id(), backoff);
    let Plan::Do { effect: Effect::Write { .. }, .. } = fresh.plan(&world.view, true, world.now) else {
        panic!("the new player records that nothing is heard");
    };
}

#[test]
fn banned_source_is_removed() {
    let mut world = World::new(true);
    world.settle();
    world.hear();
    world.settle();
    world.revision += 1;
    let user = br#"{"role": "anchor", "createdAt": 1, "removedAt": 5}"#;
    world.view.apply(RoomKey::User(id()), Some((user, world.revision))).unwrap();
    world.player.observe_revision(world.revision);
    assert_eq!(world.settle(), "finished");
    assert_eq!((world.running, world.source()), (None, None));
}

#[test]
fn conflicting_write_waits_for_new_view() {
    let mut world = World::new(true);
    world.settle();
    world.hear();
    for outcome in [WriteOutcome::Superseded, WriteOutcome::Failed(Failure::Unknown("timeout".into()))] {
        assert!(matches!(world.player.plan(&world.view, true, world.now), Plan::Do { .. }));
        world.player.written(outcome, world.now, 0.5);
        assert_eq!(world.settle(), "waits until the node sees the latest state of the store");
        world.player.observe_revision(world.revision);
    }
    world.settle();
    assert_eq!(world.source().unwrap().state, SourceState::Playing);
}

proptest! {
    /// After any history, a wanted source is played in the room's current Janus room, and an unwanted one is
    /// not.
    #[test]
    fn histories_end_in_the_wanted_state(steps in prop::collection::vec(0u8..9, 0..60)) {
        let mut world = World::new(true);
        let mut wanted = true;
        for step in steps {
            match step {
                0 => world.hear(),
                1 if world.running.is_some() => world.end(RunEnd::Failed("cut".into())),
                2 if world.running.is_some() => world.end(RunEnd::Finished),
                3 => world.linked = !world.linked,
                4 => (wanted, _) = (false, world.assign("elsewhere", 1)),
                5 => (wanted, _) = (true, world.assign("here", 222_222)),
                6 => (wanted, _) = (true, world.assign("here", JANUS_ROOM)),
                7 => world.player.muted(true),
                _ => world.pass(3),
            }
            if step % 2 == 0 {
                world.settle();
            }
        }
        world.linked = true;
        world.settle();
        world.pass(60);
        let reason = world.settle();
        let number = world.view.janus.as_ref().unwrap().janus_room_id;
        prop_assert_eq!(world.running, wanted.then_some(number), "{}", reason);
    }
}

fn me() -> ModuleId {
    ModuleId::new("here").unwrap()
}

fn id() -> UserId {
    UserId::new("source1").unwrap()
}
