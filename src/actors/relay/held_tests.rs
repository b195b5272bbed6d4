//! Waiting and plausibility; what crosses the network is tried on whole nodes.

use std::sync::Mutex;
use std::task::Poll;

use bytes::Bytes;
use futures::poll;

use super::*;
use crate::config;
use crate::domain::ids::{Epoch, ModuleId, Nonce};

fn held(next: (u64, u32)) -> Held {
    let held = Held::new(RoomId::new("demo").unwrap(), Limits::new(&config::defaults().hls));
    show(&held, next, false);
    held
}

fn show(held: &Held, next: (u64, u32), ended: bool) {
    let bytes = Bytes::from(format!("{next:?} URI=\"0123456789ab-1.init.mp4\""));
    let playlist = PlaylistBody { bytes, ended, next };
    held.show(|shown| {
        shown.playlist = Some(playlist);
        shown.hint = Some("0123456789ab".parse().unwrap());
    });
}

#[actix::test]
async fn a_reload_waits_for_its_part_and_the_end_releases_it() {
    let held = held((10, 3));
    assert!(held.playlist(None).await.is_ok());
    assert!(held.playlist(Some((10, Some(2)))).await.is_ok());
    assert!(held.playlist(Some((9, None))).await.is_ok());
    let mut part = std::pin::pin!(held.playlist(Some((10, Some(3)))));
    let mut segment = std::pin::pin!(held.playlist(Some((10, None))));
    assert!(poll!(&mut part).is_pending() && poll!(&mut segment).is_pending());
    show(&held, (10, 4), false);
    assert!(poll!(&mut part).is_ready() && poll!(&mut segment).is_pending());
    show(&held, (10, 4), true);
    let Poll::Ready(Ok(last)) = poll!(&mut segment) else { panic!("it has ended") };
    assert!(last.ended);
}

#[actix::test]
async fn numbers_that_jump_to_another_mixers_ceiling_release_whoever_waits() {
    let held = held((10, 3));
    let mut part = std::pin::pin!(held.playlist(Some((10, Some(3)))));
    assert!(poll!(&mut part).is_pending());
    show(&held, (1034, 1), false);
    assert!(poll!(&mut part).is_ready());
}

#[actix::test]
async fn what_is_too_far_ahead_is_refused_at_once() {
    let held = held((10, 3));
    for at in [(12, None), (12, Some(0)), (u64::MAX, Some(u32::MAX)), (10, Some(40))] {
        assert_eq!(held.playlist(Some(at)).await, Err(NotServed::TooFarAhead), "{at:?}");
    }
    assert!(poll!(std::pin::pin!(held.playlist(Some((11, Some(0)))))).is_pending());
}

#[test]
fn only_files_a_mixer_could_have_are_asked_for() {
    let held = held((1000, 3));
    let shown = held.shown.borrow().clone();
    let ask = |name: &str| plausible(&shown, &name.parse().unwrap());
    for good in ["999.m4s", "999.127.m4s", "1000.3.m4s", "1000.33.m4s", "1001.30.m4s", "1.init.mp4"] {
        assert_eq!(ask(&format!("0123456789ab-{good}")), Ok(Some(())), "{good}");
    }
    assert_eq!(ask("ffffffffffff-999.m4s"), Err(NotServed::Gone), "of another live");
    for gone in ["1.m4s", "1.0.m4s", "2.init.mp4", "999.128.m4s"] {
        assert_eq!(ask(&format!("0123456789ab-{gone}")), Err(NotServed::Gone), "{gone}");
    }
    for early in ["5000.m4s", "5000.init.mp4", "1000.34.m4s", "1001.31.m4s", "1002.0.m4s"] {
        assert_eq!(ask(&format!("0123456789ab-{early}")), Err(NotServed::NotYet), "{early}");
    }
    assert_eq!(plausible(&Shown::default(), &"0123456789ab-1.m4s".parse().unwrap()), Ok(None));
}

#[actix::test]
async fn names_that_somebody_made_up_cost_the_mixer_nothing_and_leave_room_for_what_there_is() {
    let (held, mixers) = (held((1000, 3)), Mixers::new(|_| Err(NotHad::NotYet)));
    held.show(|shown| shown.upstream = Some(mixer("a")));
    for index in 34..2000 {
        assert_eq!(held.file(part(1000, index), &mixers, NOW).await, Err(NotServed::NotYet));
    }
    assert_eq!(mixers.asked(), [""; 0]);
    let ahead = (3..=33).map(|index| part(1000, index)).chain((0..=30).map(|index| part(1001, index)));
    let mut waiting: Vec<_> = ahead.map(|file| Box::pin(held.file(file, &mixers, NOW))).collect();
    for wait in &mut waiting {
        assert!(poll!(wait).is_pending());
    }
    let there = Mixers::new(|_| Ok(Bytes::from_static(b"media")));
    assert!(held.file(part(1000, 2), &there, NOW).await.is_ok());
}

#[test]
fn whatever_is_configured_all_that_a_mixer_holds_may_be_kept() {
    for (segment, part, window, least) in [(2000, 192, 6, 160), (10_000, 100, 60, 12_000), (500, 100, 3, 70)]
    {
        let mut hls = config::defaults().hls;
        (hls.segment, hls.part) = (Duration::from_millis(segment), Duration::from_millis(part));
        hls.window = window;
        assert!(Limits::new(&hls).most_files > least, "{segment} {part} {window}");
    }
}

#[actix::test]
async fn what_a_mixer_will_not_make_any_more_is_had_from_its_successor() {
    let held = held((10, 3));
    held.show(|shown| shown.upstream = Some(mixer("a")));
    let mixers = Mixers::new(|mixer| if mixer == "a" { Err(NotHad::NotYet) } else { Ok(Bytes::new()) });
    let mut waiting = Box::pin(held.file(part(10, 3), &mixers, NOW));
    assert!(poll!(&mut waiting).is_pending());
    held.show(|shown| shown.upstream = Some(mixer("b")));
    assert!(waiting.await.is_ok());
    assert_eq!(mixers.asked(), ["a", "b"]);
}

const NOW: Duration = Duration::from_secs(100);

/// Mixer nodes by name.
#[derive(Clone)]
struct Mixers {
    answer: fn(&str) -> Result<Bytes, NotHad>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mixers {
    fn new(answer: fn(&str) -> Result<Bytes, NotHad>) -> Self {
        Self { answer, asked: Arc::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl MixerFiles for Mixers {
    async fn file(self, from: Upstream, _: RoomId, _: MediaFile) -> Result<Bytes, NotHad> {
        self.asked.lock().unwrap().push(from.mixer.to_string());
        (self.answer)(from.mixer.as_str())
    }
}

fn mixer(name: &str) -> Upstream {
    let mixer = ModuleId::new(name).unwrap();
    Upstream { mixer, url: format!("http://{name}"), nonce: Nonce("n".into()), epoch: Epoch(1) }
}

fn part(msn: u64, index: u32) -> MediaFile {
    format!("0123456789ab-{msn}.{index}.m4s").parse().unwrap()
}
