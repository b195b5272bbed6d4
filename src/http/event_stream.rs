//! Responses with server-sent events (WHATWG HTML, section 9.2).
//!
//! Owns: the headers, and the exemption from the deadline of responses. Does not encode an event.

use std::error::Error;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures::Stream;

use super::server::Connection;

pub(in crate::http) const MEDIA_TYPE: &str = "text/event-stream";
/// Header with the id of the last event that a reconnecting client has.
pub(in crate::http) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Header that tells nginx to pass each event on immediately.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Returns the response to `request` that sends the encoded `events` until they end.
pub(in crate::http) fn answer<S, E>(request: &HttpRequest, events: S) -> HttpResponse
where
    S: Stream<Item = Result<Bytes, E>> + 'static,
    E: Into<Box<dyn Error>> + 'static,
{
    if let Some(connection) = Connection::of(request) {
        connection.endless();
    }
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, MEDIA_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((UNBUFFERED, "no"))
        .streaming(events)
}
