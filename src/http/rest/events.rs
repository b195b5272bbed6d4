//! `/api/events`: the event ledger as pages and as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};

use crate::domain::api_key::KeyScope;
use crate::domain::events::{Cursor, EventType};
use crate::domain::ids::RoomId;
use crate::http::api_keys::LiveApiKeys;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::event_stream;
use crate::http::extract::QueryOf;
use crate::rooms::{EventFilter, Ledger, LedgerEvent, LedgerState};

use super::Api;

const PAGE: usize = 100;
/// Maximum number of events per write of a stream.
const CHUNK: usize = 100;
/// Interval between comments in a stream without events. They reveal a broken connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Returns only events after this cursor: `next` of the previous page, or the `cursor` of an event. If
    /// absent, a page begins with the oldest event, and a stream with the next event that happens.
    #[serde(default)]
    #[param(pattern = "^[0-9]{1,18}([.][0-9]{1,2})?$")]
    pub after: Option<String>,
    /// Returns only events of this room, which need not exist any more.
    #[serde(default)]
    #[param(pattern = "^[A-Za-z0-9_-]{3,32}$")]
    pub room: Option<String>,
    /// Returns only events of this type.
    #[serde(default, rename = "type")]
    #[param(
        value_type = Option<String>,
        pattern = "^(room_created|room_scheduled|room_unscheduled|backstage_opened|backstage_closed|\
            room_started|room_moved|room_ended|room_deleted|anchor_invited|anchor_joined|anchor_left|\
            hand_raised|hand_lowered|stage_invited|listener_peak|user_banned|user_unbanned|\
            user_kicked|role_changed|anchor_muted|anchor_unmuted|room_muted|room_locked|room_unlocked|\
            recording_ready|output_live|output_failed)$"
    )]
    pub kind: Option<String>,
    /// Events per page, as decimal digits; 100 if absent. A stream has no pages.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
}

/// Event of the ledger.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LedgerEntry {
    /// Id of the event, the same in every delivery.
    id: String,
    /// Position in the ledger.
    cursor: String,
    /// Type; new types may be added.
    r#type: EventType,
    /// Id of the room.
    room_id: String,
    /// Time of the change in RFC 3339 format, in UTC.
    time: String,
    /// Details, by type; new fields may be added.
    #[schema(value_type = Object)]
    data: Value,
}

/// Page of the ledger.
#[derive(Serialize, ToSchema)]
pub(super) struct EventsAnswer {
    /// Always true.
    success: bool,
    /// Events in the order in which they happened.
    #[schema(value_type = Vec<LedgerEntry>)]
    events: Vec<Value>,
    /// Value of `after` for the next page.
    next: String,
    /// True if the ledger has more events after this page. The conditions of the request may exclude all of
    /// them.
    more: bool,
    /// Cursor of the oldest event that is kept; absent if the ledger is empty. If the cursor in `after` is
    /// lower, events between the two may have been deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
}

/// Returns a page of the event ledger or, with `Accept: text/event-stream`, a stream of the events.
///
/// A stream ends with its node, or when its API key is not valid any more; clients reconnect with
/// `Last-Event-ID`.
#[utoipa::path(
    get, path = "/api/events", operation_id = "listEvents", tag = "events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "cursor of the last event that a reader of \
            the stream has; used instead of after")
    ),
    responses(
        (status = 200, description = "a page, or a stream without end", content(
            (EventsAnswer = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, body = ErrorBody, description = "invalid_query, invalid_room_id"),
        (status = 503, body = ErrorBody, description = "store_unavailable, too_many_clients (retryable)"),
    )
)]
pub(super) async fn list(
    request: HttpRequest,
    api: Data<Api>,
    query: QueryOf<EventsQuery>,
) -> Result<HttpResponse, ApiError> {
    let EventsQuery { after, room, kind, limit } = query.0;
    let after = after.as_deref().map(cursor).transpose()?;
    let filter = EventFilter {
        room: room.as_deref().map(RoomId::new).transpose()?,
        kind: kind.as_deref().map(event_type).transpose()?,
    };
    let limit = limit.as_deref().map_or(Ok(PAGE), super::rooms::page)?;
    let ledger = api.rooms.ledger();
    if ledger.state().borrow().revision.is_none() {
        let message = "this node has not read the event ledger yet";
        return Err(ApiError::new(Code::StoreUnavailable, message));
    }
    if wants_stream(&request) {
        let last = request
            .headers()
            .get(event_stream::LAST_EVENT_ID)
            .map(|id| cursor(id.to_str().unwrap_or_default()));
        let from = last.transpose()?.or(after).unwrap_or_else(|| ledger.end());
        return streamed(&request, &api, from, filter);
    }
    let page = ledger.after(after.unwrap_or_default(), &filter, limit);
    let raw = |event: &Arc<LedgerEvent>| serde_json::from_slice(&event.json).map_err(ApiError::internal);
    let answer = EventsAnswer {
        success: true,
        events: page.events.iter().map(raw).collect::<Result<_, _>>()?,
        next: page.next.to_string(),
        more: page.more,
        oldest: page.oldest.map(|oldest| oldest.to_string()),
    };
    Ok(HttpResponse::Ok().json(answer))
}

fn cursor(text: &str) -> Result<Cursor, ApiError> {
    text.parse().map_err(|error| ApiError::new(Code::InvalidQuery, format!("after {error}")))
}

fn event_type(text: &str) -> Result<EventType, ApiError> {
    EventType::parse(text).ok_or_else(|| {
        let known = EventType::ALL.map(EventType::as_str).join(", ");
        ApiError::new(Code::InvalidQuery, format!("type must be one of {known}"))
    })
}

fn wants_stream(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(event_stream::MEDIA_TYPE)
    })
}

fn streamed(
    request: &HttpRequest,
    api: &Data<Api>,
    from: Cursor,
    filter: EventFilter,
) -> Result<HttpResponse, ApiError> {
    let ledger = api.rooms.ledger().clone();
    let key = (api.auth.clone(), request.headers().get(AUTHORIZATION).cloned());
    let reader = ledger
        .reader()
        .ok_or_else(|| ApiError::new(Code::TooManyClients, "too many event streams are open on this node"))?;
    let state = ledger.state();
    let events = EventStream { ledger, state, filter, key, at: from, begun: false, _reader: reader };
    Ok(event_stream::answer(request, events.into_stream()))
}

/// One reader of a stream.
struct EventStream {
    ledger: Arc<Ledger>,
    state: watch::Receiver<LedgerState>,
    filter: EventFilter,
    /// API key of the reader, as the header of its request.
    key: (Arc<LiveApiKeys>, Option<HeaderValue>),
    at: Cursor,
    begun: bool,
    _reader: tokio::sync::OwnedSemaphorePermit,
}

impl EventStream {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut events| async move {
            let next = events.next().await?;
            Some((Ok(next), events))
        })
    }

    /// Returns the next bytes; `None` when the node stops or the API key is not valid any more.
    async fn next(&mut self) -> Option<Bytes> {
        // Send a comment immediately, so that the client receives the headers.
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Bytes::from_static(b":\n\n"));
        }
        loop {
            let (keys, offered) = &self.key;
            let permitted = keys.still_permits(offered.as_ref().map(HeaderValue::as_bytes), KeyScope::Read);
            if !permitted || self.state.borrow_and_update().closed {
                return None;
            }
            let page = self.ledger.after(self.at, &self.filter, CHUNK);
            self.at = page.next;
            if !page.events.is_empty() {
                return Some(encoded(&page.events));
            }
            if page.more {
                continue;
            }
            match tokio::time::timeout(HEARTBEAT, self.state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }
}

fn encoded(events: &[Arc<LedgerEvent>]) -> Bytes {
    let mut text = Vec::new();
    for event in events {
        text.extend_from_slice(format!("id: {}\nevent: {}\ndata: ", event.cursor, event.kind).as_bytes());
        text.extend_from_slice(&event.json);
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}
