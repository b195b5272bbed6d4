//! Tests of the room state rules: examples and random histories.

use proptest::prelude::*;

use super::*;
use crate::ids::{MediaAddr, ModuleId, Pin};
use crate::model::{ForwarderState, JanusState, MixerState};

const GRACE: Duration = Duration::from_secs(60);
const NOW: UnixMs = UnixMs(1_000_000);

#[test]
fn on_air_needs_both_modules_current() {
    let mut room = started(created());
    assert_eq!(status(&room), Some(RoomStatus::Starting));
    let epoch = room.live.as_ref().unwrap().epoch;
    room.janus = Some(janus(epoch, JanusStatus::RoomCreated));
    room.mixer = Some(mixer(epoch));
    assert_eq!(status(&room), Some(RoomStatus::Starting));
    room.janus = Some(janus(epoch, JanusStatus::Forwarding));
    assert_eq!(status(&room), Some(RoomStatus::OnAir));
}

#[test]
fn room_without_forwarding_is_degraded() {
    let mut room = started(created());
    let epoch = room.live.as_ref().unwrap().epoch;
    room.mixer = Some(mixer(epoch));
    room.janus = Some(janus(epoch, JanusStatus::NotForwarding));
    assert_eq!(status(&room), Some(RoomStatus::Degraded));
    room.janus = Some(janus(epoch, JanusStatus::Forwarding));
    room.mixer = None;
    assert_eq!(status(&room), Some(RoomStatus::Degraded), "forwards to nobody");
    room.mixer = Some(mixer(Epoch(epoch.0 - 1)));
    room.janus = None;
    assert_eq!(status(&room), Some(RoomStatus::Degraded), "the old mixer still has it");
}

#[test]
fn wrong_forward_port_degrades_room() {
    let mut room = started(created());
    let epoch = room.live.as_ref().unwrap().epoch;
    room.janus = Some(janus(epoch, JanusStatus::Forwarding));
    let mut moved = mixer(epoch);
    moved.value.rtp.port += 2;
    room.mixer = Some(moved);
    assert_eq!(status(&room), Some(RoomStatus::Degraded));
    room.mixer = Some(mixer(epoch));
    assert_eq!(status(&room), Some(RoomStatus::OnAir));
}

#[test]
fn start_is_idempotent_and_places_once() {
    let room = started(created());
    let again = admit_start(&room, || panic!("nothing to place"), nonce(), NOW);
    assert_eq!(again, Ok(Admission::AlreadyDone));
    let missing = admit_start(&RoomView::default(), || panic!("nothing to place"), nonce(), NOW);
    assert_eq!(missing, Err(StartDenied::NotFound));
}

#[test]
fn removing_room_refuses_start_and_create() {
    let room = stopped(started(created()));
    assert_eq!(admit_start(&room, || Ok(placement()), nonce(), NOW), Err(StartDenied::Removing));
    assert_eq!(admit_create(&room, meta(), 9), Err(CreateDenied::Removing));
    assert_eq!(admit_create(&created(), meta(), 9), Err(CreateDenied::Exists));
}

#[test]
fn delete_after_stop_removes_room() {
    let room = stopped(started(created()));
    let Ok(Admission::Accepted(write)) = admit_delete(&room, NOW, GRACE) else { panic!("not accepted") };
    let room = write.applied_to(&room, 9);
    assert_eq!(admit_delete(&room, NOW, GRACE), Ok(Admission::AlreadyDone));
    assert_eq!(cleanup(&room, NOW), Cleanup::Remove(RoomWrite::ClearAll));
}

#[test]
fn closed_room_has_a_reason() {
    let room = started(created());
    assert_eq!(closed_reason(None), "deleted");
    for (reason, text) in [(EndReason::Stopped, "stopped"), (EndReason::Empty, "empty")] {
        let Ok(Admission::Accepted(write)) = admit_stop(&room, reason, NOW, GRACE) else { panic!("stops") };
        assert_eq!(closed_reason(Some(&write.applied_to(&room, 9))), text);
    }
    let Ok(Admission::Accepted(write)) = admit_delete(&room, NOW, GRACE) else { panic!("is deleted") };
    assert_eq!(closed_reason(Some(&write.applied_to(&room, 9))), "deleted");
    let reasons = [EndReason::Stopped, EndReason::MaxDuration, EndReason::Empty, EndReason::Other];
    assert!(reasons.iter().all(|reason| serde_json::json!(reason) == reason.as_str()));
}

#[test]
fn cleanup_waits_for_keys_then_forces() {
    let mut room = stopped(started(created()));
    room.mixer = Some(mixer(Epoch(1)));
    let forced_at = room.live.as_ref().unwrap().discard_at;
    let waiting = PendingRemoval { on: vec![ModuleKind::Mixer], forced_at };
    assert_eq!(waiting.to_string(), "waits for the mixer key to be deleted");
    assert_eq!(cleanup(&room, NOW), Cleanup::Waiting(waiting));
    assert_eq!(cleanup(&room, forced_at.unwrap()), Cleanup::Remove(RoomWrite::ClearLive));
    assert_eq!(status(&RoomWrite::ClearLive.applied_to(&room, 9)), Some(RoomStatus::Created));
}

#[test]
fn never_started_room_expires() {
    let limits = ExpiryLimits { never_started_after: Duration::from_secs(600), max_age: GRACE };
    let later = UnixMs(NOW.0 + 600_001);
    assert_eq!(expiry(&created(), NOW, &limits), None);
    assert_eq!(expiry(&created(), later, &limits), Some(Expiry::NeverStarted));
    let live = started(created());
    assert_eq!(expiry(&live, later, &limits), Some(Expiry::TooOld));
    let idle = RoomWrite::ClearLive.applied_to(&stopped(live), 9);
    assert_eq!(expiry(&idle, later, &limits), None);
}

#[test]
fn backstage_goes_on_air_in_place() {
    let room = in_backstage(created());
    assert_eq!((status(&room), room.is_open(), room.is_on_air()), (Some(RoomStatus::Backstage), true, false));
    let again = admit_backstage(&room, || panic!("nothing to place"), nonce(), NOW);
    assert_eq!(again, Ok(Admission::AlreadyDone));
    let later = UnixMs(NOW.0 + 5_000);
    let write = admit_start(&room, || panic!("nothing to place"), Nonce("other".into()), later);
    let Ok(Admission::Accepted(write)) = write else { panic!("not admitted") };
    let on_air = write.applied_to(&room, 4);
    let (before, after) = (room.live.unwrap(), on_air.live.clone().unwrap());
    assert_eq!((after.created_at, after.status), (later, LiveStatus::OnAir));
    assert_eq!((after.epoch, &after.nonce, &after.janus_id), (before.epoch, &before.nonce, &before.janus_id));
    assert_eq!(on_air.meta.as_ref().unwrap().last_started_at, Some(later));
    assert_eq!(status(&on_air), Some(RoomStatus::Starting));
    let denied = admit_backstage(&on_air, || panic!("nothing to place"), nonce(), NOW);
    assert_eq!(denied, Err(StartDenied::OnAir));
    let denied = admit_backstage(&stopped(on_air), || panic!("nothing to place"), nonce(), NOW);
    assert_eq!(denied, Err(StartDenied::Removing));
}

#[test]
fn backstage_can_be_closed_or_expires() {
    let room = in_backstage(created());
    assert_eq!(status(&stopped(room.clone())), Some(RoomStatus::Removing));
    let limits = ExpiryLimits { never_started_after: Duration::ZERO, max_age: GRACE };
    assert_eq!(expiry(&room, UnixMs(NOW.0 + 60_000), &limits), None);
    assert_eq!(expiry(&room, UnixMs(NOW.0 + 60_001), &limits), Some(Expiry::TooOld));
    let mut short = room.clone();
    short.meta.as_mut().unwrap().value.profile.max_duration = Some(1);
    assert_eq!(expiry(&short, UnixMs(NOW.0 + 60_000), &limits), None, "maxDuration is for broadcasts");
    let to = Placement { janus_id: ModuleId::new("j2").unwrap(), ..placement() };
    let moved = next_assignment(&room, to, false).unwrap().applied_to(&room, 5);
    assert_eq!(status(&moved), Some(RoomStatus::Backstage));
}

#[test]
fn schedule_changes_until_the_start() {
    let patch = |starts_at: serde_json::Value| {
        let patch = serde_json::json!({ "startsAt": starts_at });
        patch.as_object().unwrap().clone()
    };
    let soon = patch("1970-01-01T01:00:00+00:00".into());
    let Ok(Admission::Accepted(write)) = admit_patch(&created(), &soon, NOW) else { panic!("not admitted") };
    let room = write.applied_to(&created(), 3);
    assert_eq!(room.starts_at().map(|at| at.to_string()).as_deref(), Some("1970-01-01T01:00:00.000Z"));
    assert_eq!(admit_patch(&room, &soon, UnixMs(NOW.0 * 100)), Ok(Admission::AlreadyDone));
    let past = admit_patch(&room, &patch("1970-01-01T00:00:01Z".into()), NOW);
    assert!(past.unwrap_err().to_string().contains("startsAt must be in the future"));
    let limits = ExpiryLimits { never_started_after: Duration::ZERO, max_age: GRACE };
    assert_eq!(expiry(&room, UnixMs(u64::MAX), &limits), None, "a scheduled room waits");
    let on_air = started(room);
    assert_eq!(on_air.starts_at(), None, "a start ends the schedule");
    let late = admit_patch(&on_air, &soon, NOW).unwrap_err().to_string();
    assert!(late.contains("the broadcast has started"), "{late}");
}

#[test]
fn livemeta_without_meta_can_be_deleted() {
    let stray = RoomView { meta: None, ..started(created()) };
    let Ok(Admission::Accepted(write)) = admit_delete(&stray, NOW, GRACE) else { panic!("not accepted") };
    assert_eq!(cleanup(&write.applied_to(&stray, 9), NOW), Cleanup::Remove(RoomWrite::ClearAll));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    /// Create request that was decided long before it reaches the store.
    LateCreate,
    Start,
    Backstage,
    Stop,
    Delete,
    Cleanup,
    JanusBuilds,
    JanusLetsGo,
    MixerBuilds,
    MixerLetsGo,
    Wait,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8 * ProptestConfig::default().cases))]
    #[test]
    fn epochs_rise_and_removals_last(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut history = History::default();
        for step in steps {
            let before = history.room.clone();
            history.take(step);
            let (was, is) = (status(&before), status(&history.room));
            if was.is_none() && is.is_some() {
                prop_assert!(matches!(step, Step::Create | Step::LateCreate), "{step:?} resurrected it");
            }
            if !before.is_on_air() && history.room.is_on_air() {
                prop_assert!(matches!(step, Step::Start));
            }
            if !before.is_open() && history.room.is_open() {
                let epoch = history.room.live.as_ref().unwrap().epoch;
                prop_assert!(epoch > history.highest, "epoch {epoch} after {}", history.highest);
                history.highest = epoch;
            }
            if is.is_none() {
                prop_assert!(history.room.is_empty(), "keys left behind: {:?}", history.room);
            }
            if let Cleanup::Waiting(waiting) = cleanup(&history.room, history.now) {
                prop_assert!(!waiting.on.is_empty() && waiting.forced_at.is_some(), "a wait without end");
            }
        }
    }

    #[test]
    fn deleted_room_leaves_no_keys(steps in prop::collection::vec(step(), 0..30)) {
        let mut history = History::default();
        for step in steps {
            history.take(step);
        }
        for step in [Step::Delete, Step::Wait, Step::Cleanup] {
            history.take(step);
        }
        prop_assert!(history.room.is_empty());
    }
}

/// One room, its modules and the store's revision.
struct History {
    room: RoomView,
    revision: i64,
    now: UnixMs,
    highest: Epoch,
}

impl Default for History {
    fn default() -> Self {
        Self { room: RoomView::default(), revision: 1, now: NOW, highest: Epoch(0) }
    }
}

impl History {
    fn take(&mut self, step: Step) {
        let room = &self.room;
        let admitted = match step {
            Step::Create => admit_create(room, meta(), self.revision).ok().map(put),
            Step::LateCreate => admit_create(room, meta(), 1).ok().map(put),
            Step::Start => admit_start(room, || Ok(placement()), nonce(), self.now).ok(),
            Step::Backstage => admit_backstage(room, || Ok(placement()), nonce(), self.now).ok(),
            Step::Stop => admit_stop(room, EndReason::Stopped, self.now, GRACE).ok(),
            Step::Delete => admit_delete(room, self.now, GRACE).ok(),
            Step::Cleanup => match cleanup(room, self.now) {
                Cleanup::Remove(write) => Some(Admission::Accepted(write)),
                Cleanup::Nothing | Cleanup::Waiting(_) => None,
            },
            module => return self.module(module),
        };
        if let Some(Admission::Accepted(write)) = admitted {
            self.revision += 1;
            self.room = write.applied_to(&self.room, self.revision);
        }
    }

    /// Applies a step of a module. A module writes its key only while the room has livemeta, and writes the
    /// epoch of the livemeta.
    fn module(&mut self, step: Step) {
        let epoch = self.room.live.as_ref().map(|l| l.epoch);
        match (step, epoch) {
            (Step::JanusBuilds, Some(epoch)) => self.room.janus = Some(janus(epoch, JanusStatus::Forwarding)),
            (Step::MixerBuilds, Some(epoch)) => self.room.mixer = Some(mixer(epoch)),
            (Step::JanusLetsGo, _) => self.room.janus = None,
            (Step::MixerLetsGo, _) => self.room.mixer = None,
            (Step::Wait, _) => self.now = UnixMs(self.now.0 + GRACE.as_millis() as u64),
            _ => return,
        }
        self.revision += 1;
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop::sample::select(vec![
        Step::Create,
        Step::LateCreate,
        Step::Start,
        Step::Backstage,
        Step::Stop,
        Step::Delete,
        Step::Cleanup,
        Step::JanusBuilds,
        Step::JanusLetsGo,
        Step::MixerBuilds,
        Step::MixerLetsGo,
        Step::Wait,
    ])
}

fn put(meta: Meta) -> Admission<RoomWrite> {
    Admission::Accepted(RoomWrite::Put { meta: Some(meta), live: None })
}

fn created() -> RoomView {
    let meta = admit_create(&RoomView::default(), meta(), 1).unwrap();
    RoomWrite::Put { meta: Some(meta), live: None }.applied_to(&RoomView::default(), 2)
}

fn started(room: RoomView) -> RoomView {
    let Ok(Admission::Accepted(write)) = admit_start(&room, || Ok(placement()), nonce(), NOW) else {
        panic!("not admitted")
    };
    write.applied_to(&room, 3)
}

fn in_backstage(room: RoomView) -> RoomView {
    let Ok(Admission::Accepted(write)) = admit_backstage(&room, || Ok(placement()), nonce(), NOW) else {
        panic!("not admitted")
    };
    write.applied_to(&room, 3)
}

fn stopped(room: RoomView) -> RoomView {
    let Ok(Admission::Accepted(write)) = admit_stop(&room, EndReason::Stopped, NOW, GRACE) else {
        panic!("not admitted")
    };
    write.applied_to(&room, 4)
}

fn placement() -> Placement {
    let id = |name| ModuleId::new(name).unwrap();
    Placement { janus_id: id("j"), mixer_id: id("m"), reasons: Default::default() }
}

fn nonce() -> Nonce {
    Nonce("n".into())
}

fn meta() -> Meta {
    Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: "/hls/rooms/demo/index.m3u8".into(),
        created_at: NOW,
        deleted_at: None,
        last_epoch: Epoch(0),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    }
}

fn janus(epoch: Epoch, status: JanusStatus) -> StoredValue<JanusState> {
    let id = ModuleId::new("j").unwrap();
    let forwarder =
        (status == JanusStatus::Forwarding).then(|| ForwarderState { stream_id: 1, target: rtp() });
    let (janus_room_id, incarnation, unheard) = (123_456, None, false);
    let value =
        JanusState { id, janus_room_id, status, forwarder, timestamp: NOW, epoch, unheard, incarnation };
    StoredValue { value, mod_revision: 5 }
}

fn mixer(epoch: Epoch) -> StoredValue<MixerState> {
    let (id, hls_url) = (ModuleId::new("m").unwrap(), "http://m".into());
    let value = MixerState {
        id,
        rtp: rtp(),
        hls_url,
        epoch,
        incarnation: None,
        gave_up: false,
        ready: false,
        starved: 0,
        silent: false,
        unheard: false,
    };
    StoredValue { value, mod_revision: 5 }
}

fn rtp() -> MediaAddr {
    MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 10_000 }
}
