//! Writer of one recording.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{JOURNAL, Kind, media_file, media_numbers, present};
use crate::domain::recording_journal::{JournalEntry, parse};
use crate::packager::ClosedSegment;

/// Size in bytes after which the next media file begins.
const FILE_SIZE: u64 = 4 << 20;
/// Number of segments after which the files are synced. A power failure loses at most this many segments.
const SYNC_EVERY: u32 = 5;

/// Writer of one recording. After an error, drop it and open another one.
#[derive(Debug)]
pub struct TakeWriter {
    folder: PathBuf,
    kind: Kind,
    journal: File,
    media: Option<MediaFile>,
    next_file: u32,
    unsynced: u32,
    written: WrittenTotals,
}

/// Totals of a recording on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrittenTotals {
    /// Sequence number of the newest segment.
    pub last: Option<u64>,
    pub segments: u64,
    pub duration: Duration,
    pub bytes: u64,
}

#[derive(Debug)]
struct MediaFile {
    number: u32,
    file: File,
    size: u64,
}

impl TakeWriter {
    pub(super) fn open(folder: PathBuf, kind: Kind, after: u32) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join(JOURNAL);
        let mut journal = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        let mut text = Vec::new();
        journal.read_to_end(&mut text)?;
        if text.last().is_some_and(|byte| *byte != b'\n') {
            // End a line that was cut off, so that the next line is not appended to it.
            journal.write_all(b"\n")?;
        }
        let listed = present(&folder, parse(&text));
        let newest = media_numbers(&folder)?.into_iter().chain(listed.iter().map(|entry| entry.file)).max();
        let next_file = 1 + newest.unwrap_or(0).max(after);
        let mut written = WrittenTotals::default();
        listed.iter().for_each(|entry| written.add(entry));
        Ok(Self { folder, kind, journal, media: None, next_file, unsynced: 0, written })
    }

    pub fn written(&self) -> WrittenTotals {
        self.written
    }

    /// Writes a segment, and returns its line in the journal.
    ///
    /// # Errors
    /// The disk is full or nearly full, or cannot be written. The writer cannot be used after an error.
    pub fn append(&mut self, segment: &ClosedSegment) -> io::Result<JournalEntry> {
        let bytes = segment.bytes().map_err(io::Error::other)?;
        let size = bytes.len() as u64;
        self.kind.leave_reserve(&self.folder)?;
        if self.media.as_ref().is_some_and(|media| media.size >= FILE_SIZE) {
            self.sync()?;
            self.media = None;
        }
        let media = match &mut self.media {
            Some(media) => media,
            None => {
                let number = self.next_file;
                let path = media_file(&self.folder, number);
                let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
                self.next_file += 1;
                self.media.insert(MediaFile { number, file, size: 0 })
            }
        };
        media.file.write_all(&bytes)?;
        let entry = JournalEntry {
            sequence: segment.sequence(),
            duration_us: u64::try_from(segment.duration().as_micros()).unwrap_or(u64::MAX),
            started_at: segment.started_at(),
            discontinuity: segment.discontinuity(),
            key_index: segment.key_index(),
            bytes: size,
            file: media.number,
            offset: media.size,
            lag_us: segment.lag_us(),
            tick_us: segment.tick_us(),
        };
        media.size += size;
        self.journal.write_all(entry.line().as_bytes())?;
        self.written.add(&entry);
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(entry)
    }

    /// Makes everything written so far survive a power failure: first the media, then the journal. Has no
    /// effect on rewind windows.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        if self.kind == Kind::Rewind {
            return Ok(());
        }
        if let Some(media) = &self.media {
            media.file.sync_data()?;
        }
        self.journal.sync_data()
    }
}

impl WrittenTotals {
    fn add(&mut self, entry: &JournalEntry) {
        self.last = self.last.max(Some(entry.sequence));
        self.segments += 1;
        self.duration += entry.duration();
        self.bytes += entry.bytes;
    }
}

impl Kind {
    /// Returns the number of bytes that the spool leaves free on the disk: the store may be on the same disk.
    fn reserve(self) -> u64 {
        match self {
            Self::Recordings => 64 << 20,
            Self::Rewind => 128 << 20,
        }
    }

    /// Checks the free space of the disk.
    pub(super) fn leave_reserve(self, folder: &Path) -> io::Result<()> {
        leave(self.reserve(), folder)
    }
}

/// Checks that this number of bytes is free on the disk.
pub(super) fn leave(reserve: u64, folder: &Path) -> io::Result<()> {
    leave_on(reserve, rustix::fs::statvfs(folder)?)
}

pub(super) fn leave_on(reserve: u64, disk: rustix::fs::StatVfs) -> io::Result<()> {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match free < reserve {
        true => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("only {} MiB are free, and {} MiB must stay free", free >> 20, reserve >> 20),
        )),
        false => Ok(()),
    }
}
