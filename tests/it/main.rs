//! Everything that crosses a process or the network, on the real components.
//! Everything that crosses a process or the network; one binary, because it links once.
//! Everything that crosses a process or the network, in one binary.

mod cli;
mod janus;
mod store;
mod support;
