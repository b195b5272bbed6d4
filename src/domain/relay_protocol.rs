//! Names in the HTTP protocol between listener nodes and mixer nodes.
//!
//! Paths are `/relay/rooms/{room}/{name}`, with the file names of the listener side and [`HERITAGE`], and
//! `/relay/rooms/{room}/recordings/{recording}/{name}` for what a mixer has recorded of the room.

/// Request header: token of the room.
pub const TOKEN: &str = "x-stentor-relay";
/// Playlist request header: the wanted broadcast, as the hint of its nonce.
pub const LIVE: &str = "x-stentor-live";
/// Playlist request header: number of listeners of the room at the requesting node, as `{node} {count}`.
pub const LISTENERS: &str = "x-stentor-listeners";
/// Playlist response header: position of the next part, as `{msn}.{part}`.
pub const NEXT: &str = "x-stentor-next";
/// Response header of the last playlist of a broadcast.
pub const ENDED: &str = "x-stentor-ended";

/// Name of the segments of a recording, one line of JSON each. Segments are named `{file}-{offset}-{bytes}`.
pub const JOURNAL: &str = "journal";
/// Name of the window snapshot that a mixer passes to its successor.
pub const HERITAGE: &str = "heritage";
