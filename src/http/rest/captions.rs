//! `/api/rooms/{id}/captions`: WebSocket of a speech recogniser, which gets the room's audio and returns
//! captions.

mod socket;

use std::sync::Arc;

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use crate::delivery::{NoFeed, PcmFeeds};
use crate::domain::captions::MAX_RECOGNISERS;
use crate::domain::profile::Language;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{QueryOf, RoomPath};
use crate::http::upgrade::{self, handshake};
use crate::rooms::captions::{ClaimRefused, RecogniserClaims};
use crate::telemetry::Metrics;

use super::Api;
use socket::Recogniser;

/// Language of captions if neither the request nor the room names one (ISO 639-3: undetermined).
const UNDETERMINED: &str = "und";
/// Maximum number of frames that wait for a recogniser, in addition to those in the feed.
const QUEUED: usize = 4;

/// Dependencies of the connections of recognisers.
pub struct CaptionsSide {
    pub feeds: Arc<PcmFeeds>,
    pub claims: RecogniserClaims,
    pub metrics: Metrics,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CaptionsQuery {
    /// Language of the captions, as a language tag of BCP 47. If absent, it is the language of the room, or
    /// `und` if the room has none.
    #[serde(default)]
    #[param(max_length = 64)]
    pub language: Option<String>,
}

/// Opens the WebSocket of a speech recogniser: the audio of the room downstream, captions upstream.
///
/// The room must be on air. It has at most one recogniser per language, and 8 in all. `docs/captions.md`
/// describes the messages.
#[utoipa::path(
    get, path = "/api/rooms/{id}/captions", operation_id = "captionRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"), CaptionsQuery),
    responses(
        (status = 101, description = "a WebSocket"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_query, invalid_room_id, invalid_room_field, websocket_expected"
        ),
        (status = 404, body = ErrorBody, description = "room_not_found, room_not_on_air"),
        (status = 409, body = ErrorBody, description = "recogniser_connected"),
        (status = 426, body = ErrorBody, description = "websocket_version"),
        (
            status = 503, body = ErrorBody,
            description = "store_unavailable, media_unavailable, too_many_clients (retryable)"
        ),
    )
)]
pub(super) async fn open(
    request: HttpRequest,
    api: Data<Api>,
    id: RoomPath,
    query: QueryOf<CaptionsQuery>,
) -> Result<HttpResponse, ApiError> {
    let room = api.rooms.get(&id.0).await?;
    let response = handshake(&request)?;
    let named = query.0.language.as_deref().map(Language::new).transpose()?;
    let live = room.view.live.as_ref().filter(|_| room.view.is_on_air());
    let live = live.ok_or_else(|| ApiError::new(Code::RoomNotOnAir, "the room is not on air"))?;
    let language = match named.or_else(|| room.meta.profile.language.clone()) {
        Some(language) => language,
        None => Language::new(UNDETERMINED)?,
    };
    let claimed = api.captions.claims.claim(&room.id, &language).await?;
    let claim = claimed.map_err(|refused| match refused {
        ClaimRefused::Connected => {
            let message = format!("a recogniser of the language {} is connected", language.as_str());
            ApiError::new(Code::RecogniserConnected, message)
        }
        ClaimRefused::TooMany => {
            let message = format!("the room has {MAX_RECOGNISERS} recognisers, of other languages");
            ApiError::new(Code::TooManyClients, message)
        }
    })?;
    // Another broadcast may have begun in the meantime. A feed of the earlier broadcast must not replace the
    // feed of the new one.
    let now = api.rooms.directory().room(&room.id).unwrap_or_default();
    let opened = match now.live.as_ref().is_some_and(|now| now.nonce == live.nonce) && now.is_on_air() {
        true => api.captions.feeds.open(&room.id, &live.nonce).map_err(|none| match none {
            NoFeed::Stopping => {
                ApiError::new(Code::MediaUnavailable, "this node is stopping; connect to another one")
            }
            NoFeed::Full => {
                let message = "this node decodes as many rooms as it may; connect to another one";
                ApiError::new(Code::TooManyClients, message)
            }
        }),
        false => Err(ApiError::new(Code::RoomNotOnAir, "the broadcast has just ended")),
    };
    let audio = match opened {
        Ok(audio) => audio,
        Err(refused) => {
            claim.release().await;
            return Err(refused);
        }
    };
    let (frames, queued) = mpsc::channel(QUEUED);
    let nonce = live.nonce.clone();
    let authorization = request.headers().get(AUTHORIZATION).cloned();
    let recogniser = Recogniser { api, room: room.id, nonce, language, claim, frames, authorization };
    upgrade::open(&request, response, socket::body(queued), |received| recogniser.run(audio, received))
}
