//! Steps of a `join`: pin, admission by the application, lock, member list, presence entry, media session.
//!
//! ```text
//! Pin ─▶ Admission ─▶ Lock ─▶ Members ─▶ Presence ─▶ Media ─▶ Shown ─▶ answered
//! ```
//! Steps that are not needed are skipped. A failure after `Presence` removes the entry again. Owns the order
//! of the steps.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{max_anchors, place};
use super::values::{Answer, CallId, Effect, JoinedMedia, LockOutcome, Surroundings, Unavailable, Waiter};
use super::{AWAY, ClientSession, Disconnect, FULL, Refusal, State};
use crate::connection::JoinOutcome;
use crate::ids::ClientId;
use crate::media_session::{JanusAssignment, JoinUnavailable};
use crate::pin_attempts::Guess;
use crate::presence_entry::PresenceEntry;
use crate::room_lock::Entry;
use crate::signalling::methods::{ActivityStatus, Join};
use crate::signalling::{ErrorCode, RpcError};
use crate::view::RoomView;

/// Retry delay if a room is being prepared.
const PREPARING: Duration = Duration::from_millis(200);

/// State of a `join` in progress.
#[derive(Debug)]
pub(super) struct JoinProgress {
    /// `None` once the call has timed out.
    pub call: Option<CallId>,
    pub deadline: Duration,
    params: Join,
    /// Room as it was when the join began, or when the application admitted the user.
    room: Arc<RoomView>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Pin,
    Admission,
    Lock,
    Members,
    Presence(Entry),
    Media(Entry),
    Shown(Answer),
}

impl ClientSession {
    pub(super) fn start_join(&mut self, id: CallId, params: Join, deadline: Duration, at: &Surroundings) {
        let room = match self.admitted(at) {
            Ok(room) => room,
            Err(code) => return self.refused(Some(id), code.into(), at),
        };
        if self.rules.consent && !params.recording_consent {
            return self.refused(Some(id), ErrorCode::ConsentRequired.into(), at);
        }
        let meta = room.meta.as_ref();
        let pin = params.pin.as_ref().zip(meta);
        let right = pin.map(|(pin, meta)| pin.0.as_ref() == Some(&meta.pin));
        self.calls.join =
            Some(Box::new(JoinProgress { call: Some(id), deadline, params, room, step: Step::Pin }));
        match right {
            Some(right) => self.effects.push(Effect::CheckPin { right }),
            None => self.join_admission(at),
        }
    }

    pub(super) fn pin_checked(&mut self, guess: Guess, at: &Surroundings) {
        match guess {
            Guess::Right => self.join_admission(at),
            Guess::Wrong => self.fail_join(ErrorCode::WrongPin.into(), at),
            Guess::TooMany { retry_after } => {
                self.fail_join(RpcError::from(ErrorCode::TooManyPins).retry_after(retry_after).into(), at);
            }
        }
    }

    /// Asks the application whether the user may join. Skips this step if no application is configured.
    fn join_admission(&mut self, at: &Surroundings) {
        let Some(join) = &self.calls.join else { return };
        if let Err(unavailable) = JanusAssignment::of(Some(join.room.as_ref())) {
            return self.fail_join(not_on_air(unavailable).into(), at);
        }
        if !self.rules.admission {
            return self.join_lock(at);
        }
        let (role, display_name) = (self.role(&join.room), join.params.display_name.clone());
        self.effects.push(Effect::AskAdmission { role, display_name });
        self.calls.join.iter_mut().for_each(|join| join.step = Step::Admission);
    }

    pub(super) fn admission_answered(&mut self, outcome: Result<(), RpcError>, at: &Surroundings) {
        if !self.calls.join.as_ref().is_some_and(|join| matches!(join.step, Step::Admission)) {
            return;
        }
        if let Err(refusal) = outcome {
            return self.fail_join(refusal.into(), at);
        }
        // The room may have changed while the application was deciding.
        match self.admitted(at) {
            Ok(room) => {
                self.calls.join.iter_mut().for_each(|join| join.room = room.clone());
                self.join_lock(at);
            }
            Err(code) => self.fail_join(code.into(), at),
        }
    }

    /// Acquires the lock, unless this session already holds it for this client.
    fn join_lock(&mut self, at: &Surroundings) {
        let Some(join) = &mut self.calls.join else { return };
        join.step = Step::Lock;
        let client = join.params.client_id.clone();
        if self.is_locked_for(client.as_ref()) {
            return self.join_members(at);
        }
        let client = client.or_else(|| self.identity.client_id.clone());
        self.acquire(client);
    }

    fn is_locked_for(&self, client: Option<&ClientId>) -> bool {
        let same = |client: &ClientId| self.lock().is_some_and(|lock| lock.client.as_ref() == Some(client));
        self.lock().is_some_and(|lock| !lock.spent) && client.is_none_or(same)
    }

    pub(super) fn join_acquired(&mut self, outcome: Result<LockOutcome, Unavailable>, at: &Surroundings) {
        let client = self.calls.join.as_ref().and_then(|join| join.params.client_id.clone());
        let client = client.or_else(|| self.identity.client_id.clone());
        match outcome {
            Ok(LockOutcome::Ours(token)) => {
                let lock = self.new_lock(client, token, at);
                if let Some(held) = self.lock_mut() {
                    *held = lock;
                }
                self.presence.renew_token(token);
                self.join_members(at);
            }
            Ok(LockOutcome::Taken) => self.fail_join(Refusal::Taken, at),
            Err(unavailable) => self.fail_join(unavailable.into(), at),
        }
    }

    /// Lists the members if the next steps depend on whether this user is already in the room: if the room is
    /// locked, or if the client sent a resume token.
    fn join_members(&mut self, at: &Surroundings) {
        let Some(join) = &mut self.calls.join else { return };
        join.step = Step::Members;
        if join.room.is_locked() || join.params.jtoken.is_some() {
            self.effects.push(Effect::ListMembers(Waiter::Join));
        } else {
            self.join_presence(None, at);
        }
    }

    pub(super) fn join_listed(
        &mut self,
        members: Result<Vec<PresenceEntry>, Unavailable>,
        at: &Surroundings,
    ) {
        let own = |members: Vec<PresenceEntry>| members.into_iter().find(|m| m.user_id == self.identity.user);
        match members.map(own) {
            Ok(present) => self.join_presence(present, at),
            Err(unavailable) => self.fail_join(unavailable.into(), at),
        }
    }

    /// Writes the presence entry. A user who may resume a session keeps the previously shown state until it
    /// is known whether the session is resumed. Otherwise, others would see a change that the user did not
    /// make.
    fn join_presence(&mut self, present: Option<PresenceEntry>, at: &Surroundings) {
        let (Some(join), Some(lock)) = (&self.calls.join, self.lock()) else { return };
        let resuming = join.params.jtoken.is_some();
        let moderates = self.role(&join.room).moderates();
        let entry = Entry::of(join.room.is_locked(), moderates, present.is_some(), resuming);
        if entry == Entry::Locked {
            return self.fail_join(locked().into(), at);
        }
        let before = present.filter(|_| resuming);
        let name = join.params.display_name.as_ref().map(|name| name.as_str().to_owned());
        let member = PresenceEntry {
            user_id: self.identity.user.clone(),
            role: self.identity.claimed,
            display_name: name.or_else(|| before.as_ref()?.display_name.clone()),
            status: before.as_ref().map_or(ActivityStatus::Idle, |before| before.status),
            muted: before.as_ref().is_some_and(|before| before.muted),
            source: self.identity.source,
            joining: before.is_none_or(|before| before.joining),
            consent: join.params.recording_consent,
            token: lock.token,
        };
        self.presence.enter(member, max_anchors(&join.room), Waiter::Join);
        self.calls.join.iter_mut().for_each(|join| join.step = Step::Presence(entry));
        // Release an earlier media session of this connection without ending it, so that this `join` can
        // resume it.
        self.forget_media(at);
    }

    pub(super) fn join_entered(&mut self, outcome: Result<JoinOutcome, Unavailable>, at: &Surroundings) {
        let Some(join) = &mut self.calls.join else { return };
        let Step::Presence(entry) = join.step else { return };
        if let Err(refusal) = place(outcome) {
            return self.fail_join(refusal, at);
        }
        join.step = Step::Media(entry);
        let resume_token = join.params.jtoken.clone();
        self.joining_media = true;
        self.effects.push(Effect::JoinMedia { resume_token });
    }

    pub(super) fn media_joined(&mut self, outcome: Result<JoinedMedia, RpcError>, at: &Surroundings) {
        self.joining_media = false;
        if let State::Closing(closing) = &self.state {
            let unwanted = match closing.disconnect {
                Disconnect::Farewell => Effect::LeaveMedia,
                Disconnect::Cut => Effect::DropMedia,
            };
            return self.effects.extend(outcome.is_ok().then_some(unwanted));
        }
        let Some(join) = &mut self.calls.join else { return };
        let Step::Media(entry) = join.step else { return };
        match outcome {
            Ok(media) if entry.admits(media.resume) => self.join_held(media, at),
            Ok(_) => {
                self.effects.push(Effect::LeaveMedia);
                self.leave_presence();
                self.fail_join(locked().into(), at);
            }
            Err(error) => {
                self.leave_presence();
                self.fail_join(error.into(), at);
            }
        }
    }

    fn join_held(&mut self, media: JoinedMedia, at: &Surroundings) {
        let JoinedMedia { resume_token, resume, muted } = media;
        self.hold_media(at);
        let Some(join) = &mut self.calls.join else { return };
        // Round to hundredths of a decibel: smaller differences cannot be heard.
        let mix_gain_db = (join.room.mix_share().makeup_db() * 100.0).round() / 100.0;
        join.step = Step::Shown(Answer::Joined { resume_token, resume, mix_gain_db });
        // If others may see another state than this one, the answer waits until they see this one.
        let waiter = (join.params.jtoken.is_some() || muted).then_some(Waiter::Join);
        let status = if resume { ActivityStatus::OnAir } else { ActivityStatus::Idle };
        let show = |entry: &mut PresenceEntry| {
            (entry.muted, entry.status, entry.joining) = (muted, status, false);
        };
        // If this write fails, the write of the next keepalive corrects the entry.
        if !self.presence.update(waiter, show) || waiter.is_none() {
            self.join_shown();
        }
    }

    pub(super) fn join_shown(&mut self) {
        let Some(join) = self.calls.join.take() else { return };
        if let Step::Shown(answer) = join.step {
            self.effects.push(Effect::Greet);
            self.effects.extend(join.call.map(|id| Effect::Reply(id, Ok(answer))));
        }
    }

    fn fail_join(&mut self, refusal: Refusal, at: &Surroundings) {
        let call = self.calls.join.take().and_then(|join| join.call);
        self.refused(call, refusal, at);
    }
}

/// Returns the error for a room that cannot be joined now.
pub fn not_on_air(error: JoinUnavailable) -> RpcError {
    let wait = if error == JoinUnavailable::Preparing { PREPARING } else { AWAY };
    RpcError::from(ErrorCode::NotOnAir).retry_after(wait)
}

fn locked() -> RpcError {
    RpcError::from(ErrorCode::RoomLocked).retry_after(FULL)
}
