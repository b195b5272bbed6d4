//! Extractors that turn requests into values, and refuse invalid input with its code.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::error::{PayloadError, QueryPayloadError};
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap};
use actix_web::{FromRequest, HttpRequest, web};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::{LocalBoxFuture, Ready, ready};
use futures::{Stream, StreamExt};
use serde::de::{DeserializeOwned, Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::domain::api_key::ApiKeyId;
use crate::domain::ids::{ModuleId, RoomId, UserId};
use crate::domain::json;
use crate::domain::keys::ModuleKind;
use crate::domain::output::OutputId;
use crate::domain::recording::RecordingId;
use crate::domain::request_rates::RequestLimits;

use super::error::{ApiError, Code};

/// Maximum size of a body, in bytes. A scope with handlers that take a [`JsonBody`] must register it as app
/// data.
#[derive(Debug, Clone)]
pub enum BodyLimit {
    Fixed(usize),
    /// Limit that a reload can change.
    Live(Arc<ArcSwap<RequestLimits>>),
}

impl BodyLimit {
    /// Returns the limit in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Live(limits) => limits.load().body,
        }
    }
}

/// JSON object of at most the configured size. An empty body counts as `{}`.
pub(in crate::http) struct JsonBody<T>(pub T);

/// `{id}` of a room, percent-decoded.
pub(in crate::http) struct RoomPath(pub RoomId);

/// `{id}` of a room and `{userId}` of a user in it.
pub(in crate::http) struct UserPath(pub RoomId, pub UserId);

/// `{kind}` and `{id}` of a module.
pub(in crate::http) struct ModulePath(pub ModuleKind, pub ModuleId);

/// `{id}` of a recording.
pub(in crate::http) struct RecordingPath(pub RecordingId);

/// `{id}` of a recording and `{number}` of a track.
pub(in crate::http) struct TrackPath(pub RecordingId, pub u32);

/// `{id}` of a room and `{outputId}` of an output.
pub(in crate::http) struct OutputPath(pub RoomId, pub OutputId);

/// `{id}` of an API key.
pub(in crate::http) struct ApiKeyPath(pub ApiKeyId);

/// `{name}` of a webhook.
pub(in crate::http) struct WebhookPath(pub String);

/// `{name}` of a webhook and `{event}`, the id of an event.
pub(in crate::http) struct DeadLetterPath(pub String, pub String);

/// Query string of the request.
pub(in crate::http) struct QueryOf<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, payload) = (req.clone(), payload.take());
        Box::pin(async move {
            check_media_type(&req)?;
            let bytes = read(&req, payload).await?;
            if bytes.is_empty() {
                return parse(b"{}").map(Self);
            }
            parse(&bytes).map(Self)
        })
    }
}

/// Returns the value of a cookie. Parses the header itself: actix-web's cookie support is an optional
/// feature, and two cookies do not justify it.
pub(in crate::http) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

async fn read(req: &HttpRequest, payload: Payload) -> Result<Vec<u8>, ApiError> {
    let limit = state::<BodyLimit>(req)?.bytes();
    read_body(req, payload, limit).await
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// `body_too_large`, `request_timeout`, or `invalid_body` if the connection breaks.
pub async fn read_body(
    req: &HttpRequest,
    mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limit: usize,
) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::new(Code::BodyTooLarge, format!("the body may have at most {limit} bytes"));
    let announced = req.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(unreadable)?;
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreadable(error: PayloadError) -> ApiError {
    match error {
        PayloadError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            ApiError::new(Code::RequestTimeout, "the body did not arrive in time")
        }
        _ => ApiError::new(Code::InvalidBody, "the body could not be read"),
    }
}

/// Checks the body's format as declared by the headers. If they declare no format, the body is parsed as JSON
/// (RFC 9110 section 8.3).
///
/// # Errors
/// `unsupported_media_type` if the declared format is anything but uncompressed JSON in UTF-8.
fn check_media_type(req: &HttpRequest) -> Result<(), ApiError> {
    let unsupported = |message: &str| Err(ApiError::new(Code::UnsupportedMediaType, message));
    let encodings = req.headers().get_all(CONTENT_ENCODING);
    if !encodings.into_iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return unsupported("send the body without Content-Encoding");
    }
    let mut types = req.headers().get_all(CONTENT_TYPE);
    let Some(value) = types.next() else { return Ok(()) };
    let value = value.to_str().unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    if types.next().is_some() || !is_json(&essence) {
        return unsupported("send the body as application/json");
    }
    let charset = parts.filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
        name.trim_end()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    match charset.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        Some(_) => unsupported("send the body in UTF-8"),
    }
}

/// Returns true for `application/json` and other types in JSON syntax (RFC 6839 section 3.1).
fn is_json(essence: &str) -> bool {
    match essence.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => subtype.len() > "+json".len() && subtype.ends_with("+json"),
        None => false,
    }
}

/// Reads an integer. Also accepts `3.0` and `3e0`, which in JSON are the same as `3` (RFC 8259 section 6). A
/// number that does not fit an `i64` becomes the nearest `i64`.
///
/// # Errors
/// The value is neither an integer nor null.
pub(in crate::http) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let whole = |float: &f64| float.fract() == 0.0;
    let rounded = || number.as_f64().filter(whole).map(|float| float as i64);
    match number.as_i64().or_else(rounded) {
        Some(integer) => Ok(Some(integer)),
        None => Err(D::Error::custom(format!("invalid type: {number}, expected an integer"))),
    }
}

/// Parses a body. First checks that it is JSON at all, so that the choice between `invalid_json` and
/// `invalid_body` does not depend on where the parser fails.
pub(in crate::http) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // JSON is UTF-8 (RFC 8259 section 8.1); the parser checks this only in the parts that it keeps.
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::new(Code::InvalidJson, "the body must be JSON, in UTF-8"))?;
    // A byte order mark may be ignored, and some editors write one (RFC 8259 section 8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| ApiError::new(Code::InvalidJson, error.to_string()))?;
    // serde would accept an array for a struct, field by field.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ApiError::new(Code::InvalidBody, "the body must be a JSON object"));
    }
    json::read_text(text).map_err(|reason| ApiError::new(Code::InvalidBody, reason))
}

impl FromRequest for RoomPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        // An id that cannot be decoded gets the same error as any other invalid id.
        let id = web::Path::<String>::extract(req).into_inner().map(|id| id.into_inner());
        ready(RoomId::new(&id.unwrap_or_default()).map(Self).map_err(ApiError::from))
    }
}

impl FromRequest for RecordingPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = web::Path::<String>::extract(req).into_inner().map(|id| id.into_inner());
        ready(RecordingId::new(&id.unwrap_or_default()).map(Self).map_err(ApiError::from))
    }
}

impl FromRequest for TrackPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = web::Path::<(String, String)>::extract(req).into_inner();
        let (recording, number) = path.map(|path| path.into_inner()).unwrap_or_default();
        let absent = |_| ApiError::new(Code::TrackNotFound, "there is no such track");
        let both = || Ok(Self(RecordingId::new(&recording)?, number.parse().map_err(absent)?));
        ready(both())
    }
}

impl FromRequest for OutputPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = web::Path::<(String, String)>::extract(req).into_inner();
        let (room, output) = path.map(|path| path.into_inner()).unwrap_or_default();
        // An id of another form belongs to no output.
        let absent = |_| ApiError::new(Code::OutputNotFound, "there is no such output");
        let both = || Ok(Self(RoomId::new(&room)?, OutputId::new(&output).map_err(absent)?));
        ready(both())
    }
}

impl FromRequest for ApiKeyPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = web::Path::<String>::extract(req).into_inner().map(|id| id.into_inner());
        // An id of another form belongs to no key.
        let absent = |_| ApiError::new(Code::ApiKeyNotFound, "there is no such API key");
        ready(ApiKeyId::new(&id.unwrap_or_default()).map(Self).map_err(absent))
    }
}

impl FromRequest for WebhookPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        // A segment that does not decode to text becomes the empty name, which no webhook has.
        let name = web::Path::<String>::extract(req).into_inner().map(|name| name.into_inner());
        ready(Ok(Self(name.unwrap_or_default())))
    }
}

impl FromRequest for DeadLetterPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = web::Path::<(String, String)>::extract(req).into_inner();
        let (name, event) = path.map(|path| path.into_inner()).unwrap_or_default();
        ready(Ok(Self(name, event)))
    }
}

impl FromRequest for UserPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = web::Path::<(String, String)>::extract(req).into_inner();
        let (room, user) = path.map(|path| path.into_inner()).unwrap_or_default();
        let both = || Ok(Self(RoomId::new(&room)?, UserId::new(&user)?));
        ready(both())
    }
}

impl FromRequest for ModulePath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = web::Path::<(String, String)>::extract(req).into_inner();
        let (kind, id) = path.map(|path| path.into_inner()).unwrap_or_default();
        ready(module_kind(&kind).and_then(|kind| Ok(Self(kind, ModuleId::new(&id)?))))
    }
}

fn module_kind(segment: &str) -> Result<ModuleKind, ApiError> {
    match segment {
        "januses" => Ok(ModuleKind::Janus),
        "mixers" => Ok(ModuleKind::Mixer),
        _ => Err(ApiError::new(Code::NotFound, "the kind of a module must be januses or mixers")),
    }
}

impl<T: DeserializeOwned> FromRequest for QueryOf<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = web::Query::<T>::from_query(req.query_string());
        let invalid = |error: QueryPayloadError| {
            let reason = match &error {
                QueryPayloadError::Deserialize(reason) => reason.to_string(),
                _ => error.to_string(),
            };
            ApiError::new(Code::InvalidQuery, reason)
        };
        ready(query.map(|query| Self(query.into_inner())).map_err(invalid))
    }
}

/// Returns the state that was registered for the handlers.
fn state<T: 'static>(req: &HttpRequest) -> Result<&T, ApiError> {
    req.app_data::<T>().ok_or_else(|| ApiError::internal("the API is not configured"))
}
