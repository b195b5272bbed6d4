//! FFmpeg of a room: its command, its process and its log.
//!
//! Owns: the arguments, the process, and the meaning of its exit and its log lines. Does not choose a port,
//! decide on a restart, or package the audio (`stentor-packager` does).

mod log;
mod loudness;
mod process;

pub use log::{FfmpegLog, FfmpegLogLines, LogLevel};
pub use loudness::{Loudness, MeterLine};
pub use process::{
    ExitReason, Ffmpeg, FfmpegCommand, FfmpegProcess, FfmpegUnusable, MUXER, SpawnError, ffmpeg_version,
};
