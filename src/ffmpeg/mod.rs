//! FFmpeg of a room, of its outputs and recognisers, and of sources in it: commands, processes and logs.
//!
//! Owns: the arguments, the process, and the meaning of its exit and its log lines. Does not choose a port,
//! decide on a restart, or package the audio (`stentor-packager` does).

mod decoder;
mod log;
mod loudness;
mod opus;
mod output;
mod process;
mod program;
mod source;

pub use decoder::DecoderProcess;
pub use log::{FfmpegLog, FfmpegLogLines, LogLevel};
pub use loudness::{Loudness, MeterLine};
pub use opus::OpusProcess;
pub use output::{OutputFfmpeg, OutputProcess, Progress};
pub use process::{
    ExitReason, Ffmpeg, FfmpegCommand, FfmpegProcess, FfmpegUnusable, MUXER, SpawnError, ffmpeg_version,
};
pub use program::FfmpegProgram;
pub use source::{SourceCommand, SourceInput, SourceProcess};
