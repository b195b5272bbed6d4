//! Clients that join a session or return to it, and the results of opening and reclaiming the session.
//!
//! Owns: the replies to these clients, and their resume tokens. Does not send requests to Janus.

use tokio::sync::mpsc;

use super::{MediaSessionActor, MediaSessionHandle};
use crate::actors::gateway::media::open::OpenSession;
use crate::actors::gateway::media::supervisor::JoinReply;
use crate::actors::gateway::media::{JoinError, SessionEvent, bound};
use crate::actors::kernel::Cx;
use crate::clock::random_unit;
use crate::domain::client_session::JoinedMedia;
use crate::domain::media_session::{ClaimFailure, End, JanusEvent, SessionIds};
use crate::domain::signalling::methods::ResumeToken;
use crate::domain::tracks::recorded_name;
use crate::janus::AnchorJoin;

impl MediaSessionActor {
    pub(super) fn attach(
        &mut self,
        ids: Option<SessionIds>,
        muted: bool,
        events: mpsc::Sender<SessionEvent>,
        reply: JoinReply,
        cx: &mut Cx<Self>,
    ) {
        match ids {
            // The first client: the session is being opened for it.
            None => {
                (self.client, self.joining, self.voice.muted) = (Some(events), Some(reply), muted);
            }
            // The reply is sent once this node has reclaimed the session.
            Some(ids) if self.is_mine(ids) && self.machine.is_resumable() => {
                if let Some(overtaken) = self.joining.take() {
                    self.welcome(overtaken, true, cx);
                }
                (self.client, self.joining) = (Some(events), Some(reply));
                self.machine.client_back(self.parts.context.clock.now());
            }
            Some(_) => {
                let _ = reply.send(Err(JoinError::Gone));
            }
        }
    }

    fn is_mine(&self, ids: SessionIds) -> bool {
        self.session.as_ref().is_some_and(|session| session.ids() == ids)
    }

    fn welcome(&mut self, reply: JoinReply, resume: bool, cx: &mut Cx<Self>) {
        let Some(resume_token) = self.resume_token() else { return };
        self.line += 1;
        let joined = JoinedMedia { resume_token, resume, muted: self.voice.muted };
        let line = MediaSessionHandle { actor: cx.me(), number: self.line };
        let talking: Vec<_> = self.participants.talking().collect();
        talking.into_iter().for_each(|talk| self.tell_talk(talk));
        if let Err(Ok((_, line))) = reply.send(Ok((joined, line))) {
            // The client left before it got the reply. A returning client may try again; a new client has no
            // resume token.
            if resume {
                drop(line);
            } else {
                self.machine.end(End::Left);
            }
        }
    }

    /// Returns a resume token that is valid for the longest duration of a broadcast (`rooms.max_age`).
    fn resume_token(&self) -> Option<ResumeToken> {
        let place = self.machine.place();
        let ids = self.session.as_ref()?.ids();
        let bound = bound(self.user.as_str(), &self.room, place);
        let context = &self.parts.context;
        let sealed = self.parts.seal.seal(ids, &bound, context.clock.wall(), context.config.rooms.max_age);
        Some(ResumeToken::issued(sealed))
    }

    pub(super) fn opened(&mut self, outcome: Result<OpenSession, JoinError>, cx: &mut Cx<Self>) {
        match outcome {
            Ok(opened) => {
                self.voice.muted = opened.room.mine.muted;
                self.machine.opened(opened.up, self.parts.context.clock.now());
                let resume = opened.up;
                self.adopt(opened, cx);
                if let Some(reply) = self.joining.take() {
                    self.welcome(reply, resume, cx);
                }
                // The store may have changed while the session was being opened.
                self.look();
            }
            Err(error) => {
                self.machine.end(End::Refused);
                if let Some(reply) = self.joining.take() {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    pub(super) fn reclaimed(&mut self, outcome: Result<OpenSession, ClaimFailure>, cx: &mut Cx<Self>) {
        let now = self.parts.context.clock.now();
        match outcome {
            Ok(opened) => {
                self.machine.reclaimed(now);
                // Apply the changes of the connection state that happened while Janus sent no events.
                match opened.up {
                    true if !self.machine.is_resumable() => self.up(),
                    false if self.machine.is_resumable() => self.machine.heard(JanusEvent::Down, now),
                    _ => {}
                }
                self.set_muted(opened.room.mine.muted);
                self.adopt(opened, cx);
            }
            Err(failure) => self.machine.reclaim_failed(failure, now, random_unit()),
        }
        // Reply even if Janus does not respond: the client and the session then both wait for Janus.
        // If the session has ended, `farewell` refuses the join instead.
        if self.machine.is_resumable()
            && let Some(reply) = self.joining.take()
        {
            self.welcome(reply, true, cx);
        }
    }

    /// Returns the parameters of a new participant.
    pub(super) fn entry(&self) -> AnchorJoin {
        AnchorJoin {
            janus_room_id: self.machine.place().janus_room_id,
            pin: self.pin.clone(),
            display: self.user.to_string(),
            muted: self.voice.muted,
            share: self.share,
            quality: self.parts.quality,
            file: recorded_name(&self.user, self.parts.context.clock.wall(), rand::random()),
        }
    }
}
