//! Answers of the HLS side: caching and cross-origin rules.
//!
//! Who may read what from another origin: the media are encrypted and the playlist is public, so any origin
//! may read them (`*`). Keys too, because a page of any origin may hold a token and send it in a header; but
//! with `*` a browser shows no page an answer to a request that carried a *cookie*. Only for the origins of
//! `http.allowed_origins` is the origin itself echoed with `Allow-Credentials`, and with it the cookie usable. `null`
//! is excepted: every sandboxed page and every file has it, so it identifies nobody.
//!
//! Owns: headers. Never does: decide whether a request is allowed.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// A plain playlist changes several times a second.
pub const PLAYLIST: HeaderValue = HeaderValue::from_static("public, no-cache");
/// The address of a blocking reload names the state it waits for: a cache may answer a crowd with it.
pub const BLOCKING_PLAYLIST: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// Parts and segments never change under their name. Bounded, so that a removed room fades.
pub const MEDIA: HeaderValue = HeaderValue::from_static("public, max-age=300, immutable");
/// Keys, and whatever holds a token.
pub const SECRET: HeaderValue = HeaderValue::from_static("no-store");

const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
const YES: HeaderValue = HeaderValue::from_static("true");

/// Cross-origin rules; see the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    allowed: Vec<String>,
}

impl Cors {
    /// `allowed`: origins (`https://app.example.org`) whose pages may use the listener's cookie.
    pub fn new(allowed: Vec<String>) -> Self {
        Self { allowed }
    }

    pub fn apply(&self, request: &HttpRequest, headers: &mut HeaderMap) {
        headers.insert(header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        let exposed = HeaderValue::from_static("content-length, date, retry-after, x-request-id");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        if !self.allowed.is_empty() {
            // Caches must not serve one origin's answer to another.
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let origin = request.headers().get(header::ORIGIN).filter(|o| self.is_allowed(o));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.cloned().unwrap_or(ANY_ORIGIN));
        if origin.is_some() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, YES);
        }
    }

    pub fn preflight(&self, request: &HttpRequest) -> HttpResponse {
        let mut answer = HttpResponse::NoContent().finish();
        self.apply(request, answer.headers_mut());
        let fixed: [(HeaderName, &'static str); 3] = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, range"),
            (header::ACCESS_CONTROL_MAX_AGE, "7200"),
        ];
        for (name, value) in fixed {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        origin != "null" && self.allowed.iter().any(|a| a.as_bytes() == origin.as_bytes())
    }
}

/// 200 with its caching and type; ranges are refused by silence, which RFC 9110 section 14.2 allows: parts
/// are small, and no playlist of ours uses `EXT-X-BYTERANGE`.
pub fn found(content_type: &'static str, caching: HeaderValue) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
    answer.insert_header((header::CACHE_CONTROL, caching));
    answer.insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("none")));
    answer
}
