//! Recordings and rewind windows on this node's disk.
//!
//! ```text
//! {dir}/{recording}/journal.jsonl     one line per segment, written after the segment
//! {dir}/{recording}/media-00001.ts    encrypted segments, concatenated
//! {dir}/{recording}/metadata.json     identities, times and loudness, for archives
//! {dir}/{recording}/upload.json       state of its upload to object storage
//! {dir}/tracks/{recording}/           tracks of its anchors (`tracks`)
//! ```
//! Opening a recording starts a new media file, so a file that a crash truncated is never continued. Keys are
//! not stored: they are derived from the server's secret. All functions of this module block.
//!
//! Owns: the files. Does not retry, or decide what is recorded or who may read it.

#[cfg(test)]
#[path = "../../crates/packager/src/synth.rs"]
pub(crate) mod synth;
pub mod tracks;
mod writer;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::RngExt;

use crate::domain::recording::RecordingId;
use crate::domain::recording_journal::{JournalEntry, parse};
use crate::domain::upload::Upload;

pub use writer::{TakeWriter, WrittenTotals};

const JOURNAL: &str = "journal.jsonl";
const METADATA: &str = "metadata.json";
const UPLOAD: &str = "upload.json";
/// Maximum size of a segment that is read, in bytes. A ten-second segment at 320 kbit/s is 400 kB.
const MAX_SEGMENT: u64 = 8 << 20;

/// Space on the disk that files without a name leave free, in bytes: more than recordings and rewind windows.
const SCRATCH_RESERVE: u64 = 256 << 20;

/// Folder with the recordings of this node, or with its rewind windows.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Recordings, which survive a power failure.
    Recordings,
    /// Rewind windows. They are erased at the start of the node, so they are never synced.
    Rewind,
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
        Self { dir, kind: Kind::Recordings }
    }

    /// Creates the spool of the rewind windows. It is written like recordings, but not synced, and leaves
    /// more of the disk free, so that a filling disk stops rewind before recordings.
    pub fn for_rewind(dir: PathBuf) -> Self {
        Self { dir, kind: Kind::Rewind }
    }

    /// Opens a recording for writing, and creates it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created, read or written.
    pub fn open(&self, id: &RecordingId) -> io::Result<TakeWriter> {
        self.open_after(id, 0)
    }

    /// Opens a recording like [`open`](Self::open). The numbers of its new media files are higher than
    /// `file`.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_after(&self, id: &RecordingId, file: u32) -> io::Result<TakeWriter> {
        TakeWriter::open(self.folder(id), self.kind, file)
    }

    /// Returns the journal of a recording as it is on the disk.
    ///
    /// # Errors
    /// The journal cannot be read. If the recording is not on this node: [`io::ErrorKind::NotFound`].
    pub fn journal(&self, id: &RecordingId) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder(id).join(JOURNAL))
    }

    /// Returns the journal entries of the segments that are completely on the disk.
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

    /// Reads a whole media file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn media(&self, id: &RecordingId, number: u32) -> io::Result<Bytes> {
        std::fs::read(media_file(&self.folder(id), number)).map(Bytes::from)
    }

    /// Stores a media file of another node in an open recording. The file appears when it is complete.
    ///
    /// # Errors
    /// The disk is full or nearly full, or cannot be written, or the recording is not on this node.
    pub fn put_media(&self, id: &RecordingId, number: u32, bytes: &[u8]) -> io::Result<()> {
        let folder = self.folder(id);
        self.kind.leave_reserve(&folder)?;
        let path = media_file(&folder, number);
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        let stored = file.write_all(bytes).and_then(|()| std::fs::rename(&new, path));
        if stored.is_err() {
            // If this fails too, the file is erased with the folder.
            let _ = std::fs::remove_file(&new);
        }
        stored
    }

    /// Returns the state of a recording's upload; `None` if it has not begun, or its file is damaged.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn upload(&self, id: &RecordingId) -> io::Result<Option<Upload>> {
        match std::fs::read(self.folder(id).join(UPLOAD)) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the folder of a recording whose data was removed, for the state of its further uploads.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn create(&self, id: &RecordingId) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder(id))
    }

    /// Stores the state of a recording's upload, so that a later process can continue the upload.
    ///
    /// # Errors
    /// The file cannot be written. If the recording is not on this node: [`io::ErrorKind::NotFound`].
    pub fn keep_upload(&self, id: &RecordingId, upload: &Upload) -> io::Result<()> {
        replace(&self.folder(id), UPLOAD, &serde_json::to_vec(upload)?)
    }

    /// Stores the metadata of a recording, unless they are on the disk already.
    ///
    /// # Errors
    /// As for [`keep_upload`](Self::keep_upload).
    pub fn describe(&self, id: &RecordingId, metadata: &str) -> io::Result<()> {
        let folder = self.folder(id);
        match std::fs::read(folder.join(METADATA)) {
            Ok(known) if known == metadata.as_bytes() => Ok(()),
            _ => replace(&folder, METADATA, metadata.as_bytes()),
        }
    }

    /// Creates a file without a name, which vanishes when it is closed. `size`: expected size in bytes.
    ///
    /// # Errors
    /// The file cannot be created, or the disk is nearly full.
    pub fn scratch(&self, size: u64) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        writer::leave(SCRATCH_RESERVE + size, &self.dir)?;
        let path = self.dir.join(format!("scratch-{:x}", rand::rng().random::<u64>()));
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
        std::fs::remove_file(path)?;
        Ok(file)
    }

    /// Deletes a recording. Succeeds if the recording is not on this node.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn erase(&self, id: &RecordingId) -> io::Result<()> {
        match std::fs::remove_dir_all(self.folder(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Deletes the media files before number `first`, and their lines in the journal. No writer may be open.
    ///
    /// # Errors
    /// A file cannot be removed, or the journal cannot be written.
    pub fn erase_before(&self, id: &RecordingId, first: u32) -> io::Result<()> {
        let folder = self.folder(id);
        for number in media_numbers(&folder)?.into_iter().filter(|number| *number < first) {
            std::fs::remove_file(media_file(&folder, number))?;
        }
        let kept = parse(&self.journal(id)?).into_iter().filter(|entry| entry.file >= first);
        let lines: String = kept.map(|entry| entry.line()).collect();
        replace(&folder, JOURNAL, lines.as_bytes())
    }

    /// Deletes everything in the folder, which may be a mount point.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn erase_all(&self) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
        Ok(())
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
        // A missing number is read as an empty text, which fails to parse.
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Self { file: next().parse()?, offset: next().parse()?, bytes: next().parse()? })
    }
}

/// Checks that the disk of a file without a name has room for more of the file.
///
/// # Errors
/// The disk is nearly full.
pub fn check_scratch(file: &File) -> io::Result<()> {
    writer::leave_on(SCRATCH_RESERVE, rustix::fs::fstatvfs(file)?)
}

/// Replaces the content of a file. If the process crashes, the file has either its old or its new content.
fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    // Without this sync, the renamed file could be empty after a power failure.
    file.sync_all()?;
    std::fs::rename(new, folder.join(name))
}

fn media_file(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("media-{number:05}.ts"))
}

/// Returns the numbers of the media files.
fn media_numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for file in folder.read_dir()? {
        let name = file?.file_name();
        let number: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix("media-")?.strip_suffix(".ts")?.parse().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

/// Returns the entries whose bytes are in the media files. After a power failure, a journal may list more.
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
