//! Tests of the schedule: parsing, steps, clock steps, and histories with several leaders.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ids::{ModuleId, Nonce};
use crate::keys::{RoomKey, RoomPart};
use crate::model::EndReason;
use crate::placement::Placement;
use crate::room::{admit_start, admit_stop};

/// 2026-01-31T18:00:00Z.
const AT: u64 = 1_769_882_400_000;

#[test]
fn start_time_parses_rfc_3339() {
    for (text, ms) in [
        ("2026-01-31T18:00:00Z", AT),
        ("2026-01-31T18:00:00.000Z", AT),
        ("2026-01-31t19:00:00+01:00", AT),
        ("2026-01-31T12:30:00.1239-05:30", AT + 123),
    ] {
        assert_eq!(StartTime::parse(text), Ok(StartTime(UnixMs(ms))), "{text}");
    }
    for bad in
        ["", "now", "2026-01-31", "2026-01-31T18:00:00", "2026-13-31T18:00:00Z", "1969-01-01T00:00:00Z"]
    {
        assert!(StartTime::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(StartTime(UnixMs(AT)).to_string(), "2026-01-31T18:00:00.000Z");
}

#[test]
fn start_time_has_bounds() {
    let at = StartTime(UnixMs(AT));
    assert_eq!(at.check(UnixMs(AT - 1)), Ok(()));
    assert!(at.check(UnixMs(AT)).unwrap_err().rule.contains("future"));
    assert!(at.check(UnixMs(AT - 366 * 86_400_000)).is_ok());
    assert!(at.check(UnixMs(AT - 366 * 86_400_000 - 1)).unwrap_err().rule.contains("366 days"));
}

#[test]
fn due_rooms_start_in_order() {
    let mut leader = Leader::default();
    leader.put("later", &scheduled(AT + 1));
    leader.put("tea", &scheduled(AT));
    leader.put("other", META);
    assert_eq!(leader.round(AT - 60_000), []);
    assert_eq!(leader.scheduler.next(), Some(leader.now + ROUND), "the wall clock is checked meanwhile");
    assert_eq!(leader.round(AT - 3_000), []);
    assert_eq!(leader.scheduler.next(), Some(leader.now + Duration::from_secs(3)));
    assert_eq!(leader.round(AT + 1), [("tea", ScheduleStep::Start), ("later", ScheduleStep::Start)]);
}

#[test]
fn failed_starts_are_retried_until_missed() {
    let mut leader = Leader::default();
    leader.put("tea", &scheduled(AT));
    assert_eq!(leader.round(AT), [("tea", ScheduleStep::Start)]);
    leader.scheduler.failed(room("tea"), leader.now);
    assert_eq!(leader.round(AT + 1_999), []);
    assert_eq!(leader.round(AT + 2_000), [("tea", ScheduleStep::Start)]);
    leader.scheduler.done(&room("tea"));
    let late = AT + LATE.as_millis() as u64;
    assert_eq!(leader.round(late), [("tea", ScheduleStep::Start)], "the cluster was down until now");
    assert_eq!(leader.round(late + 1), [("tea", ScheduleStep::Miss)]);
    let missed = admit_miss(&leader.rooms[&room("tea")], UnixMs(late + 1));
    let Admission::Accepted(write) = missed else { panic!("not accepted") };
    let view = write.applied_to(&leader.rooms[&room("tea")], 2);
    assert_eq!((view.starts_at(), status(&view)), (None, Some(RoomStatus::Created)));
    assert_eq!(admit_miss(&view, UnixMs(late + 1)), Admission::AlreadyDone);
}

#[test]
fn unreadable_rooms_are_not_started() {
    let mut leader = Leader::default();
    leader.put("tea", &scheduled(AT));
    let view = Arc::make_mut(leader.rooms.get_mut(&room("tea")).unwrap());
    view.apply(RoomKey::Part(RoomPart::LiveMeta), Some((b"{", 2))).unwrap_err();
    assert_eq!(leader.round(AT), []);
}

#[test]
fn clock_steps_start_nothing_early() {
    let mut leader = Leader::default();
    leader.put("tea", &scheduled(AT));
    assert_eq!(leader.round(AT - 60_000), []);
    let early = AT + 5_000;
    // The wall clock is an hour ahead for less than 30 s.
    for second in [5, 10, 30] {
        assert_eq!(leader.at(Duration::from_secs(second), AT - 60_000 + 3_600_000 + second * 1_000), []);
    }
    assert_eq!(leader.at(Duration::from_secs(55), AT - 5_000), []);
    assert_eq!(
        leader.at(Duration::from_secs(61), AT - 3_600_000),
        [("tea", ScheduleStep::Start)],
        "a step back"
    );
    // A step that lasts is a correction.
    let mut leader = Leader::default();
    leader.put("tea", &scheduled(AT));
    assert_eq!(leader.at(Duration::ZERO, AT - 3_600_000), []);
    assert_eq!(leader.at(Duration::from_secs(1), early), []);
    assert_eq!(leader.at(Duration::from_secs(31), early + 30_000), [("tea", ScheduleStep::Start)]);
}

proptest! {
    /// For any interleaving of leaders, clocks and requests, a schedule starts its room at most once, never
    /// early, and not after a stop.
    #[test]
    fn schedules_start_rooms_once(steps in prop::collection::vec((0usize..2, 0u8..4, 0u64..30_000), 1..60)) {
        let mut leaders = [Leader::default(), Leader::default()];
        let mut store = view(&scheduled(AT));
        let (mut wall, mut starts, mut revision) = (AT - 200_000, 0, 1);
        for (n, what, wait) in steps {
            wall += wait;
            let leader = &mut leaders[n];
            match what {
                // The leader sees the store. Until this step, it has an earlier view.
                0 => drop(leader.rooms.insert(room("tea"), Arc::new(store.clone()))),
                1 if store.is_open() => {
                    let stop = admit_stop(&store, EndReason::Stopped, UnixMs(wall), Duration::ZERO).unwrap();
                    let Admission::Accepted(write) = stop else { continue };
                    revision += 1;
                    store = write.applied_to(&store, revision);
                    store = RoomWrite::ClearLive.applied_to(&store, revision);
                }
                _ => {
                    for (_, step) in leader.round(wall) {
                        let judged = leader.rooms[&room("tea")].clone();
                        // The transaction compares the revision of meta.
                        let revision_of = |view: &RoomView| view.meta.as_ref().map(|meta| meta.mod_revision);
                        if revision_of(&judged) != revision_of(&store) {
                            continue;
                        }
                        let admission = match step {
                            ScheduleStep::Start => {
                                prop_assert!(wall >= AT);
                                let nonce = Nonce("n".into());
                                admit_start(&judged, || Ok(placement()), nonce, UnixMs(wall)).unwrap()
                            }
                            ScheduleStep::Miss => admit_miss(&judged, UnixMs(wall)),
                        };
                        let Admission::Accepted(write) = admission else { continue };
                        starts += u32::from(step == ScheduleStep::Start);
                        revision += 1;
                        store = write.applied_to(&store, revision);
                    }
                }
            }
        }
        prop_assert!(starts <= 1);
    }
}

const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0}"#;

#[derive(Default)]
struct Leader {
    scheduler: Scheduler,
    rooms: Rooms,
    now: Duration,
    first: Option<u64>,
}

impl Leader {
    fn put(&mut self, name: &str, meta: &str) {
        self.rooms.insert(room(name), Arc::new(view(meta)));
    }

    /// Runs a round at this wall-clock time; the monotonic clock advances with it.
    fn round(&mut self, wall: u64) -> Vec<(&'static str, ScheduleStep)> {
        let first = *self.first.get_or_insert(wall);
        self.at(Duration::from_millis(wall - first), wall)
    }

    fn at(&mut self, now: Duration, wall: u64) -> Vec<(&'static str, ScheduleStep)> {
        self.now = now;
        let tasks = self.scheduler.round(&self.rooms, Moment { now, wall: UnixMs(wall) });
        let named = tasks.into_iter().map(|task| {
            let names = ["tea", "later", "other"];
            (names.into_iter().find(|name| *name == task.room.as_str()).unwrap(), task.step)
        });
        named.collect()
    }
}

fn scheduled(at: u64) -> String {
    let profile = format!(r#""createdAt":0,"profile":{{"startsAt":"{}"}}"#, StartTime(UnixMs(at)));
    META.replace(r#""createdAt":0"#, &profile)
}

fn view(meta: &str) -> RoomView {
    let mut view = RoomView::default();
    view.apply(RoomKey::Part(RoomPart::Meta), Some((meta.as_bytes(), 1))).unwrap();
    view
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn placement() -> Placement {
    let id = |name| ModuleId::new(name).unwrap();
    Placement { janus_id: id("j"), mixer_id: id("m"), reasons: Default::default() }
}
