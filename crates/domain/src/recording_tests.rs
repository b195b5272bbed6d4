//! Tests of the rules for recordings.

use super::*;
use crate::events::EventType;
use crate::keys::{RoomKey, RoomPart};

const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":1}"#;
const LIVE: &str = r#"{"status":"onair","mixerId":"m1","janusId":"j","nonce":"n","createdAt":100,"epoch":3}"#;
const NOW: UnixMs = UnixMs(500);

fn view(parts: &[(RoomPart, &str)]) -> RoomView {
    let mut view = RoomView::default();
    for (part, json) in parts {
        view.apply(RoomKey::Part(*part), Some((json.as_bytes(), 7))).unwrap();
    }
    view
}

fn on_air() -> RoomView {
    view(&[(RoomPart::Meta, META), (RoomPart::LiveMeta, LIVE)])
}

fn id() -> RecordingId {
    RecordingId::new("0123456789abcdef").unwrap()
}

fn mixer(name: &str) -> ModuleId {
    ModuleId::new(name).unwrap()
}

fn started() -> RoomView {
    let view = on_air();
    let admitted = admit_start(&view, RecordingMode::OnRequest, id(), NOW);
    let Ok(Admission::Accepted(write)) = admitted else { panic!("{admitted:?}") };
    write.applied_to(&view, 8)
}

fn stopped() -> RoomView {
    let view = started();
    let Ok(Admission::Accepted(write)) = admit_stop(&view, UnixMs(900)) else { panic!("not admitted") };
    write.applied_to(&view, 9)
}

fn moved(view: &RoomView, to: &str) -> RoomView {
    let mut view = view.clone();
    view.live.as_mut().unwrap().value.mixer_id = mixer(to);
    view
}

fn recording(takes: &[(&str, Option<u64>)]) -> Recording {
    let request = RecordingRequest { id: id(), nonce: Nonce("n".into()), since: NOW, stopped_at: None };
    let new = Recording::new(RoomId::new("demo").unwrap(), &on_air(), &request);
    takes.iter().fold(new, |recording, (name, ended)| {
        recording.with_take(mixer(name), Take { ended_at: ended.map(UnixMs), ..Take::default() })
    })
}

fn duty_of(name: &str, known: Option<&Recording>, view: &RoomView) -> Duty {
    duty(&mixer(name), &id(), known, view)
}

#[test]
fn recording_ids_are_validated() {
    assert_eq!(RecordingId::random(0xabc).as_str(), "0000000000000abc");
    for bad in [
        "",
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789ABCDEF",
        "../3456789abcdef",
        "0123456789abcd\0f",
    ] {
        assert!(RecordingId::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn only_rooms_on_air_are_recorded() {
    let start = |view: &RoomView, mode| admit_start(view, mode, id(), NOW);
    let mode = RecordingMode::OnRequest;
    assert_eq!(start(&RoomView::default(), mode), Err(RecordingDenied::NoSuchRoom));
    assert_eq!(start(&view(&[(RoomPart::Meta, META)]), mode), Err(RecordingDenied::NotOnAir));
    let removing = LIVE.replace("onair", "removing");
    let removing = view(&[(RoomPart::Meta, META), (RoomPart::LiveMeta, &removing)]);
    assert_eq!(start(&removing, mode), Err(RecordingDenied::NotOnAir));
    assert_eq!(start(&on_air(), RecordingMode::Off), Err(RecordingDenied::SwitchedOff));
    assert_eq!(in_force(&started()).map(|request| request.since), Some(NOW));
    assert_eq!(start(&started(), mode), Ok(Admission::AlreadyDone));
    assert!(in_force(&stopped()).is_none());
    assert_eq!(admit_stop(&stopped(), NOW), Ok(Admission::AlreadyDone));
    assert!(matches!(start(&stopped(), mode), Ok(Admission::Accepted(_))), "another recording");
}

#[test]
fn requests_end_with_their_broadcast() {
    let mut view = started();
    view.live.as_mut().unwrap().value.nonce = Nonce("later".into());
    assert!(in_force(&view).is_none());
    assert_eq!(duty_of("m1", Some(&recording(&[("m1", None)])), &view), Duty::Close { stopped_at: None });
}

#[test]
fn automatic_requests_begin_with_broadcast() {
    let request = automatic(&on_air(), RecordingMode::Always, id()).unwrap();
    assert_eq!(request.since, UnixMs(100));
    assert_eq!(automatic(&on_air(), RecordingMode::OnRequest, id()), None);
    assert_eq!(automatic(&started(), RecordingMode::Always, id()), None);
    assert_eq!(automatic(&stopped(), RecordingMode::Always, id()), None, "a stop is respected");
    assert_eq!(automatic(&view(&[(RoomPart::Meta, META)]), RecordingMode::Always, id()), None);
}

#[test]
fn duty_follows_room_and_key() {
    let open = recording(&[("m1", None)]);
    assert!(matches!(duty_of("m1", None, &started()), Duty::Record(_)));
    assert!(matches!(duty_of("m1", Some(&open), &started()), Duty::Record(_)));
    assert_eq!(duty_of("m2", Some(&open), &started()), Duty::Nothing);
    let both = moved(&started(), "m2");
    assert_eq!(duty_of("m1", Some(&open), &both), Duty::Close { stopped_at: None }, "moved away");
    assert!(matches!(duty_of("m2", Some(&open), &both), Duty::Record(_)), "continued by the next mixer");
    let closed = recording(&[("m1", Some(800))]);
    assert_eq!(duty_of("m1", Some(&closed), &both), Duty::Nothing);
    assert!(matches!(duty_of("m1", Some(&closed), &started()), Duty::Record(_)), "came back");
    assert_eq!(duty_of("m1", Some(&open), &stopped()), Duty::Close { stopped_at: Some(UnixMs(900)) });
    assert_eq!(duty_of("m1", Some(&closed), &stopped()), Duty::Nothing);
    assert_eq!(duty_of("m1", Some(&open), &RoomView::default()), Duty::Close { stopped_at: None });
}

#[test]
fn deleted_recordings_are_erased_everywhere() {
    let deleted = recording(&[("m1", Some(1)), ("m2", Some(2))]).deleted(NOW);
    assert_eq!(duty_of("m1", Some(&deleted), &RoomView::default()), Duty::Erase);
    assert_eq!(duty_of("m3", Some(&deleted), &RoomView::default()), Duty::Nothing);
    let RecordingWrite::Put(left) = deleted.without_take(&mixer("m1")) else { panic!("one take is left") };
    assert_eq!(duty_of("m1", Some(&left), &RoomView::default()), Duty::Nothing);
    assert_eq!(left.without_take(&mixer("m2")), RecordingWrite::Remove);
}

#[test]
fn recordings_are_ready_after_their_broadcast() {
    let state =
        |recording: &Recording, view: &RoomView| recording.state(&id(), view, |name| name.as_str() == "m1");
    let (open, closed) = (recording(&[("m1", None)]), recording(&[("m1", Some(800))]));
    assert_eq!(state(&open, &started()), RecordingState::Recording);
    assert_eq!(state(&closed, &stopped()), RecordingState::Pending, "the room on air has the same keys");
    assert_eq!(state(&open, &RoomView::default()), RecordingState::Pending);
    assert_eq!(state(&closed, &RoomView::default()), RecordingState::Ready);
    let lost = recording(&[("m1", Some(800)), ("dead", None)]);
    assert_eq!(state(&lost, &RoomView::default()), RecordingState::Ready, "a dead mixer delays nothing");
}

#[test]
fn ready_recordings_are_reported_once() {
    let due = |recording: &Recording, view: &RoomView| {
        recording.is_to_be_reported(&id(), view, |name| name.as_str() == "m1")
    };
    let (open, closed) = (recording(&[("m1", None)]), recording(&[("m1", Some(800))]));
    let over = RoomView::default();
    assert!(!due(&closed, &stopped()) && !due(&open, &over) && due(&closed, &over));
    assert!(!due(&closed.clone().deleted(NOW), &over) && !due(&closed.reported(&over, &[]), &over));
    assert!(!due(&recording(&[]), &over), "nothing was recorded");
    let earlier = r#"{
        "room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":2,"takes":{"m1":{"endedAt":9}}
    }"#;
    assert!(!due(&serde_json::from_str(earlier).unwrap(), &over), "an earlier version wrote it");
}

#[test]
fn retention_counts_from_last_end() {
    let kept = (Duration::from_millis(100), Duration::from_millis(3_000));
    let expired = |recording: &Recording, alive: &[&str], now| {
        recording.has_expired(kept, |mixer| alive.contains(&mixer.as_str()), UnixMs(now))
    };
    let ended = recording(&[("m1", Some(800)), ("m2", Some(900))]);
    assert!(!expired(&ended, &[], 1000) && expired(&ended, &[], 1001));
    assert!(!expired(&recording(&[("m1", None)]), &["m1"], 5000), "still written");
    assert!(!expired(&ended.deleted(NOW), &[], 5000));
}

#[test]
fn takes_of_lost_mixers_expire() {
    let kept = (Duration::from_millis(100), Duration::from_millis(3_000));
    let expired =
        |recording: &Recording, now| recording.has_expired(kept, |mixer| mixer.as_str() == "m2", UnixMs(now));
    for takes in [&[("m1", None)][..], &[("m1", None), ("m2", Some(900))]] {
        let lost = recording(takes);
        assert!(!expired(&lost, NOW.0 + 3_100) && expired(&lost, NOW.0 + 3_101), "{takes:?}");
    }
    let late = recording(&[("m1", None), ("m2", Some(9_000))]);
    assert!(!expired(&late, 9_100) && expired(&late, 9_101));
    assert!(!expired(&recording(&[("m1", Some(900)), ("m2", None)]), 90_000), "m2 may still write");
}

#[test]
fn lost_mixers_leave_details() {
    let room = view(&[(RoomPart::Meta, META)]);
    let event = |kind, time| RoomEvent {
        kind,
        time: UnixMs(time),
        data: serde_json::json!({ "userId": "ann", "role": "host", "displayName": "Ann" }),
    };
    let events = [
        event(EventType::RoomEnded, 90),
        event(EventType::AnchorJoined, 600),
        event(EventType::RoomEnded, 70_000),
        event(EventType::AnchorJoined, 99_000),
    ];
    for takes in [&[("m1", None)][..], &[("m1", None), ("m2", Some(60_000))]] {
        let details = recording(takes).reported(&room, &events).details;
        assert_eq!(details.anchors[0].visits[0].left_at, UnixMs(70_000), "{takes:?}");
        assert_eq!(details.anchors[0].visits.len(), 1);
    }
    let closed = recording(&[("m1", Some(60_000))]).reported(&room, &events).details;
    assert_eq!(closed.anchors[0].visits[0].left_at, UnixMs(60_000));
}

#[test]
fn reported_recording_has_title_and_chapters() {
    let meta = META.replace("\"createdAt\":1", "\"createdAt\":1,\"profile\":{\"title\":\"Morning\"}");
    let room = view(&[(RoomPart::Meta, &meta), (RoomPart::LiveMeta, LIVE)]);
    let joined = RoomEvent {
        kind: EventType::AnchorJoined,
        time: UnixMs(200),
        data: serde_json::json!({ "userId": "ann", "role": "host", "displayName": "Ann" }),
    };
    let ready = recording(&[("m1", Some(60_000))]).reported(&room, std::slice::from_ref(&joined));
    assert_eq!(ready.title.as_ref().map(|title| title.as_str()), Some("Morning"));
    assert_eq!((ready.details.chapters[0].title.as_str(), ready.details.anchors.len()), ("Ann", 1));
    assert!(!ready.unreported);
    let later = view(&[(RoomPart::Meta, &meta.replace("\"createdAt\":1,", "\"createdAt\":2,"))]);
    let kept = recording(&[("m1", Some(60_000))]).reported(&later, &[joined]);
    assert_eq!(kept.title, None, "the title of a later room with the same id does not count");
}
