//! Role `rooms`: rooms on air or being removed, and the cluster-wide work of the leader.
//!
//! ```text
//! RoomSupervisor
//! ├─ Room*              one per room that is on air or being removed
//! └─ Elector            leader election; runs its children on the leader only
//!    ├─ Housekeeper     removal of expired and orphaned rooms
//!    └─ Reassigner      failover of rooms whose Janus or mixer is lost
//! ```

pub mod elector;
pub mod housekeeper;
pub mod reassigner;
pub mod room;
pub mod supervisor;
