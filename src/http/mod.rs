//! Everything spoken over HTTP: the REST API, what listeners fetch, operations.
//!
//! Owns: routes, status codes, headers, one error type. Never does: decide about rooms or media; it asks.

pub mod cors;
pub mod error;
pub mod hls;
pub mod hls_answer;
pub mod ops;
pub mod pages;
pub mod relay;
pub mod request_id;
pub mod rest;
