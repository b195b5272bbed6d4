//! `/api/rooms/{id}/sources`: URLs and files that are played in a room, each as an anchor.

use actix_web::web::{Data, Json};
use actix_web::{HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::SealedUrls;
use crate::domain::ids::UserId;
use crate::domain::signalling::DisplayName;
use crate::domain::sources::{Input, SealedUrl, Source, SourceFile, SourcePolicy, SourceState, SourceUrl};
use crate::domain::srt_passphrase::check_passphrase;
use crate::http::anchors;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, RoomPath, UserPath};
use crate::presence::Source as ClientKind;
use crate::rooms::{now, random_user_id};

use super::Api;
use super::body::DoneAnswer;

/// Settings of sources.
pub struct SourcesSide {
    /// URLs and files that may be played in rooms.
    pub policy: SourcePolicy,
    pub urls: SealedUrls,
}

/// Source to add: either `url` or `file`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddSource {
    /// URL of a stream or a file, with a scheme that `sources.schemes` permits. It is stored encrypted. The
    /// passphrase of an `srt` URL has 10 to 79 bytes.
    #[serde(default)]
    #[schema(max_length = 1024)]
    url: Option<String>,
    /// Path of a file below `sources.folder`.
    #[serde(default)]
    #[schema(max_length = 512)]
    file: Option<String>,
    /// Name shown in the room.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    title: Option<String>,
    /// True if the input starts over when it ends. By default true for a URL, because the end of a live
    /// stream is usually an interruption, and false for a file.
    #[serde(default, rename = "loop")]
    repeats: Option<bool>,
}

/// Source of a room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Source)]
pub(super) struct SourceBody {
    /// Id of the source: the user id under which it is a member of the room.
    source_id: String,
    /// `url` or `file`.
    #[schema(value_type = String)]
    kind: ClientKind,
    /// Scheme, host and port of the URL, and the application of an RTMP URL. The rest may contain a secret
    /// and is replaced by `…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Path below `sources.folder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Name shown in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// True if the input starts over when it ends.
    #[serde(rename = "loop")]
    repeats: bool,
    /// True if the source is muted.
    muted: bool,
    /// `waiting`, `playing` or `ended`. A source plays while its room is on air or backstage.
    status: &'static str,
    /// Reason for the last failed attempt to play; absent if the source was heard after it, or never failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Time at which the source was added.
    created_at: u64,
}

/// Answer with one source.
#[derive(Serialize, ToSchema)]
pub(super) struct SourceAnswer {
    /// Always true.
    success: bool,
    source: SourceBody,
}

/// Answer with the sources of a room.
#[derive(Serialize, ToSchema)]
pub(super) struct SourcesAnswer {
    /// Always true.
    success: bool,
    /// Sources, ordered by id.
    sources: Vec<SourceBody>,
}

impl SourceBody {
    fn new(id: &UserId, source: Source) -> Self {
        let kind = source.kind();
        let shown = Some(source.input.shown());
        let (url, file) = if kind == ClientKind::File { (None, shown) } else { (shown, None) };
        let (status, reason) = match source.state {
            SourceState::New => ("waiting", None),
            SourceState::Waiting { reason } => ("waiting", reason),
            SourceState::Playing => ("playing", None),
            SourceState::Ended => ("ended", None),
        };
        Self {
            source_id: id.to_string(),
            kind,
            url,
            file,
            title: source.title.map(|title| title.as_str().to_owned()),
            repeats: source.repeats,
            muted: source.muted,
            status,
            reason,
            created_at: source.created_at.0,
        }
    }
}

/// Plays a URL or a file in a room.
///
/// The source is an anchor: it counts against `maxAnchors`, is a member of the room, and can be muted, kicked
/// and banned. The node that runs the room's Janus instance plays it while the room is on air or backstage,
/// and tries again if the input fails. `sources.schemes`, `sources.networks` and `sources.folder` say what
/// may be played.
#[utoipa::path(
    post, path = "/api/rooms/{id}/sources", operation_id = "addSource", tag = "users",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = AddSource,
    responses(
        (status = 201, body = SourceAnswer, description = "the source"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id, \
            invalid_source, invalid_name"),
        (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed, scope_missing, \
            source_not_permitted"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "room_full (retryable), room_removing (retryable)"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn add(
    api: Data<Api>,
    room: RoomPath,
    body: JsonBody<AddSource>,
) -> Result<impl Responder, ApiError> {
    let AddSource { url, file, title, repeats } = body.0;
    let invalid = |error: &dyn std::fmt::Display| ApiError::new(Code::InvalidSource, error.to_string());
    let id = random_user_id();
    let input = match (url, file) {
        (Some(url), None) => {
            let url = SourceUrl::new(&url).map_err(|error| invalid(&error))?;
            check_passphrase(url.url()).map_err(|error| invalid(&error))?;
            let sealed = api.sources.urls.seal(&room.0, &id, url.reveal(), now());
            Input::Sealed(SealedUrl { scheme: url.scheme(), shown: url.shown(), sealed })
        }
        (None, Some(file)) => Input::File(SourceFile::new(&file).map_err(|error| invalid(&error))?),
        _ => return Err(invalid(&"a source must have either url or file")),
    };
    let title = title.as_deref().map(|title| DisplayName::of_field("title", title)).transpose();
    let title = title.map_err(|error| ApiError::new(Code::InvalidName, error.to_string()))?;
    let source = Source::new(input, title, repeats, now());
    let members = anchors::members(api.anchors.as_deref(), &room.0).await.unwrap_or_default();
    let people = members.iter().filter(|member| !matches!(member.source, ClientKind::Url | ClientKind::File));
    api.rooms.add_source(&room.0, &id, &source, &api.sources.policy, people.count()).await?;
    let source = SourceBody::new(&id, source);
    Ok(HttpResponse::Created().json(SourceAnswer { success: true, source }))
}

/// Lists the sources of a room.
#[utoipa::path(
    get, path = "/api/rooms/{id}/sources", operation_id = "listSources", tag = "users",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = SourcesAnswer, description = "the sources"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>, room: RoomPath) -> Result<impl Responder, ApiError> {
    let sources = api.rooms.sources(&room.0).await?.0;
    let sources = sources.into_iter().map(|(id, source)| SourceBody::new(&id, source)).collect();
    Ok(Json(SourcesAnswer { success: true, sources }))
}

/// Removes a source from a room.
#[utoipa::path(
    delete, path = "/api/rooms/{id}/sources/{sourceId}", operation_id = "removeSource", tag = "users",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("sourceId" = String, Path, description = "source id", min_length = 1, max_length = 255),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_user_id"),
        (status = 404, body = ErrorBody, description = "room_not_found, source_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn remove(api: Data<Api>, path: UserPath) -> Result<impl Responder, ApiError> {
    api.rooms.remove_source(&path.0, &path.1).await?;
    Ok(Json(DoneAnswer::YES))
}
