//! Tracks of a recording: one file per anchor. This module is pure.
//!
//! Janus records an anchor's RTP into files whose names contain the user id, one file per join and per start
//! of the recording. After the recording, the node of that Janus makes one track per user from them.

use serde::{Deserialize, Serialize};

use super::ids::{ModuleId, UnixMs, UserId};

/// Maximum number of tracks that one node makes of a recording. This bounds the recording's key.
pub const MAX_TRACKS: usize = 200;
/// Maximum length of a user id in the name of a file, in bytes. A user with a longer id has no track.
const MAX_NAME: usize = 200;
/// End of the name of each file that Janus has closed.
const CLOSED: &str = "-audio.mjr";
/// Hexadecimal digits before the user id: 12 of the time of the join in milliseconds, and 4 random ones.
const DIGITS: usize = 16;

/// Track of one anchor on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Track {
    /// Number in the recording, from 1. It never changes.
    pub number: u32,
    pub user_id: UserId,
    /// Node that has the file.
    pub node: ModuleId,
    pub bytes: u64,
}

/// File that a node has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFile {
    pub user_id: UserId,
    pub bytes: u64,
}

/// Returns the name of the files in which Janus records a participant of this user, without its end. `None`:
/// the user id is too long.
pub fn recorded_name(user: &UserId, joined: UnixMs, random: u16) -> Option<String> {
    let user = user.encoded().to_string();
    let unique = joined.0 << 16 | u64::from(random);
    (user.len() <= MAX_NAME).then(|| format!("{unique:0DIGITS$x}-{user}"))
}

/// Returns the user whose audio is in a file, and the time at which the user joined. `None`: the file name
/// was not made by [`recorded_name`]. `open`: extension of a file that Janus has not closed.
pub fn participant_of(name: &str, open: &str) -> Option<(UserId, UnixMs)> {
    let name = name.strip_suffix(open).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    let (unique, user) = name.strip_suffix(CLOSED)?.split_once('-')?;
    let unique = u64::from_str_radix(unique, 16).ok().filter(|_| unique.len() == DIGITS)?;
    Some((UserId::from_encoded(user)?, UnixMs(unique >> 16)))
}

/// Returns the tracks with those of the node replaced by these files. A user who already had a track on this
/// node keeps its number.
pub fn replaced(tracks: Vec<Track>, node: &ModuleId, files: &[TrackFile]) -> Vec<Track> {
    let mut next = tracks.iter().map(|track| track.number).max().unwrap_or(0);
    let (earlier, mut all): (Vec<_>, Vec<_>) = tracks.into_iter().partition(|track| track.node == *node);
    for TrackFile { user_id, bytes } in files {
        let known = earlier.iter().find(|track| track.user_id == *user_id).map(|track| track.number);
        let number = known.unwrap_or_else(|| {
            next += 1;
            next
        });
        all.push(Track { number, user_id: user_id.clone(), node: node.clone(), bytes: *bytes });
    }
    all.sort_by_key(|track| track.number);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    fn file(id: &str, bytes: u64) -> TrackFile {
        TrackFile { user_id: user(id), bytes }
    }

    #[test]
    fn file_names_contain_user_id() {
        for id in ["ann", "Ann-Lee/é", "a.mjr", "https://example.org/a"] {
            let name = recorded_name(&user(id), UnixMs(9), 7).unwrap();
            assert!(name.starts_with("0000000000090007-") && !name.contains('/'), "{name}");
            assert_eq!(participant_of(&format!("{name}-audio.mjr"), "open"), Some((user(id), UnixMs(9))));
            assert_eq!(
                participant_of(&format!("{name}-audio.mjr.open"), "open"),
                Some((user(id), UnixMs(9)))
            );
        }
        assert_eq!(recorded_name(&user(&"é".repeat(40)), UnixMs(9), 7), None);
    }

    #[test]
    fn other_file_names_have_no_user() {
        for name in ["", "a.mjr", "audiobridge-1-user-2-3-audio.mjr", "0000000000000007-a%2f-audio.mjr"] {
            assert_eq!(participant_of(name, "open"), None, "{name}");
        }
    }

    #[test]
    fn track_numbers_never_change() {
        let (one, two) = (ModuleId::new("one").unwrap(), ModuleId::new("two").unwrap());
        let numbers = |tracks: &[Track]| {
            tracks.iter().map(|t| (t.number, t.user_id.to_string(), t.node.to_string())).collect::<Vec<_>>()
        };
        let of = |number, user: &str, node: &str| (number, user.to_owned(), node.to_owned());
        let tracks = replaced(Vec::new(), &one, &[file("ann", 1), file("bob", 2)]);
        let tracks = replaced(tracks, &two, &[file("ann", 3)]);
        assert_eq!(numbers(&tracks), [of(1, "ann", "one"), of(2, "bob", "one"), of(3, "ann", "two")]);
        let tracks = replaced(tracks, &one, &[file("cid", 4), file("bob", 5)]);
        assert_eq!(numbers(&tracks), [of(2, "bob", "one"), of(3, "ann", "two"), of(4, "cid", "one")]);
        assert_eq!(tracks[0].bytes, 5);
    }
}
