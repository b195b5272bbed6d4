//! The client's opening handshake (RFC 6455 section 4.2.1).

use actix_http::RequestHead;
use actix_http::ws::verify_handshake;
use actix_web::http::Version;
use actix_web::http::header::{
    CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};

use crate::http::error::{ApiError, Code};

/// Only version of the WebSocket protocol.
const VERSION: &str = "13";

/// Checks the opening handshake of a request.
///
/// # Errors
/// `websocket_expected`, or `websocket_version` if only the version is wrong.
pub(super) fn check(head: &RequestHead) -> Result<(), ApiError> {
    let expected = |what: &str| {
        Err(ApiError::new(Code::WebsocketExpected, format!("this path only opens WebSockets: {what}")))
    };
    if head.version < Version::HTTP_11 {
        return expected("HTTP/1.1 is needed");
    }
    if only(head, &HOST).is_none() {
        return expected("one Host header is needed");
    }
    if !lists(head, &UPGRADE, "websocket") || !lists(head, &CONNECTION, "upgrade") {
        return expected("Upgrade: websocket and Connection: Upgrade are needed");
    }
    match only(head, &SEC_WEBSOCKET_VERSION) {
        None => return expected("one Sec-WebSocket-Version header is needed"),
        Some(VERSION) => {}
        Some(_) => return Err(ApiError::new(Code::WebsocketVersion, "the WebSocket version is 13")),
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
        assert_eq!(with("upgrade", "h2c, websocket"), None);
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
        for upgrade in ["", "h2c", "not-websocket", "websocket2"] {
            assert_eq!(with("upgrade", upgrade), Some(Code::WebsocketExpected), "{upgrade:?}");
        }
        assert_eq!(with("connection", "close"), Some(Code::WebsocketExpected));
        let old = checked(|request| request.version(Version::HTTP_10));
        assert_eq!(old, Some(Code::WebsocketExpected));
    }
}
