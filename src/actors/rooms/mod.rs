//! Role `rooms`: rooms on air or being removed, and the cluster-wide work of the leader.
//!
//! ```text
//! RoomSupervisor
//! ├─ RoomActor*         one per room that is on air or being removed
//! └─ Elector            leader election; runs its children on the leader only
//!    ├─ Housekeeper     removal of expired and orphaned rooms
//!    └─ FailoverActor   failover of rooms whose Janus or mixer is lost
//! ```

pub mod elector;
pub mod failover;
pub mod housekeeper;
pub mod room;
pub mod supervisor;
