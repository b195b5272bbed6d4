//! The room API as its callers meet it.

pub(in crate::http) mod house;
mod rooms;
mod schema;
mod surface;
mod users;
