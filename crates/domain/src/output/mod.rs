//! Outputs: pushes of a room's broadcast to targets elsewhere, such as an Icecast server. This module is
//! pure.
//!
//! ```text
//!  /rooms/{id}/outputs       wanted outputs, written by the room API
//!  /rooms/{id}/outputstates  their states in the current broadcast, written by the mixer's node
//! ```
//! Owns: the values of both keys, the limits, and the events. Does not connect to a target.

mod icecast;
mod run;
mod target;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::events::{EventType, NewEvent};
use super::ids::{InvalidName, ModuleId, Nonce, UnixMs};
use super::room::{Admission, RoomWrite};
use super::view::RoomView;

pub use icecast::{icecast_answer, second_icecast_answer};
pub use run::{OutputRun, Phase};
pub use target::{InvalidTarget, OutputFormat, OutputKind, Target, failure, known_failure};

/// Id of an output: 16 characters from `a-z 0-9`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OutputId(std::sync::Arc<str>);

/// Wanted output of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pub kind: OutputKind,
    pub format: OutputFormat,
    /// Target without its credentials.
    pub shown: String,
    /// URL of the target, sealed, because it contains credentials.
    pub sealed: String,
    pub created_at: UnixMs,
}

/// `/rooms/{id}/outputs`: all wanted outputs of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outputs(pub BTreeMap<OutputId, Output>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutputState {
    /// The room is not on air, or its mixer has not started the output yet.
    Waiting,
    Connecting,
    /// The target receives the broadcast.
    Live,
    /// The target could not be reached or has closed the connection; the next attempt follows.
    Failing,
}

/// State of one output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputStatus {
    pub state: OutputState,
    pub since: UnixMs,
    /// Number of failures in a row.
    #[serde(default)]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `/rooms/{id}/outputstates`: states of the outputs in one broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStates {
    pub nonce: Nonce,
    pub states: BTreeMap<OutputId, OutputStatus>,
}

/// Reason why an output cannot be added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutputDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("there is no such output")]
    NoSuchOutput,
    #[error("the room has {0} outputs already, the most that outputs.max_per_room allows; remove one")]
    TooMany(usize),
    #[error("outputs are switched off: set outputs.max_per_room")]
    SwitchedOff,
}

impl OutputId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        match ok {
            true => Ok(Self(text.into())),
            false => Err(InvalidName { what: "output id", rule: "must be 16 characters of a-z 0-9" }),
        }
    }

    /// Returns the id made of 64 random bits.
    pub fn random(bits: u64) -> Self {
        Self(format!("{bits:016x}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for OutputId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for OutputId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<OutputId> for String {
    fn from(id: OutputId) -> Self {
        id.0.to_string()
    }
}

impl OutputStatus {
    pub const fn waiting(since: UnixMs) -> Self {
        Self { state: OutputState::Waiting, since, failures: 0, reason: None }
    }
}

fn wanted(view: &RoomView) -> Outputs {
    view.outputs.as_ref().map(|outputs| outputs.value.clone()).unwrap_or_default()
}

/// Decides a request to add an output. `most`: maximum number of outputs of a room.
pub fn admit_add(
    view: &RoomView,
    id: &OutputId,
    output: &Output,
    most: usize,
) -> Result<Admission<RoomWrite>, OutputDenied> {
    let mut outputs = wanted(view);
    let is_there = view.meta.as_ref().is_some_and(|meta| meta.deleted_at.is_none());
    match outputs.0.len() {
        _ if !is_there => Err(OutputDenied::NoSuchRoom),
        _ if most == 0 => Err(OutputDenied::SwitchedOff),
        count if count >= most => Err(OutputDenied::TooMany(most)),
        _ => {
            outputs.0.insert(id.clone(), output.clone());
            Ok(Admission::Accepted(RoomWrite::Outputs(outputs)))
        }
    }
}

/// Decides a request to remove an output.
pub fn admit_remove(view: &RoomView, id: &OutputId) -> Result<Admission<RoomWrite>, OutputDenied> {
    view.meta.as_ref().ok_or(OutputDenied::NoSuchRoom)?;
    let mut outputs = wanted(view);
    outputs.0.remove(id).ok_or(OutputDenied::NoSuchOutput)?;
    Ok(Admission::Accepted(RoomWrite::Outputs(outputs)))
}

/// Returns the output if mixer `me` has to push it now, and the nonce of the broadcast.
pub fn duty<'a>(view: &'a RoomView, id: &OutputId, me: &ModuleId) -> Option<(&'a Output, &'a Nonce)> {
    let live = view.live.as_ref().filter(|live| view.is_on_air() && live.mixer_id == *me)?;
    Some((view.outputs.as_ref()?.0.get(id)?, &live.nonce))
}

/// Returns the state of an output in the current broadcast.
pub fn status(view: &RoomView, id: &OutputId, output: &Output) -> OutputStatus {
    let live = view.live.as_ref().filter(|_| view.is_on_air());
    let states = view.output_states.as_ref().filter(|states| live.is_some_and(|l| l.nonce == states.nonce));
    let known = states.and_then(|states| states.states.get(id)).cloned();
    known.unwrap_or(OutputStatus::waiting(output.created_at))
}

impl OutputStates {
    /// Returns the states after the change of one output, and the event that reports the change, if any.
    /// Removes the states of earlier broadcasts and of removed outputs.
    pub fn with(
        known: Option<&Self>,
        view: &RoomView,
        (id, output): (&OutputId, &Output),
        nonce: &Nonce,
        status: OutputStatus,
    ) -> (Self, Option<NewEvent>) {
        let mut states = known.filter(|known| known.nonce == *nonce).cloned();
        let states = states.get_or_insert_with(|| Self { nonce: nonce.clone(), states: BTreeMap::new() });
        let outputs = wanted(view);
        states.states.retain(|id, _| outputs.0.contains_key(id));
        let before = states.states.insert(id.clone(), status.clone()).map(|before| before.state);
        // Report each change to success or failure, not each attempt. Compare the states and not the number
        // of failures, because a state that could not be written in time is never seen here.
        let kind = match status.state {
            state if before == Some(state) => None,
            OutputState::Live => Some(EventType::OutputLive),
            OutputState::Failing => Some(EventType::OutputFailed),
            OutputState::Waiting | OutputState::Connecting => None,
        };
        let event = kind.map(|kind| {
            let mut data = json!({ "outputId": id, "kind": output.kind, "target": output.shown });
            if let Some(reason) = status.reason {
                data["reason"] = json!(reason);
            }
            NewEvent { kind, data }
        });
        (states.clone(), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{RoomKey, RoomPart};

    const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":1}"#;
    const LIVE: &str =
        r#"{"status":"onair","mixerId":"m1","janusId":"j","nonce":"n","createdAt":100,"epoch":3}"#;

    fn view(parts: &[(RoomPart, &str)]) -> RoomView {
        let mut view = RoomView::default();
        for (part, json) in parts {
            view.apply(RoomKey::Part(*part), Some((json.as_bytes(), 7))).unwrap();
        }
        view
    }

    fn output() -> Output {
        Output {
            kind: OutputKind::Srt,
            format: OutputFormat::Aac,
            shown: "srt://a:9".into(),
            sealed: "x".into(),
            created_at: UnixMs(5),
        }
    }

    fn added(view: &RoomView, bits: u64) -> RoomView {
        let Ok(Admission::Accepted(write)) = admit_add(view, &OutputId::random(bits), &output(), 2) else {
            panic!("not admitted")
        };
        write.applied_to(view, 8)
    }

    fn status_of(state: OutputState, failures: u32) -> OutputStatus {
        OutputStatus { state, since: UnixMs(9), failures, reason: None }
    }

    #[test]
    fn outputs_are_limited_per_room() {
        let add = |view: &RoomView, most| admit_add(view, &OutputId::random(9), &output(), most);
        assert_eq!(add(&RoomView::default(), 2), Err(OutputDenied::NoSuchRoom));
        let room = view(&[(RoomPart::Meta, META)]);
        assert_eq!(add(&room, 0), Err(OutputDenied::SwitchedOff));
        let two = added(&added(&room, 1), 2);
        assert_eq!(add(&two, 2), Err(OutputDenied::TooMany(2)));
        let remove = |bits| admit_remove(&two, &OutputId::random(bits));
        assert_eq!(remove(3), Err(OutputDenied::NoSuchOutput));
        let Ok(Admission::Accepted(RoomWrite::Outputs(left))) = remove(1) else { panic!("not admitted") };
        assert_eq!(left.0.keys().collect::<Vec<_>>(), [&OutputId::random(2)]);
    }

    #[test]
    fn outputs_belong_to_the_mixer_on_air() {
        let id = OutputId::random(1);
        let room = added(&view(&[(RoomPart::Meta, META)]), 1);
        let me = |name: &str| ModuleId::new(name).unwrap();
        assert_eq!(duty(&room, &id, &me("m1")), None, "not on air");
        let on_air = added(&view(&[(RoomPart::Meta, META), (RoomPart::LiveMeta, LIVE)]), 1);
        assert_eq!(duty(&on_air, &id, &me("m1")).map(|(_, nonce)| nonce.0.as_str()), Some("n"));
        assert_eq!(duty(&on_air, &id, &me("m2")), None);
        assert_eq!(duty(&on_air, &OutputId::random(2), &me("m1")), None);
    }

    #[test]
    fn states_are_those_of_broadcast() {
        let id = OutputId::random(1);
        let room = added(&view(&[(RoomPart::Meta, META), (RoomPart::LiveMeta, LIVE)]), 1);
        assert_eq!(status(&room, &id, &output()).state, OutputState::Waiting);
        let nonce = Nonce("n".into());
        let with = |known: Option<&OutputStates>, status| {
            OutputStates::with(known, &room, (&id, &output()), &nonce, status)
        };
        let kind = |event: Option<NewEvent>| event.map(|event| event.kind);
        let (failing, event) = with(None, status_of(OutputState::Failing, 1));
        assert_eq!(kind(event), Some(EventType::OutputFailed));
        let (failing, event) = with(Some(&failing), status_of(OutputState::Failing, 2));
        assert_eq!(kind(event), None, "one event for all attempts");
        let (_, event) = with(None, status_of(OutputState::Failing, 2));
        assert_eq!(kind(event), Some(EventType::OutputFailed), "the first failure was not written");
        let (live, event) = with(Some(&failing), status_of(OutputState::Live, 0));
        let event = event.unwrap();
        assert_eq!((event.kind, &event.data["target"]), (EventType::OutputLive, &json!("srt://a:9")));
        let mut shown = room.clone();
        let text = serde_json::to_vec(&live).unwrap();
        shown.apply(RoomKey::Part(RoomPart::OutputStates), Some((&text, 9))).unwrap();
        assert_eq!(status(&shown, &id, &output()).state, OutputState::Live);
        shown.live.as_mut().unwrap().value.nonce = Nonce("later".into());
        assert_eq!(status(&shown, &id, &output()).state, OutputState::Waiting);
        let other = OutputStates::with(
            Some(&live),
            &room,
            (&id, &output()),
            &Nonce("later".into()),
            status_of(OutputState::Connecting, 0),
        );
        assert_eq!((other.0.nonce.0.as_str(), other.0.states.len()), ("later", 1));
    }
}
