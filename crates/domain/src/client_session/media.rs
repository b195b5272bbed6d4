//! Media session of a client session: its events, and its end when the client is silent.
//!
//! A WHIP client sends no `keepalive`. While Janus receives its media, the session renews its presence entry.
//! Without media, the client counts as silent.
//!
//! Owns the number of the media session and the idle time of its client. Does not call Janus.

use std::time::Duration;

use super::values::{CallId, Effect, MediaEvent, Surroundings, Waiter};
use super::{ClientSession, RECONNECT_AFTER, State};
use crate::connection_limits::IdleTimer;
use crate::media_session::End;
use crate::presence_entry::Source;
use crate::signalling::methods::{Activity, ActivityStatus};
use crate::signalling::{CloseCode, ErrorCode, Method, Notification};

/// Call id of the `keepalive` calls that the session itself makes for a WHIP client. The shell ignores
/// replies with this id.
const KEEPALIVE: CallId = CallId(u64::MAX);

/// Media session of one `join`.
#[derive(Debug)]
pub(super) struct Media {
    join: u64,
    idle: IdleTimer,
    /// Time of the next renewal of a WHIP client's presence entry; `None` while Janus receives nothing.
    renew_at: Option<Duration>,
    /// Time of the next check for a silent client.
    pub check_at: Duration,
}

impl ClientSession {
    /// Checks at intervals whether the client is silent.
    pub(super) fn check_silence(&mut self, at: &Surroundings) {
        let (limit, every) = (self.rules.silence, self.rules.check_every);
        if let State::Joined(_, media) = &mut self.state
            && media.check_at <= at.now
        {
            media.check_at = at.now + every;
            if media.renew_at.is_some_and(|renew_at| renew_at <= at.now) {
                return self.receiving(true, at);
            }
            if media.idle.lasts(limit, every, at.now) {
                self.calls.give_up();
            }
        }
    }

    /// Ends the session of a silent client. The client's presence entry has timed out by now, so its place in
    /// the room is free for others.
    pub(super) fn give_up(&mut self, at: &Surroundings) {
        let limit = self.rules.silence;
        // The client may have joined again meanwhile.
        let silent = match &mut self.state {
            State::Joined(_, media) => media.idle.lasts(limit, Duration::ZERO, at.now),
            _ => false,
        };
        if silent {
            self.leave_media(at);
            self.ask_to_reconnect("silent", RECONNECT_AFTER, at);
            self.leave_presence();
        }
    }

    pub(super) fn joined(&self) -> Option<&Media> {
        match &self.state {
            State::Joined(_, media) => Some(media),
            _ => None,
        }
    }

    /// Records activity of the client.
    pub(super) fn heard(&mut self, at: &Surroundings) {
        if let State::Joined(_, media) = &mut self.state {
            media.idle.broken(at.now);
        }
    }

    /// Stores the media session that was joined.
    pub(super) fn hold_media(&mut self, at: &Surroundings) {
        self.joins += 1;
        let mut idle = IdleTimer::default();
        idle.broken(at.now);
        let check_at = at.now + self.rules.check_every;
        let media = Media { join: self.joins, idle, renew_at: None, check_at };
        self.effects.push(Effect::FollowMedia(self.joins));
        self.change_state(|state| match state {
            State::Connected(lock) | State::Joined(lock, _) => State::Joined(lock, media),
            other => other,
        });
    }

    /// Takes the media session out of the state. Returns true if there was one.
    fn take_media(&mut self, at: &Surroundings) -> bool {
        let joined = self.joined().is_some();
        if joined {
            self.outside_since = at.now;
            self.change_state(|state| match state {
                State::Joined(lock, _) => State::Connected(lock),
                other => other,
            });
        }
        joined
    }

    fn change_state(&mut self, change: impl FnOnce(State) -> State) {
        self.state = change(std::mem::replace(&mut self.state, State::Locking));
    }

    /// Leaves the media session, and therefore the Janus room.
    pub(super) fn leave_media(&mut self, at: &Surroundings) {
        if self.take_media(at) {
            self.effects.push(Effect::LeaveMedia);
        }
    }

    /// Removes the presence entry. The removal is delayed while presence is unavailable.
    pub(super) fn leave_presence(&mut self) {
        let (present, waiters) = self.presence.leave();
        if let Some(lock) = self.lock_mut().filter(|_| present) {
            lock.spent = true;
        }
        for waiter in waiters {
            if let Waiter::Call(id) = waiter {
                self.finish(id, Err(ErrorCode::NotJoined.into()));
            }
        }
    }

    pub(super) fn media_event(&mut self, join: u64, event: MediaEvent, at: &Surroundings) {
        if self.joined().is_none_or(|media| media.join != join) {
            return;
        }
        match event {
            MediaEvent::Notify(notification) => self.effects.push(Effect::Notify(notification)),
            MediaEvent::Muted(muted) => {
                self.presence.update(None, |entry| entry.muted = muted);
            }
            MediaEvent::Receiving(receiving) if self.identity.source == Source::Whip => {
                self.receiving(receiving, at);
            }
            MediaEvent::Receiving(_) => {}
            MediaEvent::Ended { end, reconnect_after } => {
                self.forget_media(at);
                match (end, reconnect_after) {
                    (_, Some(after)) => self.notify_reconnect(end.as_str(), after),
                    (End::RoomClosed, None) => self.room_closed(at),
                    (End::Removed, None) => self.close(CloseCode::Removed),
                    (End::Replaced, None) => self.close(CloseCode::Replaced),
                    _ => self.leave_presence(),
                }
            }
            MediaEvent::Lost => {
                self.forget_media(at);
                self.ask_to_reconnect("session_lost", RECONNECT_AFTER, at);
            }
        }
    }

    /// Reports the activity of a WHIP client to presence, in place of the `keepalive` of other clients.
    fn receiving(&mut self, receiving: bool, at: &Surroundings) {
        let renew_at = at.now + self.rules.silence / 3;
        if let State::Joined(_, media) = &mut self.state {
            media.renew_at = receiving.then_some(renew_at);
            let status = if receiving { ActivityStatus::OnAir } else { ActivityStatus::Idle };
            self.call(KEEPALIVE, Method::Keepalive(Activity { status }), at);
        }
    }

    /// Closes the connection of a WHIP client whose media session is over, because such a client cannot join
    /// again.
    pub(super) fn close_without_media(&mut self) {
        let outside = matches!(self.state, State::Connected(_)) && self.calls.join.is_none();
        if self.identity.source == Source::Whip && self.joins > 0 && outside {
            self.close(CloseCode::Gone);
        }
    }

    /// Drops the media session: it has ended, is lost, or is released so that a `join` can resume it.
    pub(super) fn forget_media(&mut self, at: &Surroundings) {
        if self.take_media(at) {
            self.effects.push(Effect::DropMedia);
        }
    }

    /// Asks the client to join again after a random delay between `after` and twice `after`.
    pub(super) fn ask_to_reconnect(&mut self, reason: &str, after: Duration, at: &Surroundings) {
        self.notify_reconnect(reason, after.mul_f64(1.0 + at.random));
    }

    fn notify_reconnect(&mut self, reason: &str, after: Duration) {
        let retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let reconnect = Notification::Reconnect { reason: reason.to_owned(), retry_after_ms };
        self.effects.push(Effect::Notify(reconnect));
    }
}
