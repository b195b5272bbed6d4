//! Everything spoken over HTTP: the REST API, what listeners fetch, operations.
//!
//! Owns: routes, status codes, headers, one error type. Never does: decide about rooms or media; it asks.

pub mod anchors;
pub mod cors;
pub mod error;
mod extract;
pub mod hls;
pub mod hls_answer;
pub mod methods;
pub mod ops;
pub mod pages;
pub mod pages_api;
pub mod proxied;
pub mod relay;
pub mod request_id;
pub mod rest;
pub mod server;
pub mod tokens;
