//! Random failures at every level of a tree over two arbiters, then an ordered shutdown.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const FAMILIES: usize = 8;
const BLOWS: usize = 4000;

#[actix::test]
async fn random_failures_leave_tree_complete() {
    let log = Log::default();
    let arbiters = [actix::Arbiter::new(), actix::Arbiter::new()];
    let handles: Vec<_> = arbiters.iter().map(actix::Arbiter::handle).collect();
    let tough = ChildSpec { budget: budget(BLOWS), ..quick() };
    let child_spec = tough.clone();
    // A family lives on one arbiter, its members on the other, so that every report crosses threads.
    let root = Puppet::new("root", &log).on_start(move |root, cx| {
        for n in 0..FAMILIES {
            let away = ChildSpec { arbiter: Some(handles[(n + 1) % 2].clone()), ..child_spec.clone() };
            let family = Puppet::new("family", &root.log).on_start(move |family, cx| {
                for name in ["x", "y", "z"] {
                    let member = Puppet::new("member", &family.log);
                    cx.spawn_child(name, away.clone(), member.factory());
                }
            });
            let here = ChildSpec { arbiter: Some(handles[n % 2].clone()), ..child_spec.clone() };
            cx.spawn_child(format!("f{n}"), here, family.factory());
        }
    });
    let options = RootOptions { spec: tough, ..RootOptions::default() };
    let system = ActorSystem::start(root.factory(), options);
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..BLOWS {
        let family = format!("f{}", random.random_range(0..FAMILIES));
        let member = ["x", "y", "z"][random.random_range(0..3)];
        let (family_is_hit, blow) = (random.random_ratio(1, 5), random.random_range(0..4));
        // The mailbox may be full, or gone with a failing family. In both cases, this failure is not
        // injected.
        let _ = system.root().tell(deed(move |_, cx| {
            let Some(family) = cx.child_ref::<Msg>(&family) else { return };
            let hit = move || deed(move |_, cx| strike(cx, blow));
            let _ = if family_is_hit {
                family.tell(hit())
            } else {
                family.tell(deed(move |_, cx| {
                    let _ = cx.child_ref::<Msg>(member).map(|member| member.tell(hit()));
                }))
            };
        }));
        tokio::task::yield_now().await;
    }
    let whole =
        |view: &ActorView| view.children.iter().all(|f| f.status == Status::Alive && f.children.len() == 3);
    until("everybody is back", || {
        let tree = system.registry().snapshot().unwrap();
        whole(&tree) && tree.children.iter().flat_map(|f| &f.children).all(|m| m.status == Status::Alive)
    })
    .await;
    let cells = every_cell(system.top_cell());
    assert_eq!(cells.len(), 1 + FAMILIES * 4);
    assert_eq!(system.shutdown(Duration::from_secs(10)).await, ShutdownReport::default());
    drop(system);
    until("all memory freed", || cells.iter().all(|cell| cell.strong_count() == 0)).await;
    assert_eq!(log.count("member started"), log.count("member dropped"));
    assert_eq!(log.count("family started"), log.count("family dropped"));
    assert!(log.count("member started") > 100, "too few failures: {}", log.count("member started"));
    arbiters.iter().for_each(|arbiter| assert!(arbiter.stop()));
}

fn strike(cx: &mut Cx<Puppet>, blow: u32) {
    match blow {
        0 => panic!("struck"),
        1 => cx.fail("struck"),
        2 => cx.stop(),
        _ => cx.run(async { panic!("struck from afar") }, |()| Msg::StateChanged(0)),
    }
}

fn every_cell(top: &super::super::cell::ActorCell) -> Vec<std::sync::Weak<super::super::cell::ActorCell>> {
    let children = top.children();
    children.iter().flat_map(|c| every_cell(c).into_iter().chain([Arc::downgrade(c)])).collect()
}
