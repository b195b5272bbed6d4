//! Names of the keys in the store. No other module builds or parses them.

use serde::{Deserialize, Serialize};

use super::api_key::ApiKeyId;
use super::events::EventId;
use super::ids::{ModuleId, RoomId, UnixMs, UserId};
use super::profile::Language;
use super::recording::RecordingId;

pub const ROOMS: &str = "/rooms/";
/// Prefix of the events of all rooms. It is not below `ROOMS`, so that events outlive their room.
pub const EVENTS: &str = "/events/";
pub const JANUSES: &str = "/januses/";
/// Prefix of the store keys of API keys, one per API key.
pub const API_KEYS: &str = "/apikeys/";
/// Prefix of the store keys that order the changes counted against quotas, one per API key.
const QUOTAS: &str = "/quotas/";
/// Prefix of the keys of webhooks, each below the name of its endpoint.
const WEBHOOKS: &str = "/webhooks/";
pub const MIXERS: &str = "/mixers/";
/// Prefix of the audit log, one key per action.
pub const AUDIT: &str = "/audit/";
/// Prefix of the keys of recordings, one per recording.
pub const RECORDINGS: &str = "/recordings/";
/// Key of the leader, bound to its lease.
pub const LEADER: &str = "/leaders/rooms";
/// Prefix of the ACME certificates and the locks of their orders, each below an id that is derived from the
/// names and the authority of the certificate.
const ACME: &str = "/acme/";
/// Prefix of the captions of recordings, each below the id of its recording.
const CAPTIONS: &str = "/captions/recordings/";
/// Prefix of the locks of recognisers, one per room and language.
const RECOGNISERS: &str = "/captions/recognisers/";
/// Prefix of the answers to ACME challenges, one per token.
pub const ACME_CHALLENGES: &str = "/acme-challenges/";
/// Prefix of the keys of running nodes, one per node.
/// Prefix of the records of nodes.
pub const NODES: &str = "/nodes/";
/// Separator between a room's id and a user's id.
const USERS: &str = "users/";

/// Key that exists once per room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoomPart {
    Meta,
    LiveMeta,
    Janus,
    Mixer,
    Sequence,
    /// Request to record the current broadcast.
    Recording,
    /// Order to mute everybody.
    Mute,
    /// Anchors whose presence was reported in the event ledger.
    Anchors,
    /// Wanted outputs.
    Outputs,
    /// States of the outputs.
    OutputStates,
    /// URLs and files that are played in the room.
    Sources,
}

/// Any key of a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoomKey {
    Part(RoomPart),
    /// Record of one user of the room.
    User(UserId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleKind {
    Janus,
    Mixer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModulePart {
    Heartbeat,
    Mark,
    /// Numbers of listeners; only mixers have this part.
    Listeners,
}

impl RoomPart {
    pub const ALL: [Self; 11] = [
        Self::Meta,
        Self::LiveMeta,
        Self::Janus,
        Self::Mixer,
        Self::Sequence,
        Self::Recording,
        Self::Mute,
        Self::Anchors,
        Self::Outputs,
        Self::OutputStates,
        Self::Sources,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::LiveMeta => "livemeta",
            Self::Janus => "janus",
            Self::Mixer => "mixer",
            Self::Sequence => "sequence",
            Self::Recording => "recording",
            Self::Mute => "mute",
            Self::Anchors => "anchors",
            Self::Outputs => "outputs",
            Self::OutputStates => "outputstates",
            Self::Sources => "sources",
        }
    }
}

impl ModuleKind {
    pub const ALL: [Self; 2] = [Self::Janus, Self::Mixer];

    pub fn prefix(self) -> &'static str {
        match self {
            Self::Janus => JANUSES,
            Self::Mixer => MIXERS,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Janus => "janus",
            Self::Mixer => "mixer",
        }
    }
}

impl ModulePart {
    pub const ALL: [Self; 3] = [Self::Heartbeat, Self::Mark, Self::Listeners];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Mark => "mark",
            Self::Listeners => "listeners",
        }
    }
}

pub fn room(id: &RoomId, part: RoomPart) -> String {
    format!("{ROOMS}{id}/{}", part.as_str())
}

/// Returns the prefix of the keys of all users of a room.
pub fn users(room: &RoomId) -> String {
    format!("{ROOMS}{room}/{USERS}")
}

/// Returns the key of a user. The id is percent-encoded, so it adds no further slash.
pub fn user(room: &RoomId, user: &UserId) -> String {
    format!("{}{}", users(room), user.encoded())
}

/// Returns the key of a recording.
pub fn recording(id: &RecordingId) -> String {
    format!("{RECORDINGS}{id}")
}

/// Parses the key of a recording. `None`: the key is not one of ours.
pub fn parse_recording(key: &str) -> Option<RecordingId> {
    RecordingId::new(key.strip_prefix(RECORDINGS)?).ok()
}

/// Returns the prefix of the captions of a recording.
pub fn captions(recording: &RecordingId) -> String {
    format!("{CAPTIONS}{recording}/")
}

/// Returns the prefix of the captions of a recording in one language.
pub fn captions_in(recording: &RecordingId, language: &Language) -> String {
    format!("{}{}/", captions(recording), language.as_str())
}

/// Returns the key of a chunk of captions. The keys of a language sort by time.
pub fn caption_chunk(recording: &RecordingId, language: &Language, number: u64) -> String {
    format!("{}{number:010}", captions_in(recording, language))
}

/// Parses the key of a chunk of captions of this recording. `None`: the key is not one of ours.
pub fn parse_caption_chunk(key: &str, recording: &RecordingId) -> Option<Language> {
    let (language, _) = key.strip_prefix(captions(recording).as_str())?.split_once('/')?;
    Language::new(language).ok()
}

/// Returns the prefix of the locks of a room's recognisers.
pub fn recognisers(room: &RoomId) -> String {
    format!("{RECOGNISERS}{room}/")
}

/// Returns the key of the lock of the recogniser of a room and language.
pub fn recogniser(room: &RoomId, language: &Language) -> String {
    format!("{}{}", recognisers(room), language.as_str())
}

/// Returns the key of an entry of the audit log. These keys sort by time.
pub fn audit(at: UnixMs, random: u64) -> String {
    format!("{AUDIT}{:013}-{random:016x}", at.0)
}

/// Returns the store key of an API key.
pub fn api_key(id: &ApiKeyId) -> String {
    format!("{API_KEYS}{id}")
}

/// Parses the store key of an API key. `None`: the store key is not one of ours.
pub fn parse_api_key(key: &str) -> Option<ApiKeyId> {
    ApiKeyId::new(key.strip_prefix(API_KEYS)?).ok()
}

/// Returns the store key that orders the changes counted against the quotas of an API key. Every such change
/// writes it, so of two simultaneous changes one must be repeated.
pub fn quota_order(id: &ApiKeyId) -> String {
    format!("{QUOTAS}{id}")
}

/// Returns the key of the lock under which a certificate is ordered. `names_id`: id derived from the names
/// and the authority of the certificate.
pub fn acme_order(names_id: &str) -> String {
    format!("{ACME}{names_id}/order")
}

/// Returns the key of the sealed certificate. `names_id`: id derived from the names and the authority of the
/// certificate.
pub fn acme_certificate(names_id: &str) -> String {
    format!("{ACME}{names_id}/certificate")
}

/// Returns the key of the answer to a challenge.
pub fn acme_challenge(token: &str) -> String {
    format!("{ACME_CHALLENGES}{token}")
}

/// Returns the key of a node. It is bound to the lease of the process that runs under this id.
pub fn node(id: &ModuleId) -> String {
    format!("{NODES}{id}")
}

pub fn module(kind: ModuleKind, id: &ModuleId, part: ModulePart) -> String {
    format!("{}{id}/{}", kind.prefix(), part.as_str())
}

/// Parses a key of a room. `None`: the key is not one of ours; the caller reports it and continues.
pub fn parse_room(key: &str) -> Option<(RoomId, RoomKey)> {
    let (id, name) = key.strip_prefix(ROOMS)?.split_once('/')?;
    let key = match name.strip_prefix(USERS) {
        Some(user) => RoomKey::User(UserId::from_encoded(user)?),
        None => RoomKey::Part(RoomPart::ALL.into_iter().find(|p| p.as_str() == name)?),
    };
    Some((RoomId::new(id).ok()?, key))
}

/// Returns the key of an event.
pub fn event(room: &RoomId, id: &EventId) -> String {
    format!("{EVENTS}{room}/{}", id.as_str())
}

/// Parses a key of an event. `None`: the key is not one of ours.
pub fn parse_event(key: &str) -> Option<(RoomId, EventId)> {
    let (room, id) = key.strip_prefix(EVENTS)?.split_once('/')?;
    Some((RoomId::new(room).ok()?, EventId::parse(id)?))
}

/// Returns the key of an endpoint's delivery state.
pub fn webhook_state(endpoint: &str) -> String {
    format!("{WEBHOOKS}{endpoint}/state")
}

/// Returns the prefix of the dead letters of an endpoint.
pub fn webhook_dead_letters(endpoint: &str) -> String {
    format!("{WEBHOOKS}{endpoint}/dead/")
}

/// Returns the key of the dead letter in a slot.
pub fn webhook_dead_letter(endpoint: &str, slot: u64) -> String {
    format!("{}{slot:03}", webhook_dead_letters(endpoint))
}

/// Parses a key of a module. `None`: the key is not one of ours.
pub fn parse_module(key: &str) -> Option<(ModuleKind, ModuleId, ModulePart)> {
    let kind = ModuleKind::ALL.into_iter().find(|k| key.starts_with(k.prefix()))?;
    let (id, part) = key.strip_prefix(kind.prefix())?.split_once('/')?;
    let part = ModulePart::ALL.into_iter().find(|p| p.as_str() == part)?;
    Some((kind, ModuleId::new(id).ok()?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_they_were_written() {
        let id = RoomId::new("demo").unwrap();
        for part in RoomPart::ALL {
            assert_eq!(parse_room(&room(&id, part)), Some((id.clone(), RoomKey::Part(part))));
        }
        let ann = UserId::new("ann.b-1").unwrap();
        assert_eq!(user(&id, &ann), "/rooms/demo/users/ann.b-1");
        assert_eq!(parse_room(&user(&id, &ann)), Some((id.clone(), RoomKey::User(ann))));
        let (tape, en) = (RecordingId::random(7), Language::new("en-GB").unwrap());
        let chunk = caption_chunk(&tape, &en, 12);
        assert_eq!(chunk, "/captions/recordings/0000000000000007/en-GB/0000000012");
        assert_eq!(parse_caption_chunk(&chunk, &tape), Some(en));
        let odd = UserId::new("auth0|a/b c@ü").unwrap();
        assert_eq!(user(&id, &odd), "/rooms/demo/users/auth0%7Ca%2Fb%20c%40%C3%BC");
        assert_eq!(parse_room(&user(&id, &odd)), Some((id.clone(), RoomKey::User(odd))));
        let app = ApiKeyId::random([3; 12]);
        assert_eq!(parse_api_key(&api_key(&app)), Some(app.clone()));
        assert_eq!((parse_api_key(&quota_order(&app)), parse_api_key("/apikeys/x")), (None, None));
        let node = ModuleId::new("node-1").unwrap();
        for kind in ModuleKind::ALL {
            for part in ModulePart::ALL {
                assert_eq!(parse_module(&module(kind, &node, part)), Some((kind, node.clone(), part)));
            }
        }
        for foreign in [
            "/rooms/demo",
            "/rooms/demo/other",
            "/rooms/a/meta",
            "/rooms/demo/users",
            "/rooms/demo/users/",
            "/rooms/demo/users/a/b",
            "/rooms/demo/users/a|b",
            "/other/demo/meta",
            "",
        ] {
            assert_eq!(parse_room(foreign), None, "{foreign}");
        }
    }
}
