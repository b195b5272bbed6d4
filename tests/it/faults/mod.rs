//! Faults of what a node stands on (its disk, its clock, its store and the way to it), of who talks to it, and of its
//! own actors.

mod clock;
mod disk;
mod etcd;
mod half_open;
mod panics;
mod partition;
mod rtp;
mod slow_consumer;
