//! The independent listener and the tone sender: how the demo and the tests know that a room is heard.
//!
//! Shares no code with the packager: its own parsers, its own decryption, FFmpeg as decoder. What the
//! packager and a player would misunderstand in the same way shows here. Owns: listening and what was heard.
//! Never does: serve or change a room.

pub mod fetch;
pub mod hearing;
pub mod listener;
pub mod m3u8;
mod rules;
mod spectrum;
pub mod tone;
pub mod transport;

pub use hearing::Heard;
pub use listener::{Listener, Mode, ProbeError};
pub use tone::ToneSender;
