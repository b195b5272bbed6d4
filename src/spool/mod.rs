//! Recordings on this node's disk.
//!
//! ```text
//! {dir}/{recording}/journal.jsonl     one line per segment, written after the segment
//! {dir}/{recording}/media-00001.ts    encrypted segments, one behind the other
//! ```
//! Each opening of a recording begins a new media file, so a file that was cut off is never continued. Keys
//! are not stored: they are derived from the server's secret. Everything here blocks.
//!
//! Owns: the files. Never does: decide what is recorded or who may read it, retry.

mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::domain::recording::RecordingId;
use crate::domain::recording_journal::{JournalEntry, parse};

pub use writer::{TakeWriter, Written};

const JOURNAL: &str = "journal.jsonl";
/// Largest segment that is read. A segment of ten seconds at 320 kbit/s has 400 kB.
const MAX_SEGMENT: u64 = 8 << 20;

/// Folder with the recordings of this node.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

/// Position of a segment in a recording's media files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub file: u32,
    pub offset: u64,
    pub bytes: u64,
}

impl Spool {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Opens a recording for writing, and creates it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made, read or written.
    pub fn open(&self, id: &RecordingId) -> io::Result<TakeWriter> {
        TakeWriter::open(self.folder(id))
    }

    /// Returns the journal of a recording as it is on the disk.
    ///
    /// # Errors
    /// It cannot be read; a recording that is not here is [`io::ErrorKind::NotFound`].
    pub fn journal(&self, id: &RecordingId) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder(id).join(JOURNAL))
    }

    /// Returns the segments of a recording whose media are on the disk.
    ///
    /// # Errors
    /// As for [`journal`](Self::journal).
    pub fn entries(&self, id: &RecordingId) -> io::Result<Vec<JournalEntry>> {
        Ok(present(&self.folder(id), parse(&self.journal(id)?)))
    }

    /// Reads one segment.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than the extent.
    pub fn read(&self, id: &RecordingId, extent: Extent) -> io::Result<Bytes> {
        if extent.bytes > MAX_SEGMENT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = vec![0; extent.bytes as usize];
        File::open(media_file(&self.folder(id), extent.file))?.read_exact_at(&mut bytes, extent.offset)?;
        Ok(bytes.into())
    }

    /// Removes everything of a recording. One that is not here is no error.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn erase(&self, id: &RecordingId) -> io::Result<()> {
        match std::fs::remove_dir_all(self.folder(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn folder(&self, id: &RecordingId) -> PathBuf {
        self.dir.join(id.as_str())
    }
}

impl From<&JournalEntry> for Extent {
    fn from(entry: &JournalEntry) -> Self {
        Self { file: entry.file, offset: entry.offset, bytes: entry.bytes }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.file, self.offset, self.bytes)
    }
}

impl std::str::FromStr for Extent {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '-');
        // A number that is missing is empty, which is no number.
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Self { file: next().parse()?, offset: next().parse()?, bytes: next().parse()? })
    }
}

fn media_file(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("media-{number:05}.ts"))
}

/// Keeps the entries whose bytes are in their files. After a power failure a journal can be ahead of them.
fn present(folder: &Path, entries: Vec<JournalEntry>) -> Vec<JournalEntry> {
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    let mut size = |number: u32| {
        let measure = || std::fs::metadata(media_file(folder, number)).map_or(0, |file| file.len());
        *sizes.entry(number).or_insert_with(measure)
    };
    entries.into_iter().filter(|e| e.offset.saturating_add(e.bytes) <= size(e.file)).collect()
}

#[cfg(test)]
mod tests;
