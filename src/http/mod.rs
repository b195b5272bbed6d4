//! HTTP: what listeners and operators reach. Each file is one side with the narrow traits it needs, so that
//! a node that only proxies can put something else behind them. Never does: know a concrete backend.

pub mod hls;
pub mod hls_answer;
pub mod ops;
pub mod pages;
