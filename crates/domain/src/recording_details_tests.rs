//! Tests of the details of recordings.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const STARTED: UnixMs = UnixMs(1_000_000);
const ENDED: UnixMs = UnixMs(2_000_000);

/// Returns the time this many seconds after the start of the recording.
fn at(seconds: i64) -> UnixMs {
    UnixMs(STARTED.0.checked_add_signed(seconds * 1000).unwrap())
}

fn event(kind: EventType, seconds: i64, data: Value) -> RoomEvent {
    RoomEvent { kind, time: at(seconds), data }
}

fn joined(user: &str, seconds: i64) -> RoomEvent {
    let data = json!({ "userId": user, "role": "anchor", "displayName": user.to_uppercase() });
    event(EventType::AnchorJoined, seconds, data)
}

fn left(user: &str, seconds: i64) -> RoomEvent {
    event(EventType::AnchorLeft, seconds, json!({ "userId": user }))
}

fn details(events: &[RoomEvent]) -> RecordingDetails {
    RecordingDetails::of(events, STARTED, ENDED)
}

fn titles(details: &RecordingDetails) -> Vec<(i64, &str)> {
    let seconds = |time: UnixMs| (time.0 as i64 - STARTED.0 as i64) / 1000;
    details.chapters.iter().map(|chapter| (seconds(chapter.started_at), chapter.title.as_str())).collect()
}

#[test]
fn chapters_follow_the_anchors() {
    let events = [joined("ann", -60), joined("bob", 100), left("ann", 200), left("bob", 900)];
    let details = details(&events);
    assert_eq!(titles(&details), [(0, "ANN"), (100, "ANN and BOB"), (200, "BOB")]);
    let [ann, bob] = &details.anchors[..] else { panic!("{details:?}") };
    assert_eq!(ann.visits, [Visit { joined_at: at(-60), left_at: at(200) }]);
    assert_eq!((bob.display_name.as_deref(), bob.visits[0].left_at), (Some("BOB"), at(900)));
}

#[test]
fn anchors_have_the_kind_of_their_source() {
    let data = json!({ "userId": "radio", "role": "anchor", "source": "url" });
    let details = details(&[joined("ann", 0), event(EventType::AnchorJoined, 1, data)]);
    let kinds: Vec<_> = details.anchors.iter().map(|anchor| anchor.source).collect();
    assert_eq!(kinds, [Source::Signalling, Source::Url]);
    let stored = serde_json::to_value(&details.anchors).unwrap();
    assert_eq!((stored[0].get("source"), &stored[1]["source"]), (None, &json!("url")));
}

#[test]
fn quick_changes_begin_no_chapter() {
    let events = [
        joined("ann", 2),
        joined("bob", 20),
        left("bob", 300),
        joined("bob", 310),
        joined("cem", 400),
        left("cem", 410),
    ];
    let details = details(&events);
    assert_eq!(titles(&details), [(0, "ANN and BOB")]);
    assert_eq!(details.anchors[1].visits.len(), 2);
}

#[test]
fn visits_end_with_the_recording() {
    let events = [
        joined("old", -500),
        event(EventType::RoomEnded, -400, json!({})),
        joined("ann", 10),
        joined("bob", 1_500),
    ];
    let details = details(&events);
    assert_eq!(details.anchors.len(), 1, "{details:?}");
    assert_eq!(details.anchors[0].visits, [Visit { joined_at: at(10), left_at: ENDED }]);
}

#[test]
fn anchors_without_name_are_counted() {
    let unnamed = |user: &str, seconds| {
        event(EventType::AnchorJoined, seconds, json!({ "userId": user, "role": "host" }))
    };
    let all = [unnamed("x", 0), unnamed("y", 100), joined("ann", 200), joined("bob", 300)];
    let expected =
        [(0, "1 anchor"), (100, "2 anchors"), (200, "ANN and 2 others"), (300, "ANN, BOB and 2 others")];
    assert_eq!(titles(&details(&all)), expected);
    assert_eq!(details(&all).anchors[0].role, RoomRole::Host);
    assert_eq!(titles(&details(&[])), [(0, "Nobody on stage")]);
    assert_eq!(titles(&details(&[joined("ann", 500)])), [(0, "ANN")], "the first anchor begins no chapter");
}

proptest! {
    #[test]
    fn details_are_bounded_and_ordered(
        steps in prop::collection::vec((0u8..20, any::<bool>(), 0i64..40), 0..400),
    ) {
        let mut now = -100;
        let events: Vec<_> = steps.into_iter().map(|(user, joins, later)| {
            now += later;
            let user = format!("user-{user}");
            if joins { joined(&user, now) } else { left(&user, now) }
        }).collect();
        let details = details(&events);
        prop_assert!(!details.chapters.is_empty() && details.chapters.len() <= MOST_CHAPTERS);
        prop_assert_eq!(details.chapters[0].started_at, STARTED);
        let begins: Vec<_> = details.chapters.iter().map(|chapter| chapter.started_at.0).collect();
        prop_assert!(begins.windows(2).all(|two| two[1] - two[0] >= SHORTEST_CHAPTER.as_millis() as u64));
        for anchor in &details.anchors {
            prop_assert!(anchor.visits.iter().all(|visit| visit.left_at > STARTED && visit.left_at <= ENDED));
        }
    }
}

#[test]
fn consent_counts_if_given_at_every_join() {
    let agreed = |user: &str, seconds: i64| {
        let mut event = joined(user, seconds);
        event.data["recordingConsent"] = json!(true);
        event
    };
    let events = [agreed("ann", 0), agreed("bob", 1), left("bob", 50), joined("bob", 60), joined("cat", 70)];
    let consents: Vec<_> =
        details(&events).anchors.into_iter().map(|anchor| anchor.recording_consent).collect();
    assert_eq!(consents, [true, false, false]);
}

#[test]
fn consent_is_that_of_recorded_visits() {
    let agreed = |user: &str, seconds| {
        let data = json!({ "userId": user, "role": "anchor", "recordingConsent": true });
        event(EventType::AnchorJoined, seconds, data)
    };
    let ended = |seconds| event(EventType::RoomEnded, seconds, json!({}));
    let consents = |events: &[RoomEvent]| details(events).anchors[0].recording_consent;
    assert!(consents(&[joined("ann", -600), ended(-300), agreed("ann", -60)]), "an earlier broadcast");
    assert!(!consents(&[agreed("ann", -600), ended(-300), joined("ann", -60)]));
    assert!(!consents(&[joined("ann", -60), left("ann", 100), agreed("ann", 200)]));
    assert!(!consents(&[agreed("ann", -60), left("ann", 100), joined("ann", 200)]));
    assert!(consents(&[agreed("ann", -60), left("ann", 100), agreed("ann", 200)]));
}
