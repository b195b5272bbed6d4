//! Independent listener and tone sender, used by the demo and the tests to verify that a room can be heard.
//!
//! It shares no code with the packager: it has its own parsers and decryption, and decodes with FFmpeg.
//! So it also finds errors that would go unnoticed if the reader shared the faulty code with the packager.
//! Owns: listening and the analysis of the audio. Does not serve or change a room.
//!
//! ```
//! use stentor_probe::m3u8::Playlist;
//!
//! let text = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
//!             #EXTINF:2.0,\nseg7.ts\n#EXT-X-PART:DURATION=0.2,URI=\"p8.0.ts\"\n";
//! let playlist = Playlist::parse(text).unwrap();
//! assert_eq!(playlist.segments[0].uri.as_deref(), Some("seg7.ts"));
//! assert_eq!(playlist.edge(), (8, 1), "part 1 of segment 8 does not exist yet");
//!
//! let problem = Playlist::parse("#EXTM3U\n#EXT-X-VERSION:9\n").unwrap_err();
//! assert!(problem.to_string().contains("#EXT-X-TARGETDURATION is missing"), "{problem}");
//! ```

pub mod fetch;
pub mod hearing;
pub mod listener;
pub mod local_tls;
pub mod m3u8;
mod rules;
mod spectrum;
mod strict;
pub mod tone;
pub mod transport;

pub use hearing::HeardAudio;
pub use listener::{Listener, Mode, ProbeError};
pub use tone::ToneSender;
