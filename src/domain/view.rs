//! What a node knows of the store: one view per room and per module, folded from watch events.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::{ModuleId, RoomId};
use super::keys::{ModuleKind, ModulePart, RoomPart};
use super::model::{Heartbeat, JanusState, LiveMeta, LiveStatus, Mark, Meta, MixerState, SequenceState};

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
    pub fn apply(&mut self, part: RoomPart, change: Option<(&[u8], i64)>) -> Result<(), Malformed> {
        match part {
            RoomPart::Meta => set(&mut self.meta, change),
            RoomPart::LiveMeta => set(&mut self.live, change),
            RoomPart::Janus => set(&mut self.janus, change),
            RoomPart::Mixer => set(&mut self.mixer, change),
            RoomPart::Sequence => set(&mut self.sequence, change),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn is_on_air(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.status == LiveStatus::OnAir)
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
