//! Names in the HTTP protocol between listener nodes and mixer nodes.
//!
//! Media have the path `/relay/rooms/{room}/{name}`, where the name is a file name as in the listeners' URLs,
//! [`WINDOW`], [`REWIND`], [`REWIND_TAKEN`] or [`REWIND_FILE`]. Recordings have the path
//! `/relay/rooms/{room}/recordings/{recording}/{name}`. Paths below [`NODE`] return data for operators.

/// Start of the paths at which a node answers other nodes about its rooms and actors. The token of these
/// requests belongs to no room.
pub const NODE: &str = "/relay/node/";
/// Request header: relay token of the room, which every node derives from `hls.secret`.
pub const TOKEN: &str = "x-stentor-relay";
/// Playlist request header: the wanted broadcast, as the public short form of its nonce.
pub const LIVE: &str = "x-stentor-live";
/// Playlist request header: number of listeners of the room at the requesting node, as `{node} {count}`.
pub const LISTENERS: &str = "x-stentor-listeners";
/// Playlist response header: position of the next part, as `{msn}.{part}`.
pub const NEXT: &str = "x-stentor-next";
/// Response header of the last playlist of a broadcast.
pub const ENDED: &str = "x-stentor-ended";

/// Name of the list of a recording's segments, one line of JSON each. A segment is named
/// `{file}-{offset}-{bytes}`.
pub const JOURNAL: &str = "journal";
/// Start of the name of a part of a track, `track-{number}-{offset}`. The part is encrypted.
pub const TRACK: &str = "track-";
/// Name of the window snapshot that a mixer passes to its successor.
pub const WINDOW: &str = "window";
/// Earlier name of [`WINDOW`], for nodes of the previous version.
pub const EARLIER_WINDOW: &str = "heritage";
/// Name of the rewind window: a [`RewindUpdate`](super::rewind::RewindUpdate) as JSON.
pub const REWIND: &str = "rewind";
/// Start of the name of a media file of the rewind window, `rewind-{number}`.
pub const REWIND_FILE: &str = "rewind-";
/// Name that the next mixer requests when it needs nothing more of the rewind window.
pub const REWIND_TAKEN: &str = "rewind-taken";
/// Request header of a mixer that asks an earlier mixer for a segment of the rewind window. The earlier mixer
/// asks no further mixer, so that requests cannot circle.
pub const FORWARDED: &str = "x-stentor-forwarded";
/// Query parameter of [`REWIND`]: number of the newest segment that the requesting node has.
pub const LAST: &str = "last";
