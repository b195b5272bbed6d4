//! The ownership tag in a Janus room's description: `stentor/{cluster}/{room}/{epoch}`.
//!
//! A Janus instance may be shared with other clients. Stentor never changes a room without a tag or with the
//! tag of another cluster.

use std::fmt;

use crate::domain::ids::{Epoch, RoomId};

const OWNER: &str = "stentor";

/// Ownership tag: cluster, room and epoch of the assignment. The cluster name is not empty and has no `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnershipTag {
    cluster: String,
    pub room: RoomId,
    pub epoch: Epoch,
}

impl OwnershipTag {
    /// Creates a tag. Returns `None` if the cluster name is empty or contains `/`, because descriptions with
    /// such a name could not be parsed.
    pub fn new(cluster: &str, room: RoomId, epoch: Epoch) -> Option<Self> {
        let readable = !cluster.is_empty() && !cluster.contains('/');
        readable.then(|| Self { cluster: cluster.to_owned(), room, epoch })
    }

    /// Parses a description. Returns `None` for any text that Stentor would not write in exactly this form:
    /// the room belongs to another client.
    pub fn parse(description: &str) -> Option<Self> {
        let mut parts = description.split('/');
        let (owner, cluster, room, epoch) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if owner != OWNER || parts.next().is_some() {
            return None;
        }
        let mark = Self::new(cluster, RoomId::new(room).ok()?, Epoch(epoch.parse().ok()?))?;
        (mark.to_string() == description).then_some(mark)
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

impl fmt::Display for OwnershipTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OWNER}/{}/{}/{}", self.cluster, self.room, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn untagged_janus_room_is_not_ours() {
        let strange = [
            "",
            "Demo Room",
            "stentor",
            "stentor/c/room",
            "stentor/c/room/1/2",
            "stentor//room/1",
            "stentor/c/r/1",
            "stentor/c/room/-1",
            "stentor/c/room/+1",
            "stentor/c/room/01",
            "stentor/c/room/x",
            "Stentor/c/room/1",
            " stentor/c/room/1",
            "stentor/c/room/1 ",
            "stentor/c/room/99999999999999999999999",
        ];
        for description in strange {
            assert_eq!(OwnershipTag::parse(description), None, "{description:?}");
        }
    }

    #[test]
    fn ownership_tag_refuses_ambiguous_cluster_names() {
        let room = RoomId::new("demo").unwrap();
        assert!(OwnershipTag::new("a/b", room.clone(), Epoch(1)).is_none());
        assert!(OwnershipTag::new("", room, Epoch(1)).is_none());
    }

    proptest! {
        #[test]
        fn ownership_tag_round_trips(cluster in "[^/]{1,20}", room in "[A-Za-z0-9_-]{3,32}", epoch: u64) {
            let mark = OwnershipTag::new(&cluster, RoomId::new(&room).unwrap(), Epoch(epoch)).unwrap();
            prop_assert_eq!(OwnershipTag::parse(&mark.to_string()), Some(mark));
        }
    }
}
