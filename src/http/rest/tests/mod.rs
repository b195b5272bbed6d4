//! Tests of the room API from the caller's point of view.

mod feeds;
pub(in crate::http) mod house;
mod keys;
mod outputs;
mod recordings;
mod rooms;
mod schema;
mod sources;
mod surface;
mod users;
mod webhooks;
