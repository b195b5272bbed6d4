//! What the node says over HTTP.
//!
//! Owns: routes, the one error type, request ids, CORS. Never does: decide anything about a room.

pub mod cors;
pub mod error;
pub mod request_id;
pub mod rest;
