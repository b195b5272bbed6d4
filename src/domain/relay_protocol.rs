//! What listener nodes and mixer nodes say to each other over HTTP, by name.
//!
//! Paths are `/relay/rooms/{room}/{name}`, with the names of the listener side and [`HERITAGE`].

/// Header of a request: the token of its room.
pub const TOKEN: &str = "x-stentor-relay";
/// Header of a request for a playlist: the live it is wanted of, by the hint of its nonce.
pub const LIVE: &str = "x-stentor-live";
/// Header of a request for a playlist: how many listeners of the room the asking node has, as `{node} {count}`.
pub const LISTENERS: &str = "x-stentor-listeners";
/// Header of a playlist: the part that comes next, as `{msn}.{part}`.
pub const NEXT: &str = "x-stentor-next";
/// Header of the last playlist there will be.
pub const ENDED: &str = "x-stentor-ended";

/// Name of what a mixer leaves to the next one of the room.
pub const HERITAGE: &str = "heritage";
