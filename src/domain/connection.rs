//! Connection lock: one connection per user and room. Decides who gets the lock, who still has it, and who
//! may write under it.
//!
//! ```text
//!            acquire                        renew                     release / TTL over
//!   free ──────────────► held(holder, f) ───────────► held(.., f) ──────────────────────► free
//!                            │ acquire by the same client, by anyone once the holder's gateway is
//!                            ▼ dead, or by anyone under the policy `replace`
//!                        held(newer, f' > f): writes under f are refused from now on
//! ```
//!
//! Each acquisition gets a fencing token above all earlier ones of the same lock. The *mark* of a lock is its
//! high-water mark: the highest fencing token given out. It outlives the lock, so that an old holder cannot
//! return after expiry or release. Owns these decisions. Never knows where lock and mark are stored.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ClientId, InvalidName, ModuleId, RoomId, UserId};

/// Key of a connection lock: one user in one room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat {
    pub room: RoomId,
    pub user: UserId,
}

/// One process lifetime of a gateway. After a crash and restart the node's name is the same, but the gateway
/// is another one, because its connections are gone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gateway {
    pub node: ModuleId,
    pub incarnation: u64,
}

/// Unique id of a connection, across all gateways and their lifetimes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub gateway: Gateway,
    pub connection: ConnectionId,
    pub client: Option<ClientId>,
}

/// Fencing token: rises with each acquisition of a lock; close to the store's clock in µs since the Unix
/// epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// Policy for a second connection of the same user, when no other rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicate {
    Reject,
    Replace,
}

/// Lifetime of each record unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub lock: Duration,
    pub gateway: Duration,
    pub member: Duration,
}

/// Reason why an acquisition succeeds, or that it does not.
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
    /// Nobody has the lock and nobody had it since: the store lost the lock record, so the holder keeps the
    /// lock.
    Restored,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    Freed,
    /// Another connection has, or had, the lock since. Nothing was changed.
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
    /// The user has no presence entry, or no longer: it timed out or the store lost it. The client must join
    /// again.
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
    /// Returns how long a mark outlives the last renewal of its lock: longer than any late request takes to
    /// arrive.
    pub fn mark(&self) -> Duration {
        self.lock * 10
    }
}

impl Claim {
    /// Decides an acquisition. `present` is the holder, and whether its gateway is alive.
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

    /// Returns true if another connection loses the lock. That connection must be told.
    pub fn replaces(self) -> bool {
        matches!(self, Self::SameClient | Self::DeadGateway | Self::ByPolicy)
    }
}

impl Fence {
    /// Returns a token above the mark. It is also above all forgotten marks, as long as the clock moves
    /// forward.
    pub fn next(mark: Option<Self>, clock_us: u64) -> Self {
        Self(mark.map_or(0, |mark| mark.0 + 1).max(clock_us))
    }

    /// Returns the mark that a release leaves behind. It prevents a late renewal of this token from taking
    /// the lock again.
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
    /// Decides a join. `present` is the fencing token of the user's own entry, `others` the number of all
    /// other entries.
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

/// Formats as `node/incarnation`.
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
        fn a_fence_rises_even_when_the_clock_goes_back(
            clocks in prop::collection::vec(0..1u64 << 52, 1..50),
        ) {
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

        /// The older holder never wins against the newer, in any order of their operations.
        #[test]
        fn whoever_was_replaced_stays_replaced(older in 1..100u64, ahead in 1..100u64, expired: bool) {
            let (older, newer) = (Fence(older), Fence(older + ahead));
            let held = (!expired).then_some(newer);
            prop_assert_eq!(Renewal::of(older, held, Some(newer)), Renewal::Lost);
            prop_assert_eq!(Released::of(older, held, Some(newer)), Released::NotOurs);
        }
    }
}
