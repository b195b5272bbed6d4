//! Sources of rooms: URLs and files that this node plays into the rooms on its Janus instance.
//!
//! ```text
//! SourceSupervisor ─ SourceActor*      one per source; each runs at most one FFmpeg process
//! ```

mod input;
pub mod player;
mod run;
pub mod supervisor;

pub use input::SourceParts;
