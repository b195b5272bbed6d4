//! Web pages that may call this server (`http.allowed_origins`), according to the Fetch standard ("CORS
//! protocol").
//!
//! A browser sends `Origin` with every request that could do harm. A request from a page that is neither ours
//! nor allowed is refused before it has any effect. It would not be enough to hide the answer from the page:
//! the request would already have started or stopped a room.
//!
//! A server that trusts every caller on its machine must also check the host name in the request. Otherwise
//! an attacker could make the host name of a foreign page resolve to 127.0.0.1 (DNS rebinding). The page
//! would then have the same origin as the server.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};
use url::{Host, Url};

use super::error::{ApiError, Code};

/// Allowed origins, compared as text with the origin that a browser sends: `https://app.example.org`,
/// `capacitor://localhost`, `null`. `*` allows all.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    allowed: Vec<String>,
    /// Host names to which the server answers. `None` allows any name, for servers that require a key.
    hosts: Option<Hosts>,
}

/// Host names that requests may use for a server, in addition to `localhost` and loopback addresses.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

enum RequestSource {
    /// The request has no `Origin`, or comes from a page of this server.
    Here,
    Allowed(HeaderValue),
}

impl Origins {
    pub fn new(allowed: &[String]) -> Self {
        Self { allowed: allowed.to_vec(), hosts: None }
    }

    /// Restricts the host names to which the server answers. Used for servers that trust every caller on
    /// their machine.
    pub fn only_at(self, hosts: Hosts) -> Self {
        Self { hosts: Some(hosts), ..self }
    }

    /// Checks that a request does not come from a page whose origin is neither ours nor allowed.
    ///
    /// # Errors
    /// `origin_not_allowed` or `host_not_allowed`.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        self.judge(headers).map(|_| ())
    }

    fn judge(&self, headers: &HeaderMap) -> Result<RequestSource, ApiError> {
        if let Some(hosts) = &self.hosts {
            hosts.check(headers)?;
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(RequestSource::Here) };
        let text = origin.to_str().unwrap_or_default();
        if self.allowed.iter().any(|allowed| allowed == "*" || allowed == text) {
            return Ok(RequestSource::Allowed(origin.clone()));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match (text.split_once("://"), host) {
            (Some((_, from)), Some(host)) if from.eq_ignore_ascii_case(host) => Ok(RequestSource::Here),
            _ => {
                let message = "pages of this origin may not call this server (http.allowed_origins)";
                Err(ApiError::new(Code::OriginNotAllowed, message))
            }
        }
    }
}

impl Hosts {
    /// Returns the hosts of these URLs and origins.
    pub fn of<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        Self(urls.into_iter().filter_map(|url| Some(Url::parse(url).ok()?.host()?.to_string())).collect())
    }

    /// Checks the `Host` header. A request without this header passes: every browser sends the header, so the
    /// request does not come from a browser.
    ///
    /// # Errors
    /// `host_not_allowed`.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match headers.get(header::HOST) {
            Some(host) if !host.to_str().is_ok_and(|host| self.has(host)) => {
                let message = "this server does not answer to this host name, because it trusts every caller \
                    on its machine: use localhost or 127.0.0.1, or set auth.mode to keys";
                Err(ApiError::new(Code::HostNotAllowed, message))
            }
            _ => Ok(()),
        }
    }

    fn has(&self, authority: &str) -> bool {
        let url = Url::parse(&format!("http://{authority}"));
        match url.as_ref().ok().and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost" || self.0.iter().any(|known| known == name),
            Some(Host::Ipv4(ip)) => ip.is_loopback() || self.0.contains(&ip.to_string()),
            Some(Host::Ipv6(ip)) => ip.is_loopback() || self.0.contains(&format!("[{ip}]")),
            None => false,
        }
    }
}

/// Middleware that checks the `Host` header, for endpoints that serve only this machine.
pub async fn check_host(
    hosts: &Hosts,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match hosts.check(req.headers()) {
        Ok(()) => Ok(next.call(req).await?.map_into_boxed_body()),
        Err(refused) => Ok(req.error_response(refused)),
    }
}

/// Middleware that checks the origin. Runs after the request id middleware and before authentication, because
/// a preflight carries no key.
pub async fn check(
    origins: &Origins,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match origins.judge(req.headers()) {
        Err(refused) => req.error_response(refused),
        Ok(RequestSource::Here) => next.call(req).await?.map_into_boxed_body(),
        Ok(RequestSource::Allowed(origin)) => {
            let mut response = match is_preflight(&req) {
                true => req.into_response(preflight()),
                false => next.call(req).await?.map_into_boxed_body(),
            };
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let exposed = HeaderValue::from_static("X-Request-Id, Retry-After, Location, Link");
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
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, X-Request-Id"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        // The server's own page, as a browser sends it.
        headers.insert(header::ORIGIN, HeaderValue::from_str(&format!("http://{host}")).unwrap());
        headers
    }

    #[test]
    fn only_known_host_names_are_accepted() {
        let allowed = ["http://localhost:5173".to_owned()];
        let known = ["wss://live.example.org:8443/ws", "https://app.example.org", "http://192.0.2.7:80", "*"];
        let origins = Origins::new(&allowed).only_at(Hosts::of(known));
        for host in ["localhost:3000", "LOCALHOST", "127.0.0.1:3000", "127.1.2.3", "[::1]:80", "192.0.2.7"] {
            assert!(origins.check(&headers(host)).is_ok(), "{host}");
        }
        assert!(
            origins.check(&headers("live.example.org")).is_ok() && origins.check(&HeaderMap::new()).is_ok()
        );
        for host in ["evil.example:3000", "localhost.evil.example", "192.0.2.8", "[2001:db8::1]", "a b", ""] {
            let refused = Hosts::of(known).check(&headers(host)).unwrap_err();
            assert_eq!(refused.code, Code::HostNotAllowed, "{host}");
        }
        assert!(Origins::new(&allowed).check(&headers("evil.example")).is_ok(), "where keys are asked for");
    }

    #[test]
    fn origins_are_compared_as_text() {
        let allowed = ["https://app.example.org", "capacitor://localhost", "null"].map(str::to_owned);
        let check = |allowed: &[String], origin: &'static str| {
            let mut headers = headers("live.example.org");
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            Origins::new(allowed).check(&headers).is_ok()
        };
        for origin in ["https://app.example.org", "capacitor://localhost", "null", "http://live.example.org"]
        {
            assert!(check(&allowed, origin), "{origin}");
        }
        for origin in [
            "http://app.example.org",
            "https://app.example.org:8443",
            "ionic://localhost",
            "http://localhost",
            "",
        ] {
            assert!(!check(&allowed, origin), "{origin}");
        }
        assert!(!check(&[], "null"));
        assert!(check(&["*".to_owned()], "null"));
    }
}
