//! Translation of Janus's events and errors for a session's machine and its client.
//!
//! Owns: the translation. Does not send requests to Janus.

use std::time::Duration;

use super::{MediaSessionActor, Msg};
use crate::actors::gateway::media::open::OpenSession;
use crate::actors::gateway::media::{CallError, SessionEvent};
use crate::actors::kernel::Cx;
use crate::domain::media_session::JanusEvent;
use crate::domain::participants::{Participant, TalkingChanged};
use crate::domain::recorded_speech::SpeechInRecording;
use crate::domain::recording::in_force;
use crate::janus::{
    AnchorEvent, AnchorEvents, CoreError, JanusError, JoinedRoom, ParticipantInfo, PluginError,
};
use crate::presence::stage::{StageKey, TransientEvent};
use crate::rooms::recordings::add_speech;

/// Error codes from Janus's `apierror.h`. They mean, in this order: a mandatory element is missing, a
/// candidate belongs to no stream, an element has the wrong type.
const MALFORMED: [u32; 3] = [456, 466, 467];
/// Minimum unreported speaking time that is reported while the user is still talking.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(10);
/// The same for the speaking time of a recording, which is kept in the store.
pub(super) const RECORDED_EVERY: Duration = Duration::from_secs(60);

impl MediaSessionActor {
    /// Takes over an opened session and the list of participants in its room.
    pub(super) fn adopt(&mut self, opened: OpenSession, cx: &mut Cx<Self>) {
        let JoinedRoom { session, mine, others } = opened.room;
        self.session = Some(session);
        let all = others.into_iter().chain([mine]).map(|p| (p.id, person(p)));
        let changed = self.participants.found(all);
        // A client that still waits for its reply gets the complete list with the reply.
        if self.joining.is_none() {
            changed.into_iter().for_each(|talk| self.tell_talk(talk));
        }
        self.streams += 1;
        listen(self.streams, opened.events, cx);
    }

    pub(super) fn tell_talk(&mut self, TalkingChanged { user, talking }: TalkingChanged) {
        self.tell(SessionEvent::Talking { user, talking });
    }

    pub(super) fn heard(&mut self, event: AnchorEvent, cx: &mut Cx<Self>) {
        let now = self.parts.context.clock.now();
        let me = self.session.as_ref().map(|session| session.ids().participant);
        match event {
            AnchorEvent::Up => self.up(),
            AnchorEvent::Hangup { reason } => {
                tracing::debug!(room = %self.room, user = ?self.user, reason, "media of an anchor ended");
                self.machine.heard(JanusEvent::Down, now);
            }
            AnchorEvent::Media { receiving } => {
                self.voice.receiving = receiving;
                self.tell(SessionEvent::Receiving(receiving));
            }
            AnchorEvent::SlowLink { uplink, lost } => self.tell(SessionEvent::SlowLink { uplink, lost }),
            AnchorEvent::Candidate(candidate) => self.tell(SessionEvent::Candidate(candidate)),
            AnchorEvent::Talking { participant, talking } => {
                if Some(participant) == me {
                    self.voice.talking = talking;
                    self.talks(talking);
                    self.report_speech(REPORT_EVERY);
                    self.show_talking(cx);
                }
                let talk = self.participants.heard(participant, talking);
                talk.into_iter().for_each(|talk| self.tell_talk(talk));
            }
            AnchorEvent::Changed(list) => {
                if let Some(mine) = list.iter().find(|p| Some(p.id) == me) {
                    self.set_muted(mine.muted);
                }
                for participant in list {
                    let talk = self.participants.met(participant.id, person(participant));
                    talk.into_iter().for_each(|talk| self.tell_talk(talk));
                }
            }
            AnchorEvent::Removed { participant } if Some(participant) == me => {
                self.machine.heard(JanusEvent::Removed, now);
            }
            AnchorEvent::RoomDestroyed => {
                self.machine.heard(JanusEvent::RoomDestroyed, now);
                self.look();
            }
            AnchorEvent::SessionOver => self.machine.heard(JanusEvent::SessionOver, now),
            AnchorEvent::Removed { participant } | AnchorEvent::Left { participant } => {
                let talk = self.participants.left(participant);
                talk.into_iter().for_each(|talk| self.tell_talk(talk));
            }
        }
    }

    /// Shows the listeners whether this user talks. If the message is lost, the next change corrects the
    /// state.
    pub(super) fn show_talking(&self, cx: &mut Cx<Self>) {
        let (at, talking) = (self.parts.context.clock.wall(), self.voice.talking);
        let person = self.parts.secrets.person_id(&self.room, self.user.as_str());
        let (stages, room) = (self.parts.stages.clone(), self.room.clone());
        let passing = TransientEvent::Talking { at, person, talking };
        cx.run(async move { drop(stages.pass(&room, &passing).await) }, |()| Msg::Called);
    }

    /// Starts or stops the stopwatches of this user's speech.
    pub(super) fn talks(&mut self, talking: bool) {
        let now = self.parts.context.clock.now();
        self.spoken.heard(talking, now);
        self.recorded.heard(talking, now);
    }

    /// Follows which recording of the room is in progress. Adds this user's speaking time to it, if it is at
    /// least `at_least`. Does not wait for the answer, as in [`report_speech`](Self::report_speech).
    pub(super) fn report_recorded(&mut self, at_least: Duration) {
        let now = self.parts.context.clock.now();
        let view = self.parts.context.directory.room(&self.room).unwrap_or_default();
        let recording = in_force(&view).map(|request| &request.id);
        let ended = self.recorded.recorded_by(recording, now);
        for SpeechInRecording { recording, ms } in ended.into_iter().chain(self.recorded.take(at_least, now))
        {
            let (store, user) = (self.parts.context.store.clone(), self.user.clone());
            actix::spawn(async move {
                if let Err(error) = add_speech(&*store, &recording, &user, ms).await {
                    tracing::debug!(%recording, %error, "speaking time of a recording was not added");
                }
            });
        }
    }

    /// Adds this user's speaking time to the room's speaking times, if it is at least `at_least`. Does not
    /// wait for the answer, because this actor may end first. If the gateway crashes, the time that it has
    /// not reported yet is lost.
    pub(super) fn report_speech(&mut self, at_least: Duration) {
        self.report_recorded(if at_least.is_zero() { at_least } else { RECORDED_EVERY });
        let clock = self.parts.context.clock;
        let Some(ms) = self.spoken.take(at_least, clock.now()) else { return };
        let view = self.parts.context.directory.room(&self.room);
        let Some(created_at) = view.and_then(|view| view.meta.as_ref().map(|meta| meta.created_at)) else {
            return;
        };
        let key = StageKey { room: self.room.clone(), created_at };
        let person = self.parts.secrets.person_id(&self.room, self.user.as_str());
        let (stages, at) = (self.parts.stages.clone(), clock.wall());
        actix::spawn(async move {
            if let Err(error) = stages.add_speech(&key, &person, ms, at).await {
                tracing::debug!(room = %key.room, %error, "speaking time was not added");
            }
        });
    }

    pub(super) fn up(&mut self) {
        self.machine.heard(JanusEvent::Up, self.parts.context.clock.now());
        self.tell(SessionEvent::Up);
    }

    pub(super) fn set_muted(&mut self, muted: bool) {
        if std::mem::replace(&mut self.voice.muted, muted) != muted {
            // Janus does not report that a muted user has stopped talking.
            self.talks(self.voice.talking && !muted);
            self.tell(SessionEvent::Muted { muted });
        }
    }
}

fn person(ParticipantInfo { display, talking, .. }: ParticipantInfo) -> Participant {
    Participant { name: display.into(), talks: talking }
}

/// Waits for the next event of the stream.
pub(super) fn listen(stream: u64, mut events: AnchorEvents, cx: &mut Cx<MediaSessionActor>) {
    let next = async move {
        let event = events.next().await;
        (events, event)
    };
    cx.run(next, move |(events, event)| Msg::Event { stream, events, event });
}

/// Returns the event for the machine if the error shows that the session, its room or its participant is
/// gone.
pub(super) fn lost(error: &JanusError) -> Option<JanusEvent> {
    match error {
        JanusError::Core(CoreError::NoSuchSession | CoreError::NoSuchHandle) => Some(JanusEvent::SessionOver),
        JanusError::Plugin(PluginError::NoSuchRoom) => Some(JanusEvent::RoomDestroyed),
        JanusError::Plugin(PluginError::NotInRoom) => Some(JanusEvent::NotInRoom),
        _ => None,
    }
}

/// Maps a Janus error to the client's error. A request is `Refused` only if it would fail again, for
/// example because its SDP or candidate is invalid.
pub(super) fn call_error(error: &JanusError) -> CallError {
    match error {
        JanusError::Plugin(PluginError::NoSuchRoom | PluginError::NotInRoom) => CallError::NotJoined,
        JanusError::Core(CoreError::InvalidSdp)
        | JanusError::Plugin(PluginError::InvalidSdp | PluginError::MissingElement(_)) => CallError::Refused,
        JanusError::Core(CoreError::Other { code, .. }) if MALFORMED.contains(code) => CallError::Refused,
        _ => CallError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_error_refuses_only_permanent_errors() {
        let other = |code| CoreError::Other { code, text: String::new() }.into();
        for (error, wanted) in [
            (CoreError::InvalidSdp.into(), CallError::Refused),
            (PluginError::InvalidSdp.into(), CallError::Refused),
            (PluginError::MissingElement("jsep".into()).into(), CallError::Refused),
            (other(466), CallError::Refused),
            (PluginError::NotInRoom.into(), CallError::NotJoined),
            (PluginError::NoSuchRoom.into(), CallError::NotJoined),
            (other(490), CallError::Unavailable),
            (PluginError::OpusFailure.into(), CallError::Unavailable),
            (CoreError::NoSuchSession.into(), CallError::Unavailable),
            (JanusError::Disconnected, CallError::Unavailable),
        ] {
            assert_eq!(call_error(&error), wanted, "{error}");
        }
        assert_eq!(lost(&PluginError::NotInRoom.into()), Some(JanusEvent::NotInRoom));
        assert_eq!(lost(&JanusError::Disconnected), None);
    }
}
