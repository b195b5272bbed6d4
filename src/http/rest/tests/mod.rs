//! The room API as its callers meet it.

mod house;
mod rooms;
mod surface;
