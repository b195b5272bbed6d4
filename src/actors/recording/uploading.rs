//! Effects of the uploader: one step of an upload, and the removal of a copy.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::copying::blocking;
use crate::delivery::ReplayMedia;
use crate::domain::clip::Clip;
use crate::domain::recording::RecordingId;
use crate::domain::upload::{Step, Upload, object_name};
use crate::packager::{Piece, RecordedM4a, Source};
use crate::spool::Spool;
use crate::storage::{Storage, StorageError};

/// Source and target of uploads.
#[derive(Clone)]
pub struct UploadParts {
    pub storage: Arc<Storage>,
    pub spool: Spool,
    pub media: Arc<dyn ReplayMedia>,
}

/// Result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advanced {
    /// The storage has the first `sent` bytes of `length`.
    Sent { sent: u64, length: u64 },
    /// The object is complete, and its size was verified.
    Stored { bytes: u64 },
}

/// Reason why a step failed. Every step can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("the recording cannot be read: {0}")]
    Unreadable(String),
    #[error("a mixer that has a part of the recording does not answer")]
    Incomplete,
    #[error("cannot read or write the state of the upload: {0}")]
    Spool(#[from] std::io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the object {}, but the file has {length} bytes", size(*found))]
    Differs { found: Option<u64>, length: u64 },
}

fn size(object: Option<u64>) -> String {
    object.map_or_else(|| "does not exist".to_owned(), |bytes| format!("has {bytes} bytes"))
}

/// Performs the next step of an upload.
///
/// # Errors
/// The step has to be repeated; see [`UploadError`].
pub async fn advance(parts: &UploadParts, id: &RecordingId) -> Result<Advanced, UploadError> {
    let unreadable = |error: &dyn std::fmt::Display| UploadError::Unreadable(error.to_string());
    let file = parts.media.m4a(id, Clip::WHOLE).await.map_err(|error| unreadable(&error))?;
    if !file.complete {
        return Err(UploadError::Incomplete);
    }
    let (object, length) = (object_name(&file.room, id), file.file.length());
    let mut upload = match kept(parts, id).await? {
        Some(upload) if upload.is_of(&object, length) => upload,
        Some(changed) => {
            give_up(&parts.storage, &changed).await?;
            Upload::new(object, length)
        }
        None => Upload::new(object, length),
    };
    let done = step(parts, id, &file, &mut upload).await;
    if let Err(UploadError::Storage(StorageError::Unknown) | UploadError::Differs { .. }) = &done {
        upload.forgotten();
    }
    keep(parts, id, &upload).await?;
    done
}

async fn step(
    parts: &UploadParts,
    id: &RecordingId,
    file: &RecordedM4a,
    upload: &mut Upload,
) -> Result<Advanced, UploadError> {
    let (storage, object, length) = (&parts.storage, upload.object.clone(), upload.length);
    let begun = upload.id.clone().unwrap_or_default();
    match upload.next() {
        Step::Begin => {
            // An earlier process may have completed the object, but ended before it received the answer.
            if storage.object(&object).await?.is_some_and(|found| found.bytes == length) {
                return Ok(Advanced::Stored { bytes: length });
            }
            upload.begun(storage.begin(&object).await?);
            Ok(Advanced::Sent { sent: 0, length })
        }
        Step::Part { index, range } => {
            let sent = range.end;
            let bytes = bytes_of(parts, id, file.file.pieces(range)).await?;
            upload.part_stored(storage.part(&object, &begun, index, bytes).await?);
            Ok(Advanced::Sent { sent, length })
        }
        Step::Complete => {
            let etag = storage.complete(&object, &begun, &upload.parts).await?;
            let found = storage.object(&object).await?;
            let is_it = found.as_ref().is_some_and(|found| found.bytes == length && found.etag == etag);
            if !is_it {
                return Err(UploadError::Differs { found: found.map(|found| found.bytes), length });
            }
            Ok(Advanced::Stored { bytes: length })
        }
    }
}

/// Reads these pieces of the file.
async fn bytes_of(parts: &UploadParts, id: &RecordingId, pieces: Vec<Piece>) -> Result<Bytes, UploadError> {
    let mut bytes = BytesMut::new();
    for Piece { source, range } in pieces {
        let whole = match source {
            Source::Known(known) => known,
            Source::Segment(sequence) => {
                let read = parts.media.frames(id, sequence).await;
                read.map_err(|error| UploadError::Unreadable(error.to_string()))?
            }
        };
        let part = whole.get(range).ok_or(UploadError::Unreadable("a segment is too short".to_owned()))?;
        bytes.extend_from_slice(part);
    }
    Ok(bytes.freeze())
}

/// Removes a recording from the storage: aborts an upload in progress, and deletes the object.
///
/// # Errors
/// The removal has to be repeated.
pub async fn remove(
    storage: &Storage,
    spool: &Spool,
    id: &RecordingId,
    object: &str,
) -> Result<(), UploadError> {
    let (kept_in, of) = (spool.clone(), id.clone());
    if let Some(upload) = blocking(move || kept_in.upload(&of)).await? {
        give_up(storage, &upload).await?;
    }
    Ok(storage.delete(object).await?)
}

async fn give_up(storage: &Storage, upload: &Upload) -> Result<(), StorageError> {
    match &upload.id {
        Some(begun) => storage.abort(&upload.object, begun).await,
        None => Ok(()),
    }
}

async fn kept(parts: &UploadParts, id: &RecordingId) -> std::io::Result<Option<Upload>> {
    let (spool, id) = (parts.spool.clone(), id.clone());
    blocking(move || spool.upload(&id)).await
}

async fn keep(parts: &UploadParts, id: &RecordingId, upload: &Upload) -> std::io::Result<()> {
    let (spool, id, upload) = (parts.spool.clone(), id.clone(), upload.clone());
    blocking(move || spool.keep_upload(&id, &upload)).await
}
