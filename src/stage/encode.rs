//! Events of the channel as server-sent events (WHATWG HTML section 9.2) and as frames of a WebSocket.
//! `docs/listeners.md` describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::captions::Caption;
use crate::domain::ids::UnixMs;
use crate::domain::model::EndReason;
use crate::domain::profile::{CoverUrl, Description, Language, RoomProfile, Tags, Title};
use crate::domain::recording::in_force;
use crate::domain::room::RoomStatus;
use crate::domain::schedule::StartTime;
use crate::domain::signalling::DisplayName;
use crate::domain::stage::{
    Event, Hand, HistoryId, Person, PersonId, Reaction, SpeakingTimes, Stage, StageRole,
};
use crate::frames::OutboundFrame;
use crate::rooms::Room;

/// Reconnection delay for EventSource, in milliseconds. Only our own client adds jitter to it.
const RETRY_MS: u32 = 1000;

/// State of the room itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomLine {
    pub status: RoomStatus,
    pub listeners: usize,
    /// True while the broadcast is recorded.
    pub recorded: bool,
    /// Time that listeners can go back, in seconds; absent if they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewind: Option<u64>,
    /// True if no new anchor may join, except hosts and co-hosts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// Time at which the room goes on air by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<StartTime>,
    /// Start of the broadcast; absent while the room is not on air.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_air_since: Option<UnixMs>,
    /// Reason why the latest broadcast ended; absent while the room is on air or has a backstage, and if none
    /// has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<CoverUrl>,
}

impl RoomLine {
    /// Returns the state of a room. `rewind`: how far its listeners can go back.
    pub fn of(room: &Room, listeners: usize, rewind: Option<Duration>) -> Self {
        let on_air = matches!(room.status, RoomStatus::OnAir | RoomStatus::Degraded);
        let live = room.view.live.as_ref().filter(|_| on_air);
        let RoomProfile { title, description, language, tags, cover_url, .. } = (*room.meta.profile).clone();
        Self {
            end_reason: room.meta.last_end.filter(|_| !room.view.is_open()),
            title,
            description,
            language,
            tags,
            cover_url,
            status: room.status,
            listeners,
            recorded: in_force(&room.view).is_some(),
            rewind: rewind.map(|rewind| rewind.as_secs()),
            locked: room.view.is_locked(),
            starts_at: room.view.starts_at(),
            on_air_since: live.map(|live| live.created_at),
        }
    }
}

/// User who is in the room and may speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberLine {
    pub id: PersonId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    pub role: StageRole,
    pub muted: bool,
}

/// Banned user, for hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BanLine {
    pub id: PersonId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    pub banned_at: UnixMs,
}

/// State outside the stage, contained in every snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    pub room: RoomLine,
    pub members: Vec<MemberLine>,
    pub talking: BTreeSet<PersonId>,
    /// Newest first.
    pub bans: Vec<BanLine>,
    pub spoken: SpeakingTimes,
}

/// Transport of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    EventStream,
    WebSocket,
}

/// Encoded event, in the form of each transport. All clients share the bytes.
#[derive(Debug, Clone)]
pub struct EncodedEvent(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    text: Bytes,
    /// Made when the first client needs it: most rooms have no client with a WebSocket.
    frame: OnceLock<Bytes>,
}

impl EncodedEvent {
    fn new(text: Bytes) -> Self {
        Self(Arc::new(Forms { text, frame: OnceLock::new() }))
    }

    pub fn of(&self, transport: Transport) -> &Bytes {
        match transport {
            Transport::EventStream => &self.0.text,
            Transport::WebSocket => self.0.frame.get_or_init(|| frame(&self.0.text)),
        }
    }
}

/// One entry of a buffer, in two forms: `host` for those who may moderate (hosts and co-hosts), and `public`
/// for all others.
#[derive(Debug, Clone)]
pub struct Entry {
    pub public: EncodedEvent,
    pub host: EncodedEvent,
}

impl Entry {
    fn same(encoded: EncodedEvent) -> Self {
        Self { public: encoded.clone(), host: encoded }
    }

    /// Returns the number of bytes of the server-sent events. Frames need about as many again.
    pub fn len(&self) -> usize {
        let shared = Arc::ptr_eq(&self.public.0, &self.host.0);
        self.public.0.text.len() + if shared { 0 } else { self.host.0.text.len() }
    }
}

/// Returns the first event of every client.
pub fn hello(you: &Person) -> EncodedEvent {
    let data = without_subjects(json!({ "you": you, "reactions": Reaction::ALL }));
    EncodedEvent::new(format!("retry: {RETRY_MS}\nevent: hello\ndata: {data}\n\n").into())
}

/// Returns a comment, or a ping, which keeps proxies from closing an idle connection.
pub fn heartbeat() -> Entry {
    Entry::same(EncodedEvent::new(Bytes::from_static(b":\n\n")))
}

pub fn closed(at: UnixMs) -> Entry {
    Entry::same(text("closed", None, json!({ "at": at })))
}

pub fn room(room: &RoomLine, at: UnixMs) -> Entry {
    Entry::same(text("room", None, stamped(room, at)))
}

pub fn members(members: &[MemberLine], at: UnixMs) -> Entry {
    Entry::same(text("members", None, json!({ "at": at, "members": members })))
}

pub fn talking(talking: &BTreeSet<PersonId>, at: UnixMs) -> Entry {
    Entry::same(text("talking", None, json!({ "at": at, "people": talking })))
}

pub fn spoken(times: &SpeakingTimes, at: UnixMs) -> Entry {
    Entry::same(text("spoken", None, json!({ "at": at, "people": times })))
}

pub fn reactions(counts: &BTreeMap<Reaction, u32>, at: UnixMs) -> Entry {
    Entry::same(text("reactions", None, json!({ "at": at, "counts": counts })))
}

/// Encodes a caption. Like every item that is shown with the audio, it has its time on the stream's clock.
pub fn caption(caption: &Caption) -> Entry {
    Entry::same(text("caption", None, stamped(caption, caption.from)))
}

/// Encodes the banned users. Listeners get a heartbeat instead.
pub fn bans(bans: &[BanLine], at: UnixMs) -> Entry {
    Entry { public: heartbeat().public, host: text("bans", None, json!({ "at": at, "people": bans })) }
}

/// Encodes an event of the stage. `version` is the stage's version after the event.
pub fn event(history: &HistoryId, version: u64, event: &Event) -> Entry {
    let id = Some((history, version));
    let host = text(event.kind(), id, for_hosts(event));
    match event {
        Event::HandRaised { hand } => Entry { public: text(event.kind(), id, place(hand)), host },
        _ => Entry::same(host),
    }
}

/// Encodes the whole state, for a client that has no state or has missed events.
pub fn snapshot(stage: &Stage, around: &Surroundings, at: UnixMs) -> Entry {
    let with = |hands: Value, bans: Option<&[BanLine]>| {
        let mut data = json!({
            "at": at,
            "room": around.room,
            "members": around.members,
            "talking": around.talking,
            "hands": hands,
            "messages": stage.messages,
            "pinned": stage.pinned,
            "announcement": stage.announcement,
            "settings": stage.settings,
            "floor": stage.floor,
            "spoken": around.spoken,
        });
        if let Some(bans) = bans {
            data["bans"] = json!(bans);
        }
        text("snapshot", Some((&stage.history, stage.version)), data)
    };
    let public: Vec<_> = stage.hands.iter().map(place).collect();
    Entry { public: with(public.into(), None), host: with(json!(stage.hands), Some(&around.bans)) }
}

/// Parses the value of `Last-Event-ID`.
pub fn event_id(text: &str) -> Option<(HistoryId, u64)> {
    let (history, version) = text.rsplit_once('.')?;
    Some((HistoryId(history.to_owned()), version.parse().ok()?))
}

/// Returns the public part of a raised hand: enough for the users to find their own place in the queue.
fn place(hand: &Hand) -> Value {
    json!({ "person": { "id": hand.person.id }, "raisedAt": hand.raised_at, "invited": hand.invited })
}

fn for_hosts(event: &Event) -> Value {
    match event {
        Event::HandRaised { hand } => json!(hand),
        Event::MessageSent { message } => json!(message),
        other => {
            let mut data = json!(other);
            // The type is already the name of the event.
            data.as_object_mut().map(|data| data.remove("type"));
            data
        }
    }
}

fn stamped(value: &impl Serialize, at: UnixMs) -> Value {
    let mut data = json!(value);
    if let Some(data) = data.as_object_mut() {
        data.insert("at".into(), json!(at));
    }
    data
}

/// Removes the token subjects of people, which are in the store but must not reach a client.
fn without_subjects(mut data: Value) -> Value {
    match &mut data {
        Value::Object(fields) => {
            fields.remove("subject");
            fields.values_mut().for_each(|value| *value = without_subjects(value.take()));
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| *value = without_subjects(value.take()));
        }
        _ => {}
    }
    data
}

/// Formats an event. JSON contains no line break, so one `data` line is enough.
fn text(name: &str, id: Option<(&HistoryId, u64)>, data: Value) -> EncodedEvent {
    let data = without_subjects(data);
    let id = id.map(|(history, version)| format!("id: {}.{version}\n", history.0)).unwrap_or_default();
    EncodedEvent::new(format!("{id}event: {name}\ndata: {data}\n\n").into())
}

/// Returns the frame of one server-sent event: an object with the same name, id and data. A comment becomes a
/// ping.
fn frame(event: &[u8]) -> Bytes {
    let event = String::from_utf8_lossy(event);
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let mut frame = BytesMut::new();
    match (field("event: "), field("data: ")) {
        (Some(name), Some(data)) => {
            let id = field("id: ").map(|id| format!(r#""id":{},"#, json!(id))).unwrap_or_default();
            OutboundFrame::Text(format!(r#"{{"event":"{name}",{id}"data":{data}}}"#).into())
                .write(&mut frame);
        }
        _ => OutboundFrame::Ping.write(&mut frame),
    }
    frame.freeze()
}
