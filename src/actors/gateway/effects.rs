//! Effects of the client sessions: requests to presence, to the media sessions and to the room API.
//!
//! Owns: the media session of one connection, and the translation of results. Does not decide which
//! effects to run.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::{BoxStream, once};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::ConnectionInfo;
use super::client;
use super::session_manager::SessionsShared;
use crate::actors::gateway::media::{
    self, CallError, JoinError, JoinedSession, MediaSessionHandle, ModerationError, SessionEvent,
};
use crate::actors::kernel::ActorRef;
use crate::auth::turn::ice_servers;
use crate::domain::client_session::{
    Answer, CallId, Effect, Input, JoinedMedia, LockOutcome, MediaCall, MediaEvent, RoomOrder, Surroundings,
    Unavailable, Waiter, not_on_air,
};
use crate::domain::connection::{FencingToken, Holder, LockKey};
use crate::domain::ids::{ClientId, UserId};
use crate::domain::roles::{ClaimedRole, RoleOrder, RoomRole};
use crate::domain::signalling::methods::{Candidate, ResumeToken, SdpType, SessionDescription, Trickle};
use crate::domain::signalling::{DisplayName, ErrorCode, Notification, RpcError};
use crate::domain::users::UserDenied;
use crate::presence::{Acquisition, PresenceEntry, PresenceError};
use crate::rooms::RoomError;
use crate::store::StoreError;
use crate::webhooks::admission::{Applicant, Verdict};

/// Retry delay if a dependency is unavailable.
const AWAY: Duration = Duration::from_secs(1);
/// Longest time for which a call to mute an anchor waits for its event to be written.
const REPORT_WITHIN: Duration = Duration::from_secs(2);

type MediaArrival = (MediaSessionHandle, mpsc::Receiver<SessionEvent>);

/// Executor of the effects of one connection's session.
pub trait SessionEffects: 'static {
    /// Registers the actor of the connection. Called once, before all other methods.
    fn opened(&mut self, actor: ActorRef<client::Msg>);

    fn surroundings(&self) -> Surroundings;

    /// Starts an effect; not called with `Reply`, `Notify` and `Close`, which need only the connection.
    fn run(&mut self, effect: Effect) -> StartedEffect;

    /// Renders the result of a call.
    fn render(&self, answer: Answer) -> Value;
}

/// Effect that was started.
pub enum StartedEffect {
    Done,
    Now(Input),
    /// Future that is dropped when the actor of the connection ends. If it panics, the connection is closed
    /// with code 1011.
    Later(LocalBoxFuture<'static, Input>),
    Stream(BoxStream<'static, Input>),
}

/// Effects on presence, Janus and the store.
pub struct NodeEffects {
    shared: Arc<SessionsShared>,
    peer: Arc<ConnectionInfo>,
    /// Media session that is being joined.
    arriving: Option<oneshot::Receiver<MediaArrival>>,
    media: Option<Arc<MediaSessionHandle>>,
}

impl NodeEffects {
    pub fn new(shared: Arc<SessionsShared>, peer: Arc<ConnectionInfo>) -> Self {
        Self { shared, peer, arriving: None, media: None }
    }

    fn key(&self) -> LockKey {
        LockKey { room: self.peer.room.clone(), user: self.peer.user.clone() }
    }

    fn holder(&self, client: Option<ClientId>) -> Holder {
        let (gateway, connection) = (self.shared.gateway.clone(), self.peer.connection.clone());
        Holder { gateway, connection, client }
    }

    /// Acquires the lock. The request is completed even if the connection ends first; in this case the lock
    /// is released after it was acquired.
    fn acquire(&self, client: Option<ClientId>) -> StartedEffect {
        let (shared, key, holder) = (self.shared.clone(), self.key(), self.holder(client));
        let request = async move {
            let policy = shared.context.limits.signalling.load().duplicate;
            let acquired = shared.lock.acquire(&key, &holder, policy).await.map_err(unavailable);
            acquired.map(|acquired| match acquired {
                Acquisition::Held { .. } => None,
                Acquisition::Acquired { token, .. } => {
                    Some(UnclaimedLock { shared, key, token: Some(token) })
                }
            })
        };
        let request = self.shared.tasks.spawn(request);
        later(async move {
            // The task ends without a result only if it panics or the runtime ends.
            let acquired = request.await.unwrap_or(Err(Unavailable));
            let claimed = acquired.map(|lock| lock.and_then(UnclaimedLock::claim));
            Input::Acquired(claimed.map(|token| token.map_or(LockOutcome::Taken, LockOutcome::Ours)))
        })
    }

    fn renew(&self, client: Option<ClientId>, token: FencingToken) -> StartedEffect {
        let (shared, key, holder) = (self.shared.clone(), self.key(), self.holder(client));
        later(async move {
            // Cannot fail: the semaphore is never closed.
            let _permit = shared.renewals.acquire().await;
            let outcome = shared.lock.renew(&key, &holder, token).await.map_err(unavailable);
            Input::Renewed { token, outcome }
        })
    }

    fn list(&self, waiter: Waiter) -> StartedEffect {
        let (shared, room) = (self.shared.clone(), self.peer.room.clone());
        later(async move { Input::Listed(waiter, shared.presence.list(&room).await.map_err(unavailable)) })
    }

    fn enter(&self, entry: PresenceEntry, max_anchors: usize) -> StartedEffect {
        let (shared, room) = (self.shared.clone(), self.peer.room.clone());
        later(
            async move { Input::Entered(shared.join(&room, &entry, max_anchors).await.map_err(unavailable)) },
        )
    }

    fn update(&self, entry: PresenceEntry) -> StartedEffect {
        let (shared, room) = (self.shared.clone(), self.peer.room.clone());
        later(async move { Input::Updated(shared.presence.update(&room, &entry).await.map_err(unavailable)) })
    }

    /// Asks the application whether the user may join. If the answer contains a role, gives the user this
    /// role.
    fn ask_admission(&self, role: RoomRole, display_name: Option<DisplayName>) -> StartedEffect {
        let (shared, peer) = (self.shared.clone(), self.peer.clone());
        later(async move {
            let Some(admission) = &shared.admission else { return Input::AdmissionAnswered(Ok(())) };
            let (room, user, source) = (&peer.room, &peer.user, peer.source);
            let applicant = Applicant { room, user, role, display_name: display_name.as_ref(), source };
            Input::AdmissionAnswered(match admission.ask(&applicant).await {
                Verdict::Allowed(Some(given)) if given != role => {
                    let to = ClaimedRole { user: user.clone(), claimed: peer.identity().claimed };
                    let order = RoleOrder::Assign { to, role: given, by: None };
                    shared.service.change_role(room, &order).await.map_err(|error| {
                        tracing::warn!(%room, %error, "role of an admitted user was not changed");
                        not_changed(&error)
                    })
                }
                Verdict::Allowed(_) => Ok(()),
                Verdict::Refused(reason) if reason.is_empty() => Err(ErrorCode::NotAdmitted.into()),
                Verdict::Refused(reason) => Err(RpcError::new(ErrorCode::NotAdmitted, reason)),
                Verdict::Unavailable => {
                    Err(RpcError::from(ErrorCode::AdmissionUnavailable).retry_after(AWAY))
                }
            })
        })
    }

    fn join_media(&mut self, resume_token: Option<ResumeToken>) -> StartedEffect {
        let wanted = media::Join {
            room: self.peer.room.clone(),
            user: self.peer.user.clone(),
            pin: None,
            muted: false,
            resume_token,
        };
        let (arrived, arriving) = oneshot::channel();
        self.arriving = Some(arriving);
        let sessions = self.shared.anchors.clone();
        later(async move {
            Input::MediaJoined(sessions.join(wanted).await.map_err(not_joined).map(|joined| {
                let JoinedSession { resume_token, resume, muted, line, events } = joined;
                // The send cannot fail: the receiver is dropped only together with this future.
                let _ = arrived.send((line, events));
                JoinedMedia { resume_token, resume, muted }
            }))
        })
    }

    fn follow_media(&mut self, join: u64) -> StartedEffect {
        let Some((line, events)) = self.arrived() else { return StartedEffect::Done };
        self.media = Some(Arc::new(line));
        let events = ReceiverStream::new(events).filter_map(|event| ready(media_event(event)));
        let events = events.chain(once(ready(MediaEvent::Lost)));
        StartedEffect::Stream(events.map(move |event| Input::Media { join, event }).boxed())
    }

    fn arrived(&mut self) -> Option<MediaArrival> {
        self.arriving.take()?.try_recv().ok()
    }

    /// Takes the media session: the session in `media`, or a session that has just been joined.
    fn take_media(&mut self) -> Option<Arc<MediaSessionHandle>> {
        self.media.take().or_else(|| self.arrived().map(|(line, _)| Arc::new(line)))
    }

    fn call_media(&self, id: CallId, call: MediaCall) -> StartedEffect {
        let Some(media) = self.media.clone() else {
            return StartedEffect::Now(Input::Finished(id, Err(ErrorCode::NotJoined.into())));
        };
        later(async move {
            let outcome = match call {
                MediaCall::Offer(offer) => media
                    .offer(offer.sdp.sdp)
                    .await
                    .map(|sdp| Answer::Sdp(SessionDescription { kind: SdpType::Answer, sdp })),
                MediaCall::Candidate(trickle) => {
                    media.candidate(for_janus(trickle)).await.map(|()| Answer::Done)
                }
                MediaCall::Mute(muted) => media.set_muted(muted).await.map(|()| Answer::Done),
            };
            Input::Finished(id, outcome.map_err(not_called))
        })
    }

    fn mute_user(&self, id: CallId, user: UserId, muted: bool) -> StartedEffect {
        let (shared, peer) = (self.shared.clone(), self.peer.clone());
        later(async move {
            let room = &peer.room;
            let done = shared.anchors.set_muted(room, user.as_str(), muted).await;
            if done == Ok(true) {
                // The user is muted already. A store that does not answer must not make the call fail.
                let report = shared.service.report_muted(room, &user, muted, &peer.user);
                match tokio::time::timeout(REPORT_WITHIN, report).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%room, %error, "event of a muted anchor was not written")
                    }
                    Err(_) => tracing::warn!(%room, "event of a muted anchor was not written in time"),
                }
            }
            Input::Finished(id, done.map(|_| Answer::Done).map_err(not_moderated))
        })
    }

    /// Writes a change of the room to the store. The affected nodes read the change from the store and apply
    /// it.
    fn change_room(&self, id: CallId, order: RoomOrder) -> StartedEffect {
        let (shared, peer) = (self.shared.clone(), self.peer.clone());
        later(async move {
            let (service, room, by) = (&shared.service, &peer.room, Some(&peer.user));
            let done = match order {
                RoomOrder::ChangeRole(order) => service.change_role(room, &order).await,
                RoomOrder::Ban(order) => service.ban_user(room, &order).await,
                RoomOrder::Kick(order) => service.kick_user(room, &order).await,
                RoomOrder::Unban(user) => service.unban_user(room, &user, by).await,
                RoomOrder::MuteAll => service.mute_all(room, by).await,
                RoomOrder::SetLocked(locked) => service.set_locked(room, locked, by).await,
                RoomOrder::GoLive => service.go_live(room).await,
            };
            let failed = |error: RoomError| {
                tracing::warn!(%room, %error, "room change by a host or co-host failed");
                not_changed(&error)
            };
            Input::Finished(id, done.map(|()| Answer::Done).map_err(failed))
        })
    }
}

impl SessionEffects for NodeEffects {
    fn opened(&mut self, actor: ActorRef<client::Msg>) {
        self.shared.remember(&self.peer, actor);
    }

    fn surroundings(&self) -> Surroundings {
        self.shared.surroundings(&self.peer.room)
    }

    fn run(&mut self, effect: Effect) -> StartedEffect {
        match effect {
            Effect::Acquire { client } => self.acquire(client),
            Effect::Renew { client, token } => self.renew(client, token),
            Effect::LeavePresence { token, leave, release } => {
                self.shared.leave_presence(self.key(), token, leave, release);
                StartedEffect::Done
            }
            Effect::ListMembers(waiter) => self.list(waiter),
            Effect::Enter { entry, max_anchors } => self.enter(entry, max_anchors),
            Effect::Update(entry) => self.update(entry),
            Effect::CheckPin { right } => StartedEffect::Now(Input::PinChecked(self.shared.guess(
                &self.peer.user,
                self.peer.address,
                right,
            ))),
            Effect::AskAdmission { role, display_name } => self.ask_admission(role, display_name),
            Effect::JoinMedia { resume_token } => self.join_media(resume_token),
            Effect::FollowMedia(join) => self.follow_media(join),
            Effect::DropMedia => {
                drop(self.take_media());
                StartedEffect::Done
            }
            Effect::LeaveMedia => {
                self.take_media().into_iter().for_each(|media| media.leave());
                StartedEffect::Done
            }
            Effect::CallMedia(id, call) => self.call_media(id, call),
            Effect::MuteUser { call, user, muted } => self.mute_user(call, user, muted),
            Effect::ChangeRoom(id, order) => self.change_room(id, order),
            Effect::Greet => {
                self.shared.greet(&self.peer);
                StartedEffect::Done
            }
            // These effects need only the connection.
            Effect::Reply(..) | Effect::Notify(_) | Effect::Close(_) => StartedEffect::Done,
        }
    }

    fn render(&self, answer: Answer) -> Value {
        match answer {
            Answer::Done => json!({}),
            Answer::Joined { resume_token, resume, mix_gain_db } => {
                let context = &self.shared.context;
                let ice = ice_servers(&context.config.ice, &self.peer.user, context.clock.wall());
                let token = resume_token.as_str();
                json!({ "jtoken": token, "resume": resume, "iceServers": ice, "mixGainDb": mix_gain_db })
            }
            Answer::Sdp(sdp) => json!({ "sdp": sdp }),
        }
    }
}

/// Ends the registration of the connection.
impl Drop for NodeEffects {
    fn drop(&mut self) {
        self.shared.forget(&self.peer);
    }
}

/// Lock that was acquired, but not passed to its session yet. If this value is dropped before the session has
/// received the lock, the lock is released.
struct UnclaimedLock {
    shared: Arc<SessionsShared>,
    key: LockKey,
    token: Option<FencingToken>,
}

impl UnclaimedLock {
    fn claim(mut self) -> Option<FencingToken> {
        self.token.take()
    }
}

impl Drop for UnclaimedLock {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.shared.leave_presence(self.key.clone(), token, false, true);
        }
    }
}

fn later(future: impl Future<Output = Input> + 'static) -> StartedEffect {
    StartedEffect::Later(Box::pin(future))
}

fn unavailable(error: PresenceError) -> Unavailable {
    tracing::debug!(%error, "presence request failed");
    Unavailable
}

/// Converts an event of the media session for the client session. Returns `None` if the event is irrelevant
/// to the client session.
fn media_event(event: SessionEvent) -> Option<MediaEvent> {
    Some(match event {
        SessionEvent::Up => return None,
        SessionEvent::Talking { user, talking } => {
            // The name of a participant is a user id, unless another application that uses the same Janus
            // has added the participant.
            let user_id = UserId::new(&user).ok()?;
            MediaEvent::Notify(Notification::Talking { user_id, talking })
        }
        SessionEvent::Muted { muted } => MediaEvent::Muted(muted),
        SessionEvent::Receiving(receiving) => MediaEvent::Receiving(receiving),
        SessionEvent::SlowLink { uplink, lost } => {
            MediaEvent::Notify(Notification::SlowLink { uplink, lost })
        }
        SessionEvent::Candidate(candidate) => {
            MediaEvent::Notify(Notification::IceCandidate { candidate: candidate.map(from_janus) })
        }
        SessionEvent::Ended { end, reconnect_after } => MediaEvent::Ended { end, reconnect_after },
    })
}

fn for_janus(trickle: Trickle) -> Option<crate::janus::Candidate> {
    let Trickle::Candidate(candidate) = trickle else { return None };
    let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: _ } = candidate;
    Some(crate::janus::Candidate { candidate, sdp_mid, sdp_m_line_index })
}

fn from_janus(candidate: crate::janus::Candidate) -> Candidate {
    let crate::janus::Candidate { candidate, sdp_mid, sdp_m_line_index } = candidate;
    Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: None }
}

fn not_joined(error: JoinError) -> RpcError {
    match error {
        JoinError::RoomUnavailable(error) => not_on_air(error),
        JoinError::WrongPin => ErrorCode::WrongPin.into(),
        JoinError::Unavailable(_) => retryable(ErrorCode::MediaUnavailable),
        JoinError::Gone => retryable(ErrorCode::Unavailable),
    }
}

fn not_called(error: CallError) -> RpcError {
    match error {
        CallError::NotJoined => ErrorCode::NotJoined.into(),
        CallError::Refused => ErrorCode::MediaRefused.into(),
        CallError::Unavailable => retryable(ErrorCode::MediaUnavailable),
    }
}

fn not_moderated(error: ModerationError) -> RpcError {
    match error {
        ModerationError::RoomUnavailable(error) => not_on_air(error),
        ModerationError::NoSuchAnchor => ErrorCode::NoSuchMember.into(),
        ModerationError::Unavailable(_) => retryable(ErrorCode::MediaUnavailable),
    }
}

/// Maps the error of a room change to the error of the call. An error is retryable only if a retry could
/// succeed.
fn not_changed(error: &RoomError) -> RpcError {
    match error {
        RoomError::NotFound | RoomError::Removing => ErrorCode::RoomOver.into(),
        RoomError::Role(_) => ErrorCode::Forbidden.into(),
        RoomError::User(UserDenied::Banned) => ErrorCode::NoSuchMember.into(),
        RoomError::User(_) => ErrorCode::TooManyUsers.into(),
        RoomError::NotOnAir => retryable(ErrorCode::NotOnAir),
        RoomError::Busy | RoomError::Store(StoreError::Unavailable(_)) => retryable(ErrorCode::Unavailable),
        _ => ErrorCode::Internal.into(),
    }
}

fn retryable(code: ErrorCode) -> RpcError {
    RpcError::from(code).retry_after(AWAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::roles::RoleDenied;

    #[test]
    fn room_errors_map_to_retryable_codes() {
        let away = StoreError::Unavailable("no".into());
        for (error, code) in [
            (RoomError::NotFound, ErrorCode::RoomOver),
            (RoomError::Removing, ErrorCode::RoomOver),
            (RoomError::User(UserDenied::TooMany), ErrorCode::TooManyUsers),
            (RoomError::User(UserDenied::Banned), ErrorCode::NoSuchMember),
            (RoomError::Role(RoleDenied::Forbidden), ErrorCode::Forbidden),
            (RoomError::NotOnAir, ErrorCode::NotOnAir),
            (RoomError::Busy, ErrorCode::Unavailable),
            (RoomError::Store(away), ErrorCode::Unavailable),
        ] {
            assert_eq!(not_changed(&error).code, code, "{error}");
        }
    }
}
