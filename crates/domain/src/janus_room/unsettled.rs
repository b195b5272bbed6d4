//! A create request whose answer was lost: Janus may still carry it out.

use std::time::Duration;

use super::Effect;
use crate::plan::Plan;

/// Create request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnsettledCreate {
    pub janus_room_id: u32,
    pub until: Duration,
}

impl UnsettledCreate {
    /// Plans the next step when nothing else is left to do: wait, then inspect whether the create was carried
    /// out.
    pub fn wait(&self, now: Duration) -> Plan<Effect> {
        if now >= self.until {
            return Plan::act(Effect::Inspect, "checks if an unanswered create was carried out");
        }
        let reason = "waits to see if an unanswered create is carried out";
        Plan::Wait { reason: reason.into(), until: Some(self.until) }
    }
}
