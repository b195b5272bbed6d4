//! State machine of the relay: follows one room that is mixed on another node, for the listeners of this
//! node.
//!
//! ```text
//!             mixer key seen             playlist received
//!  Searching ───────────────▶ Following ◀─────────────┐
//!      ▲                        │   └─────────────────┘ each requests the next part
//!      │ not on air             │ a mixer of a higher epoch: request its whole playlist
//!      └────────────────────────┘
//! ```
//! There is one request at a time: a blocking reload for the next part. The epoch that is followed never
//! decreases. Within one broadcast the position never decreases either. The store may report that a room went
//! off the air before the mixer has produced the last part. So the requests continue until the playlist has
//! ended.

use std::time::Duration;

use super::handover::outgoing_mixer;
use super::ids::{Epoch, ModuleId, Nonce};
use super::model::Handover;
use super::plan::{Plan, Retry};
use super::restart::Backoff;
use super::view::{Modules, RoomView};
use super::vouched::url_refusal;

/// Number of consecutive failures after which the rest of an ended broadcast is no longer requested.
const END_ATTEMPTS: u32 = 8;

/// Media sequence number and part index.
pub type Position = (u64, u32);

/// Mixer that produces the room's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub mixer: ModuleId,
    /// Base URL of the mixer's HLS endpoint on the private network.
    pub url: String,
    pub nonce: Nonce,
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub from: Upstream,
    /// Part to wait for. `None`: the current playlist, without waiting.
    pub at: Option<Position>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The mixer sent a playlist. `next`: position of the part that follows it. `ended`: true if no further
    /// part follows.
    Playlist {
        next: Position,
        ended: bool,
    },
    /// The mixer has the room but no playlist yet, or it had nothing new within the waiting time.
    NotYet,
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HeldMedia {
    nonce: Nonce,
    next: Position,
    ended: bool,
}

#[derive(Debug)]
pub struct RelayRoom {
    backoff: Backoff,
    following: Option<Upstream>,
    /// Upstream to follow as soon as the current upstream, which hands the room over, produces nothing more.
    successor: Option<Upstream>,
    held: Option<HeldMedia>,
    /// Reason why the upstream that the store names is not followed.
    refusal: Option<String>,
    retry: Retry,
}

impl Upstream {
    /// Returns the mixer of a room on air, if its key exists. During a handover this is the outgoing mixer.
    pub fn of(view: &RoomView) -> Option<Self> {
        let live = view.live.as_ref().filter(|_| view.is_on_air())?;
        if let Some(Handover { mixer_id, hls_url, epoch }) = outgoing_mixer(view).cloned() {
            return Some(Self { mixer: mixer_id, url: hls_url, nonce: live.nonce.clone(), epoch });
        }
        let mixer = view.mixer.as_ref().filter(|mixer| mixer.epoch <= live.epoch)?;
        Some(Self {
            mixer: mixer.id.clone(),
            url: mixer.hls_url.clone(),
            nonce: live.nonce.clone(),
            epoch: mixer.epoch,
        })
    }

    /// Returns true if `other` is the same stream of the same mixer; the epoch is ignored.
    pub fn is_same_stream(&self, other: &Self) -> bool {
        (&self.mixer, &self.url, &self.nonce) == (&other.mixer, &other.url, &other.nonce)
    }
}

impl RelayRoom {
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, following: None, successor: None, held: None, refusal: None, retry: Retry::default() }
    }

    /// Updates the upstream from the view. A new upstream is accepted only if its URL is the one in the
    /// mixer's heartbeat. Returns true if a request in progress has become useless.
    pub fn look(&mut self, view: &RoomView, modules: &Modules) -> bool {
        // Ignore an upstream whose epoch is not newer than the one followed.
        let known = self.following.as_ref();
        self.refusal = None;
        let Some(seen) = Upstream::of(view).filter(|u| known.is_none_or(|k| u.epoch > k.epoch)) else {
            return false;
        };
        // The address of the stream that is followed was already checked.
        if !known.is_some_and(|known| known.is_same_stream(&seen)) {
            self.refusal = url_refusal(&seen.mixer, &seen.url, modules);
            if self.refusal.is_some() {
                return false;
            }
        }
        let moved = known.is_some_and(|known| !known.is_same_stream(&seen));
        // A handover takes place within one broadcast. If the nonces differ, the upstream followed so far
        // belongs to an earlier broadcast, which has no further parts.
        let handed_over = known.filter(|known| known.nonce == seen.nonce).is_some_and(|known| {
            let handover = view.live.as_ref().and_then(|live| live.handover.as_ref());
            handover.is_some_and(|handover| handover.mixer_id == known.mixer)
        });
        if moved && handed_over {
            self.successor = Some(seen);
            return false;
        }
        self.following = Some(seen);
        self.successor = None;
        if moved {
            self.retry.succeeded();
        }
        moved
    }

    /// Switches to the successor, if there is one, after a request that returned nothing new. Does nothing if
    /// the request went to an upstream that is no longer followed.
    fn go_on_with_successor(&mut self, of: &Fetch) {
        if self.following.as_ref().is_some_and(|known| known.is_same_stream(&of.from))
            && let Some(successor) = self.successor.take()
        {
            self.following = Some(successor);
            self.retry.succeeded();
        }
    }

    pub fn following(&self) -> Option<&Upstream> {
        self.following.as_ref()
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    pub fn plan(&self, view: &RoomView, now: Duration) -> Plan<Fetch> {
        let Some(upstream) = &self.following else {
            return match (&self.refusal, view.is_on_air()) {
                (_, false) => Plan::wait("the room is not on air"),
                (Some(refusal), true) => Plan::wait(format!("follows no mixer: {refusal}")),
                (None, true) => Plan::wait("waits for the address of the mixer"),
            };
        };
        if !view.is_on_air() && !self.awaits_end_from(upstream) {
            return Plan::wait("the room is not on air");
        }
        if view.live.as_ref().is_some_and(|live| live.nonce != upstream.nonce) {
            return Plan::wait("waits for the address of the new broadcast's mixer");
        }
        if let Some(wait) = self.retry.pending(now) {
            return wait;
        }
        match self.held.as_ref().filter(|held| held.nonce == upstream.nonce) {
            Some(held) if held.ended => Plan::wait("the broadcast has ended"),
            Some(held) if self.retry.attempt() == 0 => {
                Plan::act(Fetch { from: upstream.clone(), at: Some(held.next) }, "asks for the next part")
            }
            // After a failure, and for a new broadcast, request the current playlist.
            _ => Plan::act(Fetch { from: upstream.clone(), at: None }, "asks for the playlist"),
        }
    }

    /// Returns true if this mixer may still deliver the end of the broadcast that this node holds.
    fn awaits_end_from(&self, upstream: &Upstream) -> bool {
        let is_open = self.held.as_ref().is_some_and(|held| held.nonce == upstream.nonce && !held.ended);
        is_open && self.retry.attempt() < END_ATTEMPTS
    }

    /// Applies the outcome of a request. Returns true if it contains something new for listeners.
    pub fn done(&mut self, of: &Fetch, outcome: Outcome, now: Duration, random: f64) -> bool {
        let is_new = self.take_in(of, outcome, now, random);
        if !is_new {
            self.go_on_with_successor(of);
        }
        is_new
    }

    fn take_in(&mut self, of: &Fetch, outcome: Outcome, now: Duration, random: f64) -> bool {
        match outcome {
            Outcome::Playlist { next, ended } => self.got(of, next, ended, now, random),
            Outcome::NotYet => {
                // A mixer normally delays this answer, so an immediate retry would cause no busy loop. The
                // backoff guards against a mixer that answers immediately.
                self.retry.failed("nothing new yet", now, &self.backoff, random);
                false
            }
            Outcome::Failed(why) => {
                self.retry.failed(why, now, &self.backoff, random);
                false
            }
        }
    }

    fn got(&mut self, of: &Fetch, next: Position, ended: bool, now: Duration, random: f64) -> bool {
        let held = self.held.as_ref().filter(|held| held.nonce == of.from.nonce);
        if held.is_some_and(|held| next < held.next) {
            self.retry.failed(
                "the playlist has lower numbers than an earlier one",
                now,
                &self.backoff,
                random,
            );
            return false;
        }
        let is_news = held.is_none_or(|held| held.next < next || held.ended != ended);
        self.held = Some(HeldMedia { nonce: of.from.nonce.clone(), next, ended });
        match is_news {
            true => self.retry.succeeded(),
            // Back off, so that a mixer that answers blocking reloads with nothing new causes no busy loop of
            // requests.
            false => self.retry.failed("nothing new", now, &self.backoff, random),
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn relay_fetches_playlist_then_next_parts() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        assert_eq!(first.at, None);
        assert!(room.done(&first, playlist((10, 1)), NOW, 0.5));
        let second = fetch(&room, &view);
        assert_eq!(second.at, Some((10, 1)));
        assert!(room.done(&second, playlist((10, 2)), NOW, 0.5));
        assert_eq!(fetch(&room, &view).at, Some((10, 2)));
    }

    #[test]
    fn relay_follows_only_higher_epochs() {
        let mut room = room();
        assert!(!room.look(&on_air(5, Some(("a", 5))), &mixers()), "no request is in progress yet");
        let view = on_air(6, Some(("b", 6)));
        assert!(room.look(&view, &mixers()), "the request to the old mixer has become useless");
        assert_eq!(fetch(&room, &view).from.mixer.as_str(), "b");
        assert!(!room.look(&on_air(6, Some(("a", 5))), &mixers()));
        assert_eq!(fetch(&room, &view).from.mixer.as_str(), "b");
    }

    #[test]
    fn relay_continues_on_same_mixer() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        room.done(&first, playlist((10, 1)), NOW, 0.5);
        let view = on_air(6, Some(("a", 6)));
        assert!(!room.look(&view, &mixers()));
        assert_eq!(fetch(&room, &view).at, Some((10, 1)));
    }

    #[test]
    fn relay_follows_old_mixer_meanwhile() {
        let mut room = room();
        room.look(&on_air(5, Some(("a", 5))), &mixers());
        let moving = on_air(6, Some(("a", 5)));
        assert!(!room.look(&moving, &mixers()));
        assert_eq!(fetch(&room, &moving).from.mixer.as_str(), "a");
    }

    #[test]
    fn relay_follows_outgoing_mixer_to_end() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        room.done(&first, playlist((10, 1)), NOW, 0.5);
        let handover = Handover {
            mixer_id: ModuleId::new("a").unwrap(),
            hls_url: "http://a:8080".into(),
            epoch: Epoch(5),
        };
        let mut view = on_air(6, Some(("b", 6)));
        view.live.as_mut().unwrap().value.handover = Some(Box::new(handover));
        assert!(!room.look(&view, &mixers()));
        assert_eq!(fetch(&room, &view).from.mixer.as_str(), "a", "the new mixer does not produce yet");
        view.mixer.as_mut().unwrap().value.ready = true;
        assert!(!room.look(&view, &mixers()), "the request in progress may still be answered");
        let more = fetch(&room, &view);
        assert_eq!(more.from.mixer.as_str(), "a");
        assert!(room.done(&more, playlist((11, 0)), NOW, 0.5));
        let last = fetch(&room, &view);
        assert!(!room.done(&last, playlist((11, 0)), NOW, 0.5));
        let next = fetch(&room, &view);
        assert_eq!((next.from.mixer.as_str(), next.at), ("b", Some((11, 0))));
    }

    #[test]
    fn new_broadcast_skips_outgoing_mixer() {
        let mut room = room();
        room.look(&on_air(5, Some(("a", 5))), &mixers());
        let handover = Handover {
            mixer_id: ModuleId::new("a").unwrap(),
            hls_url: "http://a:8080".into(),
            epoch: Epoch(8),
        };
        let mut view = on_air(9, Some(("b", 9)));
        let live = view.live.as_mut().unwrap();
        (live.value.nonce, live.value.handover) = (Nonce("another".into()), Some(Box::new(handover)));
        view.mixer.as_mut().unwrap().value.ready = true;
        assert!(
            room.look(&view, &mixers()),
            "the start of this broadcast was missed: none of its media came from a"
        );
        assert_eq!(fetch(&room, &view).from.mixer.as_str(), "b");
    }

    #[test]
    fn relay_ignores_lower_sequence_numbers() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        room.done(&first, playlist((1030, 1)), NOW, 0.5);
        assert!(!room.done(&first, playlist((12, 0)), NOW, 0.5));
        assert!(matches!(room.plan(&view, NOW), Plan::Wait { until: Some(_), .. }));
    }

    #[test]
    fn relay_failure_backs_off_and_resyncs() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        room.done(&first, playlist((10, 1)), NOW, 0.5);
        let next = fetch(&room, &view);
        room.done(&next, Outcome::Failed("connection reset".into()), NOW, 0.5);
        let Plan::Wait { until: Some(until), .. } = room.plan(&view, NOW) else {
            panic!("retries without a delay")
        };
        let Plan::Do { effect, .. } = room.plan(&view, until) else { panic!("it is tried again") };
        assert_eq!(effect.at, None);
    }

    #[test]
    fn off_air_relay_requests_rest_of_broadcast() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        room.done(&first, playlist((10, 1)), NOW, 0.5);
        let waiting = fetch(&room, &view);
        let off_air = RoomView::default();
        room.look(&off_air, &mixers());
        assert!(
            room.done(&waiting, playlist((10, 2)), NOW, 0.5),
            "the part was made before the mixer stopped"
        );
        let last = fetch(&room, &off_air);
        assert_eq!(last.at, Some((10, 2)));
        assert!(room.done(&last, Outcome::Playlist { next: (10, 2), ended: true }, NOW, 0.5));
        assert!(matches!(room.plan(&off_air, NOW), Plan::Wait { until: None, .. }));
    }

    #[test]
    fn off_air_relay_abandons_dead_mixer() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        room.done(&first, playlist((10, 1)), NOW, 0.5);
        let (off_air, mut now, mut requests) = (RoomView::default(), NOW, 0);
        loop {
            match room.plan(&off_air, now) {
                Plan::Do { effect, .. } => {
                    requests += 1;
                    room.done(&effect, Outcome::Failed("connection refused".into()), now, 0.5);
                }
                Plan::Wait { until: Some(until), .. } => now = until,
                Plan::Wait { until: None, .. } | Plan::Finished => break,
            }
        }
        assert_eq!(requests, END_ATTEMPTS);
    }

    #[test]
    fn ended_relay_waits_for_new_broadcast() {
        let mut room = room();
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        let first = fetch(&room, &view);
        assert!(room.done(&first, Outcome::Playlist { next: (10, 1), ended: true }, NOW, 0.5));
        assert!(matches!(room.plan(&view, NOW), Plan::Wait { .. }));
        let mut again = on_air(9, Some(("a", 9)));
        again.live.as_mut().unwrap().value.nonce = Nonce("another".into());
        room.look(&again, &mixers());
        assert_eq!(fetch(&room, &again).at, None);
    }

    #[test]
    fn relay_follows_only_announced_mixers() {
        let mut room = room();
        let forged = on_air(5, Some(("evil", 5)));
        assert!(!room.look(&forged, &mixers()));
        let Plan::Wait { reason, .. } = room.plan(&forged, NOW) else {
            panic!("a forged address is requested")
        };
        assert!(reason.contains("mixer evil has no heartbeat"), "{reason}");
        let view = on_air(5, Some(("a", 5)));
        room.look(&view, &mixers());
        assert_eq!(fetch(&room, &view).from.mixer.as_str(), "a");
        let mut elsewhere = on_air(6, Some(("a", 6)));
        elsewhere.mixer.as_mut().unwrap().value.hls_url = "http://127.0.0.1:1/internal?x=".into();
        assert!(!room.look(&elsewhere, &mixers()));
        assert_eq!(fetch(&room, &elsewhere).from.url, "http://a:8080");
        room.look(&on_air(7, Some(("a", 7))), &Modules::new());
        assert_eq!(room.following().unwrap().epoch, Epoch(7), "the same stream needs no heartbeat");
    }

    /// Returns the heartbeats of the mixers `a` and `b`.
    fn mixers() -> Modules {
        use super::super::keys::{ModuleKind, ModulePart};
        let module = |id: &str| {
            let json = format!(
                r#"{{"status":"healthy","host":"{id}","url":"http://{id}:8080","capacity":1,"startedAt":1,
                    "incarnation":"i","version":"0"}}"#
            );
            let mut view = super::super::view::ModuleView::default();
            view.apply(ModulePart::Heartbeat, Some((json.as_bytes(), 1))).unwrap();
            ((ModuleKind::Mixer, ModuleId::new(id).unwrap()), std::sync::Arc::new(view))
        };
        ["a", "b"].map(module).into_iter().collect()
    }

    fn room() -> RelayRoom {
        RelayRoom::new(Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) })
    }

    fn playlist(next: Position) -> Outcome {
        Outcome::Playlist { next, ended: false }
    }

    fn fetch(room: &RelayRoom, view: &RoomView) -> Fetch {
        let Plan::Do { effect, .. } = room.plan(view, NOW) else { panic!("nothing is fetched") };
        effect
    }

    fn on_air(epoch: u64, mixer: Option<(&str, u64)>) -> RoomView {
        use super::super::keys::RoomKey;
        use super::super::keys::RoomPart::{LiveMeta, Mixer};
        let mut view = RoomView::default();
        let owner = mixer.map_or("m", |(id, _)| id);
        let live = format!(
            r#"{{
                "status":"onair","mixerId":"{owner}","janusId":"j","nonce":"n","createdAt":0,"epoch":{epoch}
            }}"#
        );
        view.apply(RoomKey::Part(LiveMeta), Some((live.as_bytes(), 1))).unwrap();
        if let Some((id, epoch)) = mixer {
            let mixer = format!(
                r#"{{"id":"{id}","ip":"127.0.0.1","port":20000,"hlsUrl":"http://{id}:8080","epoch":{epoch}}}"#
            );
            view.apply(RoomKey::Part(Mixer), Some((mixer.as_bytes(), 1))).unwrap();
        }
        view
    }
}
