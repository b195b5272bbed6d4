//! Placement: selection of a Janus instance and a mixer for a room.
//!
//! A module is a candidate if its heartbeat is healthy, its cordon label is `ready` or absent, and both can
//! be read. It must also announce a capacity and have fewer rooms than this capacity. The processors of its
//! machine must not be busy with rooms ([`super::machine`]). Of two candidates drawn at random, the less
//! loaded one is taken. This choice spreads the rooms nearly as evenly as taking the least loaded module. It
//! also prevents all nodes of a cluster from choosing the same module at once.
//!
//! Owns that choice, its reason, and the reason for each rejected module. Never writes and never generates
//! random numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::ids::{ModuleId, RoomId};
use super::keys::{ModuleKind, ModulePart};
use super::model::{Health, LiveMeta, MachineLoad, MarkLabel};
use super::view::{ModuleView, Modules, RoomView};

/// Number of rooms per module.
pub type Load = BTreeMap<ModuleId, u32>;

/// Longest text of a reason that is read from the store, in characters.
const LONGEST_REASON: usize = 400;

/// Modules that a room is assigned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub janus_id: ModuleId,
    pub mixer_id: ModuleId,
    pub reasons: PlacementReasons,
}

/// Reasons why a room is assigned to its modules, for operators. `None`: not known, for instance because a
/// node of an earlier version placed the room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementReasons {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub janus: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixer: Option<String>,
}

/// Module that was chosen for a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleChoice {
    pub id: ModuleId,
    /// Reason why this module was chosen and no other.
    pub reason: String,
}

impl Placement {
    /// Creates the placement on the modules that were chosen.
    pub fn of(janus: ModuleChoice, mixer: ModuleChoice) -> Self {
        let reasons = PlacementReasons { janus: Some(janus.reason), mixer: Some(mixer.reason) };
        Self { janus_id: janus.id, mixer_id: mixer.id, reasons }
    }
}

impl PlacementReasons {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the reason for the module of this kind.
    pub fn of_mut(&mut self, kind: ModuleKind) -> &mut Option<String> {
        match kind {
            ModuleKind::Janus => &mut self.janus,
            ModuleKind::Mixer => &mut self.mixer,
        }
    }

    /// Reads reasons without failing, because a room must not become unreadable through a text that is only
    /// shown. Ignores reasons of another type, reasons that are too long, and those with control characters.
    ///
    /// # Errors
    /// The value is no JSON.
    pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Self>, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = |side: &str| value[side].as_str().map(str::to_owned);
        let shown =
            |text: &String| text.chars().count() <= LONGEST_REASON && !text.chars().any(char::is_control);
        Ok(Box::new(Self { janus: text("janus").filter(shown), mixer: text("mixer").filter(shown) }))
    }
}

/// Two random units, uniform in `0.0..1.0`.
pub type RandomPair = [f64; 2];

/// Reason why a module takes no more rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// The lease of the module expired, or the module never started. Only its cordon label is known.
    NoHeartbeat,
    Unhealthy,
    Marked(MarkLabel),
    /// This key of the module has a value that cannot be read, for instance an unknown label.
    Unreadable(ModulePart),
    /// The module announces the capacity 0.
    NoCapacity,
    Full {
        load: u32,
        capacity: u32,
    },
    /// The processors of the module's machine are busy, and rooms use a large part of them.
    Overloaded(MachineLoad),
}

/// Error: no module of this kind takes a room. Contains the reason for each module; empty if there is no
/// module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotPickable {
    pub considered: Vec<(ModuleId, RejectReason)>,
}

/// Returns one candidate of `kind`, by the power of two choices.
///
/// # Errors
/// No module of this kind takes another room.
pub fn pick(
    kind: ModuleKind,
    modules: &Modules,
    load: &Load,
    random: RandomPair,
) -> Result<ModuleChoice, NotPickable> {
    pick_if(kind, modules, load, random, |_| true)
}

/// Does the same as [`pick`], but considers only modules for which `may` returns true. The error omits the
/// others.
pub fn pick_if(
    kind: ModuleKind,
    modules: &Modules,
    load: &Load,
    random: RandomPair,
    may: impl Fn(&ModuleId) -> bool,
) -> Result<ModuleChoice, NotPickable> {
    let mut candidates = Vec::new();
    let mut considered = Vec::new();
    for ((_, id), module) in modules.iter().filter(|((k, id), _)| *k == kind && may(id)) {
        let rooms = load_on(load, id);
        match pickable(module, rooms) {
            Ok(capacity) => {
                let machine = module.heartbeat.as_ref().and_then(|heartbeat| heartbeat.machine_load);
                candidates.push(Candidate { id, rooms, capacity, machine });
            }
            Err(why) => considered.push((id.clone(), why)),
        }
    }
    two_choice(kind, candidates, random).ok_or(NotPickable { considered })
}

/// Returns the capacity of the module, if it takes another room in addition to its `load`.
///
/// # Errors
/// The reason why the module takes no more rooms.
pub fn pickable(module: &ModuleView, load: u32) -> Result<u32, RejectReason> {
    let matters = |part: &&ModulePart| **part != ModulePart::Listeners;
    if let Some(part) = module.unreadable.iter().find(matters) {
        return Err(RejectReason::Unreadable(*part));
    }
    let heartbeat = module.heartbeat.as_ref().ok_or(RejectReason::NoHeartbeat)?;
    if heartbeat.status != Health::Healthy {
        return Err(RejectReason::Unhealthy);
    }
    match module.mark.as_ref().map(|m| m.label) {
        None | Some(MarkLabel::Ready) => {}
        Some(label) => return Err(RejectReason::Marked(label)),
    }
    if let Some(load) = heartbeat.machine_load.filter(|load| load.is_full()) {
        return Err(RejectReason::Overloaded(load));
    }
    match heartbeat.capacity {
        0 => Err(RejectReason::NoCapacity),
        capacity if load >= capacity => Err(RejectReason::Full { load, capacity }),
        capacity => Ok(capacity),
    }
}

/// Returns the number of rooms per module of `kind`. A `removing` room counts like one on air: until its
/// livemeta is gone, the module may still have its Janus room or FFmpeg. The capacity limits the resources
/// that exist on a module, not those that are wanted.
pub fn load_of<'a>(
    kind: ModuleKind,
    rooms: impl IntoIterator<Item = (&'a RoomId, &'a std::sync::Arc<RoomView>)>,
) -> Load {
    let mut load = Load::new();
    for live in rooms.into_iter().filter_map(|(_, room)| room.live.as_ref()) {
        *load.entry(assigned(kind, live).clone()).or_default() += 1;
    }
    load
}

pub fn load_on(load: &Load, id: &ModuleId) -> u32 {
    load.get(id).copied().unwrap_or(0)
}

/// Returns the module of `kind` that a live room is assigned to.
pub fn assigned(kind: ModuleKind, live: &LiveMeta) -> &ModuleId {
    match kind {
        ModuleKind::Janus => &live.janus_id,
        ModuleKind::Mixer => &live.mixer_id,
    }
}

impl fmt::Display for NotPickable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (id, why)) in self.considered.iter().enumerate() {
            write!(f, "{}{id} is {why}", if n == 0 { "" } else { ", " })?;
        }
        if self.considered.is_empty() { f.write_str("there is no other module of this kind") } else { Ok(()) }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeartbeat => f.write_str("without a heartbeat"),
            Self::Unhealthy => f.write_str("unhealthy"),
            Self::Marked(label) => write!(f, "marked {}", label.as_str()),
            Self::Unreadable(part) => write!(f, "closed: its {} cannot be read", part.as_str()),
            Self::NoCapacity => f.write_str("closed: it announces capacity 0"),
            Self::Full { load, capacity } => write!(f, "full: {load} of {capacity} rooms"),
            Self::Overloaded(MachineLoad { busy_percent, media_percent }) => write!(
                f,
                "overloaded: its processors are {busy_percent} % busy, {media_percent} % with rooms"
            ),
        }
    }
}

struct Candidate<'a> {
    id: &'a ModuleId,
    rooms: u32,
    capacity: u32,
    machine: Option<MachineLoad>,
}

impl Candidate<'_> {
    /// Returns true if the machine of this candidate has clearly more load. If the loads do not clearly
    /// differ, or one is unknown, returns true if this candidate has more rooms relative to its capacity. The
    /// comparison needs no division: `a/b > c/d` is `a·d > c·b`.
    fn is_fuller_than(&self, other: &Self) -> bool {
        if let Some((own, others)) = self.machine.zip(other.machine)
            && (own.is_above(others) || others.is_above(own))
        {
            return own.is_above(others);
        }
        u64::from(self.rooms) * u64::from(other.capacity) > u64::from(other.rooms) * u64::from(self.capacity)
    }

    /// Returns the reason why this candidate was taken and not `other`.
    fn reason_against(&self, other: &Self) -> String {
        if let Some((own, others)) = self.machine.zip(other.machine)
            && others.is_above(own)
        {
            let (own, others) = (own.busy_percent, others.busy_percent);
            return format!("its machine is {own} % busy, that of {} {others} %", other.id);
        }
        let Candidate { rooms, capacity, .. } = self;
        let (id, others, of) = (other.id, other.rooms, other.capacity);
        match other.is_fuller_than(self) {
            true => format!("it had {rooms} of {capacity} rooms, {id} {others} of {of}"),
            false => format!("it had {rooms} of {capacity} rooms, as loaded as {id}; drawn at random"),
        }
    }
}

fn two_choice(
    kind: ModuleKind,
    mut candidates: Vec<Candidate<'_>>,
    random: RandomPair,
) -> Option<ModuleChoice> {
    if candidates.is_empty() {
        return None;
    }
    let first = candidates.swap_remove(index(candidates.len(), random[0]));
    if candidates.is_empty() {
        let reason = format!("no other {} took rooms", kind.as_str());
        return Some(ModuleChoice { id: first.id.clone(), reason });
    }
    let second = candidates.swap_remove(index(candidates.len(), random[1]));
    let (taken, left) = if first.is_fuller_than(&second) { (second, first) } else { (first, second) };
    Some(ModuleChoice { id: taken.id.clone(), reason: taken.reason_against(&left) })
}

fn index(len: usize, random: f64) -> usize {
    ((len as f64 * random.clamp(0.0, 1.0)) as usize).min(len - 1)
}

#[cfg(test)]
mod tests {
    use super::super::model::{Heartbeat, Mark};
    use super::super::view::StoredValue;
    use super::*;
    use crate::ids::UnixMs;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn pick_names_reason_per_module() {
        let modules = modules([
            ("a-dead", None, Some(MarkLabel::Ready)),
            ("b-sick", Some((Health::Unhealthy, 9)), None),
            ("c-cordoned", Some((Health::Healthy, 9)), Some(MarkLabel::Cordon)),
            ("d-zero", Some((Health::Healthy, 0)), None),
            ("e-full", Some((Health::Healthy, 2)), Some(MarkLabel::Ready)),
        ]);
        let load = Load::from([(id("e-full"), 2)]);
        let refused = pick(ModuleKind::Janus, &modules, &load, [0.3, 0.9]).unwrap_err();
        let reasons: Vec<_> = refused.considered.into_iter().map(|(_, why)| why).collect();
        assert_eq!(
            reasons,
            [
                RejectReason::NoHeartbeat,
                RejectReason::Unhealthy,
                RejectReason::Marked(MarkLabel::Cordon),
                RejectReason::NoCapacity,
                RejectReason::Full { load: 2, capacity: 2 },
            ]
        );
    }

    #[test]
    fn unreadable_keys_close_a_module() {
        for mark in [r#"{"label":"quarantine"}"#, r#"{"label":5}"#, r#"{"label":"CORDON"}"#, "{{{", "[]", ""]
        {
            let mut view =
                (*modules([("m", Some((Health::Healthy, 9)), None)])[&(ModuleKind::Janus, id("m"))]).clone();
            assert_eq!(pickable(&view, 0), Ok(9));
            assert!(view.apply(ModulePart::Mark, Some((mark.as_bytes(), 2))).is_err());
            assert_eq!(pickable(&view, 0), Err(RejectReason::Unreadable(ModulePart::Mark)), "{mark}");
            view.apply(ModulePart::Mark, None).unwrap();
            assert_eq!(pickable(&view, 0), Ok(9));
            let sideways = br#"{
                "status":"sideways","host":"h","url":"u","capacity":9,"startedAt":1,
                "incarnation":"i","version":"0"
            }"#;
            assert!(view.apply(ModulePart::Heartbeat, Some((sideways, 3))).is_err());
            assert_eq!(pickable(&view, 0), Err(RejectReason::Unreadable(ModulePart::Heartbeat)));
            assert!(view.is_present(), "an unreadable heartbeat counts as present");
        }
    }

    #[test]
    fn pick_ignores_modules_of_other_kind() {
        let modules = modules([("node", Some((Health::Healthy, 9)), None)]);
        let refused = pick(ModuleKind::Mixer, &modules, &Load::new(), [0.0, 0.0]).unwrap_err();
        assert_eq!(refused.considered, []);
    }

    #[test]
    fn pick_takes_lower_relative_load() {
        let modules = modules([
            ("large", Some((Health::Healthy, 100)), None),
            ("small", Some((Health::Healthy, 4)), None),
        ]);
        let load = Load::from([(id("large"), 20), (id("small"), 1)]);
        for random in [[0.0, 0.0], [0.9, 0.0]] {
            let taken = pick(ModuleKind::Janus, &modules, &load, random).unwrap();
            let reason = "it had 20 of 100 rooms, small 1 of 4".to_owned();
            assert_eq!(taken, ModuleChoice { id: id("large"), reason });
        }
    }

    #[test]
    fn choice_names_its_reason() {
        let reason = |modules: &Modules, load: &[(&str, u32)]| {
            let load = load.iter().map(|(name, rooms)| (id(name), *rooms)).collect();
            pick(ModuleKind::Janus, modules, &load, [0.0, 0.0]).unwrap().reason
        };
        let healthy = Some((Health::Healthy, 9));
        let drained = modules([("a", healthy, None), ("b", healthy, Some(MarkLabel::Drained))]);
        assert_eq!(reason(&drained, &[]), "no other janus took rooms");
        let equal = modules([("a", healthy, None), ("b", healthy, None)]);
        let drawn = "it had 2 of 9 rooms, as loaded as b; drawn at random";
        assert_eq!(reason(&equal, &[("a", 2), ("b", 2)]), drawn);
    }

    #[test]
    fn unusable_reasons_are_ignored() {
        let read = |json: serde_json::Value| *PlacementReasons::lenient(json).unwrap();
        let good = PlacementReasons { janus: Some("why".into()), mixer: None };
        assert_eq!(read(serde_json::to_value(&good).unwrap()), good);
        let long = "x".repeat(LONGEST_REASON + 1);
        for json in [serde_json::json!({ "janus": 5, "mixer": long }), "text".into(), serde_json::Value::Null]
        {
            assert!(read(json).is_empty());
        }
        assert!(read(serde_json::json!({ "mixer": "\u{1b}[2J" })).is_empty());
    }

    #[test]
    fn busy_machines_lose_and_refuse() {
        let with = |name: &str, load: Option<(u8, u8)>| {
            let mut view = (*modules([(name, Some((Health::Healthy, 9)), None)])
                [&(ModuleKind::Janus, id(name))])
                .clone();
            view.heartbeat.as_mut().unwrap().value.machine_load =
                load.map(|(busy_percent, media_percent)| MachineLoad { busy_percent, media_percent });
            ((ModuleKind::Janus, id(name)), Arc::new(view))
        };
        let taken = |a, b| {
            let modules = Modules::from([with("a", a), with("b", b)]);
            let load = Load::from([(id("a"), 2), (id("b"), 1)]);
            let choice = pick(ModuleKind::Janus, &modules, &load, [0.0, 0.0]).unwrap();
            (choice.id.to_string(), choice.reason)
        };
        let (by_rooms, by_machine) =
            ("it had 1 of 9 rooms, a 2 of 9", "its machine is 20 % busy, that of b 60 %");
        let (a, b) = (|why: &str| ("a".to_owned(), why.to_owned()), ("b".to_owned(), by_rooms.to_owned()));
        assert_eq!(taken(None, None), b, "fewer rooms");
        assert_eq!(taken(Some((20, 20)), Some((60, 30))), a(by_machine), "less busy");
        assert_eq!(taken(Some((20, 20)), Some((30, 30))), b, "about as busy: fewer rooms");
        assert_eq!(taken(None, Some((60, 30))), b, "an earlier version announces no load");
        assert_eq!(taken(Some((80, 70)), Some((95, 90))), a("no other janus took rooms"));
        let full = Modules::from([with("a", Some((95, 90)))]);
        let refused = pick(ModuleKind::Janus, &full, &Load::new(), [0.0, 0.0]).unwrap_err();
        assert_eq!(refused.to_string(), "a is overloaded: its processors are 95 % busy, 90 % with rooms");
    }

    proptest! {
        #[test]
        fn pick_finds_module_with_capacity(
            fleet in prop::collection::vec((0u32..4, 0u32..4, any::<bool>(), 0u8..4), 0..6),
            random in [0.0..1.0f64, 0.0..1.0f64],
        ) {
            let names: Vec<String> = (0..fleet.len()).map(|n| format!("m{n}")).collect();
            let modules = modules(fleet.iter().zip(&names).map(|((capacity, _, up, mark), name)| {
                let mark = [None, Some(MarkLabel::Ready), Some(MarkLabel::Draining), None][*mark as usize];
                (name.as_str(), up.then_some((Health::Healthy, *capacity)), mark)
            }));
            let load: Load = fleet.iter().zip(&names).map(|((_, l, ..), name)| (id(name), *l)).collect();
            let free = |m: &ModuleId| {
                let view = &modules[&(ModuleKind::Janus, m.clone())];
                pickable(view, load_on(&load, m)).is_ok()
            };
            match pick(ModuleKind::Janus, &modules, &load, random) {
                Ok(taken) => prop_assert!(free(&taken.id)),
                Err(refused) => {
                    prop_assert_eq!(refused.considered.len(), fleet.len());
                    prop_assert!(names.iter().all(|n| !free(&id(n))));
                }
            }
        }
    }

    fn id(text: &str) -> ModuleId {
        ModuleId::new(text).unwrap()
    }

    fn modules<'a>(
        list: impl IntoIterator<Item = (&'a str, Option<(Health, u32)>, Option<MarkLabel>)>,
    ) -> Modules {
        let view = |heartbeat: Option<(Health, u32)>, mark: Option<MarkLabel>| ModuleView {
            heartbeat: heartbeat.map(|(status, capacity)| versioned(heartbeat_of(status, capacity))),
            mark: mark.map(|label| versioned(Mark { label, lease: None })),
            ..ModuleView::default()
        };
        list.into_iter()
            .map(|(name, heartbeat, mark)| ((ModuleKind::Janus, id(name)), Arc::new(view(heartbeat, mark))))
            .collect()
    }

    fn heartbeat_of(status: Health, capacity: u32) -> Heartbeat {
        Heartbeat {
            status,
            host: "host".into(),
            url: "ws://host".into(),
            capacity,
            started_at: UnixMs(1),
            incarnation: "i".into(),
            version: "0".into(),
            rtp: None,
            machine_load: None,
            secret_fingerprint: None,
        }
    }

    fn versioned<T>(value: T) -> StoredValue<T> {
        StoredValue { value, mod_revision: 1 }
    }
}
