//! Raised hands of a broadcast, as the event ledger has reported them.
//!
//! Hands are in the stage of a room, which is not in the store. As with anchors, the leader compares them
//! with the room's key ([`ReportedAnchors`](super::reported_anchors::ReportedAnchors)), and writes each
//! difference to the key together with its event. So a hand that is raised and lowered between two
//! comparisons has no event, and the rate of comparisons bounds the rate of events.
//!
//! Owns these rules. Never reads a stage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::civil_time::Rfc3339;
use super::events::{EventType, NewEvent};
use super::ids::{UnixMs, UserId};
use super::stage::{Hand, PersonId};

/// Raised hand of which `hand_raised` was the last event, or `stage_invited` if `invited` is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedHand {
    pub raised_at: UnixMs,
    /// Token subject of the listener, if it is a user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invited: bool,
}

pub type ReportedHands = BTreeMap<PersonId, ReportedHand>;

/// Change of a raised hand that was not reported yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandChange {
    Lowered(PersonId, ReportedHand),
    Raised(Hand),
    Invited(Hand),
}

impl HandChange {
    /// Returns the event that reports the change.
    pub fn event(&self) -> NewEvent {
        let (kind, person, user, raised_at) = match self {
            Self::Lowered(person, hand) => (EventType::HandLowered, person, &hand.user, hand.raised_at),
            Self::Raised(Hand { person, raised_at, .. }) => {
                (EventType::HandRaised, &person.id, &person.subject, *raised_at)
            }
            Self::Invited(Hand { person, raised_at, .. }) => {
                (EventType::StageInvited, &person.id, &person.subject, *raised_at)
            }
        };
        let mut data = json!({ "personId": person, "raisedAt": Rfc3339(raised_at).to_string() });
        if let Some(user) = user {
            data["userId"] = json!(user);
        }
        if let Self::Raised(hand) | Self::Invited(hand) = self {
            if let Some(name) = &hand.person.name {
                data["displayName"] = json!(name);
            }
            if let Some(note) = &hand.note {
                data["note"] = json!(note);
            }
        }
        NewEvent { kind, data }
    }
}

/// Returns the first `most` changes since `before`, and the hands that are reported after them. Lowered hands
/// come first. A revoked invitation is no change, but a further invitation is.
pub fn compare(before: &ReportedHands, hands: &[Hand], most: usize) -> (ReportedHands, Vec<HandChange>) {
    let raised: BTreeMap<_, _> = hands.iter().map(|hand| (&hand.person.id, hand.raised_at)).collect();
    let is_lowered = |(person, known): &(&PersonId, &ReportedHand)| {
        raised.get(person).is_none_or(|raised_at| *raised_at != known.raised_at)
    };
    let lowered = before.iter().filter(is_lowered).take(most);
    let mut changes: Vec<_> =
        lowered.map(|(person, hand)| HandChange::Lowered(person.clone(), hand.clone())).collect();
    let mut reported = before.clone();
    for change in &changes {
        if let HandChange::Lowered(person, _) = change {
            reported.remove(person);
        }
    }
    for hand in hands {
        let id = &hand.person.id;
        if !reported.contains_key(id) && changes.len() < most {
            let (raised_at, user) = (hand.raised_at, hand.person.subject.clone());
            reported.insert(id.clone(), ReportedHand { raised_at, user, invited: false });
            changes.push(HandChange::Raised(hand.clone()));
        }
        // An entry with another time belongs to an earlier hand, whose end is not reported yet.
        let Some(known) = reported.get_mut(id).filter(|known| known.raised_at == hand.raised_at) else {
            continue;
        };
        if !hand.invited {
            known.invited = false;
        } else if !known.invited && changes.len() < most {
            known.invited = true;
            changes.push(HandChange::Invited(hand.clone()));
        }
    }
    (reported, changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signalling::DisplayName;
    use crate::stage::{Command, HistoryId, NoteText, Person, Stage, StageRole};

    #[test]
    fn hands_and_invitations_are_reported() {
        let mut room = Room::default();
        room.does(1, Command::RaiseHand { note: NoteText::new("me first").ok() });
        let data = json!({
            "personId": "0000000000000001", "userId": "u1", "displayName": "Ann", "note": "me first",
            "raisedAt": "1970-01-01T00:00:00.001Z",
        });
        assert_eq!(room.events(10), [("hand_raised", data.clone())]);
        assert_eq!(room.events(10), []);
        room.does(0, Command::Invite(id(1)));
        assert_eq!(room.events(10), [("stage_invited", data)]);
        room.does(0, Command::Revoke(id(1)));
        assert_eq!(room.events(10), []);
        room.does(0, Command::Invite(id(1)));
        assert_eq!(room.kinds(10), ["stage_invited 1"]);
        room.does(1, Command::Accept);
        let data = json!({
            "personId": "0000000000000001", "userId": "u1", "raisedAt": "1970-01-01T00:00:00.001Z",
        });
        assert_eq!(room.events(10), [("hand_lowered", data)]);
    }

    #[test]
    fn short_changes_have_no_event() {
        let mut room = Room::default();
        room.does(1, Command::RaiseHand { note: None });
        room.does(1, Command::LowerHand);
        assert_eq!(room.kinds(10), [""; 0]);
        room.does(2, Command::RaiseHand { note: None });
        assert_eq!(room.kinds(10), ["hand_raised 2"]);
        room.does(2, Command::LowerHand);
        room.does(2, Command::RaiseHand { note: None });
        room.does(0, Command::Invite(id(2)));
        assert_eq!(room.kinds(1), ["hand_lowered 2"], "the hand was raised anew");
        assert_eq!(room.kinds(10), ["hand_raised 2", "stage_invited 2"]);
    }

    proptest! {
        /// For any changes of the stage, the events of a person alternate, a person is invited only with a
        /// raised hand, and the events finally agree with the stage.
        #[test]
        fn hand_events_alternate_and_converge(
            steps in proptest::collection::vec((0u64..12, 0u8..4, any::<bool>()), 1..80),
            most in 1usize..5,
        ) {
            let mut room = Room::default();
            let mut raised = BTreeMap::new();
            let is_last = |n: usize| n >= steps.len();
            for n in 0..steps.len() + 60 {
                if let Some((person, what, _)) = steps.get(n) {
                    let command = match what {
                        0 => Command::RaiseHand { note: None },
                        1 => Command::LowerHand,
                        2 => Command::Invite(id(*person)),
                        _ => Command::Revoke(id(*person)),
                    };
                    room.does(if *what < 2 { *person } else { 0 }, command);
                }
                if !is_last(n) && !steps[n].2 {
                    continue;
                }
                let events = room.kinds(most);
                prop_assert!(events.len() <= most);
                for event in events {
                    let (kind, person) = event.split_once(' ').unwrap();
                    let alternates = match kind {
                        "hand_raised" => raised.insert(person.to_owned(), ()).is_none(),
                        "hand_lowered" => raised.remove(person).is_some(),
                        _ => raised.contains_key(person),
                    };
                    prop_assert!(alternates, "{event}");
                }
            }
            let hands = room.stage.hands.iter();
            let hands: Vec<_> = hands.map(|hand| (hand.person.id.clone(), hand.invited)).collect();
            let reported = room.reported.iter().map(|(person, hand)| (person.clone(), hand.invited));
            prop_assert_eq!(
                hands.into_iter().collect::<BTreeMap<_, _>>(),
                reported.collect::<BTreeMap<_, _>>()
            );
            prop_assert_eq!(raised.len(), room.reported.len());
        }
    }

    struct Room {
        stage: Stage,
        reported: ReportedHands,
        clock: u64,
    }

    impl Default for Room {
        fn default() -> Self {
            let stage = Stage::new(HistoryId("h".into()));
            Self { stage, reported: ReportedHands::new(), clock: 0 }
        }
    }

    impl Room {
        /// Carries out a command of a person; person 0 is the host.
        fn does(&mut self, person: u64, command: Command) {
            self.clock += 1;
            let role = if person == 0 { StageRole::Host } else { StageRole::Listener };
            let name = DisplayName::new("Ann").ok();
            let subject = UserId::new(&format!("u{person}")).ok();
            let by = Person { id: id(person), name, role, verified: true, subject };
            for event in self.stage.decide(&by, command, UnixMs(self.clock)).unwrap_or_default() {
                self.stage.fold(&event);
            }
        }

        fn events(&mut self, most: usize) -> Vec<(&'static str, serde_json::Value)> {
            let (reported, changes) = compare(&self.reported, &self.stage.hands, most);
            self.reported = reported;
            changes.iter().map(HandChange::event).map(|event| (event.kind.as_str(), event.data)).collect()
        }

        fn kinds(&mut self, most: usize) -> Vec<String> {
            let person = |data: &serde_json::Value| data["personId"].as_str().unwrap()[8..].to_owned();
            let events = self.events(most);
            let line = |(kind, data): &(&str, _)| format!("{kind} {}", person(data).trim_start_matches('0'));
            events.iter().map(line).collect()
        }
    }

    fn id(person: u64) -> PersonId {
        PersonId::new(&format!("{person:016x}")).unwrap()
    }
}
