//! Implementation of each signalling method.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::SignallingShared;
use super::client_session::{ClientSession, Disconnect, LockOutcome};
use crate::actors::anchors::{self, CallError, JoinError, MediaSessionHandle, ModerationError};
use crate::auth::Role;
use crate::auth::turn::ice_servers;
use crate::domain::connection::{FencingToken, JoinOutcome, UpdateOutcome};
use crate::domain::ids::{ClientId, UserId};
use crate::domain::media_session::{JanusAssignment, JoinUnavailable};
use crate::domain::mix::MixShare;
use crate::domain::pin_attempts::Guess;
use crate::domain::roles::Action;
use crate::domain::room_lock::Entry;
use crate::domain::signalling::methods::{
    Activity, ActivityStatus, Candidate, Join, MuteParams, Offer, PinInput, SdpType, Trickle,
};
use crate::domain::signalling::{CloseCode, ErrorCode, Method, RpcError, offer};
use crate::domain::view::RoomView;
use crate::presence::{MemberRole, MemberStatus, PresenceEntry, PresenceError};

pub(super) type Answer = Result<Value, RpcError>;

/// Retry delay if a dependency is unavailable.
pub(super) const AWAY: Duration = Duration::from_secs(1);
/// Retry delay if a room is being prepared.
const PREPARING: Duration = Duration::from_millis(200);
/// Retry delay if a room is full or locked.
const FULL: Duration = Duration::from_secs(5);

impl ClientSession {
    /// Executes one call when its turn comes.
    pub(super) async fn call(self: &Arc<Self>, method: Method) -> Answer {
        if matches!(method, Method::Join(_) | Method::Keepalive(_) | Method::Status(_)) {
            // Recorded on arrival, not when the call's turn comes or presence has answered: that delay is
            // ours, not the client's.
            self.heard();
        }
        match method {
            Method::Join(join) => {
                let (turn, me) = (self.turn.clone().write_owned().await, self.clone());
                // A separate task: a join that is dropped halfway could leave partial state behind.
                let joined = tokio::spawn(async move {
                    let _turn = turn;
                    me.join(join).await
                });
                joined.await.unwrap_or_else(|_| Err(ErrorCode::Internal.into()))
            }
            Method::Leave => {
                let _turn = self.turn.write().await;
                self.leave().await
            }
            other => {
                let _turn = self.turn.read().await;
                self.call_in_room(other).await
            }
        }
    }

    async fn call_in_room(&self, method: Method) -> Answer {
        match method {
            Method::Offer(offer) => self.offer(offer).await,
            Method::IceCandidate(trickle) => self.candidate(trickle).await,
            Method::Keepalive(activity) | Method::Status(activity) => self.keep_alive(activity).await,
            Method::Mute(whom) => self.mute(whom, true).await,
            Method::Unmute(whom) => self.mute(whom, false).await,
            Method::Ban(member) => self.ban(&member.user_id).await,
            Method::Unban(member) => self.unban(&member.user_id).await,
            Method::SetRole(params) => self.set_role(&params.user_id, params.role).await,
            Method::TransferHost(member) => self.transfer_host(&member.user_id).await,
            Method::MuteAll => self.mute_all().await,
            Method::Lock => self.set_locked(true).await,
            Method::Unlock => self.set_locked(false).await,
            Method::GoLive => self.go_live().await,
            // Handled by the caller.
            Method::Join(_) | Method::Leave => Err(ErrorCode::Internal.into()),
        }
    }

    async fn join(self: Arc<Self>, join: Join) -> Answer {
        let view = self.room()?;
        self.check_pin(&view, join.pin.as_ref())?;
        JanusAssignment::of(Some(&view)).map_err(nowhere)?;
        let fence = self.seated(join.client_id).await?;
        let entry = self.entry(&view, join.jtoken.is_some()).await?;
        if entry == Entry::Locked {
            return Err(locked());
        }
        // An earlier session of this connection then waits, so that this join can resume it.
        drop(self.take_line());
        let name = join.display_name.as_ref().map(|name| name.as_str().to_owned());
        let resuming = join.jtoken.is_some();
        self.enter_room(&view, fence, name, resuming).await?;
        let wanted = anchors::Join {
            room: self.peer.room.clone(),
            user: self.peer.user.clone(),
            pin: None,
            muted: false,
            resume_token: join.jtoken.map(|token| anchors::ResumeToken(token.as_str().to_owned())),
        };
        match self.shared.anchors.join(wanted).await {
            Ok(joined) if !entry.admits(joined.resume) => {
                joined.line.leave();
                self.leave_presence().await;
                Err(locked())
            }
            Ok(joined) => self.joined(joined, resuming, view.mix_share()).await,
            Err(error) => {
                self.leave_presence().await;
                Err(not_joined(error))
            }
        }
    }

    async fn joined(
        self: &Arc<Self>,
        joined: anchors::JoinedSession,
        asked_to_resume: bool,
        share: MixShare,
    ) -> Answer {
        let anchors::JoinedSession { resume_token, resume, muted, line, events } = joined;
        if let Err(parting) = self.hold_line(line, events) {
            if parting == Disconnect::Farewell {
                self.leave_presence().await;
            }
            return Err(ErrorCode::NotJoined.into());
        }
        if asked_to_resume || muted {
            // A failure is corrected by the next keepalive.
            let _ = self
                .update(|member| {
                    member.muted = muted;
                    member.status = if resume { MemberStatus::OnAir } else { MemberStatus::Idle };
                })
                .await;
        }
        self.shared.stale.look(&self.peer.room);
        let (context, user) = (&self.shared.context, &self.peer.user);
        let ice = ice_servers(&context.config.ice, user, context.clock.wall());
        // Hundredths of a decibel are finer than the ear can tell.
        let gain = (share.makeup_db() * 100.0).round() / 100.0;
        Ok(json!({
            "jtoken": resume_token.0, "resume": resume, "iceServers": ice, "mixGainDb": gain,
        }))
    }

    /// Returns the room. Closes this connection if the room or the token is not valid any more.
    pub(super) fn room(&self) -> Result<Arc<RoomView>, RpcError> {
        self.shared.room_of(&self.peer).map_err(|code| match code {
            CloseCode::Unavailable => away(),
            CloseCode::RoomGone => {
                self.room_closed();
                ErrorCode::RoomOver.into()
            }
            over => {
                self.close(over);
                ErrorCode::RoomOver.into()
            }
        })
    }

    /// Returns the way into the room, which may be locked.
    async fn entry(&self, view: &RoomView, resuming: bool) -> Result<Entry, RpcError> {
        let present = match view.is_locked() {
            true => self.shown().await.map_err(|error| unavailable(&error))?.is_some(),
            false => false,
        };
        Ok(Entry::of(view.is_locked(), self.role(view).moderates(), present, resuming))
    }

    /// Checks a PIN, if one was sent, against the room's PIN.
    fn check_pin(&self, view: &RoomView, pin: Option<&PinInput>) -> Result<(), RpcError> {
        let Some((pin, meta)) = pin.zip(view.meta.as_ref()) else { return Ok(()) };
        let (user, address) = (&self.peer.user, self.peer.address);
        match self.shared.guess(user, address, pin.0.as_ref() == Some(&meta.pin)) {
            Guess::Right => Ok(()),
            Guess::Wrong => Err(ErrorCode::WrongPin.into()),
            Guess::TooMany { retry_after } => {
                Err(RpcError::from(ErrorCode::TooManyPins).retry_after(retry_after))
            }
        }
    }

    /// Returns the fencing token of our connection lock. Acquires the lock now if we have none for this
    /// client, for example because another client of the user had it when we connected.
    async fn seated(&self, client: Option<ClientId>) -> Result<FencingToken, RpcError> {
        if let Some(fence) = self.fence_of(client.as_ref()) {
            return Ok(fence);
        }
        let client = client.or_else(|| self.peer.client_id.clone());
        match self.take_seat(client).await {
            Ok(LockOutcome::Ours(fence)) => Ok(fence),
            Ok(LockOutcome::Taken) => {
                self.close(CloseCode::AlreadyConnected);
                Err(ErrorCode::AlreadyConnected.into())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Writes the presence entry of a user who joins. A user who may resume a session keeps the previously
    /// shown state until the outcome is known: otherwise others would see a change that the user did not
    /// make.
    async fn enter_room(
        &self,
        view: &RoomView,
        fence: FencingToken,
        name: Option<String>,
        resuming: bool,
    ) -> Result<(), RpcError> {
        let before = match resuming {
            true => self.shown().await.map_err(|error| unavailable(&error))?,
            false => None,
        };
        let member = PresenceEntry {
            user_id: self.peer.user.clone(),
            role: if self.peer.role == Role::Host { MemberRole::Host } else { MemberRole::Anchor },
            display_name: name.or_else(|| before.as_ref()?.display_name.clone()),
            status: before.as_ref().map_or(MemberStatus::Idle, |before| before.status),
            muted: before.is_some_and(|before| before.muted),
            fence,
        };
        self.entered(self.enter(member, max_anchors(view)).await.map(Some))
    }

    fn entered(&self, outcome: Result<Option<JoinOutcome>, PresenceError>) -> Result<(), RpcError> {
        match outcome.map_err(|error| unavailable(&error))? {
            Some(JoinOutcome::Ok) => Ok(()),
            Some(JoinOutcome::Full) => Err(RpcError::from(ErrorCode::RoomFull).retry_after(FULL)),
            Some(JoinOutcome::Fenced) => Err(self.replaced()),
            None => Err(ErrorCode::NotJoined.into()),
        }
    }

    fn replaced(&self) -> RpcError {
        self.close(CloseCode::Replaced);
        ErrorCode::AlreadyConnected.into()
    }

    async fn offer(&self, Offer { sdp }: Offer) -> Answer {
        let session = self.session()?;
        offer::check(&sdp.sdp)
            .map_err(|refusal| RpcError::new(ErrorCode::MediaRefused, refusal.to_string()))?;
        let answer = session.offer(sdp.sdp).await.map_err(not_called)?;
        Ok(json!({ "sdp": { "type": SdpType::Answer, "sdp": answer } }))
    }

    async fn candidate(&self, trickle: Trickle) -> Answer {
        let candidate = match trickle {
            Trickle::Candidate(candidate) => Some(for_janus(candidate)),
            Trickle::Completed => None,
        };
        self.session()?.candidate(candidate).await.map_err(not_called)?;
        Ok(json!({}))
    }

    fn session(&self) -> Result<Arc<MediaSessionHandle>, RpcError> {
        self.line().ok_or_else(|| ErrorCode::NotJoined.into())
    }

    async fn keep_alive(&self, Activity { status }: Activity) -> Answer {
        self.session()?;
        let status = match status {
            ActivityStatus::OnAir => MemberStatus::OnAir,
            ActivityStatus::Idle => MemberStatus::Idle,
        };
        match self.update(|member| member.status = status).await {
            Ok(UpdateOutcome::Ok) => Ok(json!({})),
            Ok(UpdateOutcome::Fenced) => Err(self.replaced()),
            Ok(UpdateOutcome::Absent) => self.return_to_room().await,
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Enters the room again after the presence entry timed out or was lost by the backend. Leaves the room
    /// if others took the last place.
    async fn return_to_room(&self) -> Answer {
        let view = self.room()?;
        let entered = self.entered(self.enter_again(max_anchors(&view)).await);
        if entered.as_ref().is_err_and(|error| error.code == ErrorCode::RoomFull) {
            self.leave().await?;
        }
        entered.map(|()| json!({}))
    }

    async fn mute(&self, whom: MuteParams, muted: bool) -> Answer {
        match whom.user_id.filter(|user| *user != self.peer.user) {
            None => self.session()?.set_muted(muted).await.map_err(not_called)?,
            Some(user) => {
                self.must(Action::Moderate)?;
                let done = self.shared.anchors.set_muted(&self.peer.room, user.as_str(), muted).await;
                done.map_err(not_moderated)?;
            }
        }
        Ok(json!({}))
    }

    async fn leave(&self) -> Answer {
        self.leave_session();
        self.leave_presence().await;
        Ok(json!({}))
    }
}

impl SignallingShared {
    fn guess(&self, user: &UserId, address: std::net::IpAddr, right: bool) -> Guess {
        let now = self.now();
        let mut pins = self.pins.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pins.attempt(user, address, right, now)
    }
}

fn for_janus(candidate: Candidate) -> crate::janus::Candidate {
    let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: _ } = candidate;
    crate::janus::Candidate { candidate, sdp_mid, sdp_m_line_index }
}

fn nowhere(error: JoinUnavailable) -> RpcError {
    let wait = if error == JoinUnavailable::Preparing { PREPARING } else { AWAY };
    RpcError::from(ErrorCode::NotOnAir).retry_after(wait)
}

fn not_joined(error: JoinError) -> RpcError {
    match error {
        JoinError::Nowhere(error) => nowhere(error),
        JoinError::WrongPin => ErrorCode::WrongPin.into(),
        JoinError::Unavailable(_) => RpcError::from(ErrorCode::MediaUnavailable).retry_after(AWAY),
        JoinError::Gone => away(),
    }
}

fn not_called(error: CallError) -> RpcError {
    match error {
        CallError::NotJoined => ErrorCode::NotJoined.into(),
        CallError::Refused => ErrorCode::MediaRefused.into(),
        CallError::Unavailable => RpcError::from(ErrorCode::MediaUnavailable).retry_after(AWAY),
    }
}

fn not_moderated(error: ModerationError) -> RpcError {
    match error {
        ModerationError::Nowhere(error) => nowhere(error),
        ModerationError::NoSuchAnchor => ErrorCode::NoSuchMember.into(),
        ModerationError::Unavailable(_) => RpcError::from(ErrorCode::MediaUnavailable).retry_after(AWAY),
    }
}

fn locked() -> RpcError {
    RpcError::from(ErrorCode::RoomLocked).retry_after(FULL)
}

fn max_anchors(view: &RoomView) -> usize {
    view.meta.as_ref().map_or(0, |meta| usize::from(meta.max_anchors))
}

pub(super) fn unavailable(error: &PresenceError) -> RpcError {
    tracing::debug!(%error, "presence request failed");
    away()
}

pub(super) fn away() -> RpcError {
    RpcError::from(ErrorCode::Unavailable).retry_after(AWAY)
}
