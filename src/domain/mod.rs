//! The pure core: what a room, a placement, a Janus room and a mixer stream *are*, and how they move.
//!
//! Nothing here knows actix, tokio, a clock or a random generator: time and dice come in as arguments,
//! effects go out as data. Imports nothing else of ours.

pub mod ids;
pub mod keys;
pub mod model;
pub mod placement;
pub mod restart;
pub mod room;
pub mod view;
