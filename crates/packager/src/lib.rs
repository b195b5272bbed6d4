//! Packager of encrypted low-latency HLS in memory: ADTS frames in; MPEG-TS parts, segments and playlists
//! out.
//!
//! ```text
//! bytes -> adts (frames) -> packager (pace, parts, segments, keys) -> stream (read by listeners)
//!                               transport (MPEG-TS)
//! ```
//! Everything except the waits of readers is pure: bytes and times are arguments. Owns: the media of a room
//! on this node. Does not start a process, decide to restart, speak HTTP, or touch a disk.
//!
//! ```
//! use std::time::Duration;
//! use stentor_domain::ids::{Nonce, RoomId, UnixMs};
//! use stentor_domain::timeline::{Junction, Moment, Timeline};
//! use stentor_packager::{ContentKeys, Packager, PackagerConfig, SequenceStart};
//!
//! let keys = ContentKeys::new(b"secret of the server", &RoomId::new("demo").unwrap(), &Nonce("n".into()));
//! let config = PackagerConfig {
//!     part: Duration::from_millis(192),
//!     segment: Duration::from_millis(600),
//!     window: 6,
//!     key_rotation: 10,
//! };
//! let at = |ms| Moment { now: Duration::from_millis(ms), wall: UnixMs(ms) };
//! let junction = Junction::First(Timeline::default());
//! let (mut packager, stream) = Packager::new(config, keys, SequenceStart::default(), junction, at(0));
//! packager.begin_incarnation(at(0));
//!
//! // Nine silent AAC frames of 21.3 ms make one part.
//! let frame = [0xff, 0xf1, 0x4c, 0x40, 0x01, 0x7f, 0xfc, 0x01, 0x18, 0x20, 0x07];
//! for part in 1..=9 {
//!     packager.push(&frame.repeat(9), at(192 * part)).unwrap();
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let playlist = stream.playlist(None).await.unwrap();
//! let text = std::str::from_utf8(playlist.text.plain()).unwrap();
//! assert!(text.starts_with("#EXTM3U") && text.contains("#EXT-X-PART:"), "{text}");
//! # });
//! ```

mod adts;
mod blocking_reload;
mod clip;
mod clock;
mod closed;
mod crypto;
mod m4a;
mod m4a_tags;
mod media_error;
mod names;
mod ogg;
pub mod ogg_stream;
mod pace;
mod packager;
pub mod pcm;
pub mod plain;
mod playlist;
mod playlist_text;
pub mod relayed;
mod replay;
mod rewind;
mod segmenter;
mod standby_buffer;
mod stream;
pub mod subtitles;
mod ticks;
pub mod track;
mod transport;
mod window;
mod window_snapshot;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod packager_tests;
#[cfg(test)]
mod synth;

pub use adts::AdtsError;
pub use blocking_reload::{Answer, BlockingReload, is_too_far};
pub use clip::{ClipPart, cut};
pub use closed::{ClosedSegment, ClosedSegments};
pub use crypto::{ContentKey, ContentKeys, DecryptError, decrypt, encrypt};
pub use m4a::{M4aBuilder, M4aFile, Piece, RecordedM4a, Source, without_headers};
pub use m4a_tags::M4aTags;
pub use media_error::MediaError;
pub use names::{MediaFile, NonceHint, NotAMediaFile};
pub use packager::{PackageError, Packager, PackagerConfig, Progress, SequenceStart};
pub use playlist::with_token;
pub use playlist_text::PlaylistText;
pub use replay::recorded_playlist;
pub use rewind::Rewind;
pub use standby_buffer::StandbyBuffer;
pub use stream::{LiveStream, PlaylistBody, StreamStats};
pub use transport::first_timestamp;
pub use window::advance_part_limit;
