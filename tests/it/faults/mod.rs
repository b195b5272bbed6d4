//! Faults of what a node stands on: its disk, its clock, its way to the store.

mod clock;
mod disk;
mod partition;
