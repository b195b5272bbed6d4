//! Recording of each participant of a Janus room into files (*tracks*), while a recording of the room is on.
//! A failure never blocks other work on the room.
//!
//! Janus does not report whether it records. Recording is therefore stopped in a room whose state is unknown,
//! and then started again if it is wanted.

use std::time::Duration;

use super::{Effect, JanusRoom};
use crate::plan::{Plan, Reason, Retry};
use crate::recording::{RecordingId, in_force};
use crate::restart::Backoff;
use crate::view::RoomView;

/// Interval of the checks that the disk has enough free space.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Delays between attempts after a failure.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(60) };

#[derive(Debug, Default)]
pub(super) struct TrackSwitch {
    /// False if this node records no tracks.
    enabled: bool,
    /// Janus room whose state is known, and the recording whose tracks Janus records; `None`: it records
    /// none.
    known: Option<(u32, Option<RecordingId>)>,
    checked_at: Duration,
    /// True if the last check of the disk failed. Nothing is recorded until the next attempt.
    full: bool,
    retry: Retry,
}

impl JanusRoom {
    /// Sets whether each participant is recorded while a recording of the room is on.
    pub fn record_tracks(&mut self, enabled: bool) {
        self.tracks.enabled = enabled;
    }

    /// Returns the recording for which Janus records each participant.
    pub fn recorded(&self) -> Option<&RecordingId> {
        self.tracks.known.as_ref()?.1.as_ref()
    }
}

impl TrackSwitch {
    /// Forgets the state of Janus, which may have been restarted.
    pub fn reset(&mut self) {
        self.known = None;
    }

    /// Replaces a wait by the next step for the tracks, if one is due. Otherwise, adds the last failure and
    /// the time of the next step to the wait. Returns any other plan unchanged.
    pub fn or(&self, plan: Plan<Effect>, view: &RoomView, janus_room_id: u32, now: Duration) -> Plan<Effect> {
        let (reason, until) = match plan {
            Plan::Wait { reason, until } if self.enabled => (reason, until),
            plan => return plan,
        };
        let failed = self.retry.pending::<Effect>(now);
        let wanted = in_force(view).map(|request| &request.id).filter(|_| !self.full || failed.is_none());
        let known = self.known.as_ref().filter(|(room, _)| *room == janus_room_id);
        let switch = |recording: Option<&RecordingId>, reason: &'static str| {
            let recording = recording.cloned();
            Plan::act(Effect::RecordTracks { janus_room_id, recording }, reason)
        };
        let due = self.checked_at + CHECK_EVERY;
        let step = match (known, wanted) {
            (None, _) => Some(switch(None, "stops recordings of tracks that may still run")),
            (Some((_, Some(on))), wanted) if Some(on) != wanted => {
                Some(switch(None, "the tracks are no longer to be recorded"))
            }
            (Some((_, None)), Some(id)) => Some(switch(Some(id), "the room is recorded")),
            (Some((_, Some(_))), Some(_)) if due <= now => {
                Some(Plan::act(Effect::CheckTrackDisk, "checks the disk for the tracks"))
            }
            (Some((_, Some(_))), Some(_)) => None,
            _ => return self.waiting(reason, until, failed),
        };
        match (step, &failed) {
            (Some(step), None) => step,
            // The disk is full: recording stops now, and does not wait for the retry.
            (Some(step), Some(_)) if self.full => step,
            (Some(_), Some(_)) => self.waiting(reason, until, failed),
            (None, _) => Plan::Wait { reason, until: until.into_iter().chain([due]).min() },
        }
    }

    fn waiting(&self, reason: Reason, until: Option<Duration>, failed: Option<Plan<Effect>>) -> Plan<Effect> {
        match failed {
            Some(Plan::Wait { reason: why, until: due }) => Plan::Wait {
                reason: format!("{reason}; recording of tracks: {why}").into(),
                until: until.into_iter().chain(due).min(),
            },
            _ => Plan::Wait { reason, until },
        }
    }

    /// Records that the Janus room was created. Janus does not record its participants yet.
    pub fn created(&mut self, janus_room_id: u32) {
        self.known = Some((janus_room_id, None));
    }

    pub fn switched(&mut self, janus_room_id: u32, recording: Option<RecordingId>, now: Duration) {
        if recording.is_some() || !self.full {
            self.full = false;
            self.retry.succeeded();
        }
        self.known = Some((janus_room_id, recording));
        self.checked_at = now;
    }

    pub fn checked(&mut self, now: Duration) {
        self.checked_at = now;
        self.retry.succeeded();
    }

    /// Records a failure. `full`: true if the disk is nearly full.
    pub fn failed(&mut self, why: String, full: bool, now: Duration, random: f64) {
        self.full = full;
        self.retry.failed(why, now, &BACKOFF, random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, ModuleId, Nonce, UnixMs};
    use crate::model::{LiveMeta, LiveStatus};
    use crate::recording::RecordingRequest;
    use crate::view::StoredValue;

    const ROOM: u32 = 7;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn view(id: Option<u64>) -> RoomView {
        let nonce = Nonce("n".into());
        let live = LiveMeta {
            status: LiveStatus::OnAir,
            mixer_id: ModuleId::new("m").unwrap(),
            janus_id: ModuleId::new("j").unwrap(),
            nonce: nonce.clone(),
            created_at: UnixMs(0),
            discard_at: None,
            epoch: Epoch(1),
            handover: None,
            trace: None,
            placement_reasons: Default::default(),
        };
        let request = |id| RecordingRequest {
            id: RecordingId::random(id),
            nonce: nonce.clone(),
            since: UnixMs(0),
            stopped_at: None,
        };
        let stored = |value| StoredValue { value, mod_revision: 1 };
        RoomView {
            live: Some(StoredValue { value: live, mod_revision: 1 }),
            recording: id.map(|id| stored(request(id))),
            ..RoomView::default()
        }
    }

    fn plan(switch: &TrackSwitch, id: Option<u64>, now: Duration) -> Plan<Effect> {
        switch.or(Plan::wait("idle"), &view(id), ROOM, now)
    }

    /// Returns the recording to switch to, if the plan is to switch.
    fn switches(plan: Plan<Effect>) -> Option<Option<RecordingId>> {
        match plan {
            Plan::Do { effect: Effect::RecordTracks { janus_room_id: ROOM, recording }, .. } => {
                Some(recording)
            }
            _ => None,
        }
    }

    fn enabled() -> TrackSwitch {
        TrackSwitch { enabled: true, ..TrackSwitch::default() }
    }

    #[test]
    fn unknown_janus_room_is_switched_off_first() {
        let mut switch = enabled();
        assert_eq!(switches(plan(&switch, Some(1), secs(1))), Some(None));
        switch.switched(ROOM, None, secs(1));
        let id = RecordingId::random(1);
        assert_eq!(switches(plan(&switch, Some(1), secs(1))), Some(Some(id.clone())));
        switch.switched(ROOM, Some(id), secs(1));
        assert_eq!(
            plan(&switch, Some(1), secs(2)),
            Plan::Wait { reason: "idle".into(), until: Some(secs(6)) }
        );
        switch.reset();
        assert_eq!(switches(plan(&switch, Some(1), secs(2))), Some(None));
        assert_eq!(plan(&TrackSwitch::default(), Some(1), secs(2)), Plan::wait("idle"));
    }

    #[test]
    fn tracks_end_with_their_recording() {
        let mut switch = enabled();
        switch.created(ROOM);
        assert_eq!(plan(&switch, None, secs(1)), Plan::wait("idle"));
        switch.switched(ROOM, Some(RecordingId::random(1)), secs(1));
        assert_eq!(switches(plan(&switch, Some(2), secs(1))), Some(None), "another recording");
        switch.switched(ROOM, None, secs(1));
        assert_eq!(switches(plan(&switch, Some(2), secs(1))), Some(Some(RecordingId::random(2))));
    }

    #[test]
    fn full_disk_stops_tracks_until_retry() {
        let mut switch = enabled();
        switch.created(ROOM);
        switch.switched(ROOM, Some(RecordingId::random(1)), secs(1));
        let check = plan(&switch, Some(1), secs(6));
        assert!(matches!(check, Plan::Do { effect: Effect::CheckTrackDisk, .. }), "{check:?}");
        switch.failed("full".into(), true, secs(6), 1.0);
        assert_eq!(switches(plan(&switch, Some(1), secs(6))), Some(None));
        switch.switched(ROOM, None, secs(6));
        let Plan::Wait { reason, until: Some(due) } = plan(&switch, Some(1), secs(6)) else {
            panic!("waits")
        };
        assert!(reason.contains("full") && due > secs(6), "{reason}");
        assert_eq!(switches(plan(&switch, Some(1), due)), Some(Some(RecordingId::random(1))));
        switch.switched(ROOM, Some(RecordingId::random(1)), due);
        assert!(matches!(plan(&switch, Some(1), due), Plan::Wait { .. }));
    }

    #[test]
    fn failed_switch_is_tried_later() {
        let mut switch = enabled();
        switch.created(ROOM);
        switch.failed("no answer".into(), false, secs(1), 1.0);
        let Plan::Wait { until: Some(due), .. } = plan(&switch, Some(1), secs(1)) else { panic!("waits") };
        assert!(switches(plan(&switch, Some(1), due)).is_some());
    }

    #[test]
    fn stopped_recording_records_nothing() {
        let mut room = view(Some(1));
        let request = room.recording.as_mut().unwrap();
        request.value.stopped_at = Some(UnixMs(5));
        let mut switch = enabled();
        switch.created(ROOM);
        assert_eq!(switch.or(Plan::wait("idle"), &room, ROOM, secs(1)), Plan::wait("idle"));
    }
}
