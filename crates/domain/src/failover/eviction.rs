//! Reasons why rooms leave modules, and their texts.

use std::fmt;

use crate::ids::ModuleId;
use crate::keys::ModuleKind;
use crate::model::MarkLabel;

/// Reason why a room leaves a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Vanished,
    Unhealthy,
    Marked(MarkLabel),
    /// FFmpeg crashed repeatedly on this mixer.
    GaveUp,
    /// Janus forwards, but nothing arrives at the mixer; cheaper repairs did not help (`mixer_room::port`).
    Silent,
}

/// Module that a room leaves, with the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    pub kind: ModuleKind,
    pub from: ModuleId,
    pub cause: Cause,
}

impl Eviction {
    /// Returns true if the mixer can continue until its successor produces.
    pub(super) fn is_handover(&self) -> bool {
        self.kind == ModuleKind::Mixer
            && matches!(self.cause, Cause::Marked(MarkLabel::Draining | MarkLabel::Drained))
    }
}

impl Cause {
    /// Returns the metric label, one of a small fixed set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::Unhealthy => "unhealthy",
            Self::Marked(label) => label.as_str(),
            Self::GaveUp => "gave_up",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanished => f.write_str("has no heartbeat"),
            Self::Unhealthy => f.write_str("does not work"),
            Self::Marked(label) => write!(f, "is marked {}", label.as_str()),
            Self::GaveUp => f.write_str("gave up: FFmpeg keeps crashing"),
            Self::Silent => f.write_str("is silent: Janus forwards, but nothing arrives at the mixer"),
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind.as_str(), self.from, self.cause)
    }
}
