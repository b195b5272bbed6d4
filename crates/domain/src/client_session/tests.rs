//! Tests of the client session: every transition, and the races between calls, results and the close.

mod admission;
mod calls;
mod connection;
mod gateways;
mod history;
mod join;
mod moderation;
mod whip;

use serde_json::{Value, json};

use super::*;
use crate::connection::{JoinOutcome, UpdateOutcome};
use crate::grant::Grant;
use crate::ids::{RoomId, UnixMs, UserId};
use crate::keys::parse_room;
use crate::model::UserRole;
use crate::presence_entry::{PresenceEntry, Source};
use crate::signalling::Method;
use crate::signalling::methods::{ActivityStatus, ResumeToken};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const JOIN_WITHIN: Duration = Duration::from_secs(30);
const RENEW_EVERY: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
const CHECK_EVERY: Duration = Duration::from_secs(1);
const LOCKED: &str =
    r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0,"profile":{"locked":true}}"#;
const OPEN: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0}"#;
const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:ab12\r\na=ice-pwd:01\r\n\
    a=fingerprint:sha-256 AB:CD\r\na=rtpmap:111 opus/48000/2\r\n";

/// Session under test, with the surroundings that it sees.
struct Rig {
    session: ClientSession,
    at: Surroundings,
}

impl Rig {
    fn new(claimed: UserRole) -> Self {
        let expires_at = UnixMs(3_600_000);
        let identity = ClientIdentity {
            room: RoomId::new("talk").unwrap(),
            user: user("anna"),
            claimed,
            grant: Grant { issued_at: UnixMs(0), expires_at, room_created_at: Some(UnixMs(0)) },
            client_id: Some(client("tab")),
            source: Source::Signalling,
        };
        let rules = Rules {
            call_timeout: CALL_TIMEOUT,
            join_within: JOIN_WITHIN,
            renew_every: RENEW_EVERY,
            silence: SILENCE,
            admission: false,
            consent: false,
            check_every: CHECK_EVERY,
        };
        let now = Duration::ZERO;
        let at = Surroundings { now, wall: UnixMs(0), room: Some(room(OPEN, &[])), random: 0.5 };
        Self { session: ClientSession::new(identity, Arc::new(rules), now), at }
    }

    /// Returns the session of an anchor that holds the lock under fencing token 1.
    fn connected() -> Self {
        Self::connected_as(UserRole::Anchor)
    }

    fn connected_as(claimed: UserRole) -> Self {
        let mut rig = Self::new(claimed);
        rig.feed(Input::Opened);
        assert_eq!(rig.acquired(1), [Effect::Greet]);
        rig
    }

    /// Returns an anchor's session in the room, with the media session 1. Its `join` was call 0.
    fn joined() -> Self {
        let mut rig = Self::connected();
        rig.enter(0);
        rig
    }

    /// Joins without a resume token.
    fn enter(&mut self, call: u64) {
        let source = self.session.identity.source;
        let wanted = PresenceEntry { source, ..entry(self.token(), ActivityStatus::Idle, false) };
        assert_eq!(self.call(call, "join", json!({})), [enter(&wanted)]);
        assert_eq!(
            self.feed(Input::Entered(Ok(JoinOutcome::Ok))),
            [Effect::JoinMedia { resume_token: None }]
        );
        let effects = self.feed(Input::MediaJoined(Ok(media(false))));
        let (follow, reply) = (Effect::FollowMedia(self.session.joins), joined(false));
        let reply = Effect::Reply(CallId(call), reply);
        assert_eq!(effects, [follow, Effect::Greet, reply, Effect::Update(wanted)]);
        assert_eq!(self.feed(updated(UpdateOutcome::Ok)), []);
    }

    fn token(&self) -> u64 {
        self.session.lock().expect("a lock").token.0
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.session.handle(input, &self.at)
    }

    fn call(&mut self, id: u64, name: &str, params: Value) -> Vec<Effect> {
        self.feed(Input::Call(CallId(id), Method::parse(name, Some(params)).unwrap()))
    }

    fn acquired(&mut self, token: u64) -> Vec<Effect> {
        self.feed(Input::Acquired(Ok(LockOutcome::Ours(FencingToken(token)))))
    }

    fn tick(&mut self, seconds: u64) -> Vec<Effect> {
        self.at.now = Duration::from_secs(seconds);
        self.feed(Input::Tick)
    }

    fn finish(&mut self, id: u64) -> Vec<Effect> {
        self.feed(Input::Finished(CallId(id), Ok(Answer::Done)))
    }

    fn media(&mut self, event: MediaEvent) -> Vec<Effect> {
        let join = self.session.joins;
        self.feed(Input::Media { join, event })
    }

    fn closed(&mut self, code: CloseCode) -> Vec<Effect> {
        self.feed(Input::Closed { code, left: false })
    }

    fn due(&self) -> Duration {
        self.session.due(&self.at).expect("an open connection")
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

/// Returns a room on air with these users.
fn room(meta: &str, users: &[(&str, &str)]) -> Arc<RoomView> {
    let live =
        r#"{"status":"onair","mixerId":"mixer","janusId":"janus","nonce":"n","createdAt":0,"epoch":1}"#;
    let janus = r#"{"id":"janus","janusRoomId":123456,"status":"forwarding","timestamp":0,"epoch":1}"#;
    let mut view = RoomView::default();
    let users = users.iter().map(|(name, value)| (format!("users/{name}"), *value));
    let parts = [("meta".to_owned(), meta), ("livemeta".to_owned(), live), ("janus".to_owned(), janus)];
    for (part, value) in parts.into_iter().chain(users) {
        let key = parse_room(&format!("/rooms/talk/{part}")).unwrap().1;
        view.apply(key, Some((value.as_bytes(), 1))).unwrap();
    }
    Arc::new(view)
}

fn entry(token: u64, status: ActivityStatus, muted: bool) -> PresenceEntry {
    let (role, token) = (UserRole::Anchor, FencingToken(token));
    let source = Source::Signalling;
    let user_id = user("anna");
    PresenceEntry {
        user_id,
        role,
        display_name: None,
        status,
        muted,
        source,
        joining: false,
        consent: false,
        token,
    }
}

/// Returns the effect that adds the entry of a `join` in progress.
fn enter(entry: &PresenceEntry) -> Effect {
    enter_again(&PresenceEntry { joining: true, ..entry.clone() })
}

/// Returns the effect that adds an entry that was shown before.
fn enter_again(entry: &PresenceEntry) -> Effect {
    Effect::Enter { entry: entry.clone(), max_anchors: 3 }
}

fn media(resume: bool) -> JoinedMedia {
    JoinedMedia { resume_token: ResumeToken::issued("sealed".into()), resume, muted: false }
}

fn joined(resume: bool) -> Result<Answer, RpcError> {
    let resume_token = ResumeToken::issued("sealed".into());
    let mix_gain_db = (room(OPEN, &[]).mix_share().makeup_db() * 100.0).round() / 100.0;
    Ok(Answer::Joined { resume_token, resume, mix_gain_db })
}

fn done(id: u64) -> Effect {
    Effect::Reply(CallId(id), Ok(Answer::Done))
}

fn refused(id: u64, code: ErrorCode) -> Effect {
    Effect::Reply(CallId(id), Err(code.into()))
}

fn refused_for(id: u64, code: ErrorCode, retry_after: Duration) -> Effect {
    Effect::Reply(CallId(id), Err(RpcError::from(code).retry_after(retry_after)))
}

fn left_presence(token: u64, leave: bool, release: bool) -> Effect {
    Effect::LeavePresence { token: FencingToken(token), leave, release }
}

fn reconnect(reason: &str, retry_after_ms: u64) -> Effect {
    Effect::Notify(Notification::Reconnect { reason: reason.to_owned(), retry_after_ms })
}

fn room_closed(reason: &'static str) -> Effect {
    Effect::Notify(Notification::RoomClosed { room_id: RoomId::new("talk").unwrap(), reason })
}

fn updated(outcome: UpdateOutcome) -> Input {
    Input::Updated(Ok(outcome))
}
