//! Everything that crosses a process or the network, on the real components; one binary, because it links once.

mod cli;
mod janus;
mod listening;
mod media;
mod presence;
mod rooms;
mod store;
mod support;
