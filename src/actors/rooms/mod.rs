//! Role `rooms`: what becomes of rooms that nobody asks about any more.
//!
//! ```text
//! RoomSupervisor
//! ├─ Room*          one per room that is on air or being removed
//! └─ Housekeeper    rooms that were forgotten
//! ```

pub mod housekeeper;
pub mod room;
pub mod supervisor;
