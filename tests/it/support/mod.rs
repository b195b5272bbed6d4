//! What several stories need: a staged live room, and a real browser.

pub mod browser;
pub mod staged;
