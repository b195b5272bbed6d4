//! Test setup: real tokens that are signed with a test secret, and a store in which a listener is banned.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use super::tokens::NodeTokens;
use crate::auth::{Secrets, Tokens};
use crate::clock::Clock;
use crate::config::{JwtSecret, Secret};
use crate::domain::ids::{RoomId, UnixMs};
use crate::rooms::{Directory, FakeStore, now};

const HOUR: Duration = Duration::from_secs(3600);
/// Kinds of listener tokens. All kinds without a constant of their own are valid.
const EXPIRED: &str = "expired";
const OTHER_ROOM: &str = "other";
const BANNED: &str = "banned";
const KINDS: [&str; 6] = ["good", "one", "two", EXPIRED, OTHER_ROOM, BANNED];

/// Returns tokens that are signed with a test secret and checked against the rooms of a directory.
pub fn node_tokens(directory: Arc<Directory>) -> NodeTokens {
    let secret = || Secret(vec![1; 32]);
    let jwt = vec![JwtSecret { kid: "k".into(), secret: secret() }];
    let secrets = Arc::new(Secrets { jwt, hls: secret(), janus_room: secret() });
    let tokens = Tokens::new(&secrets.jwt, "test", HOUR);
    NodeTokens { tokens, secrets, anchor_ttl: HOUR, clock: Clock::start(), directory }
}

/// Returns a store in which the subject of the tokens `{banned}` is banned from the room `demo`.
pub fn store() -> Arc<FakeStore> {
    let store = FakeStore::new();
    ban(&store, "demo", BANNED);
    store
}

/// Bans the subject of the tokens of this kind from a room.
pub fn ban(store: &FakeStore, room: &str, kind: &str) {
    let banned = r#"{"role":"anchor","createdAt":0,"removedAt":1}"#;
    store.put_now(&format!("/rooms/{room}/users/{kind}"), banned);
}

/// Replaces each kind in braces, such as `{good}`, with the token of this kind for a listener of the room.
pub fn with_tokens(text: &str, room: &str) -> String {
    let room = RoomId::new(room).unwrap_or_else(|_| RoomId::new("demo").unwrap());
    KINDS.iter().fold(text.to_owned(), |text, kind| match text.contains(&format!("{{{kind}}}")) {
        true => text.replace(&format!("{{{kind}}}"), &token(kind, &room)),
        false => text,
    })
}

/// Returns the same token for each call with the same arguments.
fn token(kind: &'static str, room: &RoomId) -> String {
    static ISSUED: LazyLock<Mutex<BTreeMap<(&str, RoomId), String>>> = LazyLock::new(Mutex::default);
    let issue = || {
        let of_room = if kind == OTHER_ROOM { RoomId::new("another").unwrap() } else { room.clone() };
        let at = if kind == EXPIRED { UnixMs(now().0 - 2 * HOUR.as_millis() as u64) } else { now() };
        node_tokens(Arc::default()).tokens.issue_named_listener(Some(kind), None, &of_room, None, at).token
    };
    ISSUED.lock().unwrap().entry((kind, room.clone())).or_insert_with(issue).clone()
}
