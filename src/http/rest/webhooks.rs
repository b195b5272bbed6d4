//! `/api/webhooks`: progress of the endpoints, replay, and events that were given up.

use std::sync::Arc;

use actix_web::Responder;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::audit::ApiAction;
use crate::domain::events::{Cursor, EventId};
use crate::domain::ids::UnixMs;
use crate::domain::webhooks::{DeadLetter, EndpointState, WaitingRoom};
use crate::http::audit::Author;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{DeadLetterPath, JsonBody, WebhookPath};
use crate::rooms::RoomError;
use crate::webhooks::{Endpoint, WebhookError};

use super::Api;
use super::body::DoneAnswer;
use super::events::LedgerEntry;

/// Endpoint and its progress.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook {
    /// Name in `webhooks.endpoints`.
    name: String,
    /// URL to which events are sent.
    url: String,
    /// Types of the events that the endpoint gets; empty if it gets all types.
    types: Vec<String>,
    /// Ids of the rooms whose events the endpoint gets; a `*` at the end matches any suffix. Empty if it gets
    /// the events of all rooms.
    rooms: Vec<String>,
    /// Cursor up to which every selected event is delivered or given up, except events of the rooms in
    /// `waiting`. Absent until the leader has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Rooms with events that are not delivered yet, at most 100. Further events wait in the ledger.
    waiting: Vec<WaitingEvents>,
    /// Present while the endpoint does not answer, or accepts no events.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<UnavailableEndpoint>,
    /// Number of events given up since the endpoint was first configured.
    dead_letters: u64,
}

/// Room whose events wait for delivery.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaitingEvents {
    /// Id of the room.
    room_id: String,
    /// Cursor of its oldest undelivered event.
    from: String,
    /// Failed attempts for that event.
    attempts: u32,
    /// Time of the first failed attempt; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// Time of the next attempt.
    next: u64,
    /// Reason why the latest attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Period in which an endpoint is not available.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnavailableEndpoint {
    /// Time of the first failure.
    since: u64,
    /// Failures since then.
    attempts: u32,
    /// Time of the next attempt.
    next: u64,
    /// Reason for the latest failure.
    error: String,
}

/// Answer with all endpoints.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhooksAnswer {
    /// Always true.
    success: bool,
    webhooks: Vec<Webhook>,
}

/// Answer with one endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookAnswer {
    /// Always true.
    success: bool,
    webhook: Webhook,
}

/// Event that was given up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(super) struct DeadLetterBody {
    #[schema(value_type = LedgerEntry)]
    event: Value,
    /// Failed attempts; 0 if the event only waited behind other events.
    attempts: u32,
    /// Reason for the latest failure.
    error: String,
    /// Time at which the event was given up.
    at: u64,
}

/// Answer with the events that were given up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLettersAnswer {
    /// Always true.
    success: bool,
    /// The latest 1,000, without those delivered again, ordered from oldest to newest.
    dead_letters: Vec<DeadLetterBody>,
}

/// Position from which to deliver again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// Cursor of an event; the events after it are delivered again. `0`: all that the ledger keeps.
    #[schema(pattern = "^[0-9]{1,18}([.][0-9]{1,2})?$")]
    pub after: String,
}

/// Lists the webhook endpoints and their progress.
#[utoipa::path(
    get, path = "/api/webhooks", operation_id = "listWebhooks", tag = "webhooks",
    responses(
        (status = 200, body = WebhooksAnswer, description = "all endpoints, as configured on this node"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>) -> Result<impl Responder, ApiError> {
    let mut webhooks = Vec::new();
    for endpoint in api.webhooks.endpoints() {
        webhooks.push(Webhook::of(&endpoint, api.webhooks.state(&endpoint).await?));
    }
    Ok(Json(WebhooksAnswer { success: true, webhooks }))
}

/// Delivers events again, from a cursor.
///
/// Also ends the wait for the next attempt. With the current cursor of the webhook, the call does nothing
/// else.
#[utoipa::path(
    post, path = "/api/webhooks/{name}/replay", operation_id = "replayWebhook", tag = "webhooks",
    params(("name" = String, Path, description = "name of the endpoint", pattern = "^[A-Za-z0-9_-]{1,32}$")),
    request_body = ReplayRequest,
    responses(
        (status = 200, body = WebhookAnswer, description = "the endpoint, before the events are delivered"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body"),
        (status = 404, body = ErrorBody, description = "webhook_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn replay(
    api: Data<Api>,
    name: WebhookPath,
    author: Author,
    body: JsonBody<ReplayRequest>,
) -> Result<impl Responder, ApiError> {
    let after: Result<Cursor, _> = body.0.after.parse();
    let after = after.map_err(|error| ApiError::new(Code::InvalidBody, format!("after {error}")))?;
    let endpoint = known(&api, &name.0)?;
    let action = ApiAction::ReplayWebhook { webhook: name.0, after: after.to_string() };
    let state = api.audit.carry_out(author, action, api.webhooks.replay(&endpoint, after)).await?;
    Ok(Json(WebhookAnswer { success: true, webhook: Webhook::of(&endpoint, Some(state)) }))
}

/// Lists the events that were given up for an endpoint.
#[utoipa::path(
    get, path = "/api/webhooks/{name}/dead", operation_id = "listDeadLetters", tag = "webhooks",
    params(("name" = String, Path, description = "name of the endpoint", pattern = "^[A-Za-z0-9_-]{1,32}$")),
    responses(
        (status = 200, body = DeadLettersAnswer, description = "events that were given up"),
        (status = 404, body = ErrorBody, description = "webhook_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn dead(api: Data<Api>, name: WebhookPath) -> Result<impl Responder, ApiError> {
    let endpoint = known(&api, &name.0)?;
    let letters = api.webhooks.dead_letters(&endpoint).await?;
    let body = |DeadLetter { event, attempts, error, at, .. }: DeadLetter| DeadLetterBody {
        event,
        attempts,
        error,
        at: at.0,
    };
    let dead_letters = letters.into_iter().map(body).collect();
    Ok(Json(DeadLettersAnswer { success: true, dead_letters }))
}

/// Tries again to deliver an event that was given up.
///
/// If the endpoint accepts the event, the event is removed from the list. The endpoint then has it after
/// events that happened later.
#[utoipa::path(
    post, path = "/api/webhooks/{name}/dead/{event}", operation_id = "redeliverDeadLetter", tag = "webhooks",
    params(
        ("name" = String, Path, description = "name of the endpoint", pattern = "^[A-Za-z0-9_-]{1,32}$"),
        ("event" = String, Path, description = "id of the event", pattern = "^evt_[0-9a-f]{32}[0-9]$"),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "delivered"),
        (status = 404, body = ErrorBody, description = "webhook_not_found, dead_letter_not_found"),
        (status = 502, body = ErrorBody, description = "not_delivered"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn redeliver(
    api: Data<Api>,
    path: DeadLetterPath,
    author: Author,
) -> Result<impl Responder, ApiError> {
    let DeadLetterPath(name, event) = path;
    let endpoint = known(&api, &name)?;
    // An id of another form belongs to no dead letter.
    let event = EventId::parse(&event).ok_or(WebhookError::NoDeadLetter)?;
    let action = ApiAction::RedeliverEvent { webhook: name, event: event.as_str().to_owned() };
    api.audit.carry_out(author, action, api.webhooks.redeliver(&endpoint, &event)).await?;
    Ok(Json(DoneAnswer::YES))
}

fn known(api: &Api, name: &str) -> Result<Arc<Endpoint>, ApiError> {
    api.webhooks.endpoint(name).ok_or_else(|| {
        ApiError::new(Code::WebhookNotFound, "webhooks.endpoints of this node has no endpoint with this name")
    })
}

impl Webhook {
    fn of(endpoint: &Endpoint, state: Option<EndpointState>) -> Self {
        let cursor = state.as_ref().map(|state| state.cursor.to_string());
        let EndpointState { waiting, unavailable, dead, .. } = state.unwrap_or_default();
        let waiting =
            waiting.into_iter().map(|(room, WaitingRoom { from, attempts, since, next, error })| {
                let (room_id, from) = (room.to_string(), from.to_string());
                WaitingEvents {
                    room_id,
                    from,
                    attempts,
                    since: since.map(|UnixMs(at)| at),
                    next: next.0,
                    error,
                }
            });
        Self {
            name: endpoint.name.clone(),
            url: endpoint.url.clone(),
            types: endpoint.filter.types.clone(),
            rooms: endpoint.filter.rooms.clone(),
            cursor,
            waiting: waiting.collect(),
            unavailable: unavailable.map(|unavailable| UnavailableEndpoint {
                since: unavailable.since.0,
                attempts: unavailable.attempts,
                next: unavailable.next.0,
                error: unavailable.error,
            }),
            dead_letters: dead,
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        let code = match error {
            WebhookError::Store(error) => return RoomError::from(error).into(),
            WebhookError::Corrupt { .. } => return Self::internal(error),
            WebhookError::NoDeadLetter => Code::DeadLetterNotFound,
            WebhookError::Ahead(_) => Code::InvalidBody,
            WebhookError::NotDelivered(_) => Code::NotDelivered,
            WebhookError::NotBegun | WebhookError::Busy => Code::Busy,
        };
        Self::new(code, error.to_string())
    }
}
