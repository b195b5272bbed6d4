//! Simulation of the state machines against a model: a store with delayed watches, Janus instances that
//! refuse requests, do not answer or act late, and FFmpeg processes that exit.
//!
//! Each case runs a random history and then a quiet period. After the quiet period, the model must be in
//! exactly the state that the store requires.

use crate as domain;
use proptest::prelude::*;

mod janus_world;
mod mixer_world;
mod world;

use world::World;

const MODULES: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Start { janus: usize, mixer: usize },
    Stop,
    Move { janus: usize, mixer: usize },
    HandOver { mixer: usize },
    Cleanup,
    Deliver { node: usize },
    RunJanus { node: usize, luck: Luck },
    RunProcess { node: usize, luck: Luck },
    RunStore { node: usize, luck: Luck },
    Fragment { node: usize },
    FfmpegDies { node: usize, bind: bool },
    JanusRestarts { node: usize },
    MixerNodeRestarts { node: usize },
    MixerActorPanics { node: usize },
    Tick { ms: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Luck {
    Works,
    Refused,
    /// The caller sees a timeout; `happened`: true if the effect was carried out.
    Timeout {
        happened: bool,
    },
    /// The caller sees a timeout; a Janus room is still created `ms` milliseconds later.
    Late {
        ms: u16,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..MODULES;
    let luck = || {
        prop_oneof![
            6 => Just(Luck::Works),
            1 => Just(Luck::Refused),
            1 => any::<bool>().prop_map(|happened| Luck::Timeout { happened }),
            1 => (0..25_000u16).prop_map(|ms| Luck::Late { ms }),
        ]
    };
    let step = prop_oneof![
        2 => (node(), node()).prop_map(|(janus, mixer)| Step::Start { janus, mixer }),
        1 => Just(Step::Stop),
        1 => (node(), node()).prop_map(|(janus, mixer)| Step::Move { janus, mixer }),
        1 => node().prop_map(|mixer| Step::HandOver { mixer }),
        1 => Just(Step::Cleanup),
        6 => node().prop_map(|node| Step::Deliver { node }),
        8 => (node(), luck()).prop_map(|(node, luck)| Step::RunJanus { node, luck }),
        8 => (node(), luck()).prop_map(|(node, luck)| Step::RunProcess { node, luck }),
        8 => (node(), luck()).prop_map(|(node, luck)| Step::RunStore { node, luck }),
        4 => node().prop_map(|node| Step::Fragment { node }),
        1 => (node(), any::<bool>()).prop_map(|(node, bind)| Step::FfmpegDies { node, bind }),
        1 => node().prop_map(|node| Step::JanusRestarts { node }),
        1 => node().prop_map(|node| Step::MixerNodeRestarts { node }),
        1 => node().prop_map(|node| Step::MixerActorPanics { node }),
        3 => (0..3000u16).prop_map(|ms| Step::Tick { ms }),
    ];
    proptest::collection::vec(step, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8 * ProptestConfig::default().cases))]

    #[test]
    fn simulation_converges_and_starts_again(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        world.settle();
        world.check();
        world.stop();
        world.settle();
        world.apply(&Step::Start { janus: 0, mixer: 1 });
        world.settle();
        prop_assert!(world.view().is_on_air());
        world.check();
    }
}

/// A retry of the process lane whose time has passed must not hide the pending retry of the store lane.
#[test]
fn pending_retry_of_either_lane_counts() {
    use Luck::{Late, Timeout, Works};
    let mut world = World::new();
    for step in [
        Step::Start { janus: 0, mixer: 0 },
        Step::Deliver { node: 0 },
        Step::RunProcess { node: 0, luck: Works },
        Step::RunProcess { node: 0, luck: Late { ms: 0 } },
        Step::RunStore { node: 0, luck: Works },
        Step::FfmpegDies { node: 0, bind: true },
        Step::Stop,
        Step::Deliver { node: 0 },
        Step::RunStore { node: 0, luck: Timeout { happened: true } },
        Step::Tick { ms: 75 },
        Step::RunStore { node: 0, luck: Works },
        Step::Tick { ms: 150 },
        Step::RunStore { node: 0, luck: Works },
        Step::Tick { ms: 300 },
        Step::RunStore { node: 0, luck: Works },
    ] {
        world.apply(&step);
    }
    world.settle();
    world.check();
}
