//! Tests of how requests wait for media, and of which requested files count as possible. Network
//! behaviour is tested on whole nodes in `tests/it`.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use bytes::Bytes;
use futures::poll;

use super::*;
use crate::config;
use crate::delivery::samples::sample_rewind;
use crate::domain::ids::{Epoch, ModuleId};
use crate::domain::key_window::KeyWindow;
use crate::domain::relay_room::Position;
use crate::domain::rewind::RewindUpdate;

#[actix::test]
async fn edge_reload_waits_for_part_or_end() {
    let held = held((10, 3));
    assert!(playlist(&held, None).await.is_ok());
    assert!(playlist(&held, Some((10, Some(2)))).await.is_ok());
    assert!(playlist(&held, Some((9, None))).await.is_ok());
    let mut part = std::pin::pin!(playlist(&held, Some((10, Some(3)))));
    let mut segment = std::pin::pin!(playlist(&held, Some((10, None))));
    assert!(poll!(&mut part).is_pending() && poll!(&mut segment).is_pending());
    show(&held, (10, 4), false);
    assert!(poll!(&mut part).is_ready() && poll!(&mut segment).is_pending());
    show(&held, (10, 4), true);
    let Poll::Ready(Ok(last)) = poll!(&mut segment) else { panic!("it has ended") };
    assert!(last.ended);
}

#[actix::test]
async fn missing_playlist_has_a_reason() {
    let limits = Limits { wait: Duration::from_millis(10), ..Limits::new(&config::defaults().hls) };
    let held = EdgeRoom::new(room(), limits);
    held.live(&nonce());
    assert_eq!(playlist(&held, None).await, Err(MediaError::NotYet), "the mixer has none yet");
    held.failed(&nonce());
    assert_eq!(playlist(&held, None).await, Err(MediaError::Unavailable), "the mixer refuses this node");
    show(&held, (10, 3), false);
    assert!(playlist(&held, None).await.is_ok());
}

#[actix::test]
async fn sequence_jump_releases_waiting_reloads() {
    let held = held((10, 3));
    let mut part = std::pin::pin!(playlist(&held, Some((10, Some(3)))));
    assert!(poll!(&mut part).is_pending());
    show(&held, (1034, 1), false);
    assert!(poll!(&mut part).is_ready());
}

#[actix::test]
async fn edge_reload_too_far_ahead_is_refused() {
    let held = held((10, 3));
    for at in [(12, None), (12, Some(0)), (u64::MAX, Some(u32::MAX)), (10, Some(20))] {
        assert_eq!(playlist(&held, Some(at)).await, Err(MediaError::TooFarAhead), "{at:?}");
    }
    assert!(poll!(std::pin::pin!(playlist(&held, Some((11, Some(0)))))).is_pending());
}

#[actix::test]
async fn edge_rewind_fetches_only_changes() {
    let (held, mixers) = (held((400, 0)), Mixers::new(|_| Ok(Bytes::new())));
    held.point_to(mixer("a"), NOW);
    let live = nonce();
    let ask = |now| held.rewind(&live, &mixers, now);
    let rewind = ask(NOW).await.unwrap();
    assert_eq!((rewind.last(), rewind.keys()), (Some(399), Some(KeyWindow::new(33, 133))));
    ask(NOW + Duration::from_millis(900)).await.unwrap();
    ask(NOW + Duration::from_secs(2)).await.unwrap();
    assert_eq!(mixers.asked(), ["a None", "a Some(399)"]);
    assert_eq!(rewind.last(), Some(399));
    let shown = held.shown.newest();
    assert_eq!(plausible(&shown, &file("100.ts"), ADVANCE), Ok(Some(())), "in the rewind window");
    assert_eq!(plausible(&shown, &file("99.ts"), ADVANCE), Err(MediaError::Gone));
}

#[actix::test]
async fn rewind_copy_outlives_moves_briefly() {
    let held = held((400, 0));
    let has = Mixers::new(|_| Ok(Bytes::new()));
    let has_not = Mixers::new(|_| Err(FetchError::NotYet));
    held.point_to(mixer("a"), NOW);
    let live = nonce();
    held.rewind(&live, &has, NOW).await.unwrap();
    let after = |seconds: u64| NOW + Duration::from_secs(60 + seconds);
    for seconds in [0, 9] {
        assert_eq!(held.rewind(&live, &has_not, after(seconds)).await.unwrap().last(), Some(399));
    }
    let refused = held.rewind(&live, &has_not, after(10)).await.map(|_| ());
    assert_eq!(refused, Err(MediaError::NotYet), "the new mixer cannot write");
    held.rewind(&live, &has, after(11)).await.unwrap();
    assert!(held.rewind(&live, &has_not, after(30)).await.is_ok(), "another move");
    // Nobody asks while the new mixer writes its first segment.
    held.point_to(Upstream { epoch: Epoch(9), ..mixer("b") }, after(60));
    assert!(held.rewind(&live, &has_not, after(300)).await.is_ok(), "a third move");
    assert!(held.rewind(&live, &has_not, after(310)).await.is_err(), "of the same epoch");
}

#[actix::test]
async fn new_broadcast_has_own_rewind() {
    let (held, mixers) = (held((400, 0)), Mixers::new(|_| Ok(Bytes::new())));
    held.point_to(mixer("a"), NOW);
    let before = held.rewind(&nonce(), &mixers, NOW).await.unwrap();
    held.live(&Nonce("other".into()));
    assert!(held.last_rewind(&mixers, NOW).await.is_none(), "no mixer is known yet");
    let failing = Mixers::new(|_| Err(FetchError::Failed("no answer".into())));
    held.point_to(Upstream { nonce: Nonce("other".into()), ..mixer("a") }, NOW);
    let refused = held.rewind(&Nonce("other".into()), &failing, NOW).await;
    assert_eq!(refused.map(|_| ()), Err(MediaError::Unavailable));
    assert_eq!(before.last(), Some(399));
}

#[test]
fn plausible_accepts_only_possible_files() {
    let held = held((1000, 3));
    let shown = held.shown.newest();
    for good in ["999.ts", "999.127.ts", "1000.3.ts", "1000.19.ts", "1001.16.ts"] {
        assert_eq!(plausible(&shown, &file(good), ADVANCE), Ok(Some(())), "{good}");
    }
    for gone in ["1.ts", "1.0.ts", "999.128.ts"] {
        assert_eq!(plausible(&shown, &file(gone), ADVANCE), Err(MediaError::Gone), "{gone}");
    }
    for early in ["5000.ts", "1000.20.ts", "1001.17.ts", "1002.0.ts"] {
        assert_eq!(plausible(&shown, &file(early), ADVANCE), Err(MediaError::NotYet), "{early}");
    }
    let of_another_live = "ffffffffffff-999.ts".parse().unwrap();
    assert_eq!(plausible(&shown, &of_another_live, ADVANCE), Err(MediaError::Gone));
    assert_eq!(plausible(&EdgeState::default(), &of_another_live, ADVANCE), Ok(None));
}

#[actix::test]
async fn invented_file_names_never_reach_mixer() {
    let (held, mixers) = (held((1000, 3)), Mixers::new(|_| Err(FetchError::NotYet)));
    held.point_to(mixer("a"), NOW);
    for index in 20..2000 {
        assert_eq!(held.file(part(1000, index), &mixers, NOW).await, Err(MediaError::NotYet));
    }
    assert_eq!(mixers.asked(), [""; 0]);
    let ahead = (3..=19).map(|index| part(1000, index)).chain((0..=16).map(|index| part(1001, index)));
    let mut waiting: Vec<_> = ahead.map(|file| Box::pin(held.file(file, &mixers, NOW))).collect();
    for wait in &mut waiting {
        assert!(poll!(wait).is_pending());
    }
    let there = Mixers::new(|_| Ok(Bytes::from_static(b"media")));
    assert!(held.file(part(1000, 2), &there, NOW).await.is_ok());
}

#[test]
fn file_limit_exceeds_mixer_window() {
    for (segment, part, window, least) in [(2000, 192, 6, 160), (10_000, 100, 60, 12_000), (500, 100, 3, 70)]
    {
        let mut hls = config::defaults().hls;
        (hls.segment, hls.part) = (Duration::from_millis(segment), Duration::from_millis(part));
        hls.window = window;
        assert!(Limits::new(&hls).most_files > least, "{segment} {part} {window}");
    }
}

#[actix::test]
async fn awaited_part_comes_from_next_mixer() {
    let held = held((10, 3));
    held.point_to(mixer("a"), NOW);
    let mixers = Mixers::new(|mixer| if mixer == "a" { Err(FetchError::NotYet) } else { Ok(Bytes::new()) });
    let mut waiting = Box::pin(held.file(part(10, 3), &mixers, NOW));
    assert!(poll!(&mut waiting).is_pending());
    held.point_to(mixer("b"), NOW);
    assert!(waiting.await.is_ok());
    assert_eq!(mixers.asked(), ["a", "b"]);
}

#[actix::test]
async fn hinted_part_is_gone_after_jump() {
    static JUMPED: AtomicBool = AtomicBool::new(false);
    let held = held((10, 3));
    held.point_to(mixer("a"), NOW);
    let mixers =
        Mixers::new(|_| Err(if JUMPED.load(Relaxed) { FetchError::Gone } else { FetchError::NotYet }));
    let mut hinted = std::pin::pin!(held.file(part(10, 3), &mixers, NOW));
    assert!(poll!(&mut hinted).is_pending());
    JUMPED.store(true, Relaxed);
    show(&held, (1034, 1), false);
    assert_eq!(hinted.await, Err(MediaError::Gone));
    assert_eq!(mixers.asked(), ["a", "a"]);
}

#[actix::test]
async fn new_broadcast_hides_previous_one() {
    let (held, next) = (held((10, 3)), Nonce("next".into()));
    held.point_to(mixer("a"), NOW);
    show(&held, (10, 4), true);
    let mut early = Box::pin(held.playlist(&next, None));
    assert!(poll!(&mut early).is_pending(), "the directory knows of it first");
    held.live(&next);
    assert!(poll!(&mut early).is_pending() && held.newest().is_none(), "its mixer is not known yet");
    let mut late = Box::pin(playlist(&held, None));
    assert!(poll!(&mut late).is_pending());
    let mixers = Mixers::new(|_| Err(FetchError::Gone));
    assert_eq!(held.file(part(10, 2), &mixers, NOW).await, Err(MediaError::Gone));
    // The next two calls are results of requests that were in progress when the room was restarted.
    held.point_to(mixer("b"), NOW);
    show(&held, (10, 5), true);
    assert!(poll!(&mut early).is_pending() && held.newest().is_none());
    held.show(&next, body((11, 1), false));
    assert_eq!(early.await.unwrap().next, (11, 1));
    assert_eq!(mixers.asked(), [""; 0]);
}

#[actix::test]
async fn previous_mixer_is_asked_briefly() {
    let held = held((10, 3));
    held.point_to(mixer("a"), NOW);
    held.point_to(mixer("b"), NOW);
    let mixers = Mixers::new(|mixer| if mixer == "a" { Ok(Bytes::new()) } else { Err(FetchError::Gone) });
    let soon = NOW + held.limits.keep / 2;
    assert!(held.file(part(9, 0), &mixers, soon).await.is_ok());
    let late = NOW + held.limits.keep;
    assert_eq!(held.file(part(9, 1), &mixers, late).await, Err(MediaError::Gone));
    assert_eq!(mixers.asked(), ["b", "a", "b"]);
}

#[actix::test]
async fn failed_previous_mixer_is_not_blamed() {
    let held = held((10, 3));
    held.point_to(mixer("a"), NOW);
    held.point_to(mixer("b"), NOW);
    fn failed() -> Result<Bytes, FetchError> {
        Err(FetchError::Failed("timeout".into()))
    }
    let mixers = Mixers::new(|mixer| if mixer == "a" { failed() } else { Err(FetchError::Gone) });
    assert_eq!(held.file(part(9, 0), &mixers, NOW).await, Err(MediaError::Gone));
    let mixers = Mixers::new(|_| failed());
    assert_eq!(held.file(part(9, 0), &mixers, NOW).await, Err(MediaError::Unavailable));
    assert_eq!(mixers.asked(), ["b"]);
}

const NOW: Duration = Duration::from_secs(100);
/// Advance part limit of the default configuration.
const ADVANCE: u32 = 16;

/// Mixer nodes by name.
#[derive(Clone)]
struct Mixers {
    answer: fn(&str) -> Result<Bytes, FetchError>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mixers {
    fn new(answer: fn(&str) -> Result<Bytes, FetchError>) -> Self {
        Self { answer, asked: Arc::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl MixerFiles for Mixers {
    async fn file(self, from: Upstream, _: RoomId, _: MediaFile) -> Result<Bytes, FetchError> {
        self.asked.lock().unwrap().push(from.mixer.to_string());
        (self.answer)(from.mixer.as_str())
    }

    /// Answers with the segments 100 to 399, or with those of them that follow `last`.
    async fn rewind(self, from: Upstream, _: RoomId, last: Option<u64>) -> Result<RewindUpdate, FetchError> {
        self.asked.lock().unwrap().push(format!("{} {last:?}", from.mixer));
        (self.answer)(from.mixer.as_str())?;
        Ok(sample_rewind(100..400).update(last))
    }
}

fn held(next: Position) -> EdgeRoom {
    let held = EdgeRoom::new(room(), Limits::new(&config::defaults().hls));
    held.live(&nonce());
    show(&held, next, false);
    held
}

fn show(held: &EdgeRoom, next: Position, ended: bool) {
    held.show(&nonce(), body(next, ended));
}

fn body(next: Position, ended: bool) -> PlaylistBody {
    let text = Bytes::from(format!("{next:?}"));
    PlaylistBody { text: text.into(), ended, next }
}

async fn playlist(held: &EdgeRoom, at: Option<(u64, Option<u32>)>) -> Result<PlaylistBody, MediaError> {
    held.playlist(&nonce(), at).await
}

fn mixer(name: &str) -> Upstream {
    let mixer = ModuleId::new(name).unwrap();
    Upstream { mixer, url: format!("http://{name}"), nonce: nonce(), epoch: Epoch(1) }
}

fn part(msn: u64, index: u32) -> MediaFile {
    file(&format!("{msn}.{index}.ts"))
}

fn file(name: &str) -> MediaFile {
    format!("{}-{name}", ContentKeys::new(&[], &room(), &nonce()).hint()).parse().unwrap()
}

fn room() -> RoomId {
    RoomId::new("demo").unwrap()
}

fn nonce() -> Nonce {
    Nonce("n".into())
}
