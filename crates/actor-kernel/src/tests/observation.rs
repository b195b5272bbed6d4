//! Tests of `/actors` and the metrics for actors that work, wait and hang.

use prometheus::Encoder;
use prometheus::core::Collector;

use super::*;

#[actix::test]
async fn blocked_actor_is_shown_stuck() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let arbiter = actix::Arbiter::new();
    let elsewhere = ChildSpec { arbiter: Some(arbiter.handle()), ..quick() };
    let a = spawn(&system.root(), "a", elsewhere, Puppet::new("a", &log)).await;
    let b = spawn(&system.root(), "b", quick(), Puppet::new("b", &log)).await;
    ask(&a, |a, _| a.state = "working").await;
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    a.tell(deed(move |_, _| {
        let _ = blocked.recv();
    }))
    .unwrap();
    let registry = system.registry();
    until("a is stuck", || find(&registry, "node/a").unwrap().status == Status::Stuck).await;
    let stuck = find(&registry, "node/a").unwrap();
    assert_eq!((stuck.state.as_str(), stuck.handling.unwrap().0), ("working", "do"));
    ask(&b, |_, _| ()).await;
    assert_eq!(find(&registry, "node/b").unwrap().status, Status::Alive);
    unblock.send(()).unwrap();
    until("a goes on", || find(&registry, "node/a").unwrap().status == Status::Alive).await;
    arbiter.stop();
}

#[actix::test]
async fn transitions_name_cause_and_are_bounded() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    ask(&a, |a, _| a.state = "busy").await;
    ask(&a, |a, cx| {
        a.state = "idle";
        cx.cause("nothing left to do")
    })
    .await;
    ask(&a, |_, _| ()).await;
    let view = find(&system.registry(), "node/a").unwrap();
    let seen: Vec<_> = view.transitions.iter().map(|t| (&*t.from, &*t.to, &*t.cause)).collect();
    assert_eq!(
        seen,
        [("", "idle", "started"), ("idle", "busy", "do"), ("busy", "idle", "nothing left to do")]
    );
    for n in 0..100 {
        ask(&a, move |a, _| a.state = if n % 2 == 0 { "even" } else { "odd" }).await;
    }
    ask(&a, |_, _| ()).await;
    assert_eq!(find(&system.registry(), "node/a").unwrap().transitions.len(), 32);
}

#[actix::test]
async fn quiet_message_is_not_observed() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    ask(&a, |a, cx| {
        a.state = "hidden";
        cx.quiet();
    })
    .await;
    ask(&a, |_, cx| cx.quiet()).await;
    assert_eq!(find(&system.registry(), "node/a").unwrap().state, "idle");
    ask(&a, |_, _| ()).await;
    ask(&a, |_, cx| cx.quiet()).await;
    assert_eq!(
        find(&system.registry(), "node/a").unwrap().state,
        "hidden",
        "only that one message was quiet"
    );
}

#[actix::test]
async fn actor_tree_serializes_to_json() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    spawn(&system.root(), "a", quick(), Puppet::new("a", &log)).await;
    until("a is up", || find(&system.registry(), "node/a").unwrap().status == Status::Alive).await;
    let json = serde_json::to_value(system.registry().snapshot()).unwrap();
    let a = &json["children"][0];
    assert_eq!((&a["path"], &a["kind"], &a["status"]), (&"node/a".into(), &"puppet".into(), &"alive".into()));
    assert_eq!(a["mailbox"]["capacity"], 256);
    assert!(a["transitions"][0]["at"].as_u64() > Some(1_700_000_000_000));
}

#[actix::test]
async fn ten_thousand_children_leak_nothing() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let root = system.root();
    let mut cells = Vec::new();
    for round in 0..10 {
        let proto = Puppet::new("x", &Log::default());
        let names: Vec<String> = (0..1000).map(|n| format!("{round}-{n}")).collect();
        let spawned = names.clone();
        ask(&root, move |_, cx| {
            for name in spawned {
                cx.spawn_child(name, ChildSpec::member(), proto.clone().factory());
            }
        })
        .await;
        cells.extend(system.top_cell().children()[0].children().iter().map(Arc::downgrade));
        ask(&root, move |_, cx| names.iter().for_each(|name| assert!(cx.stop_child(name)))).await;
        until("all gone", || system.registry().snapshot().unwrap().children.is_empty()).await;
    }
    assert_eq!(cells.len(), 10_000);
    until("all memory freed", || cells.iter().all(|cell| cell.strong_count() == 0)).await;
}

#[actix::test]
async fn metrics_are_per_kind_and_well_formed() {
    let log = Log::default();
    let system = start(Puppet::new("root", &log));
    let a = spawn(&system.root(), "a", ChildSpec { mailbox: 1, ..quick() }, Puppet::new("a", &log)).await;
    a.tell(crash()).unwrap();
    assert_eq!(a.tell(crash()), Err(TellError::Full));
    a.tell_latest("n", Msg::StateChanged(1)).unwrap();
    a.tell_latest("n", Msg::StateChanged(2)).unwrap();
    until("handled", || find(&system.registry(), "node/a").unwrap().mailbox.depth == 0).await;
    ask(&a, |_, _| ()).await;
    let registry = prometheus::Registry::new();
    registry.register(Box::new(system.registry())).unwrap();
    assert_eq!(system.registry().desc().len(), 9, "every family is described");
    let mut text = Vec::new();
    prometheus::TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for line in [
        r#"stentor_actors{actor="puppet"} 2"#,
        r#"stentor_mailbox_depth{actor="puppet"} 0"#,
        r#"stentor_mailbox_oldest_seconds{actor="puppet"} 0"#,
        r#"stentor_messages_total{actor="puppet",message="state_changed"} 1"#,
        r#"stentor_message_seconds_count{actor="puppet",message="state_changed"} 1"#,
        r#"stentor_message_seconds_bucket{actor="puppet",message="state_changed",le="+Inf"} 1"#,
        r#"stentor_actor_restarts_total{actor="puppet",reason="panic"} 1"#,
        r#"stentor_messages_refused_total{actor="puppet"} 1"#,
        r#"stentor_messages_coalesced_total{actor="puppet"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
    }
    let polled = |text: &str| {
        let line =
            text.lines().find_map(|l| l.strip_prefix("stentor_effect_poll_seconds_total{actor=\"puppet\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!(polled(&text) < 0.02, "{text}");
    let (done, busy) = oneshot::channel();
    ask(&a, move |_, cx| {
        let effect = async move {
            let since = Instant::now();
            while since.elapsed() < Duration::from_millis(20) {}
        };
        cx.run(effect, move |()| deed(move |_, _| done.send(()).unwrap()));
    })
    .await;
    busy.await.unwrap();
    let mut after = Vec::new();
    prometheus::TextEncoder::new().encode(&registry.gather(), &mut after).unwrap();
    let after = String::from_utf8(after).unwrap();
    assert!(polled(&after) >= 0.02, "{after}");
    assert!(!text.contains("node") && !text.contains("actor_system"), "no names of actors, nothing internal");
}
