//! HTTP interfaces: the REST API, HLS and plain streams for listeners, the relay between nodes, the pages,
//! operations.
//!
//! Owns: routes, status codes, headers, one error type. Does not decide about rooms or media; other
//! modules do.

pub mod acme_challenge;
pub mod anchors;
pub mod api_keys;
pub mod audit;
pub mod base_path;
pub mod channel;
pub mod cors;
pub mod dashboard;
pub mod embedding;
pub mod error;
mod event_stream;
mod extract;
pub mod hls;
pub mod hls_answer;
pub mod live;
pub mod methods;
pub mod ops;
pub mod pages;
pub mod pages_api;
pub mod previews;
pub mod proxied;
pub mod redirect;
pub mod relay;
pub mod replay;
pub mod request_id;
pub mod rest;
pub mod server;
#[cfg(test)]
mod test_tokens;
pub mod tokens;
pub mod tracing;
pub mod upgrade;

pub use extract::{BodyLimit, read_body};
