//! Headers of HLS responses: caching and cross-origin rules.
//!
//! Media are encrypted and the playlist is public, so pages from any origin may read them (`*`). The same
//! holds for keys, because a page from any origin may hold a token and send it in a header. With `*`,
//! however, a browser hides the response to a request that carried a *cookie*. For the origins of
//! `http.allowed_origins` only, the origin itself is returned with `Allow-Credentials`, so that their pages
//! can use the cookie. `null` is excluded: every sandboxed page and local file has this origin, so it
//! identifies no site.
//!
//! Owns: headers. Does not decide whether a request is allowed.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// Caching of a plain playlist, which changes several times per second.
pub const PLAYLIST: HeaderValue = HeaderValue::from_static("public, no-cache");
/// Caching of a blocking reload. Its URL names the awaited state, so a cache may serve it to many listeners.
pub const BLOCKING_PLAYLIST: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// Caching of parts and segments, which never change under their name. The time is limited, so that a removed
/// room disappears from caches.
pub const MEDIA: HeaderValue = HeaderValue::from_static("public, max-age=300, immutable");
/// Caching of keys and of everything that contains a token.
pub const SECRET: HeaderValue = HeaderValue::from_static("no-store");

const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
const YES: HeaderValue = HeaderValue::from_static("true");

/// Cross-origin rules, described at the top of this file.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    allowed: Vec<String>,
}

impl Cors {
    /// Creates the rules. `allowed` are the origins (`https://app.example.org`) whose pages may use the
    /// listener cookie.
    pub fn new(allowed: Vec<String>) -> Self {
        Self { allowed }
    }

    pub fn apply(&self, request: &HttpRequest, headers: &mut HeaderMap) {
        headers.insert(header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        let exposed = HeaderValue::from_static(
            "content-length, date, icy-metaint, icy-name, retry-after, x-request-id",
        );
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        if !self.allowed.is_empty() {
            // A cache must not serve one origin's response to another.
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let origin = request.headers().get(header::ORIGIN).filter(|o| self.is_allowed(o));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.cloned().unwrap_or(ANY_ORIGIN));
        if origin.is_some() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, YES);
        }
    }

    pub fn preflight(&self, request: &HttpRequest) -> HttpResponse {
        self.allow(request, "GET, HEAD, OPTIONS", "authorization, icy-metadata, range")
    }

    /// Answers a preflight of the listener channel.
    pub fn preflight_of_channel(&self, request: &HttpRequest) -> HttpResponse {
        let headers = "authorization, content-type, last-event-id, x-request-id";
        self.allow(request, "GET, HEAD, POST, PUT, DELETE, OPTIONS", headers)
    }

    fn allow(&self, request: &HttpRequest, methods: &'static str, headers: &'static str) -> HttpResponse {
        let mut answer = HttpResponse::NoContent().finish();
        self.apply(request, answer.headers_mut());
        let fixed: [(HeaderName, &'static str); 3] = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
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

/// Creates a 200 response with its type and caching. Range requests are ignored, as RFC 9110 section 14.2
/// allows: parts are small, and our playlists contain no `EXT-X-BYTERANGE`.
pub fn found(content_type: &'static str, caching: HeaderValue) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
    answer.insert_header((header::CACHE_CONTROL, caching));
    answer.insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("none")));
    answer
}
