//! Tests of one fault at a time in an otherwise quiet cluster, with limits on its consequences.

use std::time::Duration;

use super::TTL;
use super::gateways::LIFETIMES;
use super::node::Vital;
use super::world::World;
use crate::domain::ids::{Epoch, RoomId};

const SEEDS: u64 = 30;

#[test]
fn store_outage_keeps_rooms_on_air() {
    for seed in 0..SEEDS {
        let mut world = on_air(seed);
        let (epochs, starts) = (world.epochs(), world.laws.starts);
        let away = Duration::from_secs(1 + seed * 2);
        world.freeze_store();
        world.run_until(world.now + away);
        world.thaw_store(seed % 2 == 0);
        let rested = world.rest().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert!(rested <= TTL + Duration::from_secs(2), "seed {seed}: at rest only after {rested:?}");
        assert_eq!(world.epochs(), epochs, "seed {seed}: a room was moved");
        assert_eq!(world.laws.starts, starts, "seed {seed}: an FFmpeg was started");
    }
}

#[test]
fn dead_node_rooms_move_after_lease() {
    for seed in 0..SEEDS {
        let mut world = on_air(seed);
        let dead = seed as usize % 2;
        world.lose_for_good(dead);
        world.run_until(world.now + TTL + Duration::from_secs(1));
        let rested = world.rest().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        // If the dead node was the leader, another one must be elected first.
        assert!(rested <= TTL + Duration::from_secs(3), "seed {seed}: at rest only after {rested:?}");
    }
}

#[test]
fn orderly_node_restart_moves_nothing() {
    for seed in 0..SEEDS {
        let mut world = on_air(seed);
        let n = seed as usize % 2;
        let epochs = world.epochs();
        world.leave(n);
        while world.nodes[n].vital == Vital::Up {
            world.run_until(world.now + Duration::from_millis(50));
        }
        world.start(n);
        let rested = world.rest().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert!(rested <= Duration::from_secs(8), "seed {seed}: at rest only after {rested:?}");
        assert_eq!(world.epochs(), epochs, "seed {seed}: a room was moved");
    }
}

#[test]
fn users_of_dead_gateway_return_elsewhere() {
    for seed in 0..SEEDS {
        let mut world = on_air(seed);
        let dead = seed as usize % 2;
        world.join_all(dead, "tab");
        world.run_until(world.now + Duration::from_secs(1));
        let (users, joined) = world.connected();
        assert!(users > 0 && joined == users, "seed {seed}: {joined} of {users} joined");
        world.lose_for_good(dead);
        world.run_until(world.now + LIFETIMES.gateway);
        // The users come back on another device, so only the death of the gateway can free their locks.
        world.join_all(1 - dead, "other");
        world.run_until(world.now + Duration::from_secs(1));
        assert_eq!(world.connected().0, users, "seed {seed}: a lock is not free");
        world.rest().and_then(|_| world.disconnect_all()).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// Returns a world in which all rooms are on air and there is no fault.
fn on_air(seed: u64) -> World {
    let mut world = World::new(seed, false);
    world.calm = true;
    world.populate();
    world.capacity = 10;
    world.run_until(world.now + Duration::from_secs(2));
    while world.epochs().len() < world.rooms.len() {
        let missing = world.rooms.iter().find(|room| !world.store.view(room).is_on_air()).cloned();
        missing.iter().for_each(|room| world.bring_on_air(room));
        world.run_until(world.now + Duration::from_secs(1));
    }
    world.rest().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    world
}

impl World {
    fn epochs(&self) -> Vec<Epoch> {
        let live = |room: &RoomId| self.store.view(room).live.map(|live| live.epoch);
        self.rooms.iter().filter_map(live).collect()
    }

    fn bring_on_air(&mut self, room: &RoomId) {
        match self.store.view(room).meta {
            None => self.create(room),
            Some(_) => self.put_on_air(room),
        }
    }
}
