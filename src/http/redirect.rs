//! The listening socket that redirects plain http to https (`listen.redirect`).
//!
//! The target is the configured base URL, never the `Host` of the request, so a forged `Host` has no effect.

use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};

use super::acme_challenge;
use super::methods::only_get;
use crate::acme::Challenges;

/// Content of the plain-http socket.
#[derive(Clone)]
pub struct Redirect {
    /// Origin to which requests are redirected.
    pub base: String,
    /// Answers to the challenges of ACME; `None` if ACME is not configured.
    pub challenges: Option<Challenges>,
}

/// Answers every path, except those of challenges, with a redirect to the same path below the base. A request
/// with a method other than GET or HEAD gets 405. Its client has already sent the body and credentials
/// without encryption, and a redirect would make the client send them again.
pub fn configure(config: &mut web::ServiceConfig, redirect: &Redirect) {
    if let Some(challenges) = &redirect.challenges {
        acme_challenge::configure(config, challenges);
    }
    let base = redirect.base.clone();
    config.service(only_get("/{path:.*}", move |request: HttpRequest| {
        let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let location = format!("{base}{target}");
        async move {
            HttpResponse::PermanentRedirect()
                .insert_header((LOCATION, location))
                // Limits the time for which a browser follows an outdated target.
                .insert_header((CACHE_CONTROL, "max-age=3600"))
                .finish()
        }
    }));
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test};

    use super::*;

    #[actix::test]
    async fn paths_are_redirected_to_https() {
        let redirect = Redirect { base: "https://live.example.org:8443".into(), challenges: None };
        let app = App::new().configure(|config| configure(config, &redirect));
        let app = test::init_service(app).await;
        for target in ["/", "/listen/demo?a=b%20c", "//evil.example/x", "/hls/rooms/demo/index.m3u8"] {
            let request = test::TestRequest::get().uri(target).insert_header(("host", "evil.example"));
            let response = test::call_service(&app, request.to_request()).await;
            assert_eq!(response.status(), 308, "{target}");
            let location = response.headers().get(LOCATION).unwrap().to_str().unwrap();
            assert_eq!(location, format!("https://live.example.org:8443{target}"));
        }
        let post = test::TestRequest::post().uri("/api/rooms").to_request();
        assert_eq!(test::call_service(&app, post).await.status(), 405);
    }
}
