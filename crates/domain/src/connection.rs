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
//! Each acquisition gets a fencing token above all earlier ones of the same lock. The highest token issued is
//! the high-water mark of the lock, called *mark* below. The mark outlives the lock, so that an old holder
//! cannot return after expiry or release. Owns these decisions. Does not store the lock or the mark.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ClientId, InvalidName, ModuleId, RoomId, UserId};

/// Key of a connection lock: one user in one room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockKey {
    pub room: RoomId,
    pub user: UserId,
}

/// One process lifetime of a gateway. After a crash and a restart, the node has the same name but counts as a
/// different gateway, because its connections are gone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayIncarnation {
    pub node: ModuleId,
    pub incarnation: u64,
}

/// Unique id of a connection, across all gateways and their lifetimes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub gateway: GatewayIncarnation,
    pub connection: ConnectionId,
    pub client: Option<ClientId>,
}

/// Fencing token: rises with each acquisition of a lock. It is usually the time of the acquisition on the
/// presence backend's clock, in µs since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

/// Policy for a second connection of the same user, when no other rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicate {
    Reject,
    Replace,
}

/// Lifetimes of lock, gateway and presence records, each counted from the last renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub lock: Duration,
    pub gateway: Duration,
    pub member: Duration,
}

/// Outcome of an acquisition, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireDecision {
    Free,
    /// The same connection requests the lock again, perhaps because it missed the answer.
    Own,
    SameClient,
    DeadGateway,
    ByPolicy,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Ours,
    /// The presence backend lost the lock record, and no other connection has had the lock since. The holder
    /// keeps the lock.
    Restored,
    Lost,
}

/// Result of a renewal, as reported to the holder of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewOutcome {
    StillOurs,
    /// Another connection holds the lock, or held it after this one.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    Freed,
    /// The holder no longer has the lock: it was released, or another connection acquired it. Nothing was
    /// changed.
    NotOurs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinOutcome {
    Ok,
    /// The room already has its maximum number of members.
    Full,
    Fenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateOutcome {
    Ok,
    /// The user has no presence entry: it timed out, the presence backend lost it, or the user never joined.
    /// The client must join again.
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
    /// Returns how long a mark outlives the last renewal of its lock. That time exceeds the longest delay of
    /// a request.
    pub fn mark(&self) -> Duration {
        self.lock * 10
    }
}

impl AcquireDecision {
    /// Decides an acquisition. `present`: the current holder, and true if its gateway is alive.
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

    /// Returns true if another connection loses the lock. That connection must be notified.
    pub fn replaces(self) -> bool {
        matches!(self, Self::SameClient | Self::DeadGateway | Self::ByPolicy)
    }
}

impl FencingToken {
    /// Returns a token above the mark. It is also above all marks that the presence backend has forgotten, as
    /// long as the clock moves forward.
    pub fn next(mark: Option<Self>, clock_us: u64) -> Self {
        Self(mark.map_or(0, |mark| mark.0 + 1).max(clock_us))
    }

    /// Returns the mark that remains after a release. It prevents a late renewal under this token from taking
    /// the lock again.
    pub fn over(self) -> Self {
        Self(self.0 + 1)
    }

    fn is_below(self, mark: Option<Self>) -> bool {
        mark.is_some_and(|mark| mark > self)
    }
}

impl Renewal {
    pub fn of(token: FencingToken, held: Option<FencingToken>, mark: Option<FencingToken>) -> Self {
        match held {
            Some(held) if held == token => Self::Ours,
            None if !token.is_below(mark) => Self::Restored,
            _ => Self::Lost,
        }
    }
}

impl ReleaseOutcome {
    pub fn of(token: FencingToken, held: Option<FencingToken>, mark: Option<FencingToken>) -> Self {
        match Renewal::of(token, held, mark) {
            Renewal::Ours | Renewal::Restored => Self::Freed,
            Renewal::Lost => Self::NotOurs,
        }
    }
}

impl JoinOutcome {
    /// Decides a join. `present` is the fencing token of the user's own entry, `others` the number of all
    /// other entries.
    pub fn of(
        token: FencingToken,
        mark: Option<FencingToken>,
        present: Option<FencingToken>,
        others: usize,
        max: usize,
    ) -> Self {
        if token.is_below(mark) || token.is_below(present) {
            Self::Fenced
        } else if present.is_none() && others >= max {
            Self::Full
        } else {
            Self::Ok
        }
    }
}

impl UpdateOutcome {
    pub fn of(token: FencingToken, mark: Option<FencingToken>, present: Option<FencingToken>) -> Self {
        if token.is_below(mark) || token.is_below(present) {
            Self::Fenced
        } else if present.is_none() {
            Self::Absent
        } else {
            Self::Ok
        }
    }
}

/// Formats as `node/incarnation`.
impl fmt::Display for GatewayIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

impl fmt::Debug for GatewayIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GatewayIncarnation {
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
            gateway: GatewayIncarnation { node: ModuleId::new("gw").unwrap(), incarnation: gateway },
            connection: ConnectionId(connection.into()),
            client: client.map(|c| ClientId::new(c).unwrap()),
        }
    }

    #[test]
    fn lock_acquire_decisions_follow_table() {
        use Duplicate::{Reject, Replace};
        let present = holder(1, "a", Some("tab"));
        for (asking, alive, policy, expected) in [
            (holder(1, "a", Some("tab")), true, Reject, AcquireDecision::Own),
            (holder(1, "a", None), false, Reject, AcquireDecision::Own),
            (holder(2, "b", Some("tab")), true, Reject, AcquireDecision::SameClient),
            (holder(2, "b", Some("other")), true, Reject, AcquireDecision::Refused),
            (holder(2, "b", None), true, Reject, AcquireDecision::Refused),
            (holder(2, "b", None), true, Replace, AcquireDecision::ByPolicy),
            (holder(2, "b", None), false, Reject, AcquireDecision::DeadGateway),
            (holder(2, "b", None), false, Replace, AcquireDecision::DeadGateway),
            (holder(2, "a", None), true, Reject, AcquireDecision::Refused),
        ] {
            let claim = AcquireDecision::of(&asking, Some((&present, alive)), policy);
            assert_eq!(claim, expected, "{asking:?} alive={alive} {policy:?}");
        }
        assert_eq!(AcquireDecision::of(&present, None, Reject), AcquireDecision::Free);
    }

    #[test]
    fn unnamed_clients_are_distinct() {
        let claim = AcquireDecision::of(
            &holder(1, "b", None),
            Some((&holder(1, "a", None), true)),
            Duplicate::Reject,
        );
        assert_eq!(claim, AcquireDecision::Refused);
    }

    #[test]
    fn lost_lock_is_restored_unless_taken() {
        let f = FencingToken(7);
        assert_eq!(Renewal::of(f, Some(f), Some(f)), Renewal::Ours);
        assert_eq!(Renewal::of(f, None, Some(f)), Renewal::Restored);
        assert_eq!(Renewal::of(f, None, None), Renewal::Restored);
        assert_eq!(Renewal::of(f, Some(FencingToken(8)), Some(FencingToken(8))), Renewal::Lost);
        assert_eq!(Renewal::of(f, None, Some(FencingToken(8))), Renewal::Lost);
        assert_eq!(Renewal::of(f, None, Some(f.over())), Renewal::Lost, "released");
    }

    #[test]
    fn gateway_name_round_trips() {
        let gateway = holder(42, "a", None).gateway;
        assert_eq!(gateway.to_string().parse(), Ok(gateway));
        for bad in ["gw", "gw/", "/1", "gw/-1", "g w/1"] {
            assert!(bad.parse::<GatewayIncarnation>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn fencing_token_rises_despite_clock_steps(
            clocks in prop::collection::vec(0..1u64 << 52, 1..50),
        ) {
            let mut mark = None;
            for clock in clocks {
                let token = FencingToken::next(mark, clock);
                prop_assert!(mark.is_none_or(|mark| token > mark) && token.0 >= clock);
                mark = Some(token);
            }
        }

        #[test]
        fn writes_below_high_water_mark_fail(token in 0..9u64, mark in prop::option::of(0..9u64),
            present in prop::option::of(0..9u64), others in 0..5usize, max in 1..5usize) {
            let (mark, present) = (mark.map(FencingToken), present.map(FencingToken));
            let token = FencingToken(token);
            let stale = mark.max(present).is_some_and(|newest| newest > token);
            let joined = JoinOutcome::of(token, mark, present, others, max);
            prop_assert_eq!(joined == JoinOutcome::Fenced, stale);
            prop_assert_eq!(UpdateOutcome::of(token, mark, present) == UpdateOutcome::Fenced, stale);
            prop_assert!(joined != JoinOutcome::Ok || present.is_some() || others < max);
        }

        /// The older holder never wins against the newer, in any order of their operations.
        #[test]
        fn replaced_connection_stays_replaced(older in 1..100u64, ahead in 1..100u64, expired: bool) {
            let (older, newer) = (FencingToken(older), FencingToken(older + ahead));
            let held = (!expired).then_some(newer);
            prop_assert_eq!(Renewal::of(older, held, Some(newer)), Renewal::Lost);
            prop_assert_eq!(ReleaseOutcome::of(older, held, Some(newer)), ReleaseOutcome::NotOurs);
        }
    }
}
