//! Types of the events in the ledger.
//!
//! Owns: the types and their names. The changes that cause them are in [`events`](super::events).

use serde::{Deserialize, Serialize};

/// Type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A room was created.
    RoomCreated,
    /// A start time was set or changed.
    RoomScheduled,
    /// The start time was removed, or the room could not be started in time.
    RoomUnscheduled,
    /// The backstage was opened: anchors may join, and listeners hear nothing.
    BackstageOpened,
    /// The backstage was closed without a broadcast.
    BackstageClosed,
    /// A broadcast was started; the room is on air once its Janus and mixer are ready.
    RoomStarted,
    /// The room, on air or backstage, was assigned to another Janus or mixer.
    RoomMoved,
    /// The broadcast was ended.
    RoomEnded,
    /// The room was deleted.
    RoomDeleted,
    /// A user was added to the room, was given a different role, or may speak again after having been a
    /// listener.
    AnchorInvited,
    /// An anchor has joined the room.
    AnchorJoined,
    /// An anchor has left the room, which is still open.
    AnchorLeft,
    /// The number of listeners has reached a new maximum for the broadcast.
    ListenerPeak,
    /// A listener has raised a hand.
    HandRaised,
    /// A raised hand was lowered, by its owner or by a host, or because the invitation was accepted.
    HandLowered,
    /// A listener with a raised hand was invited to the stage.
    StageInvited,
    /// A user, anchor or listener, was banned from the room.
    UserBanned,
    /// The ban of a user was lifted.
    UserUnbanned,
    /// A user, anchor or listener, was disconnected and may come back shortly after.
    UserKicked,
    /// A user was given a different role in the room.
    RoleChanged,
    /// A host or co-host muted one anchor.
    AnchorMuted,
    /// A host or co-host unmuted one anchor.
    AnchorUnmuted,
    /// All anchors of the room were muted.
    RoomMuted,
    /// The room was locked: no new anchor may join.
    RoomLocked,
    /// The room was unlocked.
    RoomUnlocked,
    /// A recording can be played.
    RecordingReady,
    /// The target of an output receives the broadcast.
    OutputLive,
    /// The target of an output could not be reached, or no longer receives the broadcast.
    OutputFailed,
}

impl EventType {
    pub const ALL: [Self; 28] = [
        Self::RoomCreated,
        Self::RoomScheduled,
        Self::RoomUnscheduled,
        Self::BackstageOpened,
        Self::BackstageClosed,
        Self::RoomStarted,
        Self::RoomMoved,
        Self::RoomEnded,
        Self::RoomDeleted,
        Self::AnchorInvited,
        Self::AnchorJoined,
        Self::AnchorLeft,
        Self::ListenerPeak,
        Self::HandRaised,
        Self::HandLowered,
        Self::StageInvited,
        Self::UserBanned,
        Self::UserUnbanned,
        Self::UserKicked,
        Self::RoleChanged,
        Self::AnchorMuted,
        Self::AnchorUnmuted,
        Self::RoomMuted,
        Self::RoomLocked,
        Self::RoomUnlocked,
        Self::RecordingReady,
        Self::OutputLive,
        Self::OutputFailed,
    ];

    /// Returns true for the events that end a broadcast or a backstage. Such an event also means that all
    /// anchors have left: there is no event for each anchor.
    pub fn ends_broadcast(self) -> bool {
        matches!(self, Self::RoomEnded | Self::BackstageClosed | Self::RoomDeleted)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoomCreated => "room_created",
            Self::RoomScheduled => "room_scheduled",
            Self::RoomUnscheduled => "room_unscheduled",
            Self::BackstageOpened => "backstage_opened",
            Self::BackstageClosed => "backstage_closed",
            Self::RoomStarted => "room_started",
            Self::RoomMoved => "room_moved",
            Self::RoomEnded => "room_ended",
            Self::RoomDeleted => "room_deleted",
            Self::AnchorInvited => "anchor_invited",
            Self::AnchorJoined => "anchor_joined",
            Self::AnchorLeft => "anchor_left",
            Self::ListenerPeak => "listener_peak",
            Self::HandRaised => "hand_raised",
            Self::HandLowered => "hand_lowered",
            Self::StageInvited => "stage_invited",
            Self::UserBanned => "user_banned",
            Self::UserUnbanned => "user_unbanned",
            Self::UserKicked => "user_kicked",
            Self::RoleChanged => "role_changed",
            Self::AnchorMuted => "anchor_muted",
            Self::AnchorUnmuted => "anchor_unmuted",
            Self::RoomMuted => "room_muted",
            Self::RoomLocked => "room_locked",
            Self::RoomUnlocked => "room_unlocked",
            Self::RecordingReady => "recording_ready",
            Self::OutputLive => "output_live",
            Self::OutputFailed => "output_failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
