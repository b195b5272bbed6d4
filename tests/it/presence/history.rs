//! Random histories on both backends: the Redis scripts and the domain code must never disagree.
//!
//! Time advances in multiples of 1.7 s. None of them is close to a lifetime, so the delay between the same
//! call on the two backends does not matter.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stentor::domain::connection::{Duplicate, FencingToken, Holder, LockKey};
use stentor::domain::ids::{RoomId, UserId};
use stentor::domain::model::UserRole;
use stentor::domain::signalling::methods::ActivityStatus;
use stentor::presence::{Acquisition, PresenceEntry, Source};

use super::conformance::{Instance, Subject, gateway, holder, room, with_client};
use super::embedded::OnEmbedded;
use super::redis::OnRedis;

const HISTORIES: usize = 150;
const LONGEST: usize = 60;
/// Step of time. Its multiples are not close to a lifetime: 1.7 and 3.4 s lie around the gateway's 3 s, 28.9
/// and 30.6 s around 30 s, and 299.2 and 300.9 s around the 300 s of the high-water mark.
const STEP: Duration = Duration::from_millis(1700);
const LIMIT: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        user: usize,
        who: usize,
        replace: bool,
    },
    /// `of` selects one of the fencing tokens issued so far.
    Renew {
        of: usize,
    },
    Release {
        of: usize,
    },
    Alive {
        gateway: u64,
    },
    Join {
        of: usize,
    },
    Update {
        of: usize,
        muted: bool,
    },
    Leave {
        of: usize,
    },
    List,
    RemoveRoom,
    Pass {
        steps: u32,
    },
}

/// Result of an acquisition, with its owner. The fencing token itself differs between the backends.
#[derive(Clone)]
struct Grant {
    key: LockKey,
    holder: Holder,
    token: FencingToken,
}

/// One backend and the grants it issued.
struct Side<S> {
    subject: S,
    instance: Instance,
    room: RoomId,
    grants: Vec<Grant>,
}

#[actix::test]
async fn presence_backends_behave_equally() {
    let (embedded, redis) = (OnEmbedded::start().await, OnRedis::start().await);
    let (mut one, mut two) = (Side::new(embedded), Side::new(redis));
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 1..LONGEST);
    let mut heard = BTreeSet::new();
    for number in 0..HISTORIES {
        let room = RoomId::new(&format!("history-{number}")).unwrap();
        (one.room, two.room) = (room.clone(), room);
        (one.grants, two.grants) = (vec![], vec![]);
        let steps = steps.new_tree(&mut runner).unwrap().current();
        for (i, step) in steps.iter().enumerate() {
            let (a, b) = (one.run(step).await, two.run(step).await);
            assert_eq!(a, b, "history {number}: the last of {:#?}", &steps[..=i]);
            heard.insert(a);
        }
    }
    // Check that all answers occurred: histories in which nothing happens would agree, too.
    for answer in ["Lost", "StillOurs", "Freed", "NotOurs", "Full", "Fenced", "Absent"] {
        assert!(heard.contains(answer), "no answer was {answer}: {heard:#?}");
    }
    for beginning in ["held by", "acquired, replaced None", "acquired, replaced Some"] {
        assert!(
            heard.iter().any(|answer| answer.starts_with(beginning)),
            "no answer begins with {beginning}"
        );
    }
}

fn step() -> impl Strategy<Value = Step> {
    let of = 0..12usize;
    prop_oneof![
        6 => (0..3usize, 0..6usize, prop::bool::weighted(0.2))
            .prop_map(|(user, who, replace)| Step::Acquire { user, who, replace }),
        4 => of.clone().prop_map(|of| Step::Renew { of }),
        2 => of.clone().prop_map(|of| Step::Release { of }),
        3 => (0..2u64).prop_map(|gateway| Step::Alive { gateway }),
        5 => of.clone().prop_map(|of| Step::Join { of }),
        4 => (of.clone(), any::<bool>()).prop_map(|(of, muted)| Step::Update { of, muted }),
        2 => of.prop_map(|of| Step::Leave { of }),
        3 => Just(Step::List),
        1 => Just(Step::RemoveRoom),
        4 => prop::sample::select(vec![1, 2, 5, 11, 17, 18, 180]).prop_map(|steps| Step::Pass { steps }),
    ]
}

/// Returns one of the connections that ask for the lock: on two gateways, with and without a client id.
fn asker(who: usize) -> Holder {
    let holder = holder(who as u64 % 2, &format!("c{who}"));
    match who {
        0 | 1 => with_client(holder, "tab"),
        2 => with_client(holder, "phone"),
        _ => holder,
    }
}

impl<S: Subject> Side<S> {
    fn new(subject: S) -> Self {
        Self { instance: subject.instance(), subject, room: room(), grants: vec![] }
    }

    /// Runs a step and returns the answer as text that does not depend on the backend.
    async fn run(&mut self, step: &Step) -> String {
        match step {
            Step::Acquire { user, who, replace } => self.acquire(*user, *who, *replace).await,
            Step::Renew { of } => match self.grant(*of) {
                Some(g) => {
                    format!("{:?}", self.instance.lock.renew(&g.key, &g.holder, g.token).await.unwrap())
                }
                None => String::new(),
            },
            Step::Release { of } => match self.grant(*of) {
                Some(g) => format!("{:?}", self.instance.lock.release(&g.key, g.token).await.unwrap()),
                None => String::new(),
            },
            Step::Alive { gateway: number } => {
                format!("{:?}", self.instance.lock.gateway_alive(&gateway(*number)).await)
            }
            Step::Pass { steps } => {
                self.subject.pass(STEP * *steps);
                String::new()
            }
            _ => self.in_room(step).await,
        }
    }

    async fn in_room(&self, step: &Step) -> String {
        let (presence, room) = (&self.instance.presence, &self.room);
        match *step {
            Step::Join { of } => match self.grant(of) {
                Some(g) => format!("{:?}", presence.join(room, &entry(&g, false), LIMIT).await.unwrap()),
                None => String::new(),
            },
            Step::Update { of, muted } => match self.grant(of) {
                Some(g) => format!("{:?}", presence.update(room, &entry(&g, muted)).await.unwrap()),
                None => String::new(),
            },
            Step::Leave { of } => match self.grant(of) {
                Some(g) => format!("{:?}", presence.leave(&g.key, g.token).await.unwrap()),
                None => String::new(),
            },
            Step::RemoveRoom => format!("{:?}", presence.remove_room(room).await),
            _ => {
                let members = presence.list(room).await.unwrap();
                members.iter().map(|m| format!("{} {} {:?};", m.user_id, m.muted, self.rank(m))).collect()
            }
        }
    }

    async fn acquire(&mut self, user: usize, who: usize, replace: bool) -> String {
        let key = LockKey { room: self.room.clone(), user: UserId::new(&format!("user-{user}")).unwrap() };
        let policy = if replace { Duplicate::Replace } else { Duplicate::Reject };
        let holder = asker(who);
        match self.instance.lock.acquire(&key, &holder, policy).await.unwrap() {
            Acquisition::Acquired { token, replaced } => {
                let last = self.grants.iter().filter(|g| g.key == key).map(|g| g.token).max();
                assert!(last.is_none_or(|last| token > last), "{token:?} after {last:?}");
                self.grants.push(Grant { key, holder, token });
                format!("acquired, replaced {replaced:?}")
            }
            Acquisition::Held { by } => format!("held by {by:?}"),
        }
    }

    /// Returns one of the newest grants.
    fn grant(&self, of: usize) -> Option<Grant> {
        self.grants.iter().rev().nth(of.min(self.grants.len().saturating_sub(1))).cloned()
    }

    fn rank(&self, member: &PresenceEntry) -> Option<usize> {
        self.grants.iter().position(|g| g.key.user == member.user_id && g.token == member.token)
    }
}

fn entry(grant: &Grant, muted: bool) -> PresenceEntry {
    PresenceEntry {
        user_id: grant.key.user.clone(),
        role: UserRole::Anchor,
        display_name: None,
        status: ActivityStatus::OnAir,
        muted,
        source: Source::Signalling,
        joining: false,
        consent: false,
        token: grant.token,
    }
}
