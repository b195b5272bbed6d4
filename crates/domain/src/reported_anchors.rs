//! Anchors, listeners and raised hands of a broadcast, as the event ledger has reported them.
//!
//! Presence entries are not in the store, so no transaction can write an entry and its event together. The
//! leader compares the entries with a key of the room, and writes each difference to the key together with
//! its event. Each event is therefore written exactly once, even if a node fails. Within one broadcast, the
//! events of an anchor alternate between joined and left. After a time without a leader, the next leader
//! reports the differences.
//!
//! The key also contains the largest number of listeners reported in the broadcast, so that each larger
//! number is reported once.
//!
//! The key also contains the raised hands that were reported. The rules for them are in
//! [`reported_hands`](super::reported_hands).
//!
//! The key covers one broadcast, including its backstage. The end of the broadcast ends the presence of all
//! anchors and lowers all hands, without an event for each.
//!
//! Owns these rules. Never writes, and never reads presence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::events::MOST_PER_WRITE;
use super::ids::{Nonce, UnixMs, UserId};
use super::model::LiveStatus;
use super::presence_entry::Source;
use super::reported_hands::{self, ReportedHands};
use super::roles::RoomRole;
use super::room::{Admission, RoomWrite};
use super::signalling::DisplayName;
use super::stage::Hand;
use super::view::RoomView;

/// Value of the key `/rooms/{id}/anchors`: anchors who, according to the events of one broadcast, have joined
/// and not left. Also contains the largest number of listeners reported in this broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedAnchors {
    /// Nonce of the broadcast.
    pub nonce: Nonce,
    /// Time of each anchor's event `anchor_joined`.
    pub anchors: BTreeMap<UserId, UnixMs>,
    /// Kinds of the anchors that are not people, or publish with WHIP.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<UserId, Source>,
    /// Largest number of listeners reported in the broadcast; `None` if none was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_peak: Option<u64>,
    /// Hands that are raised, according to the events of the broadcast.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hands: ReportedHands,
}

/// State of a room outside the store, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoomObservation<'a> {
    /// All anchors with a presence entry; `None` if presence is not known.
    pub present: Option<&'a [PresentAnchor]>,
    /// All raised hands; `None` if the stage is not known.
    pub hands: Option<&'a [Hand]>,
    pub listeners: u64,
}

/// Anchor with a presence entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentAnchor {
    pub user: UserId,
    pub role: RoomRole,
    pub name: Option<DisplayName>,
    pub source: Source,
    /// True while the anchor's media session is not ready. Such an anchor is not reported as joined.
    pub joining: bool,
    /// True if the anchor agreed to be recorded.
    pub consent: bool,
}

/// Returns the anchors who were reported as present in the room's current broadcast; `None` if nothing was
/// reported in it.
pub fn reported(view: &RoomView) -> Option<&ReportedAnchors> {
    let live = view.live.as_ref().filter(|_| view.is_open())?;
    view.anchors.as_ref().map(|known| &known.value).filter(|known| known.nonce == live.nonce)
}

/// Returns true if the room is on air and `listeners` exceeds every number reported in this broadcast.
pub fn is_listener_peak(view: &RoomView, listeners: u64) -> bool {
    let on_air = view.live.as_ref().is_some_and(|live| live.status == LiveStatus::OnAir);
    on_air && listeners > reported(view).and_then(|known| known.listener_peak).unwrap_or(0)
}

/// Decides which changes of presence and of hands to report, and whether to report the number of listeners as
/// a new largest number. Users who may not speak count as absent, because their presence entries disappear
/// only later. Reports at most [`MOST_PER_WRITE`] changes at once: departures, joins, then hands. The other
/// changes remain due. Nothing is due in a room that is neither on air nor backstage.
pub fn admit_report(view: &RoomView, observed: RoomObservation<'_>, now: UnixMs) -> Admission<RoomWrite> {
    let RoomObservation { present, hands, listeners } = observed;
    let Some(live) = view.live.as_ref().filter(|_| view.is_open()) else { return Admission::AlreadyDone };
    let before = reported(view);
    let is_peak = is_listener_peak(view, listeners);
    let mut anchors = before.map(|known| known.anchors.clone()).unwrap_or_default();
    let (mut left, mut joined) = (Vec::new(), Vec::new());
    if let Some(present) = present {
        let most = MOST_PER_WRITE - usize::from(is_peak);
        let is_here = |user: &UserId| present.iter().any(|anchor| anchor.user == *user);
        let gone = |user: &&UserId| !is_here(user) || view.is_off_stage(user);
        left.extend(anchors.keys().filter(gone).take(most).cloned());
        let new = |anchor: &&PresentAnchor| {
            let PresentAnchor { user, joining, .. } = anchor;
            !joining && !anchors.contains_key(user) && !view.is_off_stage(user)
        };
        joined.extend(present.iter().filter(new).take(most - left.len()).cloned());
    }
    let known_hands = before.map(|known| known.hands.clone()).unwrap_or_default();
    let (hands, hand_changes) = match hands {
        Some(hands) => {
            let most = MOST_PER_WRITE - usize::from(is_peak) - left.len() - joined.len();
            reported_hands::compare(&known_hands, hands, most)
        }
        None => (known_hands.clone(), Vec::new()),
    };
    if left.is_empty() && joined.is_empty() && !is_peak && hands == known_hands {
        return Admission::AlreadyDone;
    }
    anchors.retain(|user, _| !left.contains(user));
    anchors.extend(joined.iter().map(|anchor| (anchor.user.clone(), now)));
    let mut sources = before.map(|known| known.sources.clone()).unwrap_or_default();
    sources.retain(|user, _| anchors.contains_key(user));
    let kinds = joined.iter().filter(|anchor| !anchor.source.is_signalling());
    sources.extend(kinds.map(|anchor| (anchor.user.clone(), anchor.source)));
    let listener_peak = match is_peak {
        true => Some(listeners),
        false => before.and_then(|known| known.listener_peak),
    };
    let reported = ReportedAnchors { nonce: live.nonce.clone(), anchors, sources, listener_peak, hands };
    Admission::Accepted(RoomWrite::Anchors { reported, joined, hands: hand_changes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::events::{EventType, of_write};
    use crate::keys::parse_room;

    const META: &str = r#"{"pin":"abc123","maxAnchors":20,"hlsPath":"/","createdAt":0}"#;

    #[test]
    fn joins_and_departures_are_reported() {
        let mut room = Room::on_air("one");
        assert_eq!(room.report(&["ann", "bob"], 1000), ["joined ann", "joined bob"]);
        assert_eq!(room.report(&["ann", "bob"], 2000), NOTHING);
        assert_eq!(room.report(&["bob", "cat"], 3500), ["left ann after 2500", "joined cat"]);
        room.put("users/cat", r#"{"role":"anchor","createdAt":0,"removedAt":9}"#);
        assert_eq!(room.report(&["bob", "cat"], 4000), ["left cat after 500"]);
        assert_eq!(room.report(&["bob", "cat"], 5000), NOTHING, "a banned user does not join");
        room.put("users/bob", r#"{"role":"anchor","createdAt":0,"assigned":"listener"}"#);
        assert_eq!(room.report(&["bob"], 6000), ["left bob after 5000"]);
    }

    #[test]
    fn broadcast_begins_with_nobody() {
        let mut room = Room::on_air("one");
        assert_eq!(room.report(&["ann"], 1000), ["joined ann"]);
        room.put("livemeta", &live("removing", "one"));
        assert_eq!(room.report(&["ann"], 2000), NOTHING);
        assert_eq!(room.report(&[], 2000), NOTHING, "the end of the broadcast reports the departures");
        room.put("livemeta", &live("backstage", "two"));
        assert_eq!(room.report(&["ann"], 3000), ["joined ann"]);
        room.put("livemeta", &live("onair", "two"));
        assert_eq!(room.report(&["ann"], 4000), NOTHING, "a backstage and its broadcast count as one");
    }

    #[test]
    fn joins_carry_role_and_name() {
        let room = Room::on_air("one");
        let anchor = PresentAnchor { name: DisplayName::new("Ann").ok(), ..anchor("ann") };
        let admitted = admit_report(&room.0, present(&[anchor]), UnixMs(7));
        let Admission::Accepted(write) = admitted else { panic!() };
        let data = json!({ "userId": "ann", "role": "anchor", "displayName": "Ann" });
        assert_eq!(of_write(&room.0, &write, UnixMs(7))[0].data, data);
    }

    #[test]
    fn events_carry_kinds_of_sources() {
        let mut room = Room::on_air("one");
        let radio = PresentAnchor { source: Source::Url, ..anchor("radio") };
        let mut report = |present: &[PresentAnchor], now| {
            let seen = RoomObservation { present: Some(present), ..RoomObservation::default() };
            let Admission::Accepted(write) = admit_report(&room.0, seen, UnixMs(now)) else {
                panic!("nothing to report")
            };
            let events = of_write(&room.0, &write, UnixMs(now));
            room.0 = write.applied_to(&room.0, 2);
            events.into_iter().map(|event| event.data["source"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(report(&[anchor("ann"), radio.clone()], 1000), [json!(null), json!("url")]);
        assert_eq!(report(&[radio], 2000), [json!(null)]);
        assert_eq!(report(&[], 3000), [json!("url")]);
        assert_eq!(reported(&room.0).unwrap().sources, BTreeMap::new());
    }

    #[test]
    fn failed_joins_are_not_reported() {
        let mut room = Room::on_air("one");
        let joining = [PresentAnchor { joining: true, ..anchor("ann") }];
        let mut report = |anchors: &[PresentAnchor]| {
            room.write(admit_report(&room.0, present(anchors), UnixMs(1000)), 1000)
        };
        assert_eq!(report(&joining), NOTHING);
        assert_eq!(report(&[]), NOTHING);
        assert_eq!(report(&[anchor("ann")]), ["joined ann"]);
        assert_eq!(report(&joining), NOTHING, "a reported anchor who joins again has not left");
    }

    #[test]
    fn listener_peaks_are_reported_once() {
        let mut room = Room::on_air("one");
        assert_eq!(room.count(3), ["peak 3"]);
        assert_eq!(room.count(3), NOTHING);
        assert_eq!(room.count(2), NOTHING);
        assert_eq!(room.report(&["ann"], 1000), ["joined ann"]);
        assert_eq!(room.count(4), ["peak 4"], "the report of an anchor keeps the number");
        assert_eq!(room.report(&[], 2000), ["left ann after 1000"], "the report of a peak keeps the anchors");
        room.put("livemeta", &live("backstage", "two"));
        assert_eq!(room.count(9), NOTHING, "nobody hears the backstage");
        room.put("livemeta", &live("onair", "two"));
        assert_eq!(room.count(1), ["peak 1"], "another broadcast");
        room.put("livemeta", &live("removing", "two"));
        assert_eq!(room.count(9), NOTHING);
    }

    #[test]
    fn peak_fits_into_full_report() {
        let mut room = Room::on_air("one");
        let users: Vec<_> = (0..20).map(|n| format!("u{n}")).collect();
        let users: Vec<_> = users.iter().map(|user| anchor(user)).collect();
        let seen = RoomObservation { listeners: 5, ..present(&users) };
        let events = room.write(admit_report(&room.0, seen, UnixMs(0)), 0);
        assert_eq!(events.len(), MOST_PER_WRITE);
        assert_eq!(events.last().map(String::as_str), Some("peak 5"));
    }

    proptest! {
        /// For any changes of presence, the events of a user alternate, and finally agree with presence.
        #[test]
        fn events_alternate_and_converge(
            seen in proptest::collection::vec(proptest::collection::btree_set(0u8..24, 0..20), 1..12)
        ) {
            let mut room = Room::on_air("one");
            let mut there = std::collections::BTreeSet::new();
            let last = seen.last().cloned().unwrap_or_default();
            for users in seen.iter().chain([&last, &last, &last, &last]) {
                let names: Vec<_> = users.iter().map(|user| format!("u{user}")).collect();
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let events = room.report(&names, 1000);
                prop_assert!(events.len() <= MOST_PER_WRITE);
                for event in events {
                    let mut words = event.split(' ');
                    let (kind, user) = (words.next().unwrap(), words.next().unwrap().to_owned());
                    let alternates = if kind == "joined" { there.insert(user) } else { there.remove(&user) };
                    prop_assert!(alternates);
                }
            }
            prop_assert_eq!(there, last.iter().map(|user| format!("u{user}")).collect());
        }
    }

    const NOTHING: [&str; 0] = [];

    struct Room(RoomView);

    impl Room {
        fn on_air(nonce: &str) -> Self {
            let mut room = Self(RoomView::default());
            room.put("meta", META);
            room.put("livemeta", &live("onair", nonce));
            room
        }

        fn put(&mut self, key: &str, json: &str) {
            let (_, key) = parse_room(&format!("/rooms/tea/{key}")).unwrap();
            self.0.apply(key, Some((json.as_bytes(), 1))).unwrap();
        }

        /// Reports that these users have presence entries, and returns the events.
        fn report(&mut self, users: &[&str], now: u64) -> Vec<String> {
            let anchors: Vec<_> = users.iter().map(|user| anchor(user)).collect();
            self.write(admit_report(&self.0, present(&anchors), UnixMs(now)), now)
        }

        /// Reports this number of listeners while presence is not known, and returns the events.
        fn count(&mut self, listeners: u64) -> Vec<String> {
            let seen = RoomObservation { listeners, ..RoomObservation::default() };
            self.write(admit_report(&self.0, seen, UnixMs(0)), 0)
        }

        fn write(&mut self, admitted: Admission<RoomWrite>, now: u64) -> Vec<String> {
            match admitted {
                Admission::AlreadyDone => Vec::new(),
                Admission::Accepted(write) => {
                    let events = of_write(&self.0, &write, UnixMs(now));
                    self.0 = write.applied_to(&self.0, 2);
                    let say = |event: &crate::events::NewEvent| {
                        let user = event.data["userId"].as_str().unwrap_or_default();
                        match event.kind {
                            EventType::ListenerPeak => format!("peak {}", event.data["listeners"]),
                            EventType::AnchorJoined => format!("joined {user}"),
                            EventType::AnchorLeft => {
                                format!("left {user} after {}", event.data["durationMs"])
                            }
                            other => panic!("{other:?}"),
                        }
                    };
                    events.iter().map(say).collect()
                }
            }
        }
    }

    fn present(anchors: &[PresentAnchor]) -> RoomObservation<'_> {
        RoomObservation { present: Some(anchors), ..RoomObservation::default() }
    }

    fn anchor(user: &str) -> PresentAnchor {
        let user = UserId::new(user).unwrap();
        PresentAnchor {
            user,
            role: RoomRole::Anchor,
            name: None,
            source: Source::Signalling,
            joining: false,
            consent: false,
        }
    }

    fn live(status: &str, nonce: &str) -> String {
        format!(
            r#"{{"status":"{status}","mixerId":"m","janusId":"j","nonce":"{nonce}","createdAt":0,"epoch":1}}"#
        )
    }
}
