//! Everything that crosses a process or the network, on the real components; one binary, because it links once.

mod bad_input;
mod browser;
mod cli;
mod demo;
mod documentation;
mod hundred;
mod janus;
mod listening;
mod media;
mod operations;
mod presence;
mod rooms;
mod store;
mod support;
mod ws;
