//! The listener that hears the room live, and keeps the sound with its times.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stentor::probe::hearing::Piece;
use stentor::probe::listener::{ProbeError, Target};
use stentor::probe::m3u8::Playlist;
use stentor::probe::{Listener, Mode};
use tempfile::TempDir;

use super::anchors::HourState;
use super::sound::{SentTones, SoundLevels};
use crate::support::{PATIENCE, report};

/// Maximum difference in seconds between the end of a part and the start of a part that follows it without a
/// gap.
const FOLLOWS: f64 = 0.02;
/// Interval between attempts after an error.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub struct LivePlayback {
    over: Arc<AtomicBool>,
    listening: JoinHandle<Pieces>,
}

/// Sound that was heard, as AAC files. A new file begins after each gap.
pub struct Pieces {
    folder: TempDir,
    /// Start time of each file, in seconds since the Unix epoch.
    runs: Vec<f64>,
    /// File in progress, and the end time of its sound so far.
    file: Option<(File, f64)>,
    errors: Vec<String>,
}

impl LivePlayback {
    /// Begins to listen, on a thread that nothing else delays.
    pub fn listen(shared: Arc<HourState>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let listen = async move || {
            let opened = Listener::open_by(&target(&shared), Mode::Parts, Instant::now() + PATIENCE).await;
            let (mut listener, mut pieces) = (opened.unwrap(), Pieces::new());
            while !stop.load(Relaxed) {
                match listener.next_piece().await {
                    Ok(Some(piece)) => {
                        let end = end_of(&piece, listener.playlist()).expect("the playlist has times");
                        pieces.extend(&piece, end);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        pieces.errors.push(error.to_string());
                        pieces.errors.dedup();
                        if matches!(error, ProbeError::Unreachable(_)) {
                            // A proxy in front of the listener nodes would do the same.
                            shared.listener_node.fetch_xor(1, Relaxed);
                            if let Ok(opened) = Listener::open(&target(&shared), Mode::Parts).await {
                                listener = opened;
                            }
                        }
                        // Sleep: the pace of a player.
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
            pieces
        };
        Self { over, listening: std::thread::spawn(move || actix::System::new().block_on(listen())) }
    }

    /// Ends listening.
    pub fn stop(self) -> Pieces {
        self.over.store(true, Relaxed);
        self.listening.join().unwrap()
    }
}

fn target(shared: &HourState) -> Target {
    let nodes = shared.listener_nodes.lock().unwrap();
    Target { base_url: nodes[shared.listener_node.load(Relaxed)].clone(), ..shared.target.clone() }
}

impl Pieces {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), runs: Vec::new(), file: None, errors: Vec::new() }
    }

    fn extend(&mut self, piece: &Piece, end: f64) {
        let start = end - piece.duration;
        if self.file.as_ref().is_none_or(|(_, ended)| (start - ended).abs() > FOLLOWS) {
            self.runs.push(start);
            let path = self.path(self.runs.len() - 1);
            self.file = Some((File::create(path).unwrap(), end));
        }
        if let Some((file, ended)) = &mut self.file {
            file.write_all(&piece.audio.frames.concat()).unwrap();
            *ended = end;
        }
    }

    fn path(&self, run: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("{run}.aac"))
    }

    /// Returns the levels of the heard sound, for a run of this many seconds.
    pub fn levels(&self, sent: SentTones, seconds: f64) -> SoundLevels {
        let mut heard = SoundLevels::new(seconds);
        for (run, start) in self.runs.iter().enumerate() {
            heard.add("aac", self.path(run).to_str().unwrap(), *start, sent);
        }
        report(format!("live: {} runs; errors: {:?}", self.runs.len(), self.errors));
        heard
    }
}

/// Returns the time at which a piece ends, in seconds since the Unix epoch.
fn end_of(piece: &Piece, playlist: &Playlist) -> Option<f64> {
    let segment = playlist.segments.iter().find(|segment| segment.sequence == piece.sequence)?;
    let duration = match piece.part {
        Some(part) => segment.parts.get(..=part as usize)?.iter().map(|part| part.duration).sum(),
        None => segment.duration,
    };
    Some(segment.date? + duration)
}
