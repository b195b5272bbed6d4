//! This program, run as an FFmpeg stub that uses no processor time, for thousands of rooms.
//!
//! Owns: the arguments by which it is recognised. Writes one part's worth of frames, then sleeps forever.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::synth;

/// Returns the value for `mixer.ffmpeg`.
pub fn path() -> PathBuf {
    std::env::current_exe().expect("our own path")
}

/// Acts as FFmpeg if called like one.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("-version") {
        println!("ffmpeg version 0-stub");
        return Some(ExitCode::SUCCESS);
    }
    args.next_back().filter(|last| last == "pipe:1").map(|_| produce())
}

fn produce() -> ExitCode {
    let mut out = std::io::stdout();
    let written = out.write_all(&synth::frames(9, 0));
    if written.and_then(|()| out.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    // Runs until it is killed, at the latest when the node ends.
    loop {
        std::thread::park();
    }
}
