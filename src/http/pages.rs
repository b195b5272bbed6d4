//! Embedded web pages: start page, player, anchor's page and the operators' dashboard, as built into
//! `web/dist`.
//!
//! Owns: the table of files and their headers. Never does: build them (`scripts/web-check.sh` proves that the
//! committed build matches the sources), or generate HTML at run time.

use std::sync::LazyLock;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};
use url::Url;

use super::methods::only_get;
use crate::domain::ids::RoomId;

/// Content security policy: scripts and styles from this server only, nothing inline. The player's Media
/// Source needs `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// One embedded file.
pub struct Page {
    content_type: &'static str,
    body: &'static [u8],
    /// Strong ETag, made from the exact bytes.
    etag: LazyLock<String>,
}

macro_rules! page {
    ($name:ident, $path:literal, $content_type:literal) => {
        static $name: Page = Page {
            content_type: $content_type,
            body: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/", $path)),
            etag: LazyLock::new(|| etag_of($name.body)),
        };
    };
}
page!(START, "index.html", "text/html; charset=utf-8");
page!(LISTEN, "listen.html", "text/html; charset=utf-8");
page!(SPEAK, "speak.html", "text/html; charset=utf-8");
page!(ACTORS, "actors.html", "text/html; charset=utf-8");
page!(ICON, "favicon.svg", "image/svg+xml");
page!(STYLE, "assets/style.css", "text/css; charset=utf-8");
page!(START_SCRIPT, "assets/index.js", "text/javascript; charset=utf-8");
page!(LISTEN_SCRIPT, "assets/listen.js", "text/javascript; charset=utf-8");
page!(SPEAK_SCRIPT, "assets/speak.js", "text/javascript; charset=utf-8");
page!(SHARED_SCRIPT, "assets/shared.js", "text/javascript; charset=utf-8");
page!(CHANNEL_SCRIPT, "assets/channel.js", "text/javascript; charset=utf-8");
page!(VOICE_SCRIPT, "assets/voice.js", "text/javascript; charset=utf-8");
page!(ACTORS_SCRIPT, "assets/actors.js", "text/javascript; charset=utf-8");

/// Registers `/`, `/listen/{roomId}`, `/speak/{roomId}` and their files. The latter two connect to `ws_url`.
pub fn configure_people(config: &mut web::ServiceConfig, ws_url: Option<&str>) {
    serve(config, "/", &START);
    serve(config, "/favicon.svg", &ICON);
    serve(config, "/assets/style.css", &STYLE);
    serve(config, "/assets/index.js", &START_SCRIPT);
    serve(config, "/assets/listen.js", &LISTEN_SCRIPT);
    serve(config, "/assets/speak.js", &SPEAK_SCRIPT);
    serve(config, "/assets/shared.js", &SHARED_SCRIPT);
    serve(config, "/assets/channel.js", &CHANNEL_SCRIPT);
    serve(config, "/assets/voice.js", &VOICE_SCRIPT);
    // A listener who is invited to the stage speaks from the listen page.
    serve_of_room(config, "/listen/{room}", &LISTEN, speaking_policy(ws_url));
    serve_of_room(config, "/speak/{room}", &SPEAK, speaking_policy(ws_url));
}

/// Returns a policy that also allows the gateway, which has an origin of its own.
fn speaking_policy(ws_url: Option<&str>) -> HeaderValue {
    let Some(gateway) = ws_url.and_then(|url| Url::parse(url).ok()) else {
        return HeaderValue::from_static(POLICY);
    };
    let gateway = gateway.origin().ascii_serialization();
    let policy = POLICY.replace("connect-src 'self'", &format!("connect-src 'self' {gateway}"));
    // An origin is ASCII. The fallback policy allows less, never more.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(POLICY))
}

/// Serves a page for every valid room id; the page's script reads the room from the path.
fn serve_of_room(config: &mut web::ServiceConfig, path: &str, page: &'static Page, policy: HeaderValue) {
    let answer = move |request: HttpRequest| {
        let policy = policy.clone();
        async move {
            match RoomId::new(request.match_info().query("room")) {
                Ok(_) => page.answer(&request, policy),
                Err(rule) => HttpResponse::BadRequest().body(rule.to_string()),
            }
        }
    };
    config.service(only_get(path, answer));
}

/// Registers the dashboard at `/` and its files.
pub fn configure_ops(config: &mut web::ServiceConfig) {
    serve(config, "/", &ACTORS);
    serve(config, "/favicon.svg", &ICON);
    serve(config, "/assets/style.css", &STYLE);
    serve(config, "/assets/actors.js", &ACTORS_SCRIPT);
    serve(config, "/assets/shared.js", &SHARED_SCRIPT);
}

fn serve(config: &mut web::ServiceConfig, path: &str, page: &'static Page) {
    let answer =
        move |request: HttpRequest| async move { page.answer(&request, HeaderValue::from_static(POLICY)) };
    config.service(only_get(path, answer));
}

impl Page {
    /// Returns the file, or 304 if the client has it already. File names carry no version, so every load asks
    /// again.
    fn answer(&self, request: &HttpRequest, policy: HeaderValue) -> HttpResponse {
        let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| self.is_among(known));
        let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer
            .insert_header((header::ETAG, self.etag.as_str()))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::CONTENT_TYPE, self.content_type))
            .insert_header((header::CONTENT_SECURITY_POLICY, policy))
            .insert_header((header::REFERRER_POLICY, "no-referrer"));
        if known { answer.finish() } else { answer.body(self.body) }
    }

    /// Returns true if `known` contains the ETag. `If-None-Match` compares weakly (RFC 9110 section 13.1.2).
    fn is_among(&self, known: &HeaderValue) -> bool {
        known.to_str().is_ok_and(|list| {
            list.split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag.as_str())
        })
    }
}

fn etag_of(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(body)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::StatusCode;
    use actix_web::{App, test};

    fn people(config: &mut web::ServiceConfig) {
        configure_people(config, Some("wss://live.example.org:8443/ws"));
    }

    #[actix::test]
    async fn pages_send_csp_and_etag() {
        let app = test::init_service(App::new().configure(people)).await;
        let first = test::call_service(&app, test::TestRequest::get().uri("/listen/demo").to_request()).await;
        assert_eq!(first.status(), StatusCode::OK);
        let policy = first.headers().get(header::CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
        assert!(!policy.contains("unsafe") && policy.contains("media-src 'self' blob:"));
        let etag = first.headers().get(header::ETAG).unwrap().clone();
        assert!(etag.to_str().unwrap().starts_with('"'), "strong");
        let again = test::TestRequest::get().uri("/listen/demo").insert_header((header::IF_NONE_MATCH, etag));
        assert_eq!(test::call_service(&app, again.to_request()).await.status(), StatusCode::NOT_MODIFIED);
    }

    #[actix::test]
    async fn speak_page_csp_allows_gateway_only() {
        let app = test::init_service(App::new().configure(people)).await;
        let policy = async |path| {
            let answer = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
            assert_eq!(answer.status(), StatusCode::OK);
            answer.headers().get(header::CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap().to_owned()
        };
        assert!(policy("/speak/demo").await.contains("connect-src 'self' wss://live.example.org:8443; "));
        assert!(policy("/listen/demo").await.contains("connect-src 'self' wss://live.example.org:8443; "));
        assert!(policy("/").await.contains("connect-src 'self'; "));
        let alone = App::new().configure(|config| configure_people(config, None));
        let request = test::TestRequest::get().uri("/speak/demo").to_request();
        let answer = test::call_service(&test::init_service(alone).await, request).await;
        let policy = answer.headers().get(header::CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
        assert!(policy.contains("connect-src 'self'; "), "where no gateway is known: {policy}");
    }

    #[actix::test]
    async fn page_links_are_all_served() {
        let listener = test::init_service(App::new().configure(people)).await;
        let ops = test::init_service(App::new().configure(configure_ops)).await;
        for (page, on_ops) in [(&START, false), (&LISTEN, false), (&SPEAK, false), (&ACTORS, true)] {
            let html = std::str::from_utf8(page.body).unwrap();
            assert!(!html.contains("<script>") && !html.contains("style=") && !html.contains("://"));
            let links = html.split(['"']).filter(|s| s.starts_with("/assets/") || *s == "/favicon.svg");
            for link in links {
                let request = test::TestRequest::get().uri(link).to_request();
                let status = match on_ops {
                    true => test::call_service(&ops, request).await.status(),
                    false => test::call_service(&listener, request).await.status(),
                };
                assert_eq!(status, StatusCode::OK, "{link}");
            }
        }
    }

    #[actix::test]
    async fn invalid_room_id_gets_no_page() {
        let app = test::init_service(App::new().configure(people)).await;
        for room in ["ab", "a%2fb", "%00%00%00", "%3Cscript%3E"] {
            for path in [format!("/listen/{room}"), format!("/speak/{room}")] {
                let request = test::TestRequest::get().uri(&path).to_request();
                assert_eq!(
                    test::call_service(&app, request).await.status(),
                    StatusCode::BAD_REQUEST,
                    "{path}"
                );
            }
        }
    }
}
