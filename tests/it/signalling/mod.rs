//! Anchors on air: the whole path from WebSocket to Janus and to the listeners, over one gateway and over
//! two.

mod duplicates;
mod faults;
mod ice;
mod ipv6;
mod lifetimes;
mod members;
mod talk;
