//! Heads of HTTP/2 requests and responses. actix and h2 use different versions of the crate `http`.

use std::time::SystemTime;

use actix_http::{Request, RequestHead, ResponseHead};
use actix_web::body::BodySize;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue, HttpDate, TryIntoHeaderValue};
use actix_web::http::{Method, StatusCode, Uri, Version};

/// Headers that HTTP/2 does not permit (RFC 9113 section 8.2.2).
const FORBIDDEN: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Converts the head of a request, so that it looks as if HTTP/1.1 had carried it: the target is a path, and
/// `Host` names the authority. Returns `None` if the head is malformed (RFC 9113 section 8.1.1). h2 has
/// checked the names and values of headers.
pub(super) fn request(head: &http::request::Parts) -> Option<Request> {
    let uri = match head.uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
        Some(target) if target.starts_with('/') || target == "*" => Uri::try_from(target),
        Some(_) => return None,
        // The target of CONNECT has no path.
        None => Uri::try_from(head.uri.to_string()),
    };
    let mut request = Request::new();
    let converted: &mut RequestHead = request.head_mut();
    converted.uri = uri.ok()?;
    converted.method = Method::from_bytes(head.method.as_str().as_bytes()).ok()?;
    converted.version = Version::HTTP_2;
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        converted.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    match head.uri.authority() {
        Some(authority) => name_host(&mut converted.headers, authority.as_str())?,
        // Without an authority, there must be exactly one `Host`, as in HTTP/1.1.
        None if converted.headers.get_all(header::HOST).count() == 1 => {}
        None => return None,
    }
    Some(request)
}

/// Returns the size of a request head as HTTP/2 counts it (RFC 9113 section 6.5.2). It is at least the size
/// of the frames that carry the head.
pub(super) fn size(head: &http::request::Parts) -> usize {
    let field = |name: usize, value: usize| name + value + 32;
    let uri = head.uri.path_and_query().map_or(0, |path| path.as_str().len())
        + head.uri.authority().map_or(0, |authority| authority.as_str().len());
    let pseudo = field(":method".len(), head.method.as_str().len())
        + field(":scheme".len(), "https".len())
        + field(":authority:path".len(), uri);
    let fields = head.headers.iter().map(|(name, value)| field(name.as_str().len(), value.len()));
    pseudo + fields.sum::<usize>()
}

/// Sets `Host`. A request with another `Host` is malformed (RFC 9113 section 8.3.1).
fn name_host(headers: &mut HeaderMap, authority: &str) -> Option<()> {
    let mut named = headers.get_all(header::HOST);
    if authority.contains('@')
        || named.any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    {
        return None;
    }
    headers.insert(header::HOST, HeaderValue::from_str(authority).ok()?);
    Some(())
}

/// Returns true if the client waits before it sends the body (RFC 9110 section 10.1.1).
pub(super) fn expects_continue(head: &http::request::Parts) -> bool {
    head.headers
        .get(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Returns the interim response that asks for the body.
pub(super) fn go_on() -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::CONTINUE;
    response
}

/// Converts the head of a response with a body of this size. Returns the size of the body that may be sent.
pub(super) fn response(head: &ResponseHead, size: BodySize) -> (http::Response<()>, BodySize) {
    let size = match head.status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => BodySize::None,
        _ => size,
    };
    let mut response = http::Response::new(());
    // Both crates permit the same numbers.
    *response.status_mut() = http::StatusCode::from_u16(head.status.as_u16()).unwrap_or_default();
    let headers = response.headers_mut();
    if let BodySize::Sized(length) = size {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    for (name, value) in head.headers() {
        let is_length = *name == header::CONTENT_LENGTH && matches!(size, BodySize::Sized(_));
        if !is_length && !FORBIDDEN.contains(name) {
            append(headers, name.as_str(), value.as_bytes());
        }
    }
    if !headers.contains_key(http::header::DATE)
        && let Ok(now) = HttpDate::from(SystemTime::now()).try_into_value()
    {
        append(headers, "date", now.as_bytes());
    }
    (response, size)
}

fn append(headers: &mut http::HeaderMap, name: &str, value: &[u8]) {
    // Cannot fail: both crates permit the same bytes.
    if let (Ok(name), Ok(value)) =
        (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_bytes(value))
    {
        headers.append(name, value);
    }
}
