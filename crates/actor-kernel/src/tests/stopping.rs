//! Stop of one child, and ordered shutdown of all.

use super::*;

const SOON: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

#[actix::test]
async fn shutdown_stops_youngest_and_children_first() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let root = system.root();
    let a = spawn(&root, "a", quick(), Puppet::new("a", &log)).await;
    let b = spawn(&root, "b", quick(), Puppet::new("b", &log)).await;
    let c = spawn(&a, "c", quick(), Puppet::new("c", &log)).await;
    for actor in [&a, &b, &c] {
        ask(actor, |_, _| ()).await;
    }
    assert_eq!(system.shutdown(LONG).await, ShutdownReport::default());
    let order: Vec<String> = log.all().into_iter().skip_while(|e| e != "root stopping").collect();
    assert_eq!(
        order[..8],
        [
            "root stopping",
            "b stopping",
            "b dropped",
            "a stopping",
            "c stopping",
            "c dropped",
            "a dropped",
            "root dropped"
        ]
    );
    for actor in [root, a, b, c] {
        assert_eq!(actor.tell(crash()), Err(TellError::Gone));
    }
    assert!(system.registry().snapshot().is_none());
}

#[actix::test]
async fn stopping_actor_finishes_its_work() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let careful = Puppet::new("a", &log).on_stop(move |_, cx| {
        let released = locked(&released).take().unwrap();
        cx.run(released, |_| {
            deed(|a, cx| {
                a.says("finished");
                cx.exit()
            })
        });
        StopAnswer::Wait
    });
    let a = spawn(&system.root(), "a", quick(), careful).await;
    let down = system.shutdown(LONG);
    let helper = async {
        until("a is stopping", || log.has("a stopping")).await;
        ask(&a, |a, _| a.says("still handles messages")).await;
        release.send(()).unwrap();
    };
    let (report, ()) = tokio::join!(down, helper);
    assert!(report.abandoned.is_empty());
    let order: Vec<String> = log.all().into_iter().skip_while(|e| e != "a stopping").collect();
    assert_eq!(order[..3], ["a stopping", "a still handles messages", "a finished"]);
}

#[actix::test]
async fn stop_deadline_abandons_waiting_actor() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let hanging = Puppet::new("a", &log).on_stop(|_, _| StopAnswer::Wait);
    let a = spawn(&system.root(), "a", ChildSpec { stop_deadline: SOON, ..quick() }, hanging).await;
    let b = spawn(&a, "b", quick(), Puppet::new("b", &log)).await;
    ask(&b, |_, _| ()).await;
    assert_eq!(system.shutdown(LONG).await.abandoned, ["node/a"]);
    assert!(log.has("b stopping"), "the children of an overdue actor are stopped in order");
    assert!(log.has("root dropped"));
}

#[actix::test]
async fn blocked_actor_does_not_stop_shutdown() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let arbiter = actix::Arbiter::new();
    let spec = ChildSpec { arbiter: Some(arbiter.handle()), stop_deadline: SOON, ..quick() };
    let first = spawn(&system.root(), "first", quick(), Puppet::new("first", &log)).await;
    let a = spawn(&system.root(), "a", spec, Puppet::new("a", &log)).await;
    ask(&first, |_, _| ()).await;
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    a.tell(deed(move |a, _| {
        a.says("blocks");
        let _ = blocked.recv();
    }))
    .unwrap();
    until("a blocks", || log.has("a blocks")).await;
    assert_eq!(system.shutdown(LONG).await.abandoned, ["node/a"]);
    assert!(log.has("first stopping") && !a.is_alive());
    drop(unblock);
    until("a drops everything once it can", || log.has("a dropped")).await;
    arbiter.stop();
}

#[actix::test]
async fn shutdown_deadline_overrides_stop_deadlines() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let hanging = Puppet::new("a", &log).on_stop(|_, _| StopAnswer::Wait);
    let a = spawn(&system.root(), "a", ChildSpec { stop_deadline: LONG, ..quick() }, hanging).await;
    ask(&a, |_, _| ()).await;
    assert_eq!(system.shutdown(SOON).await.abandoned, ["node/a", "node"]);
    until("all dropped", || log.has("a dropped") && log.has("root dropped")).await;
}

#[actix::test]
async fn parent_waits_for_slow_children() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let short = ChildSpec { stop_deadline: Duration::from_millis(1), ..quick() };
    let p = spawn(&system.root(), "p", short, Puppet::new("p", &log)).await;
    let slow = Puppet::new("x", &log).on_stop(|_, cx| {
        // Sleep: the duration of the slow stop under test. It is longer than the parent's own deadline.
        let finish = tokio::time::sleep(Duration::from_millis(600));
        cx.run(finish, |()| deed(|_, cx| cx.exit()));
        StopAnswer::Wait
    });
    let x = spawn(&p, "x", quick(), slow).await;
    ask(&x, |_, _| ()).await;
    assert_eq!(system.shutdown(LONG).await, ShutdownReport::default());
    assert!(log.has("root dropped"));
}

#[actix::test]
async fn group_members_stop_together() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let root = system.root();
    let gate = Arc::new(tokio::sync::Barrier::new(3));
    let member = |name: &str| {
        let gate = gate.clone();
        Puppet::new(name, &log).on_stop(move |_, cx| {
            let gate = gate.clone();
            cx.run(async move { gate.wait().await }, |_| deed(|_, cx| cx.exit()));
            StopAnswer::Wait
        })
    };
    let worker = spawn(&root, "worker", quick(), Puppet::new("worker", &log)).await;
    ask(&worker, |_, _| ()).await;
    for name in ["a", "b", "c"] {
        let actor = spawn(&root, name, ChildSpec::member(), member(name)).await;
        ask(&actor, |_, _| ()).await;
    }
    // Each actor waits for the other two. If they were stopped one after another, all would be overdue.
    assert_eq!(system.shutdown(LONG).await, ShutdownReport::default());
    let order = log.all();
    let at = |what: &str| order.iter().position(|e| e == what).unwrap();
    assert!(at("worker stopping") > at("a dropped").max(at("b dropped")).max(at("c dropped")));
}

#[actix::test]
async fn stopped_child_frees_its_name() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let root = system.root();
    let a = spawn(&root, "a", quick(), Puppet::new("a", &log)).await;
    assert!(ask(&root, |_, cx| cx.stop_child("a")).await);
    until("a stopped", || log.has("root hears a stopped: stopped")).await;
    assert!(!a.is_alive());
    assert!(!ask(&root, |_, cx| cx.stop_child("a")).await);
    // The same applies to a child that waits for its restart.
    let slow = Backoff { first: LONG, max: LONG };
    let a = spawn(&root, "a", ChildSpec { backoff: slow, ..quick() }, Puppet::new("a", &log)).await;
    a.tell(crash()).unwrap();
    until("a rests", || log.has("root hears a restarts: panic")).await;
    assert!(ask(&root, |_, cx| cx.stop_child("a")).await);
    until("a stopped", || log.count("root hears a stopped: stopped") == 2).await;
    assert!(!a.is_alive());
}

#[actix::test]
async fn panic_in_stop_or_drop_is_contained() {
    struct Sour;
    impl Behaviour for Sour {
        const KIND: &'static str = "sour";
        type Msg = std::convert::Infallible;
        fn handle(&mut self, msg: Self::Msg, _: &mut Cx<Self>) {
            match msg {}
        }
        fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
            panic!("will not")
        }
        fn observe(&self) -> ActorState {
            ActorState::default()
        }
    }
    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("in drop")
        }
    }
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    ask(&system.root(), |_, cx| drop(cx.spawn_child("sour", quick(), || Sour))).await;
    until("it runs", || find(&system.registry(), "node/sour").unwrap().status == Status::Alive).await;
    assert_eq!(system.shutdown(LONG).await, ShutdownReport::default());
    assert!(log.has("root dropped"));
}
