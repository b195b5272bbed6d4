//! Supervisor of the media sessions: finds the session that a client returns to, starts new sessions, and
//! passes on room changes.
//!
//! At most one session per user and room is served: a newer session replaces the older one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::moderation;
use super::session::{self, MediaSessionActor};
use super::{
    AnchorParts, Join, JoinError, MediaSessionHandle, MediaSessions, ModerationError, SessionEvent, bound,
};
use crate::actors::kernel::{
    ActorRef, ActorState, Behaviour, ChildDown, ChildSpec, Cx, Message, RestartPolicy, StopAnswer,
};
use crate::domain::client_session::JoinedMedia;
use crate::domain::ids::{Pin, RoomId, UserId};
use crate::domain::media_session::{End, JanusAssignment, JoinUnavailable, SessionIds};
use crate::domain::mix::MixShare;
use crate::rooms::dirty_set::DirtySet;

/// Supervisor of all media sessions of a gateway.
pub struct MediaSupervisor {
    parts: AnchorParts,
    access: MediaSessions,
    dirty: Option<DirtySet>,
    served: HashMap<(RoomId, UserId), Session>,
    /// All sessions by child name, including replaced ones.
    sessions: BTreeMap<Arc<str>, (RoomId, ActorRef<session::Msg>)>,
    begun: u64,
}

struct Session {
    name: Arc<str>,
    actor: ActorRef<session::Msg>,
}

pub type JoinReply = oneshot::Sender<Result<(JoinedMedia, MediaSessionHandle), JoinError>>;

/// Join request that is passed to a session.
pub struct JoinRequest {
    pub join: Join,
    pub events: mpsc::Sender<SessionEvent>,
    pub reply: JoinReply,
}

/// Data needed to start a session if the client has no session to which it can return.
pub struct SessionStart {
    asked: JoinRequest,
    place: JanusAssignment,
    pin: Pin,
    share: MixShare,
    claim: Option<SessionIds>,
}

pub enum Msg {
    Join(Box<JoinRequest>),
    /// The existing session did not accept this client.
    Declined(Box<SessionStart>),
    /// The existing session accepted the client.
    Resumed,
    Moderate {
        room: RoomId,
        user: Arc<str>,
        muted: bool,
        reply: oneshot::Sender<Result<bool, ModerationError>>,
    },
    Moderated,
    StateChanged,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Declined(_) => "declined",
            Self::Resumed => "resumed",
            Self::Moderate { .. } => "moderate",
            Self::Moderated => "moderated",
            Self::StateChanged => "state_changed",
        }
    }
}

impl MediaSupervisor {
    pub fn new(parts: AnchorParts, access: MediaSessions) -> Self {
        Self { parts, access, dirty: None, served: HashMap::new(), sessions: BTreeMap::new(), begun: 0 }
    }

    fn join(&mut self, asked: JoinRequest, cx: &mut Cx<Self>) {
        let begin = match self.prepare(&asked.join) {
            Ok((place, pin, share, claim)) => SessionStart { asked, place, pin, share, claim },
            Err(refused) => {
                let _ = asked.reply.send(Err(refused));
                return;
            }
        };
        let key = (begin.asked.join.room.clone(), begin.asked.join.user.clone());
        match (self.served.get(&key), begin.claim) {
            (Some(session), Some(ids)) => cx.run(come_back(session.actor.clone(), ids, begin), |declined| {
                declined.map_or(Msg::Resumed, |begin| Msg::Declined(Box::new(begin)))
            }),
            _ => self.begin(begin, cx),
        }
    }

    /// Returns the room's Janus assignment, PIN and mix share. If the join request has a resume token that is
    /// valid for this assignment, also returns the session ids in the token.
    fn prepare(
        &self,
        join: &Join,
    ) -> Result<(JanusAssignment, Pin, MixShare, Option<SessionIds>), JoinError> {
        let view = self.parts.context.directory.room(&join.room);
        let place = JanusAssignment::of(view.as_deref())?;
        let meta = view.as_ref().and_then(|v| v.meta.as_ref()).ok_or(JoinUnavailable::NoSuchRoom)?;
        if join.pin.as_ref().is_some_and(|pin| *pin != meta.pin) {
            return Err(JoinError::WrongPin);
        }
        let claim = join.resume_token.as_ref().and_then(|token| {
            let bound = bound(join.user.as_str(), &join.room, &place);
            self.parts.seal.open(token.as_str(), &bound, self.parts.context.clock.wall()).ok()
        });
        Ok((place, meta.pin.clone(), MixShare::of(meta.max_anchors), claim))
    }

    fn begin(&mut self, begin: SessionStart, cx: &mut Cx<Self>) {
        let SessionStart { asked, place, pin, share, claim } = begin;
        let JoinRequest { join, events, reply } = asked;
        self.begun += 1;
        let name: Arc<str> = format!("session:{}", self.begun).into();
        let (parts, of, room, user) = (self.parts.clone(), place, join.room.clone(), join.user.clone());
        let make = move || {
            let (room, user, place, pin) = (room.clone(), user.clone(), of.clone(), pin.clone());
            MediaSessionActor::new(parts.clone(), room, user, place, pin, share, claim)
        };
        let spec = ChildSpec { restart: RestartPolicy::Temporary, ..ChildSpec::member() };
        let actor = cx.spawn_child(name.clone(), spec, make);
        let attach = session::Msg::Attach { ids: None, muted: join.muted, events, reply };
        // The mailbox cannot be full: this is the first message.
        let _ = actor.tell(attach);
        self.sessions.insert(name.clone(), (join.room.clone(), actor.clone()));
        self.parts.context.metrics.set_anchor_sessions(self.sessions.len());
        if let Some(old) = self.served.insert((join.room, join.user), Session { name, actor }) {
            let _ = old.actor.tell_latest("end", session::Msg::End(End::Replaced));
        }
    }

    fn take_changes(&mut self) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        for (room, actor) in self.sessions.values() {
            if changes.relisted || changes.rooms.contains(room) {
                let _ = actor.tell_latest("state_changed", session::Msg::StateChanged);
            }
        }
    }
}

/// Asks a session to accept its returning client. If the session declines, returns `begin` for a new session.
async fn come_back(
    actor: ActorRef<session::Msg>,
    ids: SessionIds,
    begin: SessionStart,
) -> Option<SessionStart> {
    let (reply, answer) = oneshot::channel();
    let (muted, events) = (begin.asked.join.muted, begin.asked.events.clone());
    let attach = session::Msg::Attach { ids: Some(ids), muted, events, reply };
    if actor.tell(attach).is_ok()
        && let Ok(Ok(attached)) = answer.await
    {
        let _ = begin.asked.reply.send(Ok(attached));
        return None;
    }
    Some(begin)
}

/// Releases the connections to Janus, after the sessions have ended: at a stop of the node, before its own
/// Janus ends.
impl Drop for MediaSupervisor {
    fn drop(&mut self) {
        self.parts.januses.release();
    }
}

impl Behaviour for MediaSupervisor {
    const KIND: &'static str = "media_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        self.dirty = Some(self.parts.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        self.access.set(Some(cx.me()));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Join(asked) => self.join(*asked, cx),
            Msg::Declined(begin) => self.begin(*begin, cx),
            Msg::Moderate { room, user, muted, reply } => {
                let moderated = moderation::moderate(self.parts.clone(), room, user, muted);
                cx.run(async move { drop(reply.send(moderated.await)) }, |()| Msg::Moderated);
            }
            Msg::Resumed | Msg::Moderated => {}
            Msg::StateChanged => self.take_changes(),
        }
    }

    fn child_down(&mut self, child: &ChildDown, _: &mut Cx<Self>) {
        self.sessions.remove(&child.name);
        self.parts.context.metrics.set_anchor_sessions(self.sessions.len());
        self.served.retain(|_, session| session.name != child.name);
    }

    fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
        self.access.set(None);
        StopAnswer::Now
    }

    fn observe(&self) -> ActorState {
        ActorState {
            observed: json!({ "sessions": self.sessions.len() }),
            ..ActorState::state("supervising")
        }
    }
}
