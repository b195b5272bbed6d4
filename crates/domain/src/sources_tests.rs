//! Tests of sources: permitted inputs and addresses, places in the room, and the stored form.

use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, Pin};
use crate::keys::{RoomKey, RoomPart};
use crate::model::Meta;
use crate::users::{BanOrder, admit_ban};

const NOW: UnixMs = UnixMs(1_000);

#[test]
fn source_urls_follow_the_rules() {
    for good in [
        "http://radio.example/live.mp3",
        "https://radio.example:8443/a?b=c",
        "rtmp://media.example/app/key",
        "srt://media.example:9000?streamid=a&latency=200",
    ] {
        let url = SourceUrl::new(good).unwrap();
        assert_eq!(String::from(url.clone()).parse::<url::Url>().unwrap(), *url.url(), "{good}");
    }
    let long = format!("http://a.example/{}", "x".repeat(MAX_URL));
    for bad in [
        "",
        "radio.example",
        "file:///etc/passwd",
        "concat:/etc/passwd",
        "ftp://a.example/x",
        "udp://a.example:1",
        "http://",
        "http://user@a.example/",
        "http://user:pass@a.example/",
        "http://a.example/\u{e4}",
        "http://a.example/a b",
        "srt://a.example",
        "srt://a.example:9000?mode=listener",
        "srt://a.example:9000?streamid=a&localaddr=1.2.3.4",
        &long,
    ] {
        assert!(SourceUrl::new(bad).is_err(), "{bad}");
    }
    assert_eq!(SourceUrl::new("https://[2606:4700::1]/").unwrap().authority(), ("2606:4700::1".into(), 443));
    assert_eq!(SourceUrl::new("rtmp://a.example/x").unwrap().authority(), ("a.example".into(), 1935));
    let grows = format!("http://a.example/{}", "<".repeat(MAX_URL / 2));
    assert!(SourceUrl::new(&grows).is_err(), "could not be read back");
}

#[test]
fn shown_urls_have_no_secrets() {
    for (url, shown) in [
        ("https://a.example/geheim", "https://a.example/…"),
        ("https://a.example:8443/?token=geheim#y", "https://a.example:8443/…"),
        ("https://a.example/", "https://a.example"),
        ("rtmp://a.example/live/geheim/geheim?geheim", "rtmp://a.example/live/…"),
        ("rtmp://a.example/geheim", "rtmp://a.example/…"),
        ("srt://[2606:4700::1]:9000?streamid=geheim", "srt://[2606:4700::1]:9000/…"),
    ] {
        let url = SourceUrl::new(url).unwrap();
        assert_eq!(url.shown(), shown);
        assert!(!format!("{url:?}").contains("geheim"));
    }
}

#[test]
fn file_paths_stay_below_folder() {
    for good in ["hello.mp3", "jingles/hello world.ogg", "a/b/c/ä.wav", "..."] {
        assert_eq!(SourceFile::new(good).unwrap().as_str(), good);
    }
    for bad in ["", "/etc/passwd", "../x", "a/../x", "a//b", "a/", "./a", "a\\b", "a\nb", &"x".repeat(513)] {
        assert!(SourceFile::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn policy_decides_schemes_and_files() {
    let url = Input::Url(SourceUrl::new("http://a.example/x").unwrap());
    let off = SourcePolicy::default();
    assert_eq!(off.check(&url), Err(SourceDenied::SchemeOff(Scheme::Http)));
    assert_eq!(off.check(&file("a.mp3")), Err(SourceDenied::FilesOff));
    let http = SourcePolicy { schemes: vec![Scheme::Http], ..off };
    assert_eq!(http.check(&url), Ok(()));
    let sealed = |scheme| Input::Sealed(SealedUrl { scheme, shown: String::new(), sealed: String::new() });
    assert_eq!(http.check(&sealed(Scheme::Http)), Ok(()));
    assert_eq!(http.check(&sealed(Scheme::Rtmp)), Err(SourceDenied::SchemeOff(Scheme::Rtmp)));
    assert_eq!(files().check(&file("a.mp3")), Ok(()));
}

#[test]
fn sources_count_against_max_anchors() {
    let mut view = room();
    for n in 0..3 {
        assert_eq!(add(&view, "more", 3 - n), Err(SourceDenied::Full), "{n} sources, {} anchors", 3 - n);
        view = add(&view, &format!("source{n}"), 0).unwrap();
    }
    assert_eq!(add(&view, "more", 0), Err(SourceDenied::Full));
    let ended = change(&view, "source0", |source| source.state = SourceState::Ended);
    let banned = ban(&view, "source1");
    for freed in [ended, banned] {
        assert_eq!(freed.present_sources().count(), 2);
        assert_eq!(add(&freed, "more", 0).unwrap().present_sources().count(), 3);
    }
}

#[test]
fn removal_needs_a_known_source() {
    let view = add(&room(), "one", 0).unwrap();
    assert_eq!(admit_removal(&view, &id("other")), Err(SourceDenied::NoSuchSource));
    assert_eq!(admit_removal(&RoomView::default(), &id("one")), Err(SourceDenied::NoSuchRoom));
    let Ok(Admission::Accepted(write)) = admit_removal(&view, &id("one")) else { panic!("accepted") };
    assert_eq!(write.applied_to(&view, 9).present_sources().count(), 0);
}

#[test]
fn open_rooms_show_sources_as_members() {
    let view = add(&room(), "one", 0).unwrap();
    assert_eq!(view.source_members().count(), 0, "the room is not on air");
    let mut view = on_air(view);
    let member = |view: &RoomView| view.source_members().next().unwrap();
    assert_eq!((member(&view).status, member(&view).source), (ActivityStatus::Idle, ClientKind::File));
    view = change(&view, "one", |source| (source.state, source.muted) = (SourceState::Playing, true));
    assert_eq!((member(&view).status, member(&view).muted), (ActivityStatus::OnAir, true));
    assert_eq!(ban(&view, "one").source_members().count(), 0);
}

#[test]
fn stored_sources_read_back() {
    let mut source = source();
    for state in [
        SourceState::New,
        SourceState::Waiting { reason: Some("no route".into()) },
        SourceState::Playing,
        SourceState::Ended,
    ] {
        source.state = state;
        let all = Sources(BTreeMap::from([(id("one"), source.clone())]));
        let text = serde_json::to_vec(&all).unwrap();
        assert_eq!(serde_json::from_slice::<Sources>(&text).unwrap(), all);
    }
    let clear =
        r#"{"one": {"input": {"url": "rtmp://a.example/live/geheim"}, "loop": true, "createdAt": 1}}"#;
    let read: Sources = serde_json::from_str(clear).unwrap();
    assert_eq!(read.0[&id("one")].input.shown(), "rtmp://a.example/live/…");
    let newer = r#"{"one": {"input": {"file": "a.mp3"}, "loop": true, "createdAt": 1, "pitch": 2,
        "state": {"status": "fading"}}}"#;
    let read: Sources = serde_json::from_str(newer).unwrap();
    assert_eq!(read.0[&id("one")].state, SourceState::New);
}

proptest! {
    /// A relative path that is accepted never leaves the folder, however it is written.
    #[test]
    fn accepted_paths_never_leave_folder(text in "[a./\\\\]{0,12}") {
        if let Ok(file) = SourceFile::new(&text) {
            let parts = std::path::Path::new(file.as_str()).components();
            for part in parts {
                prop_assert!(matches!(part, std::path::Component::Normal(_)), "{text}");
            }
        }
    }
}

fn room() -> RoomView {
    let meta = Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: "/h".into(),
        created_at: UnixMs(1),
        deleted_at: None,
        last_epoch: Epoch(0),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    };
    RoomWrite::Put { meta: Some(meta), live: None }.applied_to(&RoomView::default(), 2)
}

fn on_air(mut view: RoomView) -> RoomView {
    let live = br#"{"status": "onair", "mixerId": "mixer-1", "janusId": "janus-1", "nonce": "n",
        "createdAt": 0, "epoch": 1}"#;
    view.apply(RoomKey::Part(RoomPart::LiveMeta), Some((live, 3))).unwrap();
    view
}

fn add(view: &RoomView, user: &str, anchors: usize) -> Result<RoomView, SourceDenied> {
    match admit_source(view, &id(user), &source(), &files(), anchors)? {
        Admission::Accepted(write) => Ok(write.applied_to(view, 4)),
        Admission::AlreadyDone => panic!("a new source"),
    }
}

fn change(view: &RoomView, user: &str, change: impl FnOnce(&mut Source)) -> RoomView {
    let mut sources = view.sources.clone().unwrap().value;
    change(sources.0.get_mut(&id(user)).unwrap());
    RoomWrite::Sources(sources).applied_to(view, 5)
}

fn ban(view: &RoomView, user: &str) -> RoomView {
    let order = BanOrder { user: id(user), name: None, by: None };
    let Admission::Accepted(write) = admit_ban(view, &order, NOW).unwrap() else { panic!("accepted") };
    write.applied_to(view, 6)
}

fn source() -> Source {
    Source::new(file("a.mp3"), None, None, NOW)
}

fn file(path: &str) -> Input {
    Input::File(SourceFile::new(path).unwrap())
}

fn files() -> SourcePolicy {
    SourcePolicy { files: true, ..SourcePolicy::default() }
}

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}
