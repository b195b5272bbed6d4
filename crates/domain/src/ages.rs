//! Time for which a room has been in its current state, as one node observes it.
//!
//! Timestamps in the store come from the wall clocks of other nodes, which may differ from this node's clock
//! by hours. They are therefore never compared with this node's wall clock. A timestamp only sets the
//! initial value of a clock. The clock then advances with this node's monotonic time from the moment at which
//! the node first saw the state. A restarted node starts each clock again. Every node with the role `rooms`
//! runs these clocks, so that a new leader continues with clocks that it already has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ids::{RoomId, UnixMs};
use super::model::LiveStatus;
use super::view::{RoomView, Rooms};

/// Clocks of all rooms that one node sees.
#[derive(Debug, Default)]
pub struct Ages {
    seen: BTreeMap<RoomId, Sighting>,
}

/// State of a room, and the monotonic time at which this node first saw it.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    state: State,
    since: Duration,
}

/// State of a room, identified by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created(UnixMs),
    /// The room waits for its `startsAt`. This is a separate state, so that the age starts again when the
    /// schedule is removed.
    Scheduled(UnixMs),
    Backstage(UnixMs),
    OnAir(UnixMs),
    Removing(UnixMs),
}

impl Ages {
    /// Returns the time on the room's own clock, to compare with the timestamps in `view`; 0 if the room has
    /// no state. Must also be called whenever the room changes, because the clock of a state starts at the
    /// first call in that state. `now` is monotonic. `grace` is the time from the stop of a room to its
    /// `discardAt`.
    pub fn clock(&mut self, room: &RoomId, view: &RoomView, now: Duration, grace: Duration) -> UnixMs {
        let Some(state) = State::of(view) else {
            self.seen.remove(room);
            return UnixMs::default();
        };
        let same = self.seen.get(room).filter(|sighting| sighting.state == state);
        let since = same.map_or(now, |sighting| sighting.since);
        self.seen.insert(room.clone(), Sighting { state, since });
        let origin = match state {
            State::Created(at) | State::Scheduled(at) | State::Backstage(at) | State::OnAir(at) => at.0,
            State::Removing(discard_at) => discard_at.0.saturating_sub(millis(grace)),
        };
        UnixMs(origin.saturating_add(millis(now.saturating_sub(since))))
    }

    /// Forgets the rooms that are not in `rooms`.
    pub fn retain(&mut self, rooms: &Rooms) {
        self.seen.retain(|room, _| rooms.contains_key(room));
    }
}

impl State {
    fn of(view: &RoomView) -> Option<Self> {
        match &view.live {
            None => view.meta.as_ref().map(|meta| match meta.profile.starts_at {
                Some(_) => Self::Scheduled(meta.created_at),
                None => Self::Created(meta.created_at),
            }),
            Some(live) => match live.status {
                LiveStatus::Backstage => Some(Self::Backstage(live.created_at)),
                LiveStatus::OnAir => Some(Self::OnAir(live.created_at)),
                LiveStatus::Removing => live.discard_at.map(Self::Removing),
            },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{RoomKey, RoomPart};

    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn clock_starts_at_state_timestamp() {
        let (mut ages, room) = (Ages::default(), RoomId::new("talk").unwrap());
        let mut clock =
            |view: &RoomView, seconds| ages.clock(&room, view, Duration::from_secs(seconds), GRACE);
        let created = view(&[(RoomPart::Meta, META)]);
        assert_eq!(clock(&created, 100), UnixMs(5));
        assert_eq!(clock(&created, 107), UnixMs(7_005));
        let scheduled = META
            .replace(r#""createdAt":5"#, r#""createdAt":5,"profile":{"startsAt":"2026-01-31T18:00:00Z"}"#);
        clock(&view(&[(RoomPart::Meta, &scheduled)]), 107);
        assert_eq!(clock(&created, 107), UnixMs(5), "its age begins when the schedule ends");
        let live = view(&[(RoomPart::Meta, META), (RoomPart::LiveMeta, ON_AIR)]);
        assert_eq!(clock(&live, 107), UnixMs(70_000), "another state");
        let removing = view(&[(RoomPart::Meta, META), (RoomPart::LiveMeta, REMOVING)]);
        assert_eq!(clock(&removing, 200), UnixMs(20_000));
        assert_eq!(clock(&removing, 260), UnixMs(80_000), "its discardAt");
        clock(&view(&[]), 300);
        assert_eq!(clock(&removing, 400), UnixMs(20_000), "the room was gone in between");
        assert_eq!(ages.seen.len(), 1);
        ages.retain(&Rooms::new());
        assert!(ages.seen.is_empty());
    }

    const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":5}"#;
    const ON_AIR: &str =
        r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":70000,"epoch":1}"#;
    const REMOVING: &str = r#"{"status":"removing","mixerId":"m","janusId":"j","nonce":"n","createdAt":70000,
        "discardAt":80000,"epoch":1}"#;

    fn view(keys: &[(RoomPart, &str)]) -> RoomView {
        let mut view = RoomView::default();
        for (part, json) in keys {
            view.apply(RoomKey::Part(*part), Some((json.as_bytes(), 1))).unwrap();
        }
        view
    }
}
