//! Leader of the cluster: its election, and the work that only the leader does.
//!
//! ```text
//! Elector              leader election; runs its children on the leader only
//! ├─ Housekeeper       removal of expired and orphaned rooms
//! ├─ SchedulerActor    start of rooms at their `startsAt`
//! ├─ FailoverActor     failover of rooms whose Janus or mixer is lost
//! ├─ Reporter          events of anchors, of raised hands, and of recordings that are ready
//! └─ WebhookSupervisor
//!    └─ WebhookActor*  one per endpoint; delivers events to it
//! ```

pub mod elector;
pub mod failover;
pub mod housekeeper;
pub mod reporter;
pub mod scheduler;
pub mod webhook;
pub mod webhooks;
