//! Ogg Opus files of recordings and clips, encoded on request and kept for a while.
//!
//! A file can be read while it is being encoded. It has no name on the disk, so it vanishes with its last
//! user. Owns: the files, and the order in which they are encoded. Does not encode; one actor does.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use rand::RngExt;
use tokio::sync::{Notify, watch};

use super::blocking;
use crate::domain::recording::RecordingId;
use crate::packager::RecordedM4a;

/// Number of complete files that are kept.
const KEPT: usize = 4;
/// Largest number of files that wait for their turn.
const WAITING: usize = 8;
/// Number of bytes that are read at a time.
const READ: u64 = 64 << 10;

/// Files, the newest last.
#[derive(Default)]
pub struct OpusFiles {
    files: Mutex<VecDeque<Arc<OpusFile>>>,
    wanted: Notify,
}

/// Opus file of a recording or clip.
pub struct OpusFile {
    pub recording: RecordingId,
    /// File that is encoded.
    pub source: Arc<RecordedM4a>,
    /// `ETag` of the content. Each encoding has another one, because FFmpeg may be another version.
    pub etag: String,
    content: File,
    progress: watch::Sender<Progress>,
}

/// State of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Number of bytes that can be read.
    pub bytes: u64,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    #[default]
    Waiting,
    Encoding,
    Complete,
    Failed,
}

/// Writer of a file. If it is dropped before it was completed, the file has failed.
pub struct OpusWriter(Arc<OpusFile>);

impl OpusFiles {
    /// Returns the file encoded from `source`. If there is none, adds one to the queue, with the content that
    /// `content` creates. `None`: too many files wait.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn of(
        &self,
        recording: &RecordingId,
        source: &Arc<RecordedM4a>,
        content: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Option<Arc<OpusFile>>> {
        let mut files = self.files();
        files.retain(|file| file.stage() != Stage::Failed);
        if let Some(known) = files.iter().find(|file| file.source.etag == source.etag) {
            return Ok(Some(known.clone()));
        }
        let count = |files: &VecDeque<Arc<OpusFile>>, stage| {
            files.iter().filter(|file: &&Arc<OpusFile>| file.stage() == stage).count()
        };
        if count(&files, Stage::Waiting) >= WAITING {
            return Ok(None);
        }
        while count(&files, Stage::Complete) >= KEPT {
            let oldest = files.iter().position(|file| file.stage() == Stage::Complete);
            drop(oldest.and_then(|at| files.remove(at)));
        }
        let (recording, content) = (recording.clone(), content()?);
        let etag = format!("{}-opus-{:x}", source.etag, rand::rng().random::<u64>());
        let (source, progress) = (source.clone(), watch::Sender::default());
        let file = Arc::new(OpusFile { recording, source, etag, content, progress });
        files.push_back(file.clone());
        self.wanted.notify_one();
        Ok(Some(file))
    }

    /// Waits until a file was added.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Returns the writer of the next file to encode. Removes the files that have failed, whose readers keep
    /// them on the disk until they have got the error.
    pub fn next(&self) -> Option<OpusWriter> {
        let mut files = self.files();
        files.retain(|file| file.stage() != Stage::Failed);
        let file = files.iter().find(|file| file.stage() == Stage::Waiting).cloned()?;
        file.progress.send_modify(|progress| progress.stage = Stage::Encoding);
        Some(OpusWriter(file))
    }

    /// Removes the files of recordings that do not exist any more.
    pub fn retain(&self, exists: impl Fn(&RecordingId) -> bool) {
        self.files().retain(|file| exists(&file.recording));
    }

    /// Returns the number of files, complete or not.
    pub fn count(&self) -> usize {
        self.files().len()
    }

    fn files(&self) -> MutexGuard<'_, VecDeque<Arc<OpusFile>>> {
        // A poisoned lock is usable: each change leaves a complete list.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpusFile {
    pub const CONTENT_TYPE: &str = "audio/ogg";

    /// Waits until the file has content, or has failed.
    pub async fn begun(&self) -> Progress {
        let mut progress = self.progress.subscribe();
        let begun =
            progress.wait_for(|now| now.bytes > 0 || matches!(now.stage, Stage::Complete | Stage::Failed));
        // Cannot fail: this file has the sender.
        begun.await.map(|now| *now).unwrap_or_default()
    }

    /// Returns the bytes of a range, as far as the file has them at the end of the encoding.
    pub fn read(self: Arc<Self>, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
        let parts = stream::unfold((self, range), |(file, Range { start, end })| async move {
            let mut progress = file.progress.subscribe();
            let waited = progress.wait_for(|now| now.bytes > start || now.stage != Stage::Encoding).await;
            let now = waited.map(|now| *now).unwrap_or_default();
            let to = now.bytes.min(end).min(start + READ);
            if start >= to {
                let failed = now.stage == Stage::Failed && start < end;
                // An error ends the answer.
                return failed.then(|| (Err(io::Error::other("the encoding failed")), (file, end..end)));
            }
            let reader = file.clone();
            let read = blocking(move || {
                let mut part = vec![0; (to - start) as usize];
                reader.content.read_exact_at(&mut part, start).map(|()| Bytes::from(part))
            });
            Some((read.await, (file, to..end)))
        });
        parts.boxed()
    }

    fn stage(&self) -> Stage {
        self.progress.borrow().stage
    }
}

impl OpusWriter {
    pub fn file(&self) -> &Arc<OpusFile> {
        &self.0
    }

    /// Appends to the file. `check`: checks before the write that the disk has room.
    ///
    /// # Errors
    /// The disk is full, or failed, or the check.
    pub async fn append(
        &self,
        part: Vec<u8>,
        check: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (file, at) = (self.0.clone(), self.0.progress.borrow().bytes);
        let length = part.len() as u64;
        blocking(move || {
            check(&file.content)?;
            file.content.write_all_at(&part, at)
        })
        .await?;
        self.0.progress.send_modify(|progress| progress.bytes += length);
        Ok(())
    }

    pub fn complete(self) {
        self.0.progress.send_modify(|progress| progress.stage = Stage::Complete);
    }
}

impl Drop for OpusWriter {
    fn drop(&mut self) {
        self.0.progress.send_if_modified(|progress| {
            let failed = progress.stage == Stage::Encoding;
            if failed {
                progress.stage = Stage::Failed;
            }
            failed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{RoomId, UnixMs};
    use crate::packager::{M4aBuilder, M4aTags};

    fn source(etag: usize) -> Arc<RecordedM4a> {
        let (room, started) = (RoomId::new("demo").unwrap(), UnixMs(1));
        let file = M4aBuilder::default().finish(started, &M4aTags::default()).unwrap();
        Arc::new(RecordedM4a { room, started, etag: etag.to_string(), complete: true, file })
    }

    fn file(files: &OpusFiles, n: usize) -> Option<Arc<OpusFile>> {
        files.of(&RecordingId::random(n as u64), &source(n), tempfile::tempfile).unwrap()
    }

    #[tokio::test]
    async fn files_are_read_while_encoded() {
        let files = OpusFiles::default();
        let (known, same) = (file(&files, 1).unwrap(), file(&files, 1).unwrap());
        assert!(Arc::ptr_eq(&known, &same));
        files.wanted().await;
        let writer = files.next().unwrap();
        assert!(files.next().is_none());
        writer.append(b"one".to_vec(), |_| Ok(())).await.unwrap();
        assert_eq!(known.begun().await, Progress { bytes: 3, stage: Stage::Encoding });
        let mut all = Box::pin(known.clone().read(0..u64::MAX));
        assert_eq!(all.next().await.unwrap().unwrap(), "one");
        writer.append(b"two".to_vec(), |_| Ok(())).await.unwrap();
        writer.complete();
        assert_eq!(all.next().await.unwrap().unwrap(), "two");
        assert!(all.next().await.is_none());
        let part: Vec<_> = known.read(2..4).collect().await;
        assert_eq!(part[0].as_ref().unwrap(), "et");
    }

    #[tokio::test]
    async fn failed_files_end_with_an_error() {
        let files = OpusFiles::default();
        let known = file(&files, 1).unwrap();
        drop(files.next().unwrap());
        assert_eq!(known.begun().await.stage, Stage::Failed);
        let read: Vec<_> = known.clone().read(0..9).collect().await;
        assert!(read.len() == 1 && read[0].is_err());
        assert!(!Arc::ptr_eq(&known, &file(&files, 1).unwrap()), "encoded again");
    }

    #[tokio::test]
    async fn full_disk_ends_the_encoding() {
        let files = OpusFiles::default();
        let known = file(&files, 1).unwrap();
        let writer = files.next().unwrap();
        writer.append(b"one".to_vec(), |_| Ok(())).await.unwrap();
        let full = |_: &File| Err(io::ErrorKind::StorageFull.into());
        let refused = writer.append(b"two".to_vec(), full).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(known.content.metadata().unwrap().len(), 3, "nothing was written");
        drop(writer);
        assert!(files.next().is_none());
        assert_eq!(files.count(), 0, "the space is free");
    }

    #[test]
    fn kept_files_are_bounded() {
        let files = OpusFiles::default();
        let waiting = (0..20).take_while(|n| file(&files, *n).is_some()).count();
        assert_eq!(waiting, WAITING);
        while let Some(writer) = files.next() {
            writer.complete();
        }
        file(&files, 90).unwrap();
        assert_eq!(files.count(), KEPT);
        files.retain(|id| *id == RecordingId::random(90));
        assert_eq!(files.count(), 1);
    }
}
