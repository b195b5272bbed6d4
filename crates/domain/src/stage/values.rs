//! People, texts and records of a stage.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidName, UnixMs, UserId};
use crate::roles::RoomRole;
use crate::signalling::DisplayName;
use crate::text::{self, bounded, text_values};

/// Longest interval of slow mode, in seconds.
const MAX_SLOW_MODE: u32 = 600;

/// Public id of a person in one room: 16 hexadecimal digits, derived from the token subject. It reveals
/// nothing about the subject and differs from room to room.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonId(Arc<str>);

/// Role of a person on the stage of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageRole {
    Host,
    /// Anchor who moderates like a host, but may not ban hosts or co-hosts.
    CoHost,
    Anchor,
    Listener,
}

/// Person in a room, as the author of commands, raised hands and messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    pub id: PersonId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    pub role: StageRole,
    /// True if the name is a claim of the token, false if the person chose it.
    pub verified: bool,
    /// Token subject, by which a host or co-host can ban the person; `None` if it is not a user id. Never
    /// sent to clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<UserId>,
}

/// Raised hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hand {
    pub person: Person,
    pub raised_at: UnixMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<NoteText>,
    pub invited: bool,
}

/// Reason why a hand is no longer raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoweringReason {
    Withdrawn,
    ByHost,
    /// The person accepted the invitation.
    Accepted,
}

/// Number of a chat message; ascending within a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

/// Chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub id: MessageId,
    pub at: UnixMs,
    pub person: Person,
    pub text: ChatText,
}

/// Settings of a stage, changed by hosts and co-hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub hands_open: bool,
    pub chat_open: bool,
    /// Shortest time between two messages of one listener; 0 switches slow mode off.
    pub slow_mode_seconds: u32,
    /// Order in which raised hands are shown.
    #[serde(default)]
    pub hand_order: HandOrder,
}

/// Order of raised hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HandOrder {
    /// By the time at which they were raised.
    #[default]
    Time,
    /// By speaking time of the person, shortest first; then by the time at which the hand was raised.
    LeastSpoken,
}

/// Reaction that a listener can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    Clap,
    Heart,
    Laugh,
    Wow,
    Agree,
    Fire,
}

/// Text of a chat message or an announcement: 1 to 500 characters in the normal form of [`text::message`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChatText(Arc<str>);

/// Note shown with a raised hand: 1 to 140 characters in the normal form of [`text::message`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NoteText(Arc<str>);

impl StageRole {
    /// Returns the matching role in the room; `None` for a listener.
    pub fn in_room(self) -> Option<RoomRole> {
        match self {
            Self::Host => Some(RoomRole::Host),
            Self::CoHost => Some(RoomRole::CoHost),
            Self::Anchor => Some(RoomRole::Anchor),
            Self::Listener => None,
        }
    }

    /// Returns true for hosts and co-hosts.
    pub fn moderates(self) -> bool {
        self.in_room().is_some_and(RoomRole::moderates)
    }
}

impl From<RoomRole> for StageRole {
    fn from(role: RoomRole) -> Self {
        match role {
            RoomRole::Host => Self::Host,
            RoomRole::CoHost => Self::CoHost,
            RoomRole::Anchor => Self::Anchor,
            RoomRole::Listener => Self::Listener,
        }
    }
}

impl Reaction {
    pub const ALL: [Self; 6] = [Self::Clap, Self::Heart, Self::Laugh, Self::Wow, Self::Agree, Self::Fire];
}

impl Settings {
    /// Creates the settings.
    ///
    /// # Errors
    /// The interval of slow mode is longer than ten minutes.
    pub fn new(hands_open: bool, chat_open: bool, slow_mode_seconds: u32) -> Result<Self, InvalidName> {
        if slow_mode_seconds > MAX_SLOW_MODE {
            return Err(InvalidName { what: "slowModeSeconds", rule: "must be 0 to 600" });
        }
        Ok(Self { hands_open, chat_open, slow_mode_seconds, hand_order: HandOrder::default() })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { hands_open: true, chat_open: true, slow_mode_seconds: 0, hand_order: HandOrder::Time }
    }
}

impl PersonId {
    /// Creates the id from its text.
    ///
    /// # Errors
    /// The text is not 16 hexadecimal digits in lower case.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.len() == 16 && text.bytes().all(digit) {
            true => Ok(Self(text.into())),
            false => Err(InvalidName { what: "person id", rule: "must be 16 hexadecimal digits" }),
        }
    }
}

impl ChatText {
    /// Normalises and checks a text.
    ///
    /// # Errors
    /// The text is empty, too long, or has characters that are not allowed.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let rule = "must be 1 to 500 visible characters, without control or direction-changing characters";
        bounded(text, 500, text::message).map(Self).ok_or(InvalidName { what: "text", rule })
    }
}

impl NoteText {
    /// Normalises and checks a note.
    ///
    /// # Errors
    /// The note is empty, too long, or has characters that are not allowed.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let rule = "must be 1 to 140 visible characters, without control or direction-changing characters";
        bounded(text, 140, text::message).map(Self).ok_or(InvalidName { what: "note", rule })
    }
}

text_values!(PersonId, ChatText, NoteText);
