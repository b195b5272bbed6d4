//! Faults of a node's environment (its disk, its clock, its store and the path to it), of its clients, and of
//! its own actors.

mod clock;
pub mod disk;
mod etcd;
mod half_open;
mod panics;
mod partition;
mod rtp;
mod silence;
mod slow_consumer;
