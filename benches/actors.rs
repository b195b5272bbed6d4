//! Cost that the kernel adds to a message: from `tell` on one thread to the handler on another, and back.
//!
//! The baseline is a bare actix actor that answers on the same kind of channel.

// A failed unwrap is a failed measurement. Helpers are `async` even if they need not be, so that all calls
// look alike.
#![allow(clippy::unwrap_used, clippy::unused_async)]

use std::sync::mpsc::{Receiver, Sender, channel};

use criterion::{Criterion, criterion_group, criterion_main};
use stentor::actors::kernel::{
    ActorRef, ActorState, ActorSystem, Behaviour, Cx, Message, RootOptions, SystemHandle,
};

fn round_trip(c: &mut Criterion) {
    let mut group = c.benchmark_group("actor");
    let (ours, answers) = kernel_actor();
    group.bench_function("tell to handler", |b| {
        b.iter(|| {
            ours.tell(Ping).unwrap();
            answers.recv().unwrap();
        });
    });
    let (bare, answers) = bare_actor();
    group.bench_function("actix do_send to handler (floor)", |b| {
        b.iter(|| {
            bare.do_send(BarePing);
            answers.recv().unwrap();
        });
    });
    group.finish();
}

/// Starts a kernel actor on its own thread, which runs until the process ends.
fn kernel_actor() -> (ActorRef<Ping>, Receiver<()>) {
    let (answer, answers) = channel();
    let (started, actor) = channel();
    std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let make = move || Echo(answer.clone());
            let system: SystemHandle<Ping> = ActorSystem::start(make, RootOptions::default());
            started.send(system.root()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    (actor.recv().unwrap(), answers)
}

struct Ping;

impl Message for Ping {
    fn kind(&self) -> &'static str {
        "ping"
    }
}

struct Echo(Sender<()>);

impl Behaviour for Echo {
    const KIND: &'static str = "echo";
    type Msg = Ping;

    fn handle(&mut self, Ping: Ping, _: &mut Cx<Self>) {
        self.0.send(()).unwrap();
    }

    fn observe(&self) -> ActorState {
        ActorState::state("echoing")
    }
}

fn bare_actor() -> (actix::Addr<BareEcho>, Receiver<()>) {
    let (answer, answers) = channel();
    let (started, actor) = channel();
    std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            started.send(actix::Actor::start(BareEcho(answer))).unwrap();
            std::future::pending::<()>().await;
        });
    });
    (actor.recv().unwrap(), answers)
}

struct BarePing;

impl actix::Message for BarePing {
    type Result = ();
}

struct BareEcho(Sender<()>);

impl actix::Actor for BareEcho {
    type Context = actix::Context<Self>;
}

impl actix::Handler<BarePing> for BareEcho {
    type Result = ();

    fn handle(&mut self, _: BarePing, _: &mut Self::Context) {
        self.0.send(()).unwrap();
    }
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
