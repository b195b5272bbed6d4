//! What a node knows of the store: one view per room and per module, folded from watch events.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::{ModuleId, RoomId, UserId};
use super::keys::{ModuleKind, ModulePart, RoomKey, RoomPart};
use super::mix::MixShare;
use super::model::{
    Heartbeat, JanusState, LiveMeta, LiveStatus, Mark, Meta, MixerState, SequenceState, User,
};

/// A value and the store revision of its last change, to compare against when writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    pub value: T,
    pub mod_revision: i64,
}

impl<T> std::ops::Deref for Versioned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// All keys of one room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomView {
    pub meta: Option<Versioned<Meta>>,
    pub live: Option<Versioned<LiveMeta>>,
    pub janus: Option<Versioned<JanusState>>,
    pub mixer: Option<Versioned<MixerState>>,
    pub sequence: Option<Versioned<SequenceState>>,
    /// Shared by the copies of a view: most changes of a room leave it alone.
    pub users: Arc<Users>,
}

/// All keys of one module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleView {
    pub heartbeat: Option<Versioned<Heartbeat>>,
    pub mark: Option<Versioned<Mark>>,
}

/// A value in the store that is not what its key promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value is not valid JSON for this key: {0}")]
pub struct Malformed(String);

impl RoomView {
    /// Sets (or, with `None`, clears) one key. A malformed value leaves the key as absent.
    pub fn apply(&mut self, key: RoomKey, change: Option<(&[u8], i64)>) -> Result<(), Malformed> {
        match key {
            RoomKey::Part(RoomPart::Meta) => set(&mut self.meta, change),
            RoomKey::Part(RoomPart::LiveMeta) => set(&mut self.live, change),
            RoomKey::Part(RoomPart::Janus) => set(&mut self.janus, change),
            RoomKey::Part(RoomPart::Mixer) => set(&mut self.mixer, change),
            RoomKey::Part(RoomPart::Sequence) => set(&mut self.sequence, change),
            RoomKey::User(user) => self.set_user(user, change),
        }
    }

    /// Whether this person was removed from the room: then no token of theirs is good for it.
    pub fn is_removed(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|known| known.removed_at.is_some())
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn is_on_air(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.status == LiveStatus::OnAir)
    }

    /// The share of each participant in the room's mix.
    pub fn mix_share(&self) -> MixShare {
        MixShare::of(self.meta.as_ref().map_or(0, |meta| meta.max_anchors))
    }

    fn set_user(&mut self, user: UserId, change: Option<(&[u8], i64)>) -> Result<(), Malformed> {
        let mut known = None;
        let result = set(&mut known, change);
        let users = Arc::make_mut(&mut self.users);
        match known {
            Some(known) => users.insert(user, known),
            None => users.remove(&user),
        };
        result
    }
}

impl ModuleView {
    /// Sets (or, with `None`, clears) one key. A malformed value leaves the key as absent.
    pub fn apply(&mut self, part: ModulePart, change: Option<(&[u8], i64)>) -> Result<(), Malformed> {
        match part {
            ModulePart::Heartbeat => set(&mut self.heartbeat, change),
            ModulePart::Mark => set(&mut self.mark, change),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub type Users = BTreeMap<UserId, Versioned<User>>;
pub type Rooms = BTreeMap<RoomId, Arc<RoomView>>;
pub type Modules = BTreeMap<(ModuleKind, ModuleId), Arc<ModuleView>>;

fn set<T: serde::de::DeserializeOwned>(
    slot: &mut Option<Versioned<T>>,
    change: Option<(&[u8], i64)>,
) -> Result<(), Malformed> {
    *slot = None;
    if let Some((json, mod_revision)) = change {
        let value = serde_json::from_slice(json).map_err(|e| Malformed(e.to_string()))?;
        *slot = Some(Versioned { value, mod_revision });
    }
    Ok(())
}
