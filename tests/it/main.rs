//! Everything that crosses a process or the network, on the real components; one binary, because it links once.

mod alone;
mod bad_input;
mod cli;
mod cluster;
mod documentation;
mod janus;
mod listening;
mod media;
mod mixer;
mod operations;
mod rooms;
mod store;
mod support;
