//! `stentor::janus` on a real Janus.

mod bridge;
mod link;
mod managed;
mod replies;
