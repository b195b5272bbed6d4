//! Signalling over real sockets: the gateway's transport with a scripted session behind it.

pub mod client;
mod gateway;
mod limits;
mod liveness;
mod rules;
mod upgrade;
