//! Embedded web pages: start page, player, replay page, anchor's page, API reference and the operators'
//! dashboard, as built into `web/dist`.
//!
//! Owns: the table of files and their headers, and the position of a link preview in the listen page. Does
//! not build the files (`scripts/web-check.sh` checks that the committed build matches the sources), or
//! generate other HTML at run time.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};
use url::Url;

use super::embedding::{Embedding, OembedQuery, escaped};
use super::error::ApiError;
use super::extract::QueryOf;
use super::methods::only_get;
use super::previews::{Preview, Previews};
use super::{request_id, rest};
use crate::domain::ids::RoomId;
use crate::domain::recording::RecordingId;

/// Content security policy: scripts and styles from this server only, and no inline ones. The Media Source of
/// the player needs `blob:`.
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
page!(REPLAY, "replay.html", "text/html; charset=utf-8");
page!(REFERENCE, "reference.html", "text/html; charset=utf-8");
page!(DASHBOARD, "dashboard.html", "text/html; charset=utf-8");
page!(ICON, "favicon.svg", "image/svg+xml");
page!(STYLE, "assets/style.css", "text/css; charset=utf-8");
page!(START_SCRIPT, "assets/index.js", "text/javascript; charset=utf-8");
page!(LISTEN_SCRIPT, "assets/listen.js", "text/javascript; charset=utf-8");
page!(SPEAK_SCRIPT, "assets/speak.js", "text/javascript; charset=utf-8");
page!(REPLAY_SCRIPT, "assets/replay.js", "text/javascript; charset=utf-8");
page!(HLS_SCRIPT, "assets/hls.js", "text/javascript; charset=utf-8");
page!(SHARED_SCRIPT, "assets/shared.js", "text/javascript; charset=utf-8");
page!(CHANNEL_SCRIPT, "assets/channel.js", "text/javascript; charset=utf-8");
page!(VOICE_SCRIPT, "assets/voice.js", "text/javascript; charset=utf-8");
page!(ON_STAGE_SCRIPT, "assets/on-stage.js", "text/javascript; charset=utf-8");
page!(STAGE_SCRIPT, "assets/stage.js", "text/javascript; charset=utf-8");
page!(GERMAN_SCRIPT, "assets/de.js", "text/javascript; charset=utf-8");
page!(FRENCH_SCRIPT, "assets/fr.js", "text/javascript; charset=utf-8");
page!(REFERENCE_SCRIPT, "assets/reference.js", "text/javascript; charset=utf-8");
page!(DASHBOARD_SCRIPT, "assets/dashboard.js", "text/javascript; charset=utf-8");

/// Settings of the pages for listeners and anchors.
#[derive(Clone, Default)]
pub struct People {
    /// WebSocket URL that the pages of a room connect to.
    pub ws_url: Option<String>,
    pub embedding: Embedding,
    pub previews: Previews,
}

/// Embedded file as a node serves it.
#[derive(Clone)]
struct ServedFile {
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    etag: Arc<str>,
}

/// Registers `/`, `/listen/{roomId}`, `/embed/{roomId}`, `/speak/{roomId}`, `/replay/{recordingId}` and their
/// files, and `/oembed`.
pub fn configure_people(config: &mut web::ServiceConfig, people: &People) {
    let base = people.embedding.base.path.as_str();
    configure_reference(config, base);
    serve(config, "/", START.at(base));
    for (path, script) in [
        ("/assets/index.js", &START_SCRIPT),
        ("/assets/listen.js", &LISTEN_SCRIPT),
        ("/assets/speak.js", &SPEAK_SCRIPT),
        ("/assets/replay.js", &REPLAY_SCRIPT),
        ("/assets/hls.js", &HLS_SCRIPT),
        ("/assets/channel.js", &CHANNEL_SCRIPT),
        ("/assets/voice.js", &VOICE_SCRIPT),
        ("/assets/on-stage.js", &ON_STAGE_SCRIPT),
        ("/assets/stage.js", &STAGE_SCRIPT),
        ("/assets/de.js", &GERMAN_SCRIPT),
        ("/assets/fr.js", &FRENCH_SCRIPT),
    ] {
        serve(config, path, script.at(base));
    }
    let (ws_url, embedding) = (people.ws_url.as_deref(), Arc::new(people.embedding.clone()));
    // A listener who is invited to the stage speaks from the listen page.
    let (listen, previews) = (Arc::clone(&embedding), people.previews.clone());
    let policy = speaking_policy(ws_url, "'self'");
    serve_of_room(
        config,
        people,
        "/listen/{room}",
        LISTEN.at(base),
        policy.clone(),
        move |page, request, room| {
            let link = listen.oembed_link(request, room);
            Some(previewed(
                page,
                &listen,
                request,
                &format!("/listen/{room}"),
                &previews.of_room(room),
                &link,
            ))
        },
    );
    let framed = speaking_policy(ws_url, &embedding.ancestors());
    serve_of_room(config, people, "/embed/{room}", LISTEN.at(base), framed, |page, _, _| {
        Some(in_a_frame(page))
    });
    serve_of_room(config, people, "/speak/{room}", SPEAK.at(base), policy, |_, _, _| None);
    let (page, replay, previews) = (REPLAY.at(base), Arc::clone(&embedding), people.previews.clone());
    let replay = move |request: HttpRequest| {
        let (page, replay, previews) = (page.clone(), Arc::clone(&replay), previews.clone());
        async move {
            let id = match RecordingId::new(request.match_info().query("recording")) {
                Ok(id) => id,
                Err(rule) => return HttpResponse::BadRequest().body(rule.to_string()),
            };
            let preview = previews.of_recording(&id);
            let html = preview
                .map(|preview| previewed(&page, &replay, &request, &format!("/replay/{id}"), &preview, ""));
            page.adapted(&request, POLICY, previews.cover_origin_of_recording(&id), html)
        }
    };
    config.service(only_get("/replay/{recording}", replay));
    let previews = people.previews.clone();
    let oembed = move |request: HttpRequest, query: QueryOf<OembedQuery>| {
        let (embedding, previews) = (Arc::clone(&embedding), previews.clone());
        async move { embedding.oembed(&request, &query.0, &previews) }
    };
    config.service(only_get("/oembed", oembed).wrap(from_fn(request_id::middleware)));
}

/// Returns a policy that also allows connections to the gateway, which has an origin of its own. It allows
/// the pages in `ancestors` to show this page in a frame.
fn speaking_policy(ws_url: Option<&str>, ancestors: &str) -> String {
    let gateway = ws_url.and_then(|url| Some(Url::parse(url).ok()?.origin().ascii_serialization()));
    let gateway = gateway.map(|origin| format!(" {origin}")).unwrap_or_default();
    POLICY
        .replace("connect-src 'self'", &format!("connect-src 'self'{gateway}"))
        .replace("frame-ancestors 'self'", &format!("frame-ancestors {ancestors}"))
}

/// Serves a page for every valid room id; the page's script reads the room from the path. `adapt` returns the
/// page for a room if it differs from the file.
fn serve_of_room(
    config: &mut web::ServiceConfig,
    people: &People,
    path: &str,
    page: ServedFile,
    policy: String,
    adapt: impl Fn(&ServedFile, &HttpRequest, &RoomId) -> Option<String> + Clone + 'static,
) {
    let previews = people.previews.clone();
    let answer = move |request: HttpRequest| {
        let (page, policy, adapt, previews) = (page.clone(), policy.clone(), adapt.clone(), previews.clone());
        async move {
            match RoomId::new(request.match_info().query("room")) {
                Ok(room) => {
                    let html = adapt(&page, &request, &room);
                    page.adapted(&request, &policy, previews.cover_origin(&room), html)
                }
                Err(rule) => HttpResponse::BadRequest().body(rule.to_string()),
            }
        }
    };
    config.service(only_get(path, answer));
}

/// Returns a page with the elements that other sites use for a link preview. `link`: further elements.
fn previewed(
    page: &ServedFile,
    embedding: &Embedding,
    request: &HttpRequest,
    path: &str,
    preview: &Preview,
    link: &str,
) -> String {
    let title = format!("<title>{} · Stentor</title>", escaped(&preview.title));
    let head = format!("{title}{}{link}", embedding.preview(request, path, preview));
    page.html().replacen("<title>Stentor</title>", &head, 1)
}

/// Returns the listen page as it is shown in a frame of another page.
fn in_a_frame(page: &ServedFile) -> String {
    page.html().replacen("<body>", "<body class=\"embed\">", 1)
}

/// Registers the API reference at `/docs`, the OpenAPI document and the files of the page. They need no key,
/// because they contain no data of the installation besides `base`, which is `http.base_path`.
pub fn configure_reference(config: &mut web::ServiceConfig, base: &str) {
    serve(config, "/docs", REFERENCE.at(base));
    serve(config, "/favicon.svg", ICON.at(base));
    serve(config, "/assets/style.css", STYLE.at(base));
    serve(config, "/assets/reference.js", REFERENCE_SCRIPT.at(base));
    serve(config, "/assets/shared.js", SHARED_SCRIPT.at(base));
    config.service(only_get("/docs/openapi.json", document).wrap(from_fn(request_id::middleware)));
}

async fn document(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let body = Cow::Borrowed(rest::document()?.as_bytes());
    let policy = HeaderValue::from_static(POLICY);
    Ok(answer(&request, policy, "application/json", &etag_of(&body), body))
}

/// Registers the dashboard at `/` and its files.
pub fn configure_ops(config: &mut web::ServiceConfig, base: &str) {
    serve(config, "/", DASHBOARD.at(base));
    serve(config, "/favicon.svg", ICON.at(base));
    serve(config, "/assets/style.css", STYLE.at(base));
    serve(config, "/assets/dashboard.js", DASHBOARD_SCRIPT.at(base));
    serve(config, "/assets/shared.js", SHARED_SCRIPT.at(base));
}

fn serve(config: &mut web::ServiceConfig, path: &str, page: ServedFile) {
    let answer = move |request: HttpRequest| {
        let page = page.clone();
        async move { page.answer(&request, HeaderValue::from_static(POLICY)) }
    };
    config.service(only_get(path, answer));
}

impl Page {
    /// Returns the file as a node with the `http.base_path` `base` serves it. In a page, all paths in `href`
    /// and `src` get the prefix, and a `meta` element is inserted, from which the scripts read the prefix.
    fn at(&self, base: &str) -> ServedFile {
        let (content_type, etag) = (self.content_type, self.etag.as_str());
        if base.is_empty() || !content_type.starts_with("text/html") {
            return ServedFile { content_type, body: Cow::Borrowed(self.body), etag: etag.into() };
        }
        let meta = format!("<head>\n    <meta name=\"stentor-base\" content=\"{base}\" />");
        let html = String::from_utf8_lossy(self.body).replacen("<head>", &meta, 1);
        let html = ["href", "src"]
            .iter()
            .fold(html, |html, name| html.replace(&format!(" {name}=\"/"), &format!(" {name}=\"{base}/")));
        let etag = etag_of(html.as_bytes()).into();
        ServedFile { content_type, body: Cow::Owned(html.into_bytes()), etag }
    }
}

impl ServedFile {
    /// Returns the file, or 304 if the client has it already. File names contain no version, so browsers
    /// request the file with every load.
    fn answer(&self, request: &HttpRequest, policy: HeaderValue) -> HttpResponse {
        answer(request, policy, self.content_type, &self.etag, self.body.clone())
    }

    /// Returns the page of a room or a recording, whose cover comes from `cover`. `html`: the page if it
    /// differs from the file. A browser keeps the policy of a page that has not changed, so the ETag includes
    /// it.
    fn adapted(
        &self,
        request: &HttpRequest,
        policy: &str,
        cover: Option<String>,
        html: Option<String>,
    ) -> HttpResponse {
        let cover = cover.map(|origin| format!(" {origin}")).unwrap_or_default();
        let policy = policy.replace("img-src 'self'", &format!("img-src 'self'{cover}"));
        let body = html.map_or_else(|| self.body.clone(), |html| Cow::Owned(html.into_bytes()));
        let etag = etag_of(&[&body[..], policy.as_bytes()].concat());
        // Cannot fail, because an origin is ASCII. The fallback policy would allow less, never more.
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(POLICY));
        answer(request, policy, self.content_type, &etag, body)
    }

    fn html(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

fn answer(
    request: &HttpRequest,
    policy: HeaderValue,
    content_type: &'static str,
    etag: &str,
    body: Cow<'static, [u8]>,
) -> HttpResponse {
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| is_among(etag, known));
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::ETAG, etag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    match body {
        _ if known => answer.finish(),
        Cow::Borrowed(body) => answer.body(body),
        Cow::Owned(body) => answer.body(body),
    }
}

/// Returns true if `known` contains the ETag. `If-None-Match` compares weakly (RFC 9110 section 13.1.2).
fn is_among(etag: &str, known: &HeaderValue) -> bool {
    known.to_str().is_ok_and(|list| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    })
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
        let ws_url = Some("wss://live.example.org:8443/ws".to_owned());
        configure_people(config, &People { ws_url, ..People::default() });
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
        let alone = App::new().configure(|config| configure_people(config, &People::default()));
        let request = test::TestRequest::get().uri("/speak/demo").to_request();
        let answer = test::call_service(&test::init_service(alone).await, request).await;
        let policy = answer.headers().get(header::CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
        assert!(policy.contains("connect-src 'self'; "), "where no gateway is known: {policy}");
    }

    #[actix::test]
    async fn page_links_are_all_served() {
        let listener = test::init_service(App::new().configure(people)).await;
        let ops = test::init_service(App::new().configure(|config| configure_ops(config, ""))).await;
        let pages = [
            (&START, false),
            (&LISTEN, false),
            (&SPEAK, false),
            (&REPLAY, false),
            (&REFERENCE, false),
            (&DASHBOARD, true),
        ];
        for (page, on_ops) in pages {
            let html = std::str::from_utf8(page.body).unwrap();
            assert!(!html.contains("<script>") && !html.contains("style=") && !html.contains("://"));
            let starts = ["/assets/", "/favicon.svg", "/docs"];
            let links = html.split(['"']).filter(|s| starts.iter().any(|start| s.starts_with(start)));
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
    async fn base_path_precedes_every_link() {
        for page in [&START, &LISTEN, &SPEAK, &REPLAY, &REFERENCE, &DASHBOARD] {
            let html = page.at("/media/audio").html().into_owned();
            assert!(html.contains("<meta name=\"stentor-base\" content=\"/media/audio\" />"));
            let links: Vec<_> = html
                .split(" href=\"")
                .chain(html.split(" src=\""))
                .filter(|rest| rest.starts_with('/'))
                .collect();
            assert!(
                links.len() > 3 && links.iter().all(|link| link.starts_with("/media/audio/")),
                "{links:?}"
            );
            assert_ne!(page.at("/media/audio").etag, page.at("").etag);
        }
        assert_eq!(STYLE.at("/audio").body, STYLE.body);
    }

    #[actix::test]
    async fn api_reference_works_by_itself() {
        let app = test::init_service(App::new().configure(|config| configure_reference(config, ""))).await;
        let get = async |path: &str| {
            test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await
        };
        let html = String::from_utf8_lossy(REFERENCE.body);
        for link in html.split(['"']).filter(|text| text.starts_with('/') && *text != "/") {
            assert_eq!(get(link).await.status(), StatusCode::OK, "{link}");
        }
        let document = get("/docs/openapi.json").await;
        assert!(document.headers().contains_key(header::ETAG));
        let document: serde_json::Value = test::read_body_json(document).await;
        assert_eq!(document, serde_json::to_value(rest::openapi()).unwrap());
    }

    #[actix::test]
    async fn replay_page_needs_recording_id() {
        let app = test::init_service(App::new().configure(people)).await;
        for (id, status) in [("0123456789abcdef", StatusCode::OK), ("demo", StatusCode::BAD_REQUEST)] {
            let request = test::TestRequest::get().uri(&format!("/replay/{id}")).to_request();
            assert_eq!(test::call_service(&app, request).await.status(), status, "{id}");
        }
    }

    #[actix::test]
    async fn invalid_room_id_gets_no_page() {
        let app = test::init_service(App::new().configure(people)).await;
        for room in ["ab", "a%2fb", "%00%00%00", "%3Cscript%3E"] {
            for path in ["listen", "embed", "speak"].map(|page| format!("/{page}/{room}")) {
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
