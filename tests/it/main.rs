//! Everything that crosses a process or the network, on real components.

mod media;
