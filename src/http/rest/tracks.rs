//! `/api/recordings/{id}/tracks/{number}`: downloads a track.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::header::{self, ETag, EntityTag, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::recordings::known;
use crate::delivery::{RecordingMedia, TRACK_PART};
use crate::domain::recording::{Recording, RecordingId};
use crate::domain::tracks::Track;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::TrackPath;
use crate::http::replay::{out_of_range, ranged};
use crate::presence::Source;
use crate::rooms::recordings::KnownRecording;

/// Track of a recording: the sound of one anchor, as long as the recording.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Track)]
pub(super) struct TrackBody {
    /// Number of the track in the recording.
    #[schema(minimum = 1)]
    number: u32,
    /// Id of the anchor's user.
    user_id: String,
    /// Name of the user, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// `whip` if the user published with WHIP, `url` or `file` for a source; absent for clients with a
    /// WebSocket.
    #[serde(skip_serializing_if = "Source::is_signalling")]
    #[schema(value_type = Option<String>)]
    source: Source,
    /// Node that has the file.
    node: String,
    /// Size of the file, in bytes.
    bytes: u64,
}

impl TrackBody {
    /// Returns the tracks of a recording.
    pub fn of(recording: &Recording) -> Vec<Self> {
        let body = |track: &Track| {
            let anchor = recording.details.anchors.iter().find(|anchor| anchor.user_id == track.user_id);
            Self {
                number: track.number,
                user_id: track.user_id.to_string(),
                display_name: anchor.and_then(|anchor| anchor.display_name.clone()),
                source: anchor.map(|anchor| anchor.source).unwrap_or_default(),
                node: track.node.to_string(),
                bytes: track.bytes,
            }
        };
        recording.tracks.iter().map(body).collect()
    }
}

/// Downloads a track of a recording.
///
/// The file is Ogg Opus, with the same start and end as the recording's M4A file. `Range` is supported.
#[utoipa::path(
    get, path = "/api/recordings/{id}/tracks/{number}", operation_id = "downloadTrack", tag = "recordings",
    params(
        ("id" = String, Path, description = "recording id", pattern = "^[a-z0-9]{16}$"),
        ("number" = String, Path, description = "number of the track", pattern = "^[1-9][0-9]{0,8}$"),
    ),
    responses(
        (status = 200, description = "the file, as audio/ogg"),
        (status = 206, description = "the requested bytes of the file"),
        (status = 400, body = ErrorBody, description = "invalid_recording_id"),
        (status = 404, body = ErrorBody, description = "recording_not_found, track_not_found"),
        (status = 416, body = ErrorBody, description = "range_not_satisfiable"),
        (status = 503, body = ErrorBody, description = "media_unavailable, store_unavailable (retryable)"),
    )
)]
pub(super) async fn download(
    api: Data<Api>,
    path: TrackPath,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let KnownRecording { id, recording } = known(&api, path.0)?;
    let track = recording.tracks.iter().find(|track| track.number == path.1).cloned();
    let track = track.ok_or_else(|| ApiError::new(Code::TrackNotFound, "there is no such track"))?;
    let etag = EntityTag::new_strong(format!("{}-{}", track.number, track.bytes));
    let mut answer = HttpResponse::Ok();
    let Some(range) = ranged(&request, track.bytes, &etag, &mut answer) else {
        return Ok(out_of_range(track.bytes));
    };
    let file = TrackReader { media: api.media.clone(), recording: recording.value.clone(), id, track };
    // The answer begins only if the node that has the track answers.
    if file.part(range.start).await.is_none() {
        let message = format!("the node {} does not answer", file.track.node);
        return Err(ApiError::new(Code::MediaUnavailable, message));
    }
    let name = format!("attachment; filename=\"{}-{}.opus\"", file.id, file.track.number);
    answer.content_type("audio/ogg").insert_header((header::CONTENT_DISPOSITION, name));
    answer
        .insert_header(ETag(etag))
        .insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("bytes")));
    Ok(answer.body(SizedStream::new(range.end - range.start, file.bytes(range))))
}

struct TrackReader {
    media: Arc<RecordingMedia>,
    recording: Recording,
    id: RecordingId,
    track: Track,
}

impl TrackReader {
    async fn part(&self, offset: u64) -> Option<Bytes> {
        let begin = offset - offset % TRACK_PART;
        let part = self.media.track_part((&self.id, &self.recording), &self.track, begin).await?;
        // Less than `TRACK_PART`.
        let skipped = (offset - begin) as usize;
        (skipped < part.len()).then(|| part.slice(skipped..))
    }

    /// Returns the bytes of a range. The parts are read one by one, as the client takes them.
    fn bytes(self, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
        let ended = || io::Error::other("the node that has the track does not answer");
        let parts = stream::unfold((self, range), move |(file, range)| async move {
            if range.is_empty() {
                return None;
            }
            let Some(mut part) = file.part(range.start).await else {
                // An error ends the answer.
                return Some((Err(ended()), (file, range.end..range.end)));
            };
            part.truncate(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
            let rest = range.start + part.len() as u64..range.end;
            Some((Ok(part), (file, rest)))
        });
        parts.boxed()
    }
}
