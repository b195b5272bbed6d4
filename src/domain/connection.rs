//! One connection per user and room: who gets the lock, who still has it, and who may write under it.
//!
//! ```text
//!            acquire                        renew                     release / TTL over
//!   free ──────────────► held(holder, f) ───────────► held(.., f) ──────────────────────► free
//!                            │ acquire by the same client, by anybody once the holder's gateway is
//!                            ▼ dead, or by anybody under the policy `replace`
//!                        held(newer, f' > f): whoever writes under f is refused from now on
//! ```
//!
//! Each acquisition has a fence number above all earlier ones of the seat. The *mark* of a seat is the
//! highest fence it has given out; it outlives the lock, so that neither expiry nor release lets an old holder
//! back in. Owns: these decisions. Never does: know where lock and mark are kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ClientId, InvalidName, ModuleId, RoomId, UserId};

/// What a connection lock guards: one user's place in one room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat {
    pub room: RoomId,
    pub user: UserId,
}

/// One life of a gateway. A gateway that crashed and is back is another one: its node's name is the same,
/// its connections are gone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gateway {
    pub node: ModuleId,
    pub incarnation: u64,
}

/// Never the same for two connections, whatever gateway and life they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub gateway: Gateway,
    pub connection: ConnectionId,
    pub client: Option<ClientId>,
}

/// Rises at each acquisition of a seat; about the store's clock in µs since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// What a second connection of the same user gets, when nothing else decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicate {
    Reject,
    Replace,
}

/// How long each thing lives unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub lock: Duration,
    pub gateway: Duration,
    pub member: Duration,
}

/// Why an asker gets the seat, or that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Free,
    /// The same connection asks again, perhaps because it missed the answer.
    Own,
    SameClient,
    DeadGateway,
    ByPolicy,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Ours,
    /// Nobody holds the seat and nobody did since: the store lost the lock, not we.
    Restored,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    Freed,
    /// Somebody else has, or had, the seat since. Nothing was changed.
    NotOurs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    Ok,
    /// The room has as many members as it may.
    Full,
    Fenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Ok,
    /// Not a member, or no longer: timed out, or the store lost it. Join again.
    Absent,
    Fenced,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            lock: Duration::from_secs(30),
            gateway: Duration::from_secs(3),
            member: Duration::from_secs(30),
        }
    }
}

impl Lifetimes {
    /// How long a mark outlives the last sign of its lock: longer than any late request is under way.
    pub fn mark(&self) -> Duration {
        self.lock * 10
    }
}

impl Claim {
    /// `present` is the holder and whether its gateway is alive.
    pub fn of(asking: &Holder, present: Option<(&Holder, bool)>, policy: Duplicate) -> Self {
        let Some((holder, alive)) = present else { return Self::Free };
        if holder.gateway == asking.gateway && holder.connection == asking.connection {
            Self::Own
        } else if holder.client.is_some() && holder.client == asking.client {
            Self::SameClient
        } else if !alive {
            Self::DeadGateway
        } else if policy == Duplicate::Replace {
            Self::ByPolicy
        } else {
            Self::Refused
        }
    }

    /// Whether somebody else loses the seat by it, who must be told.
    pub fn replaces(self) -> bool {
        matches!(self, Self::SameClient | Self::DeadGateway | Self::ByPolicy)
    }
}

impl Fence {
    /// Above the mark; and above all marks that were forgotten, as long as the clock goes forward.
    pub fn next(mark: Option<Self>, clock_us: u64) -> Self {
        Self(mark.map_or(0, |mark| mark.0 + 1).max(clock_us))
    }

    /// The mark that a release leaves behind: not even a late renewal of this fence takes the seat again.
    pub fn over(self) -> Self {
        Self(self.0 + 1)
    }

    fn is_below(self, mark: Option<Self>) -> bool {
        mark.is_some_and(|mark| mark > self)
    }
}

impl Renewal {
    pub fn of(fence: Fence, held: Option<Fence>, mark: Option<Fence>) -> Self {
        match held {
            Some(held) if held == fence => Self::Ours,
            None if !fence.is_below(mark) => Self::Restored,
            _ => Self::Lost,
        }
    }
}

impl Released {
    pub fn of(fence: Fence, held: Option<Fence>, mark: Option<Fence>) -> Self {
        match Renewal::of(fence, held, mark) {
            Renewal::Ours | Renewal::Restored => Self::Freed,
            Renewal::Lost => Self::NotOurs,
        }
    }
}

impl Joined {
    /// `present` is the fence of the user's own entry, `others` the number of all other members.
    pub fn of(fence: Fence, mark: Option<Fence>, present: Option<Fence>, others: usize, max: usize) -> Self {
        if fence.is_below(mark) || fence.is_below(present) {
            Self::Fenced
        } else if present.is_none() && others >= max {
            Self::Full
        } else {
            Self::Ok
        }
    }
}

impl Written {
    pub fn of(fence: Fence, mark: Option<Fence>, present: Option<Fence>) -> Self {
        if fence.is_below(mark) || fence.is_below(present) {
            Self::Fenced
        } else if present.is_none() {
            Self::Absent
        } else {
            Self::Ok
        }
    }
}

/// `node/incarnation`.
impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Gateway {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let malformed = InvalidName { what: "gateway", rule: "must be a module id, a slash and a number" };
        let (node, incarnation) = text.split_once('/').ok_or(malformed.clone())?;
        Ok(Self { node: ModuleId::new(node)?, incarnation: incarnation.parse().map_err(|_| malformed)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holder(gateway: u64, connection: &str, client: Option<&str>) -> Holder {
        Holder {
            gateway: Gateway { node: ModuleId::new("gw").unwrap(), incarnation: gateway },
            connection: ConnectionId(connection.into()),
            client: client.map(|c| ClientId::new(c).unwrap()),
        }
    }

    #[test]
    fn the_table_of_claims() {
        use Duplicate::{Reject, Replace};
        let present = holder(1, "a", Some("tab"));
        for (asking, alive, policy, expected) in [
            (holder(1, "a", Some("tab")), true, Reject, Claim::Own),
            (holder(1, "a", None), false, Reject, Claim::Own),
            (holder(2, "b", Some("tab")), true, Reject, Claim::SameClient),
            (holder(2, "b", Some("other")), true, Reject, Claim::Refused),
            (holder(2, "b", None), true, Reject, Claim::Refused),
            (holder(2, "b", None), true, Replace, Claim::ByPolicy),
            (holder(2, "b", None), false, Reject, Claim::DeadGateway),
            (holder(2, "b", None), false, Replace, Claim::DeadGateway),
            (holder(2, "a", None), true, Reject, Claim::Refused),
        ] {
            let claim = Claim::of(&asking, Some((&present, alive)), policy);
            assert_eq!(claim, expected, "{asking:?} alive={alive} {policy:?}");
        }
        assert_eq!(Claim::of(&present, None, Reject), Claim::Free);
    }

    #[test]
    fn two_clients_without_a_name_are_not_the_same_client() {
        let claim = Claim::of(&holder(1, "b", None), Some((&holder(1, "a", None), true)), Duplicate::Reject);
        assert_eq!(claim, Claim::Refused);
    }

    #[test]
    fn a_lock_that_the_store_lost_is_restored_unless_somebody_had_it_since() {
        let f = Fence(7);
        assert_eq!(Renewal::of(f, Some(f), Some(f)), Renewal::Ours);
        assert_eq!(Renewal::of(f, None, Some(f)), Renewal::Restored);
        assert_eq!(Renewal::of(f, None, None), Renewal::Restored);
        assert_eq!(Renewal::of(f, Some(Fence(8)), Some(Fence(8))), Renewal::Lost);
        assert_eq!(Renewal::of(f, None, Some(Fence(8))), Renewal::Lost);
        assert_eq!(Renewal::of(f, None, Some(f.over())), Renewal::Lost, "released");
    }

    #[test]
    fn a_gateway_is_read_back_from_its_name() {
        let gateway = holder(42, "a", None).gateway;
        assert_eq!(gateway.to_string().parse(), Ok(gateway));
        for bad in ["gw", "gw/", "/1", "gw/-1", "g w/1"] {
            assert!(bad.parse::<Gateway>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_fence_rises_even_when_the_clock_goes_back(clocks in prop::collection::vec(0..1u64 << 52, 1..50)) {
            let mut mark = None;
            for clock in clocks {
                let fence = Fence::next(mark, clock);
                prop_assert!(mark.is_none_or(|mark| fence > mark) && fence.0 >= clock);
                mark = Some(fence);
            }
        }

        #[test]
        fn nobody_writes_below_the_mark(fence in 0..9u64, mark in prop::option::of(0..9u64),
            present in prop::option::of(0..9u64), others in 0..5usize, max in 1..5usize) {
            let (fence, mark, present) = (Fence(fence), mark.map(Fence), present.map(Fence));
            let stale = mark.max(present).is_some_and(|newest| newest > fence);
            let joined = Joined::of(fence, mark, present, others, max);
            prop_assert_eq!(joined == Joined::Fenced, stale);
            prop_assert_eq!(Written::of(fence, mark, present) == Written::Fenced, stale);
            prop_assert!(joined != Joined::Ok || present.is_some() || others < max);
        }

        /// Whatever the two do in whatever order, the older one never wins against the newer.
        #[test]
        fn whoever_was_replaced_stays_replaced(older in 1..100u64, ahead in 1..100u64, expired: bool) {
            let (older, newer) = (Fence(older), Fence(older + ahead));
            let held = (!expired).then_some(newer);
            prop_assert_eq!(Renewal::of(older, held, Some(newer)), Renewal::Lost);
            prop_assert_eq!(Released::of(older, held, Some(newer)), Released::NotOurs);
        }
    }
}
