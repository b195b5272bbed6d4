//! The stage of a room: raised hands, chat, announcement and their settings, as an event-sourced machine.
//!
//! ```text
//! Command + Person ── decide ──▶ events ── fold ──▶ Stage        a hand:  none ──▶ raised ──▶ invited
//!                       │                                                             └─────────┴──▶ none
//!                       └──▶ Refusal
//! ```
//! [`Stage::decide`] checks a command against permissions and bounds and changes nothing. [`Stage::fold`]
//! applies an event. Every node that folds the same events in the order of their versions has the same stage.
//! So nodes that follow a stage need to receive only events. Every event raises the version by one.
//!
//! [`StageCopy`] is the copy of a stage on one node: how it follows the store, and how a command is written.
//!
//! Owns: permissions, order, bounds, slow mode. Never reads a clock, and never limits the requests of one
//! client, which [`limits`] does.

mod copy;
pub mod limits;
mod speaking;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::ids::UnixMs;

pub use copy::{ApplyOutcome, Attempt, Position, Proposal, RereadOutcome, StageCopy};
pub use speaking::{Floor, FloorSeconds, SpeakingTimes, TalkTimer};
pub use values::{
    ChatText, Hand, HandOrder, LoweringReason, Message, MessageId, NoteText, Person, PersonId, Reaction,
    Settings, StageRole,
};

/// Maximum number of hands raised at the same time.
pub const MAX_HANDS: usize = 500;
/// Maximum number of chat messages that a room keeps. Older ones are forgotten, except the pinned one.
pub const MAX_MESSAGES: usize = 100;
/// Maximum number of chat messages of a room in one second.
pub const MESSAGES_PER_SECOND: u32 = 20;
/// Maximum number of people for whom the time of the last message is stored, for slow mode.
const MAX_TALKERS: usize = 2000;

/// Request of a person to change the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    RaiseHand {
        note: Option<NoteText>,
    },
    /// Withdraws the caller's hand, and with it an invitation.
    LowerHand,
    LowerHandOf(PersonId),
    Invite(PersonId),
    Revoke(PersonId),
    /// Accepts the caller's invitation.
    Accept,
    Say(ChatText),
    Delete(MessageId),
    Pin(Option<MessageId>),
    Announce(Option<ChatText>),
    /// Gives a person the floor for some time. Replaces the current floor, if any.
    GiveFloor(PersonId, FloorSeconds),
    /// Ends the floor before its time is over.
    EndFloor,
    Configure(Settings),
}

/// Change of the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Event {
    /// A hand was raised, or the note or the name of a raised hand was changed. A raised hand keeps its
    /// place.
    HandRaised {
        hand: Hand,
    },
    HandLowered {
        at: UnixMs,
        person: PersonId,
        why: LoweringReason,
    },
    Invited {
        at: UnixMs,
        person: PersonId,
    },
    InvitationRevoked {
        at: UnixMs,
        person: PersonId,
    },
    MessageSent {
        message: Message,
    },
    MessageDeleted {
        at: UnixMs,
        message: MessageId,
    },
    MessagePinned {
        at: UnixMs,
        message: Option<Message>,
    },
    Announced {
        at: UnixMs,
        text: Option<ChatText>,
    },
    Configured {
        at: UnixMs,
        settings: Settings,
    },
    FloorGiven {
        at: UnixMs,
        person: PersonId,
        until: UnixMs,
    },
    FloorEnded {
        at: UnixMs,
    },
}

/// Reason why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the role of the user does not allow this")]
    HostOnly,
    #[error("this needs a name: send `name`, or use a token with the claim `name`")]
    NameRequired,
    #[error("only listeners can raise a hand")]
    OnStage,
    #[error("raising hands is disabled in this room")]
    HandsClosed,
    #[error("the room already has the maximum of {MAX_HANDS} raised hands")]
    HandsFull,
    #[error("this person has no hand raised")]
    NoHand,
    #[error("there is no invitation for this person")]
    NotInvited,
    #[error("the chat is closed in this room")]
    ChatClosed,
    #[error("slow mode: the next message is accepted in {wait_ms} ms")]
    SlowMode { wait_ms: u64 },
    #[error("the room takes at most {MESSAGES_PER_SECOND} messages in a second")]
    TooManyMessages,
    #[error("there is no such message: it was deleted, or is older than the {MAX_MESSAGES} that are kept")]
    NoMessage,
}

/// Id of the history to which versions belong; random for each newly created [`Stage`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HistoryId(pub String);

/// State of one room's stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    pub history: HistoryId,
    /// Number of events folded so far.
    pub version: u64,
    /// Ordered by the time at which they were raised.
    pub hands: Vec<Hand>,
    /// Oldest first.
    pub messages: VecDeque<Message>,
    pub pinned: Option<Message>,
    pub announcement: Option<ChatText>,
    pub settings: Settings,
    /// Latest floor, unless it was ended early. No event reports that its time is over: clients compare
    /// `until` with the clock of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    next_message: MessageId,
    /// Time of each person's last message, while slow mode is on.
    last_message: BTreeMap<PersonId, UnixMs>,
    /// Second of the last message, since the Unix epoch, and the number of messages in that second.
    burst: (u64, u32),
}

impl Stage {
    pub fn new(history: HistoryId) -> Self {
        Self { history, next_message: MessageId(1), ..Self::default() }
    }

    /// Returns the events that a command causes; no events if the command would change nothing.
    ///
    /// # Errors
    /// The command is not permitted, or exceeds a bound.
    pub fn decide(&self, by: &Person, command: Command, now: UnixMs) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::RaiseHand { note } => self.raise(by, note, now),
            Command::LowerHand => Ok(self.lower(&by.id, LoweringReason::Withdrawn, now)),
            Command::LowerHandOf(person) => {
                host_only(by)?;
                Ok(self.lower(&person, LoweringReason::ByHost, now))
            }
            Command::Invite(person) => {
                host_only(by)?;
                let hand = self.hand(&person).ok_or(Refusal::NoHand)?;
                let event = (!hand.invited).then_some(Event::Invited { at: now, person });
                Ok(event.into_iter().collect())
            }
            Command::Revoke(person) => {
                host_only(by)?;
                let invited = self.hand(&person).is_some_and(|hand| hand.invited);
                let event = invited.then_some(Event::InvitationRevoked { at: now, person });
                Ok(event.into_iter().collect())
            }
            Command::Accept => match self.hand(&by.id) {
                Some(hand) if hand.invited => Ok(self.lower(&by.id, LoweringReason::Accepted, now)),
                _ => Err(Refusal::NotInvited),
            },
            Command::Say(text) => self.say(by, text, now),
            Command::Delete(id) => self.delete(by, id, now),
            Command::Pin(None) => {
                host_only(by)?;
                let pinned = self.pinned.as_ref().map(|_| Event::MessagePinned { at: now, message: None });
                Ok(pinned.into_iter().collect())
            }
            Command::Pin(Some(id)) => {
                host_only(by)?;
                if self.pinned.as_ref().is_some_and(|pinned| pinned.id == id) {
                    return Ok(Vec::new());
                }
                let message = Some(self.message(id).ok_or(Refusal::NoMessage)?.clone());
                Ok(vec![Event::MessagePinned { at: now, message }])
            }
            Command::Announce(text) => {
                host_only(by)?;
                let changed = (self.announcement != text).then_some(Event::Announced { at: now, text });
                Ok(changed.into_iter().collect())
            }
            Command::GiveFloor(person, seconds) => {
                host_only(by)?;
                Ok(vec![Event::FloorGiven { at: now, person, until: seconds.after(now) }])
            }
            Command::EndFloor => {
                if self.floor.as_ref().is_none_or(|floor| floor.person != by.id) {
                    host_only(by)?;
                }
                let ended = self.floor.as_ref().filter(|floor| floor.until > now);
                Ok(ended.map(|_| Event::FloorEnded { at: now }).into_iter().collect())
            }
            Command::Configure(settings) => {
                host_only(by)?;
                let changed = self.settings != settings;
                Ok(changed.then_some(Event::Configured { at: now, settings }).into_iter().collect())
            }
        }
    }

    /// Applies an event. Never fails: an event of a newer node that does not fit the state only raises the
    /// version.
    pub fn fold(&mut self, event: &Event) {
        self.version += 1;
        match event {
            Event::HandRaised { hand } => match self.hands.iter_mut().find(|h| h.person.id == hand.person.id)
            {
                Some(known) => *known = hand.clone(),
                None => self.hands.push(hand.clone()),
            },
            Event::HandLowered { person, .. } => self.hands.retain(|hand| hand.person.id != *person),
            Event::Invited { person, .. } => self.set_invited(person, true),
            Event::InvitationRevoked { person, .. } => self.set_invited(person, false),
            Event::MessageSent { message } => self.keep(message),
            Event::MessageDeleted { message, .. } => {
                self.messages.retain(|known| known.id != *message);
                if self.pinned.as_ref().is_some_and(|pinned| pinned.id == *message) {
                    self.pinned = None;
                }
            }
            Event::MessagePinned { message, .. } => self.pinned = message.clone(),
            Event::Announced { text, .. } => self.announcement = text.clone(),
            Event::FloorGiven { at, person, until } => {
                self.floor = Some(Floor { person: person.clone(), since: *at, until: *until });
            }
            Event::FloorEnded { .. } => self.floor = None,
            Event::Configured { settings, .. } => {
                self.settings = *settings;
                if settings.slow_mode_seconds == 0 {
                    self.last_message.clear();
                }
            }
        }
    }

    pub fn hand(&self, person: &PersonId) -> Option<&Hand> {
        self.hands.iter().find(|hand| hand.person.id == *person)
    }

    /// Returns the people who have raised a hand or written a message that is kept. A person may occur
    /// repeatedly.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        let messages = self.messages.iter().chain(&self.pinned).map(|message| &message.person);
        self.hands.iter().map(|hand| &hand.person).chain(messages)
    }

    fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id)
    }

    fn raise(&self, by: &Person, note: Option<NoteText>, now: UnixMs) -> Result<Vec<Event>, Refusal> {
        if by.role != StageRole::Listener {
            return Err(Refusal::OnStage);
        }
        if let Some(known) = self.hand(&by.id) {
            // A request that only changes the note may omit the name.
            let person = if by.name.is_some() { by } else { &known.person };
            let hand = Hand { note, person: person.clone(), ..known.clone() };
            let changed = (hand != *known).then_some(Event::HandRaised { hand });
            return Ok(changed.into_iter().collect());
        }
        if !self.settings.hands_open {
            return Err(Refusal::HandsClosed);
        }
        if by.name.is_none() {
            return Err(Refusal::NameRequired);
        }
        if self.hands.len() >= MAX_HANDS {
            return Err(Refusal::HandsFull);
        }
        let hand = Hand { person: by.clone(), raised_at: now, note, invited: false };
        Ok(vec![Event::HandRaised { hand }])
    }

    fn lower(&self, person: &PersonId, why: LoweringReason, at: UnixMs) -> Vec<Event> {
        let lowered = Event::HandLowered { at, person: person.clone(), why };
        self.hand(person).map(|_| lowered).into_iter().collect()
    }

    fn say(&self, by: &Person, text: ChatText, now: UnixMs) -> Result<Vec<Event>, Refusal> {
        let bound = by.role == StageRole::Listener;
        if bound && !self.settings.chat_open {
            return Err(Refusal::ChatClosed);
        }
        if by.name.is_none() {
            return Err(Refusal::NameRequired);
        }
        if bound && let Some(wait_ms) = self.slow_mode_wait(&by.id, now) {
            return Err(Refusal::SlowMode { wait_ms });
        }
        if self.burst.0 == second(now) && self.burst.1 >= MESSAGES_PER_SECOND {
            return Err(Refusal::TooManyMessages);
        }
        let message = Message { id: self.next_message, at: now, person: by.clone(), text };
        Ok(vec![Event::MessageSent { message }])
    }

    /// Returns the milliseconds until this person may send again; `None`: now. A message with a timestamp
    /// after `now` comes from a node whose clock is ahead, and does not count.
    fn slow_mode_wait(&self, person: &PersonId, now: UnixMs) -> Option<u64> {
        let interval = u64::from(self.settings.slow_mode_seconds) * 1000;
        let since = now.0.checked_sub(self.last_message.get(person)?.0)?;
        interval.checked_sub(since).filter(|wait| *wait > 0)
    }

    fn delete(&self, by: &Person, id: MessageId, now: UnixMs) -> Result<Vec<Event>, Refusal> {
        let pinned = self.pinned.as_ref().filter(|pinned| pinned.id == id);
        let message = self.message(id).or(pinned).ok_or(Refusal::NoMessage)?;
        if message.person.id != by.id {
            host_only(by)?;
        }
        Ok(vec![Event::MessageDeleted { at: now, message: id }])
    }

    fn set_invited(&mut self, person: &PersonId, invited: bool) {
        if let Some(hand) = self.hands.iter_mut().find(|hand| hand.person.id == *person) {
            hand.invited = invited;
        }
    }

    fn keep(&mut self, message: &Message) {
        self.next_message = MessageId(self.next_message.0.max(message.id.0) + 1);
        let second = second(message.at);
        self.burst = if self.burst.0 == second { (second, self.burst.1 + 1) } else { (second, 1) };
        self.messages.push_back(message.clone());
        if self.messages.len() > MAX_MESSAGES {
            self.messages.pop_front();
        }
        if self.settings.slow_mode_seconds > 0 {
            self.last_message.insert(message.person.id.clone(), message.at);
            if self.last_message.len() > MAX_TALKERS {
                self.forget_talkers(message.at);
            }
        }
    }

    /// Forgets the people who may send again. If too many remain, also forgets those with the shortest wait.
    fn forget_talkers(&mut self, now: UnixMs) {
        let interval = u64::from(self.settings.slow_mode_seconds) * 1000;
        self.last_message.retain(|_, at| at.0.saturating_add(interval) > now.0);
        while self.last_message.len() > MAX_TALKERS {
            let oldest = self.last_message.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.last_message.remove(&id));
        }
    }
}

impl Event {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HandRaised { .. } => "hand_raised",
            Self::HandLowered { .. } => "hand_lowered",
            Self::Invited { .. } => "invited",
            Self::InvitationRevoked { .. } => "invitation_revoked",
            Self::MessageSent { .. } => "message_sent",
            Self::MessageDeleted { .. } => "message_deleted",
            Self::MessagePinned { .. } => "message_pinned",
            Self::Announced { .. } => "announced",
            Self::Configured { .. } => "configured",
            Self::FloorGiven { .. } => "floor_given",
            Self::FloorEnded { .. } => "floor_ended",
        }
    }
}

fn host_only(by: &Person) -> Result<(), Refusal> {
    if by.role.moderates() { Ok(()) } else { Err(Refusal::HostOnly) }
}

fn second(at: UnixMs) -> u64 {
    at.0 / 1000
}
