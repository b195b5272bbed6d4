//! Waiting and plausibility; what crosses the network is tried on whole nodes.

use std::task::Poll;

use futures::poll;

use super::*;
use crate::config;

fn held(next: (u64, u32)) -> Held {
    let held = Held::new(Limits::new(&config::defaults().hls));
    show(&held, next, false);
    held
}

fn show(held: &Held, next: (u64, u32), ended: bool) {
    let playlist = PlaylistBody { bytes: Bytes::from(format!("{next:?}")), ended, next };
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
    for good in ["0123456789ab-999.m4s", "0123456789ab-1000.3.m4s", "0123456789ab-1.init.mp4"] {
        assert_eq!(ask(good), Ok(Some(())), "{good}");
    }
    assert_eq!(ask("ffffffffffff-999.m4s"), Err(NotServed::Gone), "of another live");
    assert_eq!(ask("0123456789ab-5000.m4s"), Err(NotServed::NotYet));
    assert_eq!(ask("0123456789ab-1.m4s"), Err(NotServed::Gone));
    assert_eq!(plausible(&Shown::default(), &"0123456789ab-1.m4s".parse().unwrap()), Ok(None));
}
