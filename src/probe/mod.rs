//! Independent listener and tone sender, used by the demo and the tests to verify that a room is heard.
//!
//! It shares no code with the packager: own parsers, own decryption, FFmpeg as decoder. So it reveals errors
//! that the packager shares with its own reader. Owns: listening and the analysis of the audio. Never does:
//! serve or change a room.

pub mod fetch;
pub mod hearing;
pub mod listener;
mod local_tls;
pub mod m3u8;
mod rules;
mod spectrum;
pub mod tone;
pub mod transport;

pub use hearing::HeardAudio;
pub use listener::{Listener, Mode, ProbeError};
pub use tone::ToneSender;
