//! View of the store on one node: one view per room and per module, built from watch events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::ids::{ModuleId, RoomId, UserId};
use super::keys::{ModuleKind, ModulePart, RoomKey, RoomPart};
use super::mix::MixShare;
use super::model::{
    Heartbeat, JanusState, ListenerCounts, LiveMeta, LiveStatus, Mark, Meta, MixerState, SequenceState, User,
};
use super::mute_all::MuteOrder;
use super::output::{OutputStates, Outputs};
use super::recording::RecordingRequest;
use super::reported_anchors::ReportedAnchors;
use super::schedule::StartTime;
use super::sources::Sources;
use super::vouched::heartbeat_refusal;

/// Reason in a plan that removes nothing because a key of the room cannot be read.
pub const UNREADABLE: &str = "a key of the room cannot be read: nothing is removed";

/// Value with the store revision of its last change. Conditional writes compare that revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue<T> {
    pub value: T,
    pub mod_revision: i64,
}

impl<T> std::ops::Deref for StoredValue<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// All keys of one room.
///
/// A value that cannot be read changes nothing but [`unreadable`](Self::unreadable): the field keeps its last
/// readable value and revision. A newer version may have written the value, so the key must not be treated as
/// absent and must not be replaced. Every write compares revisions and therefore conflicts with the
/// unreadable value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomView {
    pub meta: Option<StoredValue<Meta>>,
    pub live: Option<StoredValue<LiveMeta>>,
    pub janus: Option<StoredValue<JanusState>>,
    pub mixer: Option<StoredValue<MixerState>>,
    pub sequence: Option<StoredValue<SequenceState>>,
    /// Request to record a broadcast.
    pub recording: Option<StoredValue<RecordingRequest>>,
    /// Order to mute everybody, until it is carried out.
    pub mute: Option<StoredValue<MuteOrder>>,
    /// Anchors whose presence was reported.
    pub anchors: Option<StoredValue<ReportedAnchors>>,
    /// Wanted outputs.
    pub outputs: Option<StoredValue<Outputs>>,
    /// States of the outputs in the latest broadcast.
    pub output_states: Option<StoredValue<OutputStates>>,
    /// Sources: URLs and files that are played in the room.
    pub sources: Option<StoredValue<Sources>>,
    /// Users of the room. Copies of a view share the map, because most changes do not affect it.
    pub users: Arc<Users>,
    /// Keys that exist with a value that this version cannot read.
    pub unreadable: BTreeSet<RoomKey>,
}

/// All keys of one module. Unreadable values are treated as in [`RoomView`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleView {
    pub heartbeat: Option<StoredValue<Heartbeat>>,
    pub mark: Option<StoredValue<Mark>>,
    pub listeners: Option<StoredValue<ListenerCounts>>,
    pub unreadable: BTreeSet<ModulePart>,
}

/// Error for a stored value that does not match the type of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value is not valid JSON for this key: {0}")]
pub struct MalformedValue(String);

impl RoomView {
    /// Sets one key (or, with `None`, clears it).
    ///
    /// # Errors
    /// The value cannot be read. The key is then in `unreadable` and keeps its last readable value.
    pub fn apply(&mut self, key: RoomKey, change: Option<(&[u8], i64)>) -> Result<(), MalformedValue> {
        let result = match &key {
            RoomKey::Part(RoomPart::Meta) => set(&mut self.meta, change),
            RoomKey::Part(RoomPart::LiveMeta) => set(&mut self.live, change),
            RoomKey::Part(RoomPart::Janus) => set(&mut self.janus, change),
            RoomKey::Part(RoomPart::Mixer) => set(&mut self.mixer, change),
            RoomKey::Part(RoomPart::Sequence) => set(&mut self.sequence, change),
            RoomKey::Part(RoomPart::Recording) => set(&mut self.recording, change),
            RoomKey::Part(RoomPart::Mute) => set(&mut self.mute, change),
            RoomKey::Part(RoomPart::Anchors) => set(&mut self.anchors, change),
            RoomKey::Part(RoomPart::Outputs) => set(&mut self.outputs, change),
            RoomKey::Part(RoomPart::OutputStates) => set(&mut self.output_states, change),
            RoomKey::Part(RoomPart::Sources) => set(&mut self.sources, change),
            RoomKey::User(user) => self.set_user(user, change),
        };
        match result.is_ok() {
            true => self.unreadable.remove(&key),
            false => self.unreadable.insert(key),
        };
        result
    }

    /// Copies the value of `key` from an earlier view, because a relist starts with an empty view.
    pub fn keep(&mut self, key: &RoomKey, earlier: &Self) {
        match key {
            RoomKey::Part(RoomPart::Meta) => self.meta = earlier.meta.clone(),
            RoomKey::Part(RoomPart::LiveMeta) => self.live = earlier.live.clone(),
            RoomKey::Part(RoomPart::Janus) => self.janus = earlier.janus.clone(),
            RoomKey::Part(RoomPart::Mixer) => self.mixer = earlier.mixer.clone(),
            RoomKey::Part(RoomPart::Sequence) => self.sequence = earlier.sequence.clone(),
            RoomKey::Part(RoomPart::Recording) => self.recording = earlier.recording.clone(),
            RoomKey::Part(RoomPart::Mute) => self.mute = earlier.mute.clone(),
            RoomKey::Part(RoomPart::Anchors) => self.anchors = earlier.anchors.clone(),
            RoomKey::Part(RoomPart::Outputs) => self.outputs = earlier.outputs.clone(),
            RoomKey::Part(RoomPart::OutputStates) => self.output_states = earlier.output_states.clone(),
            RoomKey::Part(RoomPart::Sources) => self.sources = earlier.sources.clone(),
            RoomKey::User(user) => {
                if let Some(known) = earlier.users.get(user) {
                    Arc::make_mut(&mut self.users).insert(user.clone(), known.clone());
                }
            }
        }
    }

    /// Returns the first key of the room that cannot be read; keys of users do not count. While there is one,
    /// no part of the room may be treated as unwanted.
    pub fn unreadable_part(&self) -> Option<RoomPart> {
        self.unreadable.iter().find_map(|key| match key {
            RoomKey::Part(part) => Some(*part),
            RoomKey::User(_) => None,
        })
    }

    /// Returns true if this user is banned from the room or kicked. None of the user's tokens is then valid
    /// for the room. A user whose record could never be read counts as banned.
    pub fn is_banned(&self, user: &UserId) -> bool {
        self.users
            .get(user)
            .map_or_else(|| self.unreadable.contains(&RoomKey::User(user.clone())), |known| known.is_banned())
    }

    /// Returns true if the user is kicked, which means that the leader lifts the ban after some time.
    pub fn is_kicked(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|user| user.is_banned() && user.kicked)
    }

    /// Returns the kicked users.
    pub fn kicked(&self) -> impl Iterator<Item = (&UserId, &StoredValue<User>)> {
        self.banned().filter(|(_, user)| user.kicked)
    }

    /// Returns true if this user may not speak, whatever token the user has: the user is banned or kicked, or
    /// has the role of a listener.
    pub fn is_off_stage(&self, user: &UserId) -> bool {
        self.is_banned(user) || self.users.get(user).is_some_and(|user| user.is_off_stage())
    }

    /// Returns the users who may not speak, except those whose record cannot be read.
    pub fn off_stage(&self) -> impl Iterator<Item = (&UserId, &StoredValue<User>)> {
        self.users.iter().filter(|(_, user)| user.is_off_stage())
    }

    /// Returns the banned and kicked users, except those whose record cannot be read.
    pub fn banned(&self) -> impl Iterator<Item = (&UserId, &StoredValue<User>)> {
        self.users.iter().filter(|(_, user)| user.is_banned())
    }

    /// Returns true if anybody is banned, or the record of a user cannot be read.
    pub fn has_bans(&self) -> bool {
        self.banned().next().is_some() || self.unreadable.iter().any(|key| matches!(key, RoomKey::User(_)))
    }

    /// Returns the modules that the room's keys name, possibly repeated.
    pub fn modules(&self) -> impl Iterator<Item = (ModuleKind, &ModuleId)> {
        let live = self.live.iter().flat_map(|live| {
            let handover = live.handover.iter().map(|handover| (ModuleKind::Mixer, &handover.mixer_id));
            [(ModuleKind::Janus, &live.janus_id), (ModuleKind::Mixer, &live.mixer_id)]
                .into_iter()
                .chain(handover)
        });
        let janus = self.janus.iter().map(|janus| (ModuleKind::Janus, &janus.id));
        live.chain(janus).chain(self.mixer.iter().map(|mixer| (ModuleKind::Mixer, &mixer.id)))
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn is_on_air(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.status == LiveStatus::OnAir)
    }

    /// Returns true while anchors may be in the room and listeners hear nothing.
    pub fn is_backstage(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.status == LiveStatus::Backstage)
    }

    /// Returns true if anchors may be in the room: on air or backstage.
    pub fn is_open(&self) -> bool {
        self.is_on_air() || self.is_backstage()
    }

    /// Returns the time at which the room is to be started.
    pub fn starts_at(&self) -> Option<StartTime> {
        self.meta.as_ref().and_then(|meta| meta.profile.starts_at)
    }

    /// Returns true if no new anchor may join.
    pub fn is_locked(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.profile.locked)
    }

    /// Returns the share of each participant in the room's mix.
    pub fn mix_share(&self) -> MixShare {
        MixShare::of(self.meta.as_ref().map_or(0, |meta| meta.max_anchors))
    }

    fn set_user(&mut self, user: &UserId, change: Option<(&[u8], i64)>) -> Result<(), MalformedValue> {
        let mut known = None;
        set(&mut known, change)?;
        let users = Arc::make_mut(&mut self.users);
        match known {
            Some(known) => users.insert(user.clone(), known),
            None => users.remove(user),
        };
        Ok(())
    }
}

impl ModuleView {
    /// Sets one key (or, with `None`, clears it).
    ///
    /// # Errors
    /// Same as [`RoomView::apply`].
    pub fn apply(&mut self, part: ModulePart, change: Option<(&[u8], i64)>) -> Result<(), MalformedValue> {
        let result = match part {
            ModulePart::Heartbeat => set(&mut self.heartbeat, change),
            ModulePart::Mark => set(&mut self.mark, change),
            ModulePart::Listeners => set(&mut self.listeners, change),
        };
        match result.is_ok() {
            true => self.unreadable.remove(&part),
            false => self.unreadable.insert(part),
        };
        result
    }

    /// Sets one key, as [`apply`](Self::apply) does, but refuses a heartbeat with an address outside
    /// `networks`.
    ///
    /// # Errors
    /// Same as [`RoomView::apply`]. A refused heartbeat counts as one that cannot be read.
    pub fn apply_within(
        &mut self,
        part: ModulePart,
        change: Option<(&[u8], i64)>,
        networks: &[IpNet],
    ) -> Result<(), MalformedValue> {
        let earlier = self.heartbeat.clone();
        self.apply(part, change)?;
        let heartbeat = self.heartbeat.as_ref().filter(|_| part == ModulePart::Heartbeat);
        let Some(why) = heartbeat.and_then(|known| heartbeat_refusal(&known.value, networks)) else {
            return Ok(());
        };
        self.heartbeat = earlier;
        self.unreadable.insert(part);
        Err(MalformedValue(why))
    }

    /// Same as [`RoomView::keep`].
    pub fn keep(&mut self, part: ModulePart, earlier: &Self) {
        match part {
            ModulePart::Heartbeat => self.heartbeat = earlier.heartbeat.clone(),
            ModulePart::Mark => self.mark = earlier.mark.clone(),
            ModulePart::Listeners => self.listeners = earlier.listeners.clone(),
        }
    }

    /// Returns true if the module has a heartbeat, readable or not.
    pub fn is_present(&self) -> bool {
        self.heartbeat.is_some() || self.unreadable.contains(&ModulePart::Heartbeat)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub type Users = BTreeMap<UserId, StoredValue<User>>;
pub type Rooms = BTreeMap<RoomId, Arc<RoomView>>;
pub type Modules = BTreeMap<(ModuleKind, ModuleId), Arc<ModuleView>>;

fn set<T: serde::de::DeserializeOwned>(
    slot: &mut Option<StoredValue<T>>,
    change: Option<(&[u8], i64)>,
) -> Result<(), MalformedValue> {
    *slot = match change {
        None => None,
        Some((json, mod_revision)) => {
            let value = serde_json::from_slice(json).map_err(|e| MalformedValue(e.to_string()))?;
            Some(StoredValue { value, mod_revision })
        }
    };
    Ok(())
}
