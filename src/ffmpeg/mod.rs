//! Conversion of FFmpeg's output to encrypted low-latency HLS in memory.
//!
//! ```text
//! ffmpeg stdout -> adts (frames) -> packager (pace, parts, segments, keys) -> stream (read by listeners)
//!                                      transport (MPEG-TS)
//! ```
//! Everything but `ffmpeg` is pure: bytes and times are arguments. Owns: the media of a room on this node.
//! Never does: choose a port, decide to restart, speak HTTP, touch a disk.
//!
//! `m3u8` is a strict reader for the tests. It shares no code with the writer.

mod adts;
mod clock;
mod closed;
mod crypto;
mod ffmpeg;
mod ffmpeg_log;
mod loudness;
pub mod m3u8;
mod m4a;
mod names;
mod pace;
mod packager;
pub mod plain;
mod playlist;
mod playlist_text;
pub mod relayed;
mod replay;
mod rewind;
mod segmenter;
mod standby_buffer;
mod stream;
mod transport;
mod window;
mod window_snapshot;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod packager_tests;
#[cfg(test)]
pub(crate) mod synth;

pub use adts::AdtsError;
pub use closed::{ClosedSegment, ClosedSegments};
pub use crypto::{ContentKey, ContentKeys, DecryptError, decrypt, encrypt};
pub use ffmpeg::{
    ExitReason, Ffmpeg, FfmpegCommand, FfmpegProcess, FfmpegUnusable, MUXER, SpawnError, ffmpeg_version,
};
pub use ffmpeg_log::{FfmpegLog, FfmpegLogLines, LogLevel};
pub use loudness::{Loudness, MeterLine};
pub use m4a::{M4aBuilder, M4aFile, Piece, RecordedM4a, Source, without_headers};
pub use names::{MediaFile, NonceHint, NotAMediaFile};
pub use packager::{PackageError, Packager, PackagerConfig, Progress, SequenceStart};
pub use playlist::with_token;
pub use playlist_text::PlaylistText;
pub use replay::recorded_playlist;
pub use rewind::Rewind;
#[cfg(test)]
pub(crate) use rewind::sample_rewind;
pub use standby_buffer::StandbyBuffer;
pub use stream::{LiveStream, NotServed, PlaylistBody, StreamStats};
