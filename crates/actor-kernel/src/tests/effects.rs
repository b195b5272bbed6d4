//! Async effects, timers, and mailboxes under load.

use super::*;

#[actix::test]
async fn effect_result_bypasses_full_mailbox() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", ChildSpec { mailbox: 1, ..quick() }, Puppet::new("a", &log)).await;
    let (release, released) = oneshot::channel::<u64>();
    ask(&a, |_, cx| {
        cx.run(released, |n| Msg::StateChanged(n.unwrap()));
        cx.me().tell(deed(|_, _| ())).unwrap();
        assert_eq!(cx.me().tell(crash()), Err(TellError::Full));
    })
    .await;
    release.send(42).unwrap();
    let (done, registry) = (a.clone(), system.registry());
    until("the mailbox is empty", || find(&registry, "node/a").unwrap().mailbox.depth == 0).await;
    assert_eq!(ask(&done, |a, _| a.news).await, 42);
    assert_eq!(find(&registry, "node/a").unwrap().mailbox.refused, 1);
}

#[actix::test]
async fn effect_panic_fails_its_actor() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    ask(&a, |_, cx| cx.run(async { panic!("in the effect") }, |()| Msg::StateChanged(1))).await;
    until("a is back", || log.count("a started") == 2).await;
    ask(&a, |_, _| ()).await;
    assert!(find(&system.registry(), "node/a").unwrap().last_failure.unwrap().text.contains("in the effect"));
}

#[actix::test]
async fn timers_and_effects_die_with_incarnation() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    let (old, old_done) = oneshot::channel::<()>();
    let kept: Arc<Mutex<Vec<Timer>>> = Arc::default();
    let timers = kept.clone();
    ask(&a, move |_, cx| {
        cx.run(old_done, |_| Msg::StateChanged(13));
        locked(&timers).push(cx.after(Duration::from_millis(20), Msg::StateChanged(13)));
    })
    .await;
    a.tell(crash()).unwrap();
    until("the old effect is dropped", || old.is_closed()).await;
    let (done, mut fired) = oneshot::channel();
    let timers = kept.clone();
    ask(&a, move |_, cx| {
        // Due later than the old timer would have been.
        locked(&timers)
            .push(cx.after(Duration::from_millis(60), deed(move |a, _| done.send(a.news).unwrap())));
    })
    .await;
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), &mut fired).await.unwrap(), Ok(0));
}

#[actix::test]
async fn dropped_timer_never_fires() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let seen = ask(&system.root(), |_, cx| {
        let dropped = cx.after(Duration::from_millis(1), Msg::StateChanged(1));
        let (done, fired) = oneshot::channel();
        let kept = cx.after(Duration::from_millis(20), deed(move |root, _| done.send(root.news).unwrap()));
        drop(dropped);
        (kept, fired)
    })
    .await;
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), seen.1).await.unwrap(), Ok(0));
}

#[actix::test]
async fn flood_is_refused_and_offers_coalesced() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", ChildSpec { mailbox: 100, ..quick() }, Puppet::new("a", &log)).await;
    ask(&a, |_, _| ()).await;
    // The test shares the arbiter with the actor, so nothing is handled before the next await.
    let taken = (0..1000).filter(|_| a.tell(deed(|_, _| ())).is_ok()).count();
    assert_eq!(taken, 100);
    for n in 1..=100_000 {
        a.tell_latest("state_changed", Msg::StateChanged(n)).unwrap();
    }
    let mailbox = find(&system.registry(), "node/a").unwrap().mailbox;
    assert_eq!((mailbox.depth, mailbox.refused, mailbox.coalesced), (101, 900, 99_999));
    until("all handled", || find(&system.registry(), "node/a").unwrap().mailbox.depth == 0).await;
    assert_eq!(ask(&a, |a, _| a.news).await, 100_000);
}

#[actix::test]
async fn self_messaging_actor_starves_nobody() {
    fn again(_: &mut Puppet, cx: &mut Cx<Puppet>) {
        cx.me().tell(deed(again)).unwrap();
    }
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    a.tell(deed(again)).unwrap();
    ask(&a, |_, cx| cx.run(async {}, |()| deed(|a, _| a.says("effect")))).await;
    until("its effect ends", || log.has("a effect")).await;
    ask(&system.root(), |_, _| ()).await;
}
