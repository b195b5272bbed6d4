//! Crashes, budgets, escalation, parking.

use super::*;

#[actix::test]
async fn panicking_actor_restarts_alone() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    let b = spawn(&system.root(), "b", quick(), Puppet::new("b", &log)).await;
    ask(&b, |b, _| b.news = 7).await;
    a.tell(crash()).unwrap();
    assert_eq!(ask(&a, |a, _| a.news).await, 0, "the reference leads to the new incarnation");
    assert_eq!(log.count("a started"), 2);
    assert_eq!(ask(&b, |b, _| b.news).await, 7);
    assert_eq!(log.count("b started"), 1);
    until("the parent hears", || log.has("root hears a restarts: panic")).await;
    let view = find(&system.registry(), "node/a").unwrap();
    assert_eq!(view.restarts.get("panic"), Some(&1));
    let failure = view.last_failure.unwrap().text;
    assert!(failure.contains("ordered to at crates/actor-kernel/src/tests/mod.rs:"), "{failure}");
}

#[actix::test]
async fn restart_keeps_queued_messages() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    let (seen, logged) = (log.clone(), log.clone());
    a.tell(deed(move |_, _| seen.add("before"))).unwrap();
    a.tell(crash()).unwrap();
    a.tell(deed(move |_, _| logged.add("after"))).unwrap();
    ask(&a, |_, _| ()).await;
    let order: Vec<String> = log.all().into_iter().filter(|e| !e.starts_with("root")).collect();
    assert_eq!(order, ["a started", "before", "a dropped", "a started", "after"]);
}

#[actix::test]
async fn exhausted_budget_escalates_to_system() {
    let log = Log::default();
    let spec = ChildSpec { budget: budget(2), ..quick() };
    let child_spec = spec.clone();
    let child_log = log.clone();
    let root = Puppet::new("root", &log).on_start(move |_, cx| {
        let doomed = Puppet::new("a", &child_log).on_start(|_, _| panic!("always"));
        cx.spawn_child("a", child_spec.clone(), doomed.factory());
    });
    let system = ActorSystem::start(root.factory(), RootOptions { spec, ..RootOptions::default() });
    let reason = tokio::time::timeout(Duration::from_secs(10), system.failed()).await.unwrap();
    assert!(reason.starts_with("child node gave up: child a gave up: panic: always at crates/"), "{reason}");
    assert_eq!(log.count("root started"), 3, "twice restarted");
    assert_eq!(log.count("a started"), 9);
    assert_eq!(log.count("root hears a gives up: panic"), 3);
    assert_eq!(system.root().tell(crash()), Err(TellError::Gone));
    assert!(system.registry().snapshot().is_none());
}

#[actix::test]
async fn parked_child_restarts_after_its_rest() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let exhausted = ExhaustedAction::Park(Duration::from_millis(200));
    let spec = ChildSpec { budget: budget(1), exhausted, ..quick() };
    let a = spawn(&system.root(), "a", spec, Puppet::new("a", &log)).await;
    let b = spawn(&system.root(), "b", quick(), Puppet::new("b", &log)).await;
    a.tell(crash()).unwrap();
    a.tell(crash()).unwrap();
    let registry = system.registry();
    until("a is parked", || find(&registry, "node/a").unwrap().status == Status::Parked).await;
    let parked = find(&registry, "node/a").unwrap();
    assert!(parked.reason.unwrap().starts_with("panic: ordered to"));
    assert!(parked.next_retry_in_ms.is_some());
    assert_eq!(parked.state, "idle", "its last state is still shown");
    assert!(a.is_alive());
    ask(&b, |_, _| ()).await;
    ask(&a, |_, _| ()).await;
    assert!(log.has("root hears a parks: panic") && log.count("root started") == 1);
    a.tell(crash()).unwrap();
    ask(&a, |_, _| ()).await;
    let passed: Vec<_> =
        find(&registry, "node/a").unwrap().transitions.iter().map(|t| t.to.clone()).collect();
    assert_eq!(passed, ["idle", "restarting", "idle", "parked", "idle", "restarting", "idle"]);
}

#[actix::test]
async fn failures_outside_messages_count_equally() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let tries = Arc::new(Mutex::new(0));
    let proto = Puppet::new("a", &log).on_start(|_, cx| cx.me().tell(Msg::StateChanged(1)).unwrap());
    let counted = tries.clone();
    let factory = move || {
        let mut tries = locked(&counted);
        *tries += 1;
        assert!(*tries != 1, "factory fails");
        let mut puppet = proto.clone();
        match *tries {
            2 => puppet.on_start = Arc::new(|_, _| panic!("started fails")),
            3 => puppet.unobservable = true,
            4 => puppet.on_start = Arc::new(|_, cx| cx.fail("on purpose")),
            _ => {}
        }
        puppet
    };
    let a = ask(&system.root(), move |_, cx| cx.spawn_child("a", quick(), factory)).await;
    ask(&a, |_, _| ()).await;
    assert_eq!(*locked(&tries), 5);
    let restarts = find(&system.registry(), "node/a").unwrap().restarts;
    assert_eq!(restarts.into_iter().collect::<Vec<_>>(), [("failed", 1), ("panic", 3)]);
}

#[actix::test]
async fn ended_temporary_child_frees_its_name() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let root = system.root();
    for (restart, end) in [
        (RestartPolicy::Transient, deed(|_, cx| cx.stop())),
        (RestartPolicy::Temporary, crash()),
        (RestartPolicy::Temporary, deed(|_, cx| cx.fail("x"))),
    ] {
        let spec = ChildSpec { restart, ..quick() };
        let a = spawn(&root, "a", spec, Puppet::new("a", &log)).await;
        a.tell(end).unwrap();
        until("a is gone", || !a.is_alive()).await;
        assert!(!ask(&root, |_, cx| cx.has_child("a")).await);
    }
    for how in ["normal", "panic", "failed"] {
        assert_eq!(log.count(&format!("root hears a ended: {how}")), 1);
    }
    assert!(find(&system.registry(), "node/a").is_none());
}

#[actix::test]
async fn children_drop_before_parent_restarts() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let parent = Puppet::new("p", &log).on_start(|p, cx| {
        for name in ["x", "y"] {
            cx.spawn_child(name, quick(), Puppet::new(name, &p.log).factory());
        }
    });
    let parent = spawn(&system.root(), "p", quick(), parent).await;
    until("both started", || log.has("y started")).await;
    let x = ask(&parent, |_, cx| cx.child_ref::<Msg>("x").unwrap()).await;
    parent.tell(crash()).unwrap();
    ask(&parent, |_, _| ()).await;
    until("both started again", || log.count("y started") == 2).await;
    let order: Vec<String> = log.all().into_iter().filter(|e| !e.starts_with("root")).collect();
    assert_eq!(
        order,
        [
            "p started",
            "x started",
            "y started", // one incarnation
            "y stopping",
            "y dropped",
            "x stopping",
            "x dropped",
            "p dropped", // unwound, youngest first
            "p started",
            "x started",
            "y started",
        ]
    );
    assert!(!x.is_alive(), "a reference into the old incarnation is dead");
}

#[actix::test]
async fn dying_child_does_not_delay_parent() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let p = spawn(&system.root(), "p", quick(), Puppet::new("p", &log)).await;
    let x = spawn(&p, "x", quick(), Puppet::new("x", &log)).await;
    for _ in 0..3 {
        x.tell(crash()).unwrap();
    }
    p.tell(crash()).unwrap();
    assert!(!ask(&p, |_, cx| cx.has_child("x")).await);
    assert!(!x.is_alive());
}

#[actix::test]
async fn dead_arbiter_fails_its_actors() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let arbiter = actix::Arbiter::new();
    let spec = ChildSpec {
        arbiter: Some(arbiter.handle()),
        budget: budget(2),
        exhausted: ExhaustedAction::Park(Duration::from_secs(60)),
        ..quick()
    };
    let a = spawn(&system.root(), "a", spec, Puppet::new("a", &log)).await;
    ask(&a, |_, _| ()).await;
    let below = spawn(&a, "below", quick(), Puppet::new("below", &log)).await;
    arbiter.stop();
    until("a is parked", || log.has("root hears a parks: arbiter_gone")).await;
    assert_eq!(log.count("root hears a restarts: arbiter_gone"), 2);
    assert!(a.is_alive() && !below.is_alive());
}

#[actix::test]
async fn duplicate_child_name_fails_parent() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let p = spawn(&system.root(), "p", quick(), Puppet::new("p", &log)).await;
    spawn(&p, "x", quick(), Puppet::new("x", &log)).await;
    let again = Puppet::new("x", &log);
    p.tell(deed(move |_, cx| drop(cx.spawn_child("x", quick(), again.factory())))).unwrap();
    ask(&p, |_, _| ()).await;
    let failure = find(&system.registry(), "node/p").unwrap().last_failure.unwrap();
    assert!(failure.text.contains("a child named x exists"), "{}", failure.text);
}

#[actix::test]
async fn actors_restart_on_request() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    ask(&a, |_, _| ()).await;
    let registry = system.registry();
    let restart = |path, min_age| registry.restart(path, "an operator asked for it", min_age);
    assert_eq!(restart("node/b", Duration::ZERO), Err(RestartRefused::NotFound));
    assert_eq!(restart("node", Duration::ZERO), Err(RestartRefused::Root));
    assert_eq!(restart("node/a", Duration::from_secs(3600)), Err(RestartRefused::TooYoung));
    assert_eq!(restart("node/a", Duration::ZERO), Ok(()));
    until("a has started again", || log.count("a started") == 2).await;
    let failure = find(&registry, "node/a").unwrap().last_failure.unwrap();
    assert!(failure.text.contains("an operator asked for it"), "{failure:?}");
}
