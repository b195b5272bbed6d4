//! Quotas of API keys: how much one key may use. This module is pure.
//!
//! A room counts for the API key that created it, even if another key starts the room or invites its users.
//! The room counts until its removal is complete. A broadcast or backstage counts until its Janus and its
//! mixer have released the room. A token counts for the key that requested it.
//!
//! Owns: the counts and the limits. Never reads a clock, and never writes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::api_key::{ApiKeyId, MAX_KEYS};
use super::ids::UserId;
use super::view::RoomView;

/// Largest value of a quota.
pub const LARGEST: u32 = 1_000_000;
/// Window in which a key gets at most `tokensPerMinute` tokens. It begins with the first of these tokens.
const WINDOW: Duration = Duration::from_secs(60);

/// Limits of an API key; absent or null: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Quotas {
    /// Rooms that the key created and that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 0, maximum = 1_000_000))]
    pub rooms: Option<u32>,
    /// Rooms of the key that are on air or backstage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 0, maximum = 1_000_000))]
    pub rooms_on_air: Option<u32>,
    /// Invited users in each room of the key, without those who are banned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 0, maximum = 1_000_000))]
    pub users_per_room: Option<u32>,
    /// Tokens that each node issues to the key within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 0, maximum = 1_000_000))]
    pub tokens_per_minute: Option<u32>,
}

/// Quota that is used up, with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API key has reached its quota {quota}, which is {limit}; raise the quota, or use less")]
pub struct QuotaExceeded {
    /// Name of the field in [`Quotas`].
    pub quota: &'static str,
    pub limit: u32,
}

/// Field of the quotas that is unknown or has an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuota {
    #[error("quotas has no field `{0}`")]
    Unknown(String),
    #[error("quotas.{0} must be an integer from 0 to {LARGEST}, or null for no limit")]
    Value(&'static str),
}

/// Numbers of rooms that count for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub rooms: u32,
    pub on_air: u32,
}

/// Numbers of tokens issued to each key in its current window.
#[derive(Debug, Default)]
pub struct TokenWindows(HashMap<ApiKeyId, Window>);

#[derive(Debug, Clone, Copy)]
struct Window {
    /// Time of the first token in the window.
    since: Duration,
    tokens: u32,
}

impl Quotas {
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Applies a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// The first field that is unknown or has an invalid value.
    pub fn merged(&self, patch: &Map<String, Value>) -> Result<Self, InvalidQuota> {
        let mut next = *self;
        for (name, value) in patch {
            match name.as_str() {
                "rooms" => next.rooms = limit("rooms", value)?,
                "roomsOnAir" => next.rooms_on_air = limit("roomsOnAir", value)?,
                "usersPerRoom" => next.users_per_room = limit("usersPerRoom", value)?,
                "tokensPerMinute" => next.tokens_per_minute = limit("tokensPerMinute", value)?,
                other => return Err(InvalidQuota::Unknown(other.chars().take(64).collect())),
            }
        }
        Ok(next)
    }

    /// Checks that another room may be created. `starts`: the room goes on air, or its backstage opens,
    /// immediately.
    ///
    /// # Errors
    /// A quota is used up.
    pub fn admit_room(&self, usage: Usage, starts: bool) -> Result<(), QuotaExceeded> {
        below("rooms", self.rooms, usage.rooms)?;
        if starts { self.admit_start(usage) } else { Ok(()) }
    }

    /// Checks that another room may go on air or open its backstage.
    ///
    /// # Errors
    /// The quota is used up.
    pub fn admit_start(&self, usage: Usage) -> Result<(), QuotaExceeded> {
        below("roomsOnAir", self.rooms_on_air, usage.on_air)
    }

    /// Checks that `user` may be invited to the room. Users who are invited already may be invited again.
    ///
    /// # Errors
    /// The quota is used up.
    pub fn admit_user(&self, room: &RoomView, user: &UserId) -> Result<(), QuotaExceeded> {
        let counts =
            |id: &UserId| room.users.get(id).is_some_and(|known| !known.uninvited && !known.is_banned());
        if counts(user) {
            return Ok(());
        }
        let invited = room.users.keys().filter(|id| counts(id)).count();
        below("usersPerRoom", self.users_per_room, u32::try_from(invited).unwrap_or(u32::MAX))
    }
}

impl Usage {
    /// Counts the rooms of a key.
    pub fn of<'a>(key: &ApiKeyId, rooms: impl IntoIterator<Item = &'a RoomView>) -> Self {
        let of_key = rooms.into_iter().filter(|room| owner(room) == Some(key));
        of_key.fold(Self::default(), Self::with)
    }

    /// Counts the rooms of all keys.
    pub fn by_key<'a>(rooms: impl IntoIterator<Item = &'a RoomView>) -> BTreeMap<ApiKeyId, Self> {
        let mut usage = BTreeMap::<_, Self>::new();
        for room in rooms {
            if let Some(key) = owner(room) {
                let count = usage.entry(key.clone()).or_default();
                *count = count.with(room);
            }
        }
        usage
    }

    fn with(self, room: &RoomView) -> Self {
        Self { rooms: self.rooms + 1, on_air: self.on_air + u32::from(room.live.is_some()) }
    }
}

impl TokenWindows {
    /// Counts a token. `now`: time since any fixed moment.
    ///
    /// # Errors
    /// [`QuotaExceeded`], with the time until the window ends.
    pub fn take(
        &mut self,
        key: &ApiKeyId,
        quotas: &Quotas,
        now: Duration,
    ) -> Result<(), (QuotaExceeded, Duration)> {
        let Some(limit) = quotas.tokens_per_minute else { return Ok(()) };
        if self.0.len() > MAX_KEYS {
            self.0.retain(|_, window| now < window.since + WINDOW);
        }
        let fresh = Window { since: now, tokens: 0 };
        let window = self.0.entry(key.clone()).or_insert(fresh);
        if now >= window.since + WINDOW {
            *window = fresh;
        }
        below("tokensPerMinute", Some(limit), window.tokens)
            .map_err(|exceeded| (exceeded, window.since + WINDOW - now))?;
        window.tokens += 1;
        Ok(())
    }
}

/// Returns the key that a room counts for.
pub fn owner(room: &RoomView) -> Option<&ApiKeyId> {
    room.meta.as_ref()?.api_key.as_ref()
}

fn below(quota: &'static str, limit: Option<u32>, used: u32) -> Result<(), QuotaExceeded> {
    match limit {
        Some(limit) if used >= limit => Err(QuotaExceeded { quota, limit }),
        Some(_) | None => Ok(()),
    }
}

fn limit(name: &'static str, value: &Value) -> Result<Option<u32>, InvalidQuota> {
    if value.is_null() {
        return Ok(None);
    }
    // 3.0 is the same number as 3 (RFC 8259 section 6).
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0)?;
        Some(number as u64)
    });
    let limit = whole.and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= LARGEST);
    limit.map(Some).ok_or(InvalidQuota::Value(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::parse_room;

    #[test]
    fn quotas_merge_field_by_field() {
        let merged = |quotas: Quotas, patch: Value| quotas.merged(patch.as_object().unwrap());
        let two = merged(Quotas::default(), json!({ "rooms": 2, "usersPerRoom": 5.0 })).unwrap();
        assert_eq!(two, Quotas { rooms: Some(2), users_per_room: Some(5), ..Quotas::default() });
        let one = merged(two, json!({ "rooms": null, "tokensPerMinute": 0 })).unwrap();
        let wanted = Quotas { users_per_room: Some(5), tokens_per_minute: Some(0), ..Quotas::default() };
        assert_eq!(one, wanted);
        assert_eq!(merged(one, json!({ "x": 1 })), Err(InvalidQuota::Unknown("x".into())));
        for bad in [json!(-1), json!(1.5), json!("1"), json!([]), json!(LARGEST + 1), json!(1e300)] {
            let refused = merged(one, json!({ "roomsOnAir": bad }));
            assert_eq!(refused, Err(InvalidQuota::Value("roomsOnAir")), "{bad}");
        }
    }

    #[test]
    fn rooms_count_for_their_creator() {
        let (mine, other) = (key(1), key(2));
        let rooms = [
            room(Some(&mine), true, &[]),
            room(Some(&mine), false, &[]),
            room(Some(&other), true, &[]),
            room(None, true, &[]),
            RoomView::default(),
        ];
        assert_eq!(Usage::of(&mine, &rooms), Usage { rooms: 2, on_air: 1 });
        assert_eq!(Usage::of(&key(3), &rooms), Usage::default());
        let all = [(mine, Usage { rooms: 2, on_air: 1 }), (other, Usage { rooms: 1, on_air: 1 })];
        assert_eq!(Usage::by_key(&rooms), all.into());
    }

    #[test]
    fn room_quotas_bound_each_kind() {
        let quotas = Quotas { rooms: Some(2), rooms_on_air: Some(1), ..Quotas::default() };
        let admit = |rooms, on_air, starts| quotas.admit_room(Usage { rooms, on_air }, starts);
        assert_eq!(admit(1, 0, true), Ok(()));
        assert_eq!(admit(2, 0, false), Err(QuotaExceeded { quota: "rooms", limit: 2 }));
        assert_eq!(admit(1, 1, false), Ok(()));
        assert_eq!(admit(1, 1, true), Err(QuotaExceeded { quota: "roomsOnAir", limit: 1 }));
        let many = Usage { rooms: u32::MAX, on_air: u32::MAX };
        assert_eq!(Quotas::default().admit_room(many, true), Ok(()));
        let none = Quotas { rooms: Some(0), ..Quotas::default() };
        assert!(none.admit_room(Usage::default(), false).is_err());
    }

    #[test]
    fn user_quota_ignores_known_users() {
        let user = |id: &str| UserId::new(id).unwrap();
        let room = room(
            None,
            false,
            &[
                ("ann", r#"{"role":"anchor","createdAt":1}"#),
                ("bob", r#"{"role":"anchor","createdAt":1,"removedAt":2}"#),
                ("cat", r#"{"role":"anchor","createdAt":1,"uninvited":true}"#),
            ],
        );
        let limit = |limit| Quotas { users_per_room: Some(limit), ..Quotas::default() };
        assert_eq!(limit(1).admit_user(&room, &user("ann")), Ok(()));
        for new in ["bob", "cat", "dan"] {
            let refused = limit(1).admit_user(&room, &user(new));
            assert_eq!(refused, Err(QuotaExceeded { quota: "usersPerRoom", limit: 1 }), "{new}");
            assert_eq!(limit(2).admit_user(&room, &user(new)), Ok(()), "{new}");
        }
        assert_eq!(Quotas::default().admit_user(&room, &user("dan")), Ok(()));
    }

    #[test]
    fn tokens_are_counted_per_minute() {
        let quotas = Quotas { tokens_per_minute: Some(2), ..Quotas::default() };
        let (mut windows, at) = (TokenWindows::default(), Duration::from_secs);
        let exceeded = QuotaExceeded { quota: "tokensPerMinute", limit: 2 };
        assert_eq!(windows.take(&key(1), &quotas, at(100)), Ok(()));
        assert_eq!(windows.take(&key(1), &quotas, at(130)), Ok(()));
        assert_eq!(windows.take(&key(1), &quotas, at(130)), Err((exceeded, at(30))));
        assert_eq!(windows.take(&key(2), &quotas, at(130)), Ok(()), "another key");
        assert_eq!(windows.take(&key(1), &quotas, at(159)), Err((exceeded, at(1))));
        assert_eq!(windows.take(&key(1), &quotas, at(160)), Ok(()));
        for _ in 0..10 {
            assert_eq!(windows.take(&key(1), &Quotas::default(), at(161)), Ok(()));
        }
    }

    #[test]
    fn windows_of_silent_keys_are_forgotten() {
        let quotas = Quotas { tokens_per_minute: Some(1), ..Quotas::default() };
        let mut windows = TokenWindows::default();
        let id = |n: usize| ApiKeyId::random(std::array::from_fn(|i| (n >> (4 * i)) as u8 & 15));
        for n in 0..3 * MAX_KEYS {
            windows.take(&id(n), &quotas, Duration::from_millis(n as u64 * 100)).unwrap();
        }
        assert!(windows.0.len() <= MAX_KEYS + 1, "{}", windows.0.len());
    }

    fn key(n: u8) -> ApiKeyId {
        ApiKeyId::random([n; 12])
    }

    fn room(key: Option<&ApiKeyId>, live: bool, users: &[(&str, &str)]) -> RoomView {
        let key = key.map(|key| format!(r#","apiKey":"{key}""#)).unwrap_or_default();
        let meta = format!(r#"{{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":1{key}}}"#);
        let mut view = RoomView::default();
        let mut put = |name: &str, json: &str| {
            let (_, key) = parse_room(&format!("/rooms/talk/{name}")).unwrap();
            view.apply(key, Some((json.as_bytes(), 1))).unwrap();
        };
        put("meta", &meta);
        for (user, json) in users {
            put(&format!("users/{user}"), json);
        }
        if live {
            let live =
                r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":1,"epoch":1}"#;
            put("livemeta", live);
        }
        view
    }
}
