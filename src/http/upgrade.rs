//! The opening handshake of WebSockets (RFC 6455 section 4.2.1). Shared by signalling, the listener channel
//! and the connections of speech recognisers.
//!
//! Browsers cannot set headers, so a page offers its token as the subprotocol `bearer.<jwt>`, together with
//! `stentor`. `stentor` is the only subprotocol that the response selects.

use actix_http::RequestHead;
use actix_http::ws::verify_handshake;
use actix_web::http::Version;
use actix_web::http::header::{
    CACHE_CONTROL, CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use actix_web::{Error, HttpRequest, HttpResponse, HttpResponseBuilder};
use actix_web_actors::ws::handshake_with_protocols;
use bytes::Bytes;
use futures::{Stream, stream};

use super::error::{ApiError, Code};
use super::server::{ClientBytes, Connection};
use crate::domain::signalling::CloseCode;
use crate::frames::OutboundFrame;

/// Only version of the WebSocket protocol.
const VERSION: &str = "13";
/// Subprotocol that responses select.
const PROTOCOL: &str = "stentor";
/// Prefix of the subprotocol that carries a token.
const BEARER: &str = "bearer.";

/// Returns the head of the response that opens the WebSocket.
///
/// # Errors
/// `websocket_expected`, or `websocket_version` if only the version is wrong.
pub fn handshake(request: &HttpRequest) -> Result<HttpResponseBuilder, ApiError> {
    check(request.head())?;
    handshake_with_protocols(request, &[PROTOCOL])
        .map_err(|error| ApiError::new(Code::WebsocketExpected, error.to_string()))
}

/// Returns true if the client asks for a WebSocket, even if its handshake is wrong.
pub fn is_asked(request: &HttpRequest) -> bool {
    lists(request.head(), &UPGRADE, "websocket")
}

/// Returns true if the client offers `stentor`. It is then treated as a page: pages cannot see the status of
/// a refused upgrade, so a close code reports the refusal.
pub fn offers_protocol(request: &HttpRequest) -> bool {
    protocols(request).any(|protocol| protocol == PROTOCOL)
}

/// Returns the token that the client offers as a subprotocol.
pub fn offered_token(request: &HttpRequest) -> Option<&str> {
    protocols(request).find_map(|protocol| protocol.strip_prefix(BEARER))
}

fn protocols(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let headers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    headers.filter_map(|h| h.to_str().ok()).flat_map(|h| h.split(',')).map(str::trim)
}

/// Returns the response that completes the handshake. `frames` are the encoded frames for the client; `read`
/// gets the bytes that the client sends. The connection ends soon after either of the two has ended. If the
/// client never gets the response, both are dropped, and `read` has not run.
///
/// # Errors
/// `internal`: the request has no connection of its own.
pub fn open<F: Future<Output = ()> + 'static>(
    request: &HttpRequest,
    mut handshake: HttpResponseBuilder,
    frames: impl Stream<Item = Result<Bytes, Error>> + 'static,
    read: impl FnOnce(ClientBytes) -> F,
) -> Result<HttpResponse, ApiError> {
    let connection = request.conn_data::<Connection>();
    let connection = connection.ok_or_else(|| ApiError::internal("a WebSocket needs a connection"))?;
    connection.upgrade(read);
    Ok(handshake.insert_header((CACHE_CONTROL, "no-store")).streaming(frames))
}

/// Opens the WebSocket and closes it immediately, with a reason. If the upgrade were refused, a page would
/// see no reason, not even the status.
///
/// # Errors
/// As [`open`].
pub fn refuse(
    request: &HttpRequest,
    handshake: HttpResponseBuilder,
    code: CloseCode,
) -> Result<HttpResponse, ApiError> {
    let frame = OutboundFrame::Close(code).encoded();
    let frames = stream::once(std::future::ready(Ok(frame)));
    open(request, handshake, frames, async |bytes| drop(bytes))
}

/// Checks the opening handshake of a request.
///
/// # Errors
/// `websocket_expected`, or `websocket_version` if only the version is wrong.
fn check(head: &RequestHead) -> Result<(), ApiError> {
    let expected = |what: &str| {
        Err(ApiError::new(Code::WebsocketExpected, format!("this path only opens WebSockets: {what}")))
    };
    if head.version != Version::HTTP_11 {
        return expected("HTTP/1.1 is needed");
    }
    if only(head, &HOST).is_none() {
        return expected("one Host header is needed");
    }
    let upgrades = only(head, &UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    if !upgrades || !lists(head, &CONNECTION, "upgrade") {
        return expected("Upgrade: websocket, with no other protocol, and Connection: Upgrade are needed");
    }
    // The HTTP library would decode the frames as chunks.
    if head.headers().contains_key(TRANSFER_ENCODING) {
        return expected("the request must have no body");
    }
    match only(head, &SEC_WEBSOCKET_VERSION) {
        None => return expected("one Sec-WebSocket-Version header is needed"),
        Some(VERSION) => {}
        Some(_) => return Err(ApiError::new(Code::WebsocketVersion, "the WebSocket version must be 13")),
    }
    if only(head, &SEC_WEBSOCKET_KEY).is_none() || verify_handshake(head).is_err() {
        return expected("Sec-WebSocket-Key must be 16 bytes in base64");
    }
    Ok(())
}

/// Returns the value of a header that occurs exactly once.
fn only<'a>(head: &'a RequestHead, name: &HeaderName) -> Option<&'a str> {
    let mut values = head.headers().get_all(name);
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// Returns true if a header that is a comma-separated list contains the token, ignoring case.
fn lists(head: &RequestHead, name: &HeaderName, token: &str) -> bool {
    let values = head.headers().get_all(name).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn checked(change: impl Fn(TestRequest) -> TestRequest) -> Option<Code> {
        let request = TestRequest::get()
            .insert_header(("host", "localhost"))
            .insert_header(("upgrade", "WebSocket"))
            .insert_header(("connection", "keep-alive, Upgrade"))
            .insert_header(("sec-websocket-version", "13"))
            .insert_header(("sec-websocket-key", KEY));
        let (http, _) = change(request).to_http_parts();
        check(http.head()).err().map(|error| error.code)
    }

    fn with(name: &'static str, value: &'static str) -> Option<Code> {
        checked(|request| request.insert_header((name, value)))
    }

    #[test]
    fn complete_handshakes_pass() {
        assert_eq!(checked(|request| request), None);
        assert_eq!(with("content-length", "0"), None);
    }

    #[test]
    fn incomplete_handshakes_are_refused() {
        let short = "c2hvcnQ=";
        let long = "MDEyMzQ1Njc4OWFiY2RlZjA=";
        for key in ["", " ", "nonsense", short, long, "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZR=="] {
            assert_eq!(with("sec-websocket-key", key), Some(Code::WebsocketExpected), "{key:?}");
        }
        let twice = checked(|request| request.append_header(("sec-websocket-key", KEY)));
        assert_eq!(twice, Some(Code::WebsocketExpected));
        for version in ["8", "7", "14", "13, 8"] {
            assert_eq!(with("sec-websocket-version", version), Some(Code::WebsocketVersion), "{version}");
        }
        for upgrade in ["", "h2c", "not-websocket", "websocket2", "h2c, websocket"] {
            assert_eq!(with("upgrade", upgrade), Some(Code::WebsocketExpected), "{upgrade:?}");
        }
        assert_eq!(with("connection", "close"), Some(Code::WebsocketExpected));
        assert_eq!(with("transfer-encoding", "chunked"), Some(Code::WebsocketExpected));
        let old = checked(|request| request.version(Version::HTTP_10));
        assert_eq!(old, Some(Code::WebsocketExpected));
    }
}
