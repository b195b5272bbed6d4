//! Path prefix of a node behind a reverse proxy (`http.base_path`).
//!
//! Proxies may keep the prefix or remove it, and other nodes never send it. So each path is served with and
//! without the prefix.
//!
//! Owns: the removal of the prefix before routing, and the base of URLs in answers.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::http::header;
use actix_web::http::uri::PathAndQuery;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest};

use super::server::is_secure;

/// Base of the URLs at which clients reach this server.
#[derive(Debug, Clone, Default)]
pub struct PublicBase {
    /// Scheme and host; `None`: those of the client's request.
    pub url: Option<String>,
    /// `http.base_path`.
    pub path: String,
    /// True if the socket has TLS.
    pub secure: bool,
}

impl PublicBase {
    /// Returns the base of the URL at which the client reaches this server, without a trailing slash. A
    /// forged `Host` affects only the answer to its sender.
    pub fn of(&self, request: &HttpRequest) -> String {
        let host = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let origin = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let scheme = if self.secure || is_secure(request) { "https" } else { "http" };
                format!("{scheme}://{}", host().unwrap_or("localhost"))
            }
        };
        origin + &self.path
    }
}

/// Middleware for all routes of a server: removes the prefix from the path of a request, if it is there.
pub async fn strip<B: MessageBody>(
    prefix: &str,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if let Some(uri) = stripped(prefix, request.uri()) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// Returns the URI without the prefix; `None` if the URI does not have the prefix.
fn stripped(prefix: &str, uri: &Uri) -> Option<Uri> {
    if prefix.is_empty() {
        return None;
    }
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    let rest = match rest.as_bytes().first() {
        Some(b'/') => rest.to_owned(),
        None | Some(b'?') => format!("/{rest}"),
        // A different path with the same first letters, such as `/audiobook` for the prefix `/audio`.
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(rest).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_removed_once() {
        let of = |prefix: &str, path: &str| {
            stripped(prefix, &path.parse().unwrap()).map(|uri| uri.path_and_query().unwrap().to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("/audio", "/audio/listen/demo?a=%2f"), some("/listen/demo?a=%2f"));
        assert_eq!(of("/audio", "/audio/audio/x"), some("/audio/x"));
        assert_eq!(of("/a/b", "http://host:1/a/b/hls"), some("/hls"));
        assert_eq!(of("/audio", "/audio"), some("/"));
        assert_eq!(of("/audio", "/audio?x"), some("/?x"));
        for other in ["/audios/x", "/listen/audio", "/", "/Audio/x"] {
            assert_eq!(of("/audio", other), None, "{other}");
        }
        assert_eq!(of("", "/listen/demo"), None);
    }
}
