//! Refusal of requests that a proxy passed on, for `auth.mode: open`.
//!
//! Open mode trusts every caller, because only this machine can connect. A proxy on this machine makes this
//! unsafe: its connections are local, but its clients are on other machines. Such requests are recognised by
//! the headers that proxies add. A proxy that speaks HTTP/1.1, adds nothing and rewrites `Host` to a loopback
//! name cannot be distinguished from a local caller.

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Version;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;

use super::error::{ApiError, Code};

/// Prefixes of headers in which proxies name their client, in lower case. They are older than RFC 7239.
const PREFIXES: [&str; 2] = ["x-forwarded", "x-original-forwarded"];
/// Other headers of proxies: `Forwarded` (RFC 7239), `Via` (RFC 9110 section 7.6.3), and those of vendors.
const FIELDS: [&str; 14] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-envoy-external-address",
    "x-arr-clientip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "fastly-client-ip",
    "fly-client-ip",
];

/// Middleware of a whole server: if `open`, refuses requests that came through a proxy.
pub async fn refuse(
    open: bool,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match if open { check(req.version(), req.headers()) } else { Ok(()) } {
        Ok(()) => Ok(next.call(req).await?.map_into_boxed_body()),
        Err(refused) => Ok(req.error_response(refused)),
    }
}

/// Accepts a request only if nothing in it indicates a proxy.
///
/// # Errors
/// `proxy_not_allowed`; the message names the sign of a proxy. HTTP/1.0 counts as such a sign: by default
/// nginx uses it for requests to its backends, and neither browsers nor curl use it.
fn check(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let is_forwarding =
        |name: &str| FIELDS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let field = headers.keys().map(|name| name.as_str()).find(|name| is_forwarding(name));
    let sign = match (field, version) {
        (Some(field), _) => format!("it has the header {field}"),
        (None, Version::HTTP_09 | Version::HTTP_10) => format!("it is {version:?}"),
        (None, _) => return Ok(()),
    };
    let message = format!(
        "this request came through a proxy ({sign}), and auth.mode is open, which serves this machine only: \
         set auth.mode to keys and give auth.api_keys"
    );
    Err(ApiError::new(Code::ProxyNotAllowed, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn checked(version: Version, names: &[&str]) -> Result<(), ApiError> {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("x"));
        }
        check(version, &headers)
    }

    #[test]
    fn forwarding_headers_are_refused() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded",
            "X-Real-IP",
            "Via",
            "CF-Connecting-IP",
        ] {
            let refused = checked(Version::HTTP_11, &["host", name]).unwrap_err();
            assert_eq!(refused.code, Code::ProxyNotAllowed, "{name}");
            assert!(refused.message.contains(&name.to_ascii_lowercase()), "{}", refused.message);
        }
    }

    #[test]
    fn local_clients_are_accepted() {
        let browser = ["host", "origin", "user-agent", "x-request-id", "sec-fetch-site", "upgrade"];
        assert!(checked(Version::HTTP_11, &browser).is_ok());
        assert!(checked(Version::HTTP_2, &[]).is_ok());
    }

    #[test]
    fn http_1_0_is_refused() {
        assert!(checked(Version::HTTP_10, &["host"]).unwrap_err().message.contains("HTTP/1.0"));
    }
}
