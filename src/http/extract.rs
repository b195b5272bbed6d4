//! Requests into values: everything a caller can get wrong is refused here, with its code.

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest, web};
use futures::StreamExt;
use futures::future::{LocalBoxFuture, Ready, ready};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::domain::ids::{ModuleId, RoomId, UserId};
use crate::domain::keys::ModuleKind;

use super::error::{ApiError, Code};

/// Bytes that a body may have; state of each scope whose handlers take a [`JsonBody`].
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// A JSON object of at most the configured size. No body at all counts as `{}`.
pub(in crate::http) struct JsonBody<T>(pub T);

/// `{id}` of a room, percent-decoded.
pub(in crate::http) struct RoomPath(pub RoomId);

/// `{id}` of a room and `{userId}` of somebody in it.
pub(in crate::http) struct UserPath(pub RoomId, pub UserId);

/// `{kind}` and `{id}` of a module.
pub(in crate::http) struct ModulePath(pub ModuleKind, pub ModuleId);

pub(in crate::http) struct QueryOf<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, payload) = (req.clone(), payload.take());
        Box::pin(async move {
            let bytes = read(&req, payload).await?;
            if bytes.is_empty() {
                return parse(b"{}").map(Self);
            }
            if !is_json(&req) {
                return Err(ApiError::new(Code::UnsupportedMediaType, "send the body as application/json"));
            }
            parse(&bytes).map(Self)
        })
    }
}

async fn read(req: &HttpRequest, mut payload: Payload) -> Result<Vec<u8>, ApiError> {
    let BodyLimit(limit) = *state(req)?;
    let too_large = || ApiError::new(Code::BodyTooLarge, format!("a body has at most {limit} bytes"));
    let announced = req.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::new(Code::InvalidBody, "the body could not be read"))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_json(req: &HttpRequest) -> bool {
    let value = req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// First whether it is JSON at all, so that the two codes do not depend on where a parser stumbles.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let invalid = |code| move |error: serde_json::Error| ApiError::new(code, error.to_string());
    // JSON is UTF-8 (RFC 8259 section 8.1), which the parser checks only of what it keeps.
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::new(Code::InvalidJson, "the body must be JSON, in UTF-8"))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(invalid(Code::InvalidJson))?;
    // serde would take an array for a struct, field by field.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ApiError::new(Code::InvalidBody, "the body must be a JSON object"));
    }
    serde_json::from_str(text).map_err(invalid(Code::InvalidBody))
}

impl FromRequest for RoomPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        // What does not even decode to text gets the error of any other bad id.
        let id = web::Path::<String>::extract(req).into_inner().map(|id| id.into_inner());
        ready(RoomId::new(&id.unwrap_or_default()).map(Self).map_err(ApiError::from))
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
        _ => Err(ApiError::new(Code::NotFound, "modules are januses and mixers")),
    }
}

impl<T: DeserializeOwned> FromRequest for QueryOf<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = web::Query::<T>::from_query(req.query_string());
        let invalid =
            |error: actix_web::error::QueryPayloadError| ApiError::new(Code::InvalidQuery, error.to_string());
        ready(query.map(|query| Self(query.into_inner())).map_err(invalid))
    }
}

/// What `configure` gave the handlers.
fn state<T: 'static>(req: &HttpRequest) -> Result<&T, ApiError> {
    req.app_data::<T>().ok_or_else(|| ApiError::internal("the API is not configured"))
}
