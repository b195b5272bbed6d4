//! Random histories of one session: calls, results in any order, failures, and a close at any time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::pin_attempts::Guess;

/// Effects in progress and what has been observed so far.
#[derive(Default)]
struct History {
    running: Vec<Effect>,
    sent: BTreeSet<u64>,
    replies: BTreeMap<u64, usize>,
    /// Fencing tokens that were acquired and not released yet.
    held: BTreeSet<u64>,
    tokens: u64,
    close: Option<CloseCode>,
    /// Number of media sessions that were joined, but not yet followed, left or dropped.
    loose: usize,
    media: usize,
}

impl History {
    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(CallId(id), _) => *self.replies.entry(id).or_default() += 1,
                Effect::Close(code) => self.close = self.close.or(Some(code)),
                Effect::LeavePresence { token, release: true, .. } => {
                    assert!(self.held.remove(&token.0), "released twice or never held: {token:?}");
                    assert!(!self.is_writing(), "the lock is released during a write");
                    // The acquisition of this token replaced the earlier ones, which are not released
                    // separately.
                    self.held.retain(|held| *held > token.0);
                }
                Effect::FollowMedia(_) => {
                    assert_eq!((self.loose, self.media), (1, 0));
                    (self.loose, self.media) = (0, 1);
                }
                Effect::DropMedia | Effect::LeaveMedia => {
                    assert_eq!(self.loose + self.media, 1, "one media session at a time");
                    (self.loose, self.media) = (0, 0);
                }
                Effect::Enter { .. } | Effect::Update(_) => {
                    assert!(!self.is_writing(), "two writes at once");
                    self.running.push(effect);
                }
                Effect::LeavePresence { .. } | Effect::Notify(_) | Effect::Greet => {}
                effect => self.running.push(effect),
            }
        }
    }

    fn is_writing(&self) -> bool {
        self.running.iter().any(|effect| matches!(effect, Effect::Enter { .. } | Effect::Update(_)))
    }

    /// Completes one of the effects in progress, and returns its result as an input. `luck` selects the
    /// outcome.
    fn end_one(&mut self, choice: usize, luck: usize) -> Option<Input> {
        if self.running.is_empty() {
            return None;
        }
        let effect = self.running.swap_remove(choice % self.running.len());
        Some(match effect {
            Effect::Acquire { .. } => Input::Acquired(match luck % 8 {
                0 => Ok(LockOutcome::Taken),
                1 => Err(Unavailable),
                _ => {
                    self.tokens += 1;
                    self.held.insert(self.tokens);
                    Ok(LockOutcome::Ours(FencingToken(self.tokens)))
                }
            }),
            Effect::Renew { token, .. } => {
                let outcome = match luck % 16 {
                    0 => Ok(RenewOutcome::Lost),
                    1 => Err(Unavailable),
                    _ => Ok(RenewOutcome::StillOurs),
                };
                Input::Renewed { token, outcome }
            }
            Effect::ListMembers(waiter) => {
                Input::Listed(waiter, [Err(Unavailable), Ok(vec![])][luck.min(1)].clone())
            }
            Effect::Enter { .. } => Input::Entered(match luck % 8 {
                0 => Ok(JoinOutcome::Full),
                1 => Ok(JoinOutcome::Fenced),
                2 => Err(Unavailable),
                _ => Ok(JoinOutcome::Ok),
            }),
            Effect::Update(_) => Input::Updated(match luck % 8 {
                0 => Ok(UpdateOutcome::Absent),
                1 => Ok(UpdateOutcome::Fenced),
                2 => Err(Unavailable),
                _ => Ok(UpdateOutcome::Ok),
            }),
            Effect::CheckPin { right } => Input::PinChecked(if right { Guess::Right } else { Guess::Wrong }),
            Effect::JoinMedia { .. } if luck.is_multiple_of(8) => {
                Input::MediaJoined(Err(ErrorCode::MediaUnavailable.into()))
            }
            Effect::JoinMedia { .. } => {
                self.loose += 1;
                Input::MediaJoined(Ok(media(luck.is_multiple_of(2))))
            }
            Effect::CallMedia(id, _) | Effect::MuteUser { call: id, .. } | Effect::ChangeRoom(id, _) => {
                Input::Finished(id, Ok(Answer::Done))
            }
            other => panic!("{other:?} has no result"),
        })
    }
}

fn call(choice: usize) -> Method {
    let calls = [
        ("join", json!({})),
        ("join", json!({ "clientId": "other" })),
        ("join", json!({ "jtoken": "sealed", "pin": "abc123" })),
        ("leave", json!({})),
        ("keepalive", json!({ "status": "onair" })),
        ("keepalive", json!({ "status": "idle" })),
        ("offer", json!({ "sdp": { "type": "offer", "sdp": OFFER } })),
        ("mute", json!({ "userId": "bert" })),
        ("lock", json!({})),
    ];
    let (name, params) = calls[choice % calls.len()].clone();
    Method::parse(name, Some(params)).unwrap()
}

/// Runs one history. Each step consists of its kind, the number of an alternative, and the `luck` that
/// selects an outcome.
fn run(steps: &[(u8, usize, usize)]) {
    let (mut rig, mut history) = (Rig::new(UserRole::Host), History::default());
    history.take(rig.feed(Input::Opened));
    for (kind, choice, luck) in steps {
        let join = rig.session.joins;
        let input = match kind {
            0..3 => {
                let id = history.sent.len() as u64;
                history.sent.insert(id);
                Some(Input::Call(CallId(id), call(*choice)))
            }
            3..7 => history.end_one(*choice, *luck),
            7 => {
                rig.at.now += Duration::from_millis(*choice as u64 * 10);
                Some(Input::Tick)
            }
            8 => Some(Input::Media { join, event: MediaEvent::Muted(luck % 2 == 0) }),
            9 if luck % 4 == 0 => {
                let end = [End::GraceOver, End::JanusMoved][choice % 2];
                Some(Input::Media {
                    join,
                    event: MediaEvent::Ended { end, reconnect_after: end.reconnect_after() },
                })
            }
            10 if luck % 32 == 0 => Some(Input::LockReplaced),
            _ => None,
        };
        history.take(input.map(|input| rig.feed(input)).unwrap_or_default());
        if history.close.is_some() {
            break;
        }
    }
    let answered = history.close.is_none();
    if answered {
        // Every call must be answered after all effects have ended and the calls have timed out.
        while let Some(input) = history.end_one(0, 7) {
            history.take(rig.feed(input));
        }
        rig.at.now += CALL_TIMEOUT;
        history.take(rig.feed(Input::Tick));
        let all: BTreeSet<u64> = history.replies.keys().copied().collect();
        assert!(history.close.is_some() || all == history.sent, "{all:?} of {:?}", history.sent);
    }
    assert!(history.replies.values().all(|count| *count == 1), "{:?}", history.replies);
    let code = history.close.unwrap_or(CloseCode::Gone);
    history.take(rig.closed(code));
    let replies = history.replies.len();
    let mut turns = 0;
    while let Some(input) = history.end_one(turns, 7) {
        turns += 1;
        history.take(rig.feed(input));
    }
    assert!(rig.session.is_over());
    assert_eq!(history.replies.len(), replies, "no answer after the close");
    assert_eq!((history.held.len(), history.loose, history.media), (0, 0, 0), "nothing is left");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    /// Each call is answered at most once, writes never overlap, and a closed session holds nothing.
    #[test]
    fn session_history_leaves_nothing_behind(
        steps in prop::collection::vec((0_u8..11, 0_usize..100, 0_usize..64), 0..120),
    ) {
        run(&steps);
    }
}
