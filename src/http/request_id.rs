//! One id per request: taken from `X-Request-Id` if it is harmless, otherwise generated here. It is returned
//! in the same header, and is part of every error body and of the log line of every failure.

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;

use super::error::ApiError;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static REQUEST_ID: String;
}

/// Returns the id of the request that this task handles.
pub fn current() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Returns a new random id.
pub fn fresh() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Middleware that assigns the id. Must be the outermost, so that every response carries the id.
pub async fn middleware(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = offered(req.headers()).unwrap_or_else(fresh);
    let mut response = REQUEST_ID.scope(id.clone(), next.call(req)).await?.map_into_boxed_body();
    log_failure(&id, &response);
    // Always valid: a UUID, or an id that `offered` accepted.
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    Ok(response)
}

/// Returns the client's id if it has at most 64 characters, and only characters that cannot be used to forge
/// a log line.
fn offered(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    ((1..=64).contains(&id.len()) && id.bytes().all(harmless)).then(|| id.to_owned())
}

fn log_failure(id: &str, response: &ServiceResponse<BoxBody>) {
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let Some(ApiError { code, cause: Some(cause), .. }) = error else { return };
    let (method, path) = (response.request().method().as_str(), response.request().match_pattern());
    let path = path.unwrap_or_default();
    tracing::warn!(request_id = id, method, path, ?code, cause, "request failed");
}
