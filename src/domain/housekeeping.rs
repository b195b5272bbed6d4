//! What is done about rooms that nobody will do anything about: forgotten, stuck, or left behind.
//!
//! A room that was never started goes, a live that lasts too long ends, a removal whose time is over is forced,
//! and keys without a room or an owner are swept. Keys and values that are not understood are never touched: a
//! newer node may know what they are.
//!
//! Owns: these rules, and since when something has been out of order. Never does: write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::{ModuleId, RoomId, UnixMs};
use super::keys::{ModuleKind, RoomPart, parse_room};
use super::room::{Cleanup, Expiry, ExpiryLimits, cleanup, expiry};
use super::view::{Modules, RoomView, Rooms};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chore {
    Expire(Expiry),
    /// Its modules have had their time.
    FinishRemoval,
    /// Live without being a room: no meta.
    EndStray,
    /// Keys whose room is not live and whose owner is gone.
    Sweep(LeftBehind),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    pub parts: Vec<RoomPart>,
    /// All users, of a room that is none.
    pub users: bool,
}

/// One thing to do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub room: RoomId,
    pub chore: Chore,
    pub reason: String,
}

#[derive(Debug)]
pub struct Housekeeping {
    limits: ExpiryLimits,
    /// What is out of order gets this long to come in order by itself.
    grace: Duration,
    odd_since: BTreeMap<RoomId, Duration>,
}

impl Chore {
    /// From a small fixed set: a label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Expire(Expiry::NeverStarted) => "never_started",
            Self::Expire(Expiry::TooOld) => "max_age",
            Self::FinishRemoval => "finish_removal",
            Self::EndStray => "end_stray",
            Self::Sweep(_) => "sweep",
        }
    }
}

impl Housekeeping {
    pub fn new(limits: ExpiryLimits, grace: Duration) -> Self {
        Self { limits, grace, odd_since: BTreeMap::new() }
    }

    /// One round. `malformed` are the keys whose values are not understood.
    pub fn round<'a>(
        &mut self,
        rooms: &Rooms,
        modules: &Modules,
        malformed: impl IntoIterator<Item = &'a str>,
        now: Duration,
        wall: UnixMs,
    ) -> Vec<Due> {
        let untouchable: BTreeSet<RoomId> =
            malformed.into_iter().filter_map(|key| Some(parse_room(key)?.0)).collect();
        let mut due = Vec::new();
        let mut odd = BTreeMap::new();
        for (room, view) in rooms.iter().filter(|(room, _)| !untouchable.contains(*room)) {
            if let Some((chore, reason)) = self.ordinary(view, wall) {
                due.push(Due { room: room.clone(), chore, reason });
            } else if let Some((chore, reason)) = out_of_order(view, modules) {
                let since = *self.odd_since.get(room).unwrap_or(&now);
                odd.insert(room.clone(), since);
                if since + self.grace <= now {
                    due.push(Due { room: room.clone(), chore, reason });
                }
            }
        }
        self.odd_since = odd;
        due
    }

    fn ordinary(&self, view: &RoomView, wall: UnixMs) -> Option<(Chore, String)> {
        if let Some(expiry) = expiry(view, wall, &self.limits) {
            let reason = match expiry {
                Expiry::NeverStarted => {
                    format!("it was not started within {:?}", self.limits.never_started_after)
                }
                Expiry::TooOld => format!("it has been on air for longer than {:?}", self.limits.max_age),
            };
            return Some((Chore::Expire(expiry), reason));
        }
        let finish = matches!(cleanup(view, wall), Cleanup::Remove(_));
        finish.then(|| (Chore::FinishRemoval, "its modules have let go of it, or had their time".into()))
    }
}

/// What only a stray hand, or a process that died between two writes, can have left.
fn out_of_order(view: &RoomView, modules: &Modules) -> Option<(Chore, String)> {
    if view.live.is_some() {
        let stray = view.is_on_air() && view.meta.is_none();
        return stray.then(|| (Chore::EndStray, "it is on air and is no room: it has no meta".into()));
    }
    let alive = |kind, id: &ModuleId| {
        modules.get(&(kind, id.clone())).is_some_and(|module| module.heartbeat.is_some())
    };
    let mut parts = Vec::new();
    // An owner that is there takes its key away itself, last of all.
    if view.janus.as_ref().is_some_and(|janus| !alive(ModuleKind::Janus, &janus.id)) {
        parts.push(RoomPart::Janus);
    }
    if view.mixer.as_ref().is_some_and(|mixer| !alive(ModuleKind::Mixer, &mixer.id)) {
        parts.push(RoomPart::Mixer);
    }
    if view.sequence.is_some() && view.meta.is_none() {
        parts.push(RoomPart::Sequence);
    }
    let users = view.meta.is_none() && !view.users.is_empty();
    let names: Vec<_> = parts.iter().map(|part| part.as_str()).chain(users.then_some("users")).collect();
    if names.is_empty() {
        return None;
    }
    let reason = format!("{} left behind: the room is not live, and whose it was is gone", names.join(", "));
    Some((Chore::Sweep(LeftBehind { parts, users }), reason))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::view::ModuleView;

    const GRACE: Duration = Duration::from_secs(60);
    const NOTHING: [&str; 0] = [];
    const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0}"#;
    const REMOVING: &str = r#"{"status":"removing","mixerId":"m","janusId":"j","nonce":"n","createdAt":0,"discardAt":5000,"epoch":1}"#;
    const ON_AIR: &str =
        r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":0,"epoch":1}"#;
    const JANUS: &str = r#"{"id":"j","janusRoomId":100000,"status":"room_created","timestamp":0,"epoch":1}"#;
    const USER: &str = r#"{"role":"anchor","createdAt":0}"#;
    const SEQUENCE: &str = r#"{"ceiling":1024,"discontinuity":64}"#;

    #[test]
    fn rooms_that_were_forgotten_go() {
        let mut house = House::default();
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/long/meta", META);
        house.put("/rooms/long/livemeta", ON_AIR);
        assert_eq!(house.round(0, 500), NOTHING);
        assert_eq!(house.round(0, 20_000), ["idle never_started", "long max_age"]);
    }

    #[test]
    fn a_removal_whose_janus_is_gone_for_good_is_forced_when_its_time_is_over() {
        let mut house = House::default();
        house.put("/rooms/demo/meta", META);
        house.put("/rooms/demo/livemeta", REMOVING);
        house.put("/rooms/demo/janus", JANUS);
        assert_eq!(house.round(0, 4_999), NOTHING);
        assert_eq!(house.round(0, 5_000), ["demo finish_removal"]);
    }

    #[test]
    fn keys_without_a_room_are_swept_after_the_grace() {
        let mut house = House::default();
        house.put("/rooms/ghost/sequence", SEQUENCE);
        house.put("/rooms/ghost/janus", JANUS);
        assert_eq!(house.round(10, 0), NOTHING);
        assert_eq!(house.round(69, 0), NOTHING);
        assert_eq!(house.round(70, 0), ["ghost sweep [Janus, Sequence]"]);
    }

    #[test]
    fn users_of_what_is_no_room_are_swept_and_those_of_a_room_are_not() {
        let mut house = House::default();
        house.put("/rooms/ghost/users/ann", USER);
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/idle/users/ann", USER);
        assert_eq!(house.round(10, 0), NOTHING);
        assert_eq!(house.round(70, 0), ["ghost sweep [] and users"]);
        house.malformed.push("/rooms/ghost/meta".into());
        assert_eq!(house.round(500, 0), NOTHING, "it may be a room after all");
    }

    #[test]
    fn a_key_whose_owner_is_there_is_its_owners() {
        let mut house = House::default();
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/idle/janus", JANUS);
        house.owner("j");
        house.round(10, 0);
        assert_eq!(house.round(1000, 0), NOTHING);
        house.modules.clear();
        assert_eq!(house.round(1001, 0), NOTHING, "its grace begins when its owner is gone");
        assert_eq!(house.round(1061, 0), ["idle sweep [Janus]"]);
    }

    #[test]
    fn what_is_live_and_no_room_is_ended_but_not_when_its_meta_is_only_not_understood() {
        let mut house = House::default();
        house.put("/rooms/stray/livemeta", ON_AIR);
        house.put("/rooms/other/livemeta", ON_AIR);
        house.malformed.push("/rooms/other/meta".into());
        house.round(0, 0);
        assert_eq!(house.round(60, 0), ["stray end_stray"]);
    }

    struct House {
        housekeeping: Housekeeping,
        rooms: Rooms,
        modules: Modules,
        malformed: Vec<String>,
    }

    impl Default for House {
        fn default() -> Self {
            let limits = ExpiryLimits {
                never_started_after: Duration::from_secs(10),
                max_age: Duration::from_secs(10),
            };
            let housekeeping = Housekeeping::new(limits, GRACE);
            Self { housekeeping, rooms: Rooms::new(), modules: Modules::new(), malformed: Vec::new() }
        }
    }

    impl House {
        fn put(&mut self, key: &str, json: &str) {
            let (room, part) = parse_room(key).unwrap();
            let view = Arc::make_mut(self.rooms.entry(room).or_default());
            view.apply(part, Some((json.as_bytes(), 1))).unwrap();
        }

        fn owner(&mut self, name: &str) {
            let json = r#"{"status":"healthy","host":"h","url":"u","capacity":1,"startedAt":1,"incarnation":"i","version":"0"}"#;
            let mut view = ModuleView::default();
            view.apply(super::super::keys::ModulePart::Heartbeat, Some((json.as_bytes(), 1))).unwrap();
            self.modules.insert((ModuleKind::Janus, ModuleId::new(name).unwrap()), Arc::new(view));
        }

        /// At `seconds` of the monotonic and `wall` milliseconds of the other clock.
        fn round(&mut self, seconds: u64, wall: u64) -> Vec<String> {
            let now = Duration::from_secs(seconds);
            let malformed = self.malformed.iter().map(String::as_str);
            let due = self.housekeeping.round(&self.rooms, &self.modules, malformed, now, UnixMs(wall));
            let say = |due: Due| match due.chore {
                Chore::Sweep(LeftBehind { parts, users }) => {
                    format!("{} sweep {parts:?}{}", due.room, if users { " and users" } else { "" })
                }
                chore => format!("{} {}", due.room, chore.as_str()),
            };
            due.into_iter().map(say).collect()
        }
    }
}
