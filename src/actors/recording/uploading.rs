//! Effects of the uploader: one step of an upload, and the removal of copies.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Mutex;

use super::copying::blocking;
use crate::delivery::{ReplayMedia, SegmentArchive, TRACK_PART};
use crate::domain::clip::Clip;
use crate::domain::ids::RoomId;
use crate::domain::recording::RecordingId;
use crate::domain::upload::{CopyKind, PART_SIZE, Step, Upload, object_name};
use crate::packager::{MediaError, Piece, RecordedM4a, Source};
use crate::spool::Spool;
use crate::storage::{Storage, StorageError};

/// Source and target of uploads.
#[derive(Clone)]
pub struct UploadParts {
    pub storage: Arc<Storage>,
    pub spool: Spool,
    pub media: Arc<dyn ReplayMedia>,
    /// Lock that is held during a step of an upload, and during the removal of copies. Otherwise a step in
    /// progress could complete an object after the removal, and the object would stay forever. The lock
    /// contains the layout of the upload in progress, so that the layout stays in the cache of `media`:
    /// making the layout again would read all segments.
    pub turn: Arc<Mutex<Option<Arc<RecordedM4a>>>>,
}

/// Result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadProgress {
    /// The storage has the first `sent` bytes of `length`.
    Sent { sent: u64, length: u64 },
    /// The object is complete, and its size is verified. `parts`: sizes of the segments and of the journal,
    /// or the size of the M4A file and 0.
    Stored { parts: (u64, u64) },
}

/// File that is uploaded.
enum UploadedFile {
    M4a(Arc<RecordedM4a>),
    Segments(Arc<SegmentArchive>),
    Text(Bytes),
    /// Track with this number and size.
    Track(u32, u64),
}

impl UploadedFile {
    async fn of(parts: &UploadParts, id: &RecordingId, kind: CopyKind) -> Result<Self, UploadError> {
        let unreadable = |error: MediaError| UploadError::Unreadable(error.to_string());
        match kind {
            CopyKind::M4a => parts.media.m4a(id, Clip::WHOLE).await.map(Self::M4a).map_err(unreadable),
            CopyKind::Segments => parts.media.archive(id).await.map(Self::Segments).map_err(unreadable),
            CopyKind::Captions => parts.media.transcript(id).await.map(Self::Text).map_err(unreadable),
            CopyKind::Info { .. } => {
                parts.media.metadata(id).map(|text| Self::Text(text.into())).map_err(unreadable)
            }
            CopyKind::Track(number) => {
                let size = parts.media.track_size(id, number).map_err(unreadable)?;
                Ok(Self::Track(number, size))
            }
        }
    }

    fn layout(&self) -> Option<Arc<RecordedM4a>> {
        match self {
            Self::M4a(m4a) => Some(m4a.clone()),
            Self::Segments(_) | Self::Text(_) | Self::Track(..) => None,
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::M4a(m4a) => m4a.complete,
            Self::Segments(archive) => archive.complete,
            Self::Text(_) | Self::Track(..) => true,
        }
    }

    fn parts(&self) -> (u64, u64) {
        match self {
            Self::M4a(m4a) => (m4a.file.length(), 0),
            Self::Segments(archive) => archive.parts(),
            Self::Text(text) => (text.len() as u64, 0),
            Self::Track(_, bytes) => (*bytes, 0),
        }
    }

    fn length(&self) -> u64 {
        let (first, second) = self.parts();
        first + second
    }

    /// Reads `range` of the file.
    async fn read(
        &self,
        parts: &UploadParts,
        id: &RecordingId,
        range: Range<u64>,
    ) -> Result<Bytes, UploadError> {
        let pieces = match self {
            Self::M4a(m4a) => m4a.file.pieces(range),
            Self::Segments(archive) => archive.pieces(range),
            Self::Text(text) => return Ok(text.slice(range.start as usize..range.end as usize)),
            Self::Track(number, _) => return read_track(parts, id, *number, range).await,
        };
        let mut bytes = BytesMut::new();
        for Piece { source, range } in pieces {
            let whole = match (source, self) {
                (Source::Known(known), _) => Ok(known),
                (Source::Segment(sequence), Self::M4a(_)) => parts.media.frames(id, sequence).await,
                (Source::Segment(sequence), _) => parts.media.encrypted(id, sequence).await,
            };
            let whole = whole.map_err(|error| UploadError::Unreadable(error.to_string()))?;
            let part =
                whole.get(range).ok_or(UploadError::Unreadable("a segment is too short".to_owned()))?;
            bytes.extend_from_slice(part);
        }
        Ok(bytes.freeze())
    }
}

/// Reads a range of a track. It begins with a part of the track, because [`PART_SIZE`] is a multiple of
/// [`TRACK_PART`].
async fn read_track(
    parts: &UploadParts,
    id: &RecordingId,
    number: u32,
    range: Range<u64>,
) -> Result<Bytes, UploadError> {
    let mut bytes = BytesMut::new();
    for offset in range.clone().step_by(TRACK_PART as usize) {
        let part = parts.media.track_bytes(id, number, offset).await;
        bytes.extend_from_slice(&part.map_err(|error| UploadError::Unreadable(error.to_string()))?);
    }
    match bytes.len() as u64 == range.end - range.start {
        true => Ok(bytes.freeze()),
        false => Err(UploadError::Unreadable("a track is too short".to_owned())),
    }
}

const _: () = assert!(PART_SIZE.is_multiple_of(TRACK_PART));

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
    #[error("the object {}; it should be the file of {length} bytes that was uploaded", size(*found))]
    Differs { found: Option<u64>, length: u64 },
}

fn size(object: Option<u64>) -> String {
    object.map_or_else(|| "does not exist".to_owned(), |bytes| format!("has {bytes} bytes"))
}

/// Performs the next step of the upload of one copy.
///
/// # Errors
/// The step has to be repeated; see [`UploadError`].
pub async fn advance(
    parts: &UploadParts,
    id: &RecordingId,
    kind: CopyKind,
) -> Result<UploadProgress, UploadError> {
    let mut turn = parts.turn.lock().await;
    // Fails if the recording was deleted meanwhile.
    let room = parts.media.room(id).map_err(|error| UploadError::Unreadable(error.to_string()))?;
    match kind.is_mix() {
        true => require_complete(parts, id).await?,
        // The data may have been removed from this node after the copy of the mix.
        false => {
            let (spool, id) = (parts.spool.clone(), id.clone());
            blocking(move || spool.create(&id)).await?;
        }
    }
    let file = UploadedFile::of(parts, id, kind).await?;
    *turn = file.layout();
    if !file.is_complete() {
        return Err(UploadError::Incomplete);
    }
    let (object, length) = (object_name(&room, id, kind), file.length());
    if length == 0 {
        // There are no captions.
        return Ok(UploadProgress::Stored { parts: (0, 0) });
    }
    let mut upload = match kept(parts, id).await? {
        // Metadata can change without a change of their length.
        Some(upload) if upload.is_of(&object, length) && (kind.is_mix() || upload.etag.is_none()) => upload,
        Some(changed) => {
            give_up(&parts.storage, &changed).await?;
            Upload::new(object, length)
        }
        None => Upload::new(object, length),
    };
    let kept_id = upload.id.clone();
    let done = step(parts, id, &file, &mut upload).await;
    match &done {
        Err(UploadError::Storage(StorageError::Unknown) | UploadError::Differs { .. }) => upload.forgotten(),
        Ok(UploadProgress::Stored { .. }) => *turn = None,
        _ => {}
    }
    if let Err(error) = keep(parts, id, &upload).await {
        // Abort an upload that this step began: its id was not stored, so no later attempt could abort it.
        if upload.id != kept_id
            && let Err(error) = give_up(&parts.storage, &upload).await
        {
            tracing::warn!(recording = %id, %error, "an upload that cannot be continued was not aborted");
        }
        return Err(error.into());
    }
    done
}

/// Checks that all mixers of the recording answer. This needs only the journals, while the layout of the M4A
/// file needs all segments, and a mixer may stay away for days.
async fn require_complete(parts: &UploadParts, id: &RecordingId) -> Result<(), UploadError> {
    let archive =
        parts.media.archive(id).await.map_err(|error| UploadError::Unreadable(error.to_string()))?;
    if archive.complete { Ok(()) } else { Err(UploadError::Incomplete) }
}

async fn step(
    parts: &UploadParts,
    id: &RecordingId,
    file: &UploadedFile,
    upload: &mut Upload,
) -> Result<UploadProgress, UploadError> {
    let (storage, object, length) = (&parts.storage, upload.object.clone(), upload.length);
    let begun = upload.id.clone().unwrap_or_default();
    match upload.next() {
        Step::Begin => {
            // An earlier process may have completed the object, but ended before it received the answer.
            if storage.object(&object).await?.is_some_and(|found| found.bytes == length)
                && has_content(parts, id, file, &object).await?
            {
                return Ok(UploadProgress::Stored { parts: file.parts() });
            }
            upload.begun(storage.begin(&object).await?);
            Ok(UploadProgress::Sent { sent: 0, length })
        }
        Step::Part { index, range } => {
            let sent = range.end;
            let bytes = file.read(parts, id, range).await?;
            upload.part_stored(storage.part(&object, &begun, index, bytes).await?);
            Ok(UploadProgress::Sent { sent, length })
        }
        Step::Complete => {
            let etag = storage.complete(&object, &begun, &upload.parts).await?;
            verify(storage, &object, length, etag.as_deref()).await?;
            upload.completed(etag);
            Ok(UploadProgress::Stored { parts: file.parts() })
        }
        Step::Verify { etag } => {
            verify(storage, &object, length, Some(&etag)).await?;
            Ok(UploadProgress::Stored { parts: file.parts() })
        }
    }
}

/// Checks size and ETag of the object.
async fn verify(storage: &Storage, object: &str, length: u64, etag: Option<&str>) -> Result<(), UploadError> {
    let found = storage.object(object).await?;
    match found.as_ref().is_some_and(|found| found.bytes == length && found.etag.as_deref() == etag) {
        true => Ok(()),
        false => Err(UploadError::Differs { found: found.map(|found| found.bytes), length }),
    }
}

/// Returns true if the object has the bytes of the file, which has the same length.
async fn has_content(
    parts: &UploadParts,
    id: &RecordingId,
    file: &UploadedFile,
    object: &str,
) -> Result<bool, UploadError> {
    let length = file.length();
    for from in (0..length).step_by(PART_SIZE as usize) {
        let range = from..(from + PART_SIZE).min(length);
        if parts.storage.read(object, range.clone()).await? != file.read(parts, id, range).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes a recording with these tracks from the storage: aborts an upload in progress, and deletes all
/// copies.
///
/// # Errors
/// The removal has to be repeated.
pub async fn remove(
    parts: &UploadParts,
    id: &RecordingId,
    room: &RoomId,
    tracks: impl IntoIterator<Item = u32>,
) -> Result<(), UploadError> {
    let _turn = parts.turn.lock().await;
    let storage = &parts.storage;
    if let Some(upload) = kept(parts, id).await? {
        give_up(storage, &upload).await?;
    }
    for kind in CopyKind::all(tracks) {
        storage.delete(&object_name(room, id, kind)).await?;
    }
    Ok(())
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
