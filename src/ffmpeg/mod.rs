//! FFmpeg of a room, and of a source in it: command, process and log.
//!
//! Owns: the arguments, the process, and the meaning of its exit and its log lines. Does not choose a port,
//! decide on a restart, or package the audio (`stentor-packager` does).

mod log;
mod loudness;
mod process;
mod source;

pub use log::{FfmpegLog, FfmpegLogLines, LogLevel};
pub use loudness::{Loudness, MeterLine};
pub use process::{
    ExitReason, Ffmpeg, FfmpegCommand, FfmpegProcess, FfmpegUnusable, MUXER, SpawnError, ffmpeg_version,
};
pub use source::{SourceCommand, SourceInput, SourceProcess};
