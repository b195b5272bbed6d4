//! Calls of a session: their order, their time limits, and the methods other than `join`.
//!
//! A call is queued, then runs until it is finished or its time is over. Owns the queue. Never answers a
//! call twice.

use std::collections::VecDeque;
use std::time::Duration;

use super::join::JoinProgress;
use super::values::{Answer, CallId, Effect, MediaCall, RoomOrder, Surroundings, Unavailable, Waiter};
use super::{ClientSession, Refusal, State, away};
use crate::connection::{JoinOutcome, UpdateOutcome};
use crate::ids::UserId;
use crate::presence_entry::PresenceEntry;
use crate::roles::{self, Action, ClaimedRole, RoleOrder, RoomRole};
use crate::signalling::methods::{Activity, MuteParams, Offer};
use crate::signalling::{CloseCode, DisplayName, ErrorCode, Method, RpcError, offer};
use crate::users::BanOrder;
use crate::view::RoomView;

/// Calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    queue: VecDeque<QueuedWork>,
    running: Vec<RunningCall>,
    pub join: Option<Box<JoinProgress>>,
}

#[derive(Debug)]
enum QueuedWork {
    Call {
        id: CallId,
        method: Method,
        deadline: Duration,
    },
    /// End of the session of a silent client.
    GiveUp,
}

#[derive(Debug)]
struct RunningCall {
    id: CallId,
    deadline: Duration,
    listing: Listing,
}

/// Work that remains for a call after the members of the room have been listed.
#[derive(Debug)]
enum Listing {
    Nothing,
    Assign(UserId, RoomRole),
    Transfer(UserId),
    Ban(UserId),
    Kick(UserId),
}

impl Calls {
    /// Queues the end of a silent client's session, unless it is queued already.
    pub fn give_up(&mut self) {
        if !self.queue.iter().any(|queued| matches!(queued, QueuedWork::GiveUp)) {
            self.queue.push_back(QueuedWork::GiveUp);
        }
    }

    /// Returns the time at which the next call times out; `None` if no call is pending.
    pub fn deadline(&self) -> Option<Duration> {
        let queued = self.queue.iter().filter_map(|queued| match queued {
            QueuedWork::Call { deadline, .. } => Some(*deadline),
            QueuedWork::GiveUp => None,
        });
        let joining = self.join.iter().filter_map(|join| join.call.map(|_| join.deadline));
        queued.chain(self.running.iter().map(|call| call.deadline)).chain(joining).min()
    }

    /// Removes and returns the next queued entry; `None` if there is none or it must wait. `join`, `leave`
    /// and the end of a silent session run alone.
    fn next(&mut self) -> Option<QueuedWork> {
        let alone = match self.queue.front()? {
            QueuedWork::Call { method, .. } => matches!(method, Method::Join(_) | Method::Leave),
            QueuedWork::GiveUp => true,
        };
        let may_start = self.join.is_none() && (!alone || self.running.is_empty());
        if may_start { self.queue.pop_front() } else { None }
    }

    /// Removes a running call. Returns `None` if it has timed out.
    fn end(&mut self, id: CallId) -> Option<RunningCall> {
        let index = self.running.iter().position(|call| call.id == id)?;
        Some(self.running.swap_remove(index))
    }

    fn is_running(&self, id: CallId) -> bool {
        self.running.iter().any(|call| call.id == id)
    }

    /// Removes and returns the calls that have timed out. A `join` continues after its call has timed out.
    fn expired(&mut self, now: Duration) -> Vec<CallId> {
        let mut expired = Vec::new();
        self.queue.retain(|queued| match queued {
            QueuedWork::Call { id, deadline, .. } if *deadline <= now => {
                expired.push(*id);
                false
            }
            _ => true,
        });
        self.running.retain(|call| {
            let over = call.deadline <= now;
            expired.extend(over.then_some(call.id));
            !over
        });
        let join = self.join.as_mut().filter(|join| join.deadline <= now);
        expired.extend(join.and_then(|join| join.call.take()));
        expired
    }
}

impl ClientSession {
    pub(super) fn call(&mut self, id: CallId, method: Method, at: &Surroundings) {
        if matches!(self.state, State::Closing(_)) {
            return;
        }
        if matches!(method, Method::Join(_) | Method::Keepalive(_) | Method::Status(_)) {
            // The activity is recorded when the call arrives: the client does not cause the delay until the
            // call starts or presence answers.
            self.heard(at);
        }
        let deadline = at.now + self.rules.call_timeout;
        self.calls.queue.push_back(QueuedWork::Call { id, method, deadline });
    }

    /// Answers the calls that have timed out.
    pub(super) fn expire_calls(&mut self, now: Duration) {
        let timeout = |id| Effect::Reply(id, Err(ErrorCode::Timeout.into()));
        self.effects.extend(self.calls.expired(now).into_iter().map(timeout));
    }

    /// Starts the queued calls that may start now.
    pub(super) fn start_calls(&mut self, at: &Surroundings) {
        while !self.ending && self.lock().is_some() {
            match self.calls.next() {
                None => return,
                Some(QueuedWork::GiveUp) => self.give_up(at),
                Some(QueuedWork::Call { id, method, deadline }) => self.start(id, method, deadline, at),
            }
        }
    }

    fn start(&mut self, id: CallId, method: Method, deadline: Duration, at: &Surroundings) {
        if let Method::Join(params) = method {
            return self.start_join(id, params, deadline, at);
        }
        self.calls.running.push(RunningCall { id, deadline, listing: Listing::Nothing });
        if let Err(refusal) = self.begin(id, method, at) {
            self.refuse(id, refusal, at);
        }
    }

    fn begin(&mut self, id: CallId, method: Method, at: &Surroundings) -> Result<(), Refusal> {
        match method {
            Method::Offer(offer) => self.offer(id, offer),
            Method::IceCandidate(trickle) => self.call_media(id, MediaCall::Candidate(trickle)),
            Method::Keepalive(activity) | Method::Status(activity) => self.keep_alive(id, activity, at),
            Method::Mute(params) => self.mute(id, params, true, at),
            Method::Unmute(params) => self.mute(id, params, false, at),
            Method::Ban(member) => self.list(id, Action::Ban(None), Listing::Ban(member.user_id), at),
            Method::Kick(member) => self.list(id, Action::Ban(None), Listing::Kick(member.user_id), at),
            Method::SetRole(params) => {
                self.list(id, Action::AssignRole, Listing::Assign(params.user_id, params.role), at)
            }
            Method::TransferHost(member) => {
                self.list(id, Action::AssignRole, Listing::Transfer(member.user_id), at)
            }
            Method::Unban(member) => self.moderate(id, RoomOrder::Unban(member.user_id), at),
            Method::MuteAll => self.moderate(id, RoomOrder::MuteAll, at),
            Method::Lock => self.moderate(id, RoomOrder::SetLocked(true), at),
            Method::Unlock => self.moderate(id, RoomOrder::SetLocked(false), at),
            Method::GoLive => self.moderate(id, RoomOrder::GoLive, at),
            Method::Leave => {
                self.leave(at);
                self.finish(id, Ok(Answer::Done));
                Ok(())
            }
            // Unreachable: `start` has already handled `join`.
            Method::Join(_) => Err(ErrorCode::Internal.into()),
        }
    }

    /// Answers a running call; does nothing if it has timed out.
    pub(super) fn finish(&mut self, id: CallId, outcome: Result<Answer, RpcError>) {
        if self.calls.end(id).is_some() {
            self.effects.push(Effect::Reply(id, outcome));
        }
    }

    fn refuse(&mut self, id: CallId, refusal: Refusal, at: &Surroundings) {
        if self.calls.end(id).is_some() {
            self.refused(Some(id), refusal, at);
        }
    }

    /// Answers a refused call. `call`: `None` if the call has timed out and was answered already. If the
    /// reason affects the whole connection and not only this call, the connection is closed too.
    pub(super) fn refused(&mut self, call: Option<CallId>, refusal: Refusal, at: &Surroundings) {
        let (error, code) = match refusal {
            Refusal::Error(error) => (error, None),
            Refusal::Admission(CloseCode::Unavailable) => (away(), None),
            Refusal::Admission(code) => (ErrorCode::RoomOver.into(), Some(code)),
            Refusal::Replaced => (ErrorCode::AlreadyConnected.into(), Some(CloseCode::Replaced)),
            Refusal::Taken => (ErrorCode::AlreadyConnected.into(), Some(CloseCode::AlreadyConnected)),
        };
        self.effects.extend(call.map(|id| Effect::Reply(id, Err(error))));
        match code {
            None => {}
            Some(CloseCode::RoomGone) => self.room_closed(at),
            Some(code) => self.close(code),
        }
    }

    fn leave(&mut self, at: &Surroundings) {
        self.leave_media(at);
        self.leave_presence();
    }

    fn offer(&mut self, id: CallId, offer: Offer) -> Result<(), Refusal> {
        self.joined().ok_or(ErrorCode::NotJoined)?;
        offer::check(&offer.sdp.sdp)
            .map_err(|refusal| RpcError::new(ErrorCode::MediaRefused, refusal.to_string()))?;
        self.call_media(id, MediaCall::Offer(offer))
    }

    fn call_media(&mut self, id: CallId, call: MediaCall) -> Result<(), Refusal> {
        self.joined().ok_or(ErrorCode::NotJoined)?;
        self.effects.push(Effect::CallMedia(id, call));
        Ok(())
    }

    fn mute(
        &mut self,
        id: CallId,
        MuteParams { user_id }: MuteParams,
        muted: bool,
        at: &Surroundings,
    ) -> Result<(), Refusal> {
        match user_id.filter(|user| *user != self.identity.user) {
            None => self.call_media(id, MediaCall::Mute(muted)),
            Some(user) => {
                self.must(Action::Moderate, at)?;
                self.effects.push(Effect::MuteUser { call: id, user, muted });
                Ok(())
            }
        }
    }

    fn moderate(&mut self, id: CallId, order: RoomOrder, at: &Surroundings) -> Result<(), Refusal> {
        self.must(Action::Moderate, at)?;
        self.effects.push(Effect::ChangeRoom(id, order));
        Ok(())
    }

    fn keep_alive(
        &mut self,
        id: CallId,
        Activity { status }: Activity,
        at: &Surroundings,
    ) -> Result<(), Refusal> {
        self.joined().ok_or(ErrorCode::NotJoined)?;
        match self.presence.update(Some(Waiter::Call(id)), |entry| entry.status = status) {
            true => Ok(()),
            false => self.return_to_room(id, at),
        }
    }

    /// Enters the room again after the presence entry timed out or the presence backend lost it.
    fn return_to_room(&mut self, id: CallId, at: &Surroundings) -> Result<(), Refusal> {
        let room = self.admitted(at)?;
        match self.presence.enter_again(max_anchors(&room), Waiter::Call(id)) {
            true => Ok(()),
            false => Err(ErrorCode::NotJoined.into()),
        }
    }

    pub(super) fn updated(&mut self, outcome: Result<UpdateOutcome, Unavailable>, at: &Surroundings) {
        for waiter in self.presence.updated() {
            match waiter {
                Waiter::Join => self.join_shown(),
                Waiter::Call(id) if self.calls.is_running(id) => {
                    let kept = match outcome {
                        Ok(UpdateOutcome::Ok) => {
                            self.finish(id, Ok(Answer::Done));
                            Ok(())
                        }
                        Ok(UpdateOutcome::Fenced) => Err(Refusal::Replaced),
                        Ok(UpdateOutcome::Absent) => self.return_to_room(id, at),
                        Err(unavailable) => Err(unavailable.into()),
                    };
                    kept.unwrap_or_else(|refusal| self.refuse(id, refusal, at));
                }
                Waiter::Call(_) => {}
            }
        }
    }

    pub(super) fn entered(&mut self, outcome: Result<JoinOutcome, Unavailable>, at: &Surroundings) {
        for waiter in self.presence.entered(outcome) {
            match waiter {
                Waiter::Join => self.join_entered(outcome, at),
                Waiter::Call(id) if self.calls.is_running(id) => self.entered_again(id, outcome, at),
                Waiter::Call(_) => {}
            }
        }
    }

    fn entered_again(&mut self, id: CallId, outcome: Result<JoinOutcome, Unavailable>, at: &Surroundings) {
        match place(outcome) {
            Ok(()) => self.finish(id, Ok(Answer::Done)),
            Err(refusal) => {
                // Other users took the last place in the room.
                if outcome == Ok(JoinOutcome::Full) {
                    self.leave(at);
                }
                self.refuse(id, refusal, at);
            }
        }
    }

    /// Requests the members of the room for this call, if the user may perform the action in the room.
    /// `rest`: work that remains for the call after that.
    fn list(&mut self, id: CallId, action: Action, rest: Listing, at: &Surroundings) -> Result<(), Refusal> {
        self.must(action, at)?;
        if let Some(call) = self.calls.running.iter_mut().find(|call| call.id == id) {
            call.listing = rest;
        }
        self.effects.push(Effect::ListMembers(Waiter::Call(id)));
        Ok(())
    }

    pub(super) fn listed(
        &mut self,
        waiter: Waiter,
        members: Result<Vec<PresenceEntry>, Unavailable>,
        at: &Surroundings,
    ) {
        let id = match waiter {
            Waiter::Join => return self.join_listed(members, at),
            Waiter::Call(id) => id,
        };
        let call = self.calls.running.iter_mut().find(|call| call.id == id);
        let Some(call) = call else { return };
        let order = match std::mem::replace(&mut call.listing, Listing::Nothing) {
            Listing::Nothing => Err(ErrorCode::Internal.into()),
            Listing::Assign(user, role) => self
                .other(&user, members, at)
                .map(|to| RoomOrder::ChangeRole(RoleOrder::Assign { to, role, by: Some(self.standing()) })),
            Listing::Transfer(user) => self
                .other(&user, members, at)
                .map(|to| RoomOrder::ChangeRole(RoleOrder::Transfer { to, by: self.standing() })),
            Listing::Ban(user) => self.ban(user, members.unwrap_or_default(), at).map(RoomOrder::Ban),
            Listing::Kick(user) => self.ban(user, members.unwrap_or_default(), at).map(RoomOrder::Kick),
        };
        match order {
            Ok(order) => self.effects.push(Effect::ChangeRoom(id, order)),
            Err(refusal) => self.refuse(id, refusal, at),
        }
    }

    fn standing(&self) -> ClaimedRole {
        ClaimedRole { user: self.identity.user.clone(), claimed: self.identity.claimed }
    }

    /// Returns another user, and the role that the other user's token claims. Fails if the other user is not
    /// in the room, or if the user of the session may not change roles.
    fn other(
        &self,
        user: &UserId,
        members: Result<Vec<PresenceEntry>, Unavailable>,
        at: &Surroundings,
    ) -> Result<ClaimedRole, Refusal> {
        self.must(Action::AssignRole, at)?;
        let member = members?.into_iter().find(|member| member.user_id == *user);
        let member = member.ok_or(ErrorCode::NoSuchMember)?;
        Ok(ClaimedRole { user: member.user_id, claimed: member.role })
    }

    /// Returns the order to ban or kick a user. The ban or kick is a record in the store. Every gateway that
    /// sees the record closes the user's connection. The node with the room's Janus instance removes the user
    /// from the mix, and listener nodes end the user's streams.
    fn ban(&self, user: UserId, members: Vec<PresenceEntry>, at: &Surroundings) -> Result<BanOrder, Refusal> {
        let room = self.must(Action::Ban(None), at)?;
        let present = members.into_iter().find(|member| member.user_id == user);
        let claimed = present.as_ref().map(|member| member.role);
        let claimed = claimed.or_else(|| room.users.get(&user).map(|known| known.role));
        let target = claimed.map(|claimed| roles::in_force(&room.users, &user, claimed));
        let target = target.ok_or(ErrorCode::NoSuchMember)?;
        if user == self.identity.user || !self.role(&room).may(Action::Ban(Some(target))) {
            return Err(ErrorCode::Forbidden.into());
        }
        let name = present.and_then(|member| DisplayName::new(&member.display_name?).ok());
        Ok(BanOrder { user, name, by: Some(self.identity.user.clone()) })
    }
}

/// Checks that presence accepted an entry; returns the refusal otherwise.
pub(super) fn place(outcome: Result<JoinOutcome, Unavailable>) -> Result<(), Refusal> {
    match outcome? {
        JoinOutcome::Ok => Ok(()),
        JoinOutcome::Full => Err(RpcError::from(ErrorCode::RoomFull).retry_after(super::FULL).into()),
        JoinOutcome::Fenced => Err(Refusal::Replaced),
    }
}

pub(super) fn max_anchors(room: &RoomView) -> usize {
    room.meta.as_ref().map_or(0, |meta| usize::from(meta.max_anchors))
}
