//! Which web pages may call us (`http.allowed_origins`), by the rules of the Fetch standard ("CORS protocol").
//!
//! A browser sends `Origin` with every request that could do harm. One from a page that is neither ours nor
//! allowed is refused before anything happens, not merely left unreadable: a start or stop needs no answer
//! to do its damage.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};

use super::error::{ApiError, Code};

/// Origins as browsers spell them, `https://app.example.org`; `*` stands for any.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<String>);

enum From {
    /// No browser, or the page came from this very server.
    Here,
    Allowed(HeaderValue),
    Elsewhere,
}

impl Origins {
    pub fn new(allowed: &[String]) -> Self {
        Self(allowed.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect())
    }

    /// Whether a request with these headers may come from where it says: no browser, our own page, or allowed.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        !matches!(self.judge(headers), From::Elsewhere)
    }

    fn judge(&self, headers: &HeaderMap) -> From {
        let Some(origin) = headers.get(header::ORIGIN) else { return From::Here };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if self.0.iter().any(|allowed| allowed == "*" || *allowed == text) {
            return From::Allowed(origin.clone());
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match (text.split_once("://"), host) {
            (Some((_, from)), Some(host)) if from == host.to_ascii_lowercase() => From::Here,
            _ => From::Elsewhere,
        }
    }
}

/// Middleware; inside the request id, outside authentication: a preflight carries no key.
pub async fn check(
    origins: &Origins,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match origins.judge(req.headers()) {
        From::Here => next.call(req).await?.map_into_boxed_body(),
        From::Elsewhere => {
            let message = "pages of this origin may not call this server (http.allowed_origins)";
            req.error_response(ApiError::new(Code::OriginNotAllowed, message))
        }
        From::Allowed(origin) => {
            let mut response = match is_preflight(&req) {
                true => req.into_response(preflight()),
                false => next.call(req).await?.map_into_boxed_body(),
            };
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let exposed = HeaderValue::from_static("X-Request-Id, Retry-After");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            response
        }
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    Ok(response)
}

fn is_preflight(req: &ServiceRequest) -> bool {
    req.method() == Method::OPTIONS && req.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, X-Request-Id"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}
