//! `/api/rooms/{id}/recording` and `/api/recordings`: start, stop, list, read and delete recordings.

use std::fmt::Display;
use std::time::Duration;

use actix_web::web::{Data, Json, ReqData};
use actix_web::{HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::api_key::Caller;
use crate::domain::captions::TranscriptLine;
use crate::domain::clip::Clip;
use crate::domain::ids::RoomId;
use crate::domain::profile::{Owner, Tag};
use crate::domain::recording::{RecordingId, RecordingState};
use crate::domain::recording_details::{Chapter, RecordedAnchor};
use crate::domain::recording_metadata::Loudness;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, QueryOf, RecordingPath, RoomPath};
use crate::rooms::now;
use crate::rooms::recordings::KnownRecording;

use super::body::{DoneAnswer, RoomAnswer, TokenAnswer};
use super::rooms::{page, shown};
use super::tracks::TrackBody;
use super::{Api, charge_token};

const PAGE: usize = 100;
/// Maximum length of the text to search for, in characters.
const MOST_WORDS: usize = 200;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordingQuery {
    /// Lists only recordings of this room.
    #[serde(default)]
    #[param(pattern = "^[A-Za-z0-9_-]{3,32}$")]
    pub room: Option<String>,
    /// Lists only recordings older than this one; the value of `next` of the previous page.
    #[serde(default)]
    #[param(pattern = "^[a-z0-9]{16}$")]
    pub after: Option<String>,
    /// Recordings per page, as decimal digits; 100 if absent.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TranscriptQuery {
    /// Returns only captions that contain this text; the case of letters is ignored.
    #[serde(default)]
    #[param(min_length = 1, max_length = 200)]
    pub q: Option<String>,
}

/// Recording of a broadcast.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Recording)]
pub(super) struct RecordingBody {
    /// Id of the recording.
    recording_id: String,
    /// Id of the recorded room.
    room_id: String,
    state: RecordingState,
    /// Title of the room; absent if it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// Time from which the room was recorded.
    started_at: u64,
    /// Time at which the last mixer closed its part; absent before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<u64>,
    /// Duration of the recorded media, in milliseconds. Media that both mixers of a handover recorded count
    /// twice.
    duration_ms: u64,
    /// Size of the recorded media, in bytes.
    bytes: u64,
    /// Number of segments that could not be written because a disk was full, slow or failed.
    lost_segments: u64,
    /// Mixers that have a part of the recording on their disk.
    mixers: Vec<String>,
    /// Anchors who were in the room during the recording, in the order of their first visit: at most 100,
    /// with at most 50 visits each. Empty until the event `recording_ready`.
    anchors: Vec<RecordedAnchor>,
    /// Tracks, one per anchor who was recorded. Empty if `recording.tracks` is not set, and until the tracks
    /// are made, shortly after the recording became ready.
    tracks: Vec<TrackBody>,
    /// Chapters, in order. A chapter begins at the start of the recording, and whenever the anchors in the
    /// room change. Empty until the event `recording_ready`.
    chapters: Vec<Chapter>,
    /// Time at which the copy in object storage was complete; absent before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at: Option<u64>,
    /// Loudness of the recording; absent until measured, shortly after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    loudness: Option<Loudness>,
    /// Owner of the room; absent if it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owner: Option<Owner>,
    /// Tags of the room.
    #[schema(value_type = Vec<String>)]
    tags: Vec<Tag>,
    /// URL of the replay page. The link needs a replay token as the fragment `#token=`;
    /// `POST /api/recordings/{id}/token` returns such a link.
    replay_url: String,
    /// URL of the recording's playlist, which can be played in the state `ready`.
    hls_url: String,
    /// URL of the recording as one M4A file, which can be downloaded in the state `ready`. The request needs
    /// a replay token, as the parameter `token` or as `Authorization: Bearer`.
    download_url: String,
}

/// Part of a recording for which a replay token is requested: both positions, or none. Without
/// positions, the token gives access to the whole recording.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayTokenRequest {
    /// Position in seconds at which the part begins.
    #[serde(default)]
    #[schema(minimum = 0)]
    from: Option<f64>,
    /// Position in seconds at which the part ends.
    #[serde(default)]
    #[schema(minimum = 0)]
    to: Option<f64>,
}

/// Answer with one recording.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordingAnswer {
    /// Always true.
    success: bool,
    recording: RecordingBody,
}

/// Page of the list of recordings.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordingsAnswer {
    /// Always true.
    success: bool,
    /// Recordings of this page, the newest first.
    recordings: Vec<RecordingBody>,
    /// Value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Starts recording the current broadcast of a room.
///
/// A room that is recorded already stays as it is. The recording ends no later than the broadcast.
#[utoipa::path(
    post, path = "/api/rooms/{id}/recording", operation_id = "startRecording", tag = "recordings",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = RoomAnswer, description = "the room, with the id of the recording"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found, room_not_on_air"),
        (status = 409, body = ErrorBody, description = "recording_off"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn start(api: Data<Api>, id: RoomPath) -> Result<impl Responder, ApiError> {
    let room = api.rooms.start_recording(&id.0, api.recording).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Ends the recording of a room's current broadcast.
///
/// A room that is not recorded stays as it is. The recording can be played once the broadcast is over.
#[utoipa::path(
    delete, path = "/api/rooms/{id}/recording", operation_id = "stopRecording", tag = "recordings",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn stop(api: Data<Api>, id: RoomPath) -> Result<impl Responder, ApiError> {
    let room = api.rooms.stop_recording(&id.0).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Lists the recordings, the newest first.
#[utoipa::path(
    get, path = "/api/recordings", operation_id = "listRecordings", tag = "recordings",
    params(RecordingQuery),
    responses(
        (status = 200, body = RecordingsAnswer, description = "a page of recordings"),
        (status = 400, body = ErrorBody, description = "invalid_query, invalid_room_id, \
            invalid_recording_id"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>, query: QueryOf<RecordingQuery>) -> Result<impl Responder, ApiError> {
    let room = query.0.room.as_deref().map(RoomId::new).transpose()?;
    let after = query.0.after.as_deref().map(RecordingId::new).transpose()?;
    let limit = query.0.limit.as_deref().map_or(Ok(PAGE), page)?;
    listed(&api)?;
    let mut found = api.recordings.of_room(room.as_ref());
    if let Some(after) = after {
        // If the recording in `after` has been deleted, the page is empty and has no next page. The
        // caller must begin with the first page again.
        let position = found.iter().position(|known| known.id == after).map_or(found.len(), |at| at + 1);
        found.drain(..position);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|known| known.id.to_string());
    let recordings = found.iter().map(|known| body(&api, known)).collect();
    Ok(Json(RecordingsAnswer { success: true, recordings, next }))
}

/// Returns one recording.
#[utoipa::path(
    get, path = "/api/recordings/{id}", operation_id = "getRecording", tag = "recordings",
    params(("id" = String, Path, description = "recording id", pattern = "^[a-z0-9]{16}$")),
    responses(
        (status = 200, body = RecordingAnswer, description = "the recording"),
        (status = 400, body = ErrorBody, description = "invalid_recording_id"),
        (status = 404, body = ErrorBody, description = "recording_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn get(api: Data<Api>, id: RecordingPath) -> Result<impl Responder, ApiError> {
    let known = api.recordings.with_details(known(&api, id.0)?).await?;
    Ok(Json(RecordingAnswer { success: true, recording: body(&api, &known) }))
}

/// Returns the final captions of a recording, one JSON object per line, in the order of their starts.
///
/// Each line has `from` and `to` (milliseconds since the Unix epoch), `text`, `language`, and `speaker`,
/// which is null, because recognisers get the mix. The answer is empty if the recording has no captions, or
/// none with the text in `q`.
#[utoipa::path(
    get, path = "/api/recordings/{id}/transcript", operation_id = "getTranscript", tag = "recordings",
    params(
        ("id" = String, Path, description = "recording id", pattern = "^[a-z0-9]{16}$"),
        TranscriptQuery,
    ),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson", description = "the captions"),
        (status = 400, body = ErrorBody, description = "invalid_query, invalid_recording_id"),
        (status = 404, body = ErrorBody, description = "recording_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn transcript(
    api: Data<Api>,
    id: RecordingPath,
    query: QueryOf<TranscriptQuery>,
) -> Result<impl Responder, ApiError> {
    let known = known(&api, id.0)?;
    let mut lines = api.recordings.transcript(&known.id).await?;
    if let Some(words) = &query.0.q {
        if !(1..=MOST_WORDS).contains(&words.chars().count()) {
            let message = format!("q must have 1 to {MOST_WORDS} characters");
            return Err(ApiError::new(Code::InvalidQuery, message));
        }
        let words = words.to_lowercase();
        lines.retain(|line| line.caption.text.as_str().to_lowercase().contains(&words));
    }
    let lines = lines.iter().map(TranscriptLine::json);
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(lines.collect::<String>()))
}

/// Deletes a recording.
///
/// Its mixers delete their data immediately, or when they are available again.
#[utoipa::path(
    delete, path = "/api/recordings/{id}", operation_id = "deleteRecording", tag = "recordings",
    params(("id" = String, Path, description = "recording id", pattern = "^[a-z0-9]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "deleted"),
        (status = 400, body = ErrorBody, description = "invalid_recording_id"),
        (status = 404, body = ErrorBody, description = "recording_not_found"),
        (status = 409, body = ErrorBody, description = "recording_active"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn delete(api: Data<Api>, id: RecordingPath) -> Result<impl Responder, ApiError> {
    let known = known(&api, id.0)?;
    if api.recordings.state(&known.id, &known.recording) == RecordingState::Recording {
        let message = "the room is being recorded: stop the recording first";
        return Err(ApiError::new(Code::RecordingActive, message));
    }
    match api.recordings.delete(&known.id).await? {
        true => Ok(Json(DoneAnswer::YES)),
        false => Err(not_found()),
    }
}

/// Issues a token with which a listener can play one recording, or a part of it.
///
/// The part must lie within the recording. While the broadcast is on air, `from` must be in the past.
#[utoipa::path(
    post, path = "/api/recordings/{id}/token", operation_id = "issueReplayToken", tag = "recordings",
    params(("id" = String, Path, description = "recording id", pattern = "^[a-z0-9]{16}$")),
    request_body(content = Option<ReplayTokenRequest>, description = "may be left out"),
    responses(
        (status = 200, body = TokenAnswer, description = "a fresh token"),
        (status = 400, body = ErrorBody, description = "invalid_recording_id, invalid_json, invalid_body"),
        (status = 404, body = ErrorBody, description = "recording_not_found"),
        (status = 429, body = ErrorBody, description = "token_quota_exceeded (retryable)"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn token(
    api: Data<Api>,
    caller: ReqData<Caller>,
    id: RecordingPath,
    body: JsonBody<ReplayTokenRequest>,
) -> Result<impl Responder, ApiError> {
    let known = known(&api, id.0)?;
    let clip = match (body.0.from, body.0.to) {
        (None, None) => None,
        (Some(from), Some(to)) => Some(Clip::new(from, to).map_err(invalid)?),
        _ => return Err(ApiError::new(Code::InvalidBody, "a part must have both from and to")),
    };
    if let Some(clip) = &clip {
        check_clip(&api, &known, clip).await?;
    }
    charge_token(&api, &caller)?;
    let issued = api.tokens.replay(&known.id, &known.recording.room, clip, now());
    let replay_url = format!("{}#token={}", replay_url(&api, &known.id), issued.token);
    let expires_at = issued.expires_at.0;
    Ok(Json(TokenAnswer { success: true, token: issued.token, expires_at, replay_url }))
}

pub(super) fn known(api: &Api, id: RecordingId) -> Result<KnownRecording, ApiError> {
    listed(api)?;
    let recording = api.recordings.get(&id).filter(|recording| recording.deleted_at.is_none());
    recording.map(|recording| KnownRecording { id, recording }).ok_or_else(not_found)
}

/// Checks that the recordings have been listed. Before that, every recording would seem to be absent.
fn listed(api: &Api) -> Result<(), ApiError> {
    let message = "this node has not listed the recordings yet";
    api.recordings.is_complete().then_some(()).ok_or_else(|| ApiError::new(Code::StoreUnavailable, message))
}

/// Checks that a clip lies within its recording. The end of a recording is not known while it is not ready,
/// or while a mixer does not answer.
async fn check_clip(api: &Api, known: &KnownRecording, clip: &Clip) -> Result<(), ApiError> {
    let KnownRecording { id, recording } = known;
    if api.recordings.state(id, recording) == RecordingState::Ready {
        let end = api.media.end(id).await;
        return end.map_or(Ok(()), |end| clip.check_end(end).map_err(invalid));
    }
    let age = Duration::from_millis(now().0.saturating_sub(recording.started_at.0));
    let message = "the recording is not that long yet: from must be in the past";
    (clip.from < age).then_some(()).ok_or_else(|| invalid(message))
}

fn invalid(reason: impl Display) -> ApiError {
    ApiError::new(Code::InvalidBody, reason.to_string())
}

fn replay_url(api: &Api, id: &RecordingId) -> String {
    format!("{}/replay/{id}", api.hls_base)
}

fn not_found() -> ApiError {
    ApiError::new(Code::RecordingNotFound, "there is no such recording")
}

fn body(api: &Api, known: &KnownRecording) -> RecordingBody {
    let KnownRecording { id, recording } = known;
    let sum = |of: fn(&crate::domain::recording::Take) -> u64| recording.takes.values().map(of).sum();
    let with_data = recording.takes.iter().filter(|(_, take)| !take.dropped);
    RecordingBody {
        recording_id: id.to_string(),
        room_id: recording.room.to_string(),
        state: api.recordings.state(id, recording),
        title: recording.title.as_ref().map(|title| title.as_str().to_owned()),
        started_at: recording.started_at.0,
        ended_at: recording.ended_at().map(|at| at.0),
        duration_ms: sum(|take| take.duration_ms),
        bytes: sum(|take| take.bytes),
        lost_segments: sum(|take| take.lost),
        mixers: with_data.map(|(mixer, _)| mixer.to_string()).collect(),
        anchors: recording.anchors(),
        tracks: TrackBody::of(recording),
        chapters: recording.details.chapters.clone(),
        stored_at: recording.stored.map(|stored| stored.at.0),
        loudness: Loudness::of(recording),
        owner: recording.profile.owner.clone(),
        tags: recording.profile.tags.clone().map(Vec::from).unwrap_or_default(),
        replay_url: replay_url(api, id),
        hls_url: format!("{}/hls/recordings/{id}/index.m3u8", api.hls_base),
        download_url: format!("{}/hls/recordings/{id}/recording.m4a", api.hls_base),
    }
}
