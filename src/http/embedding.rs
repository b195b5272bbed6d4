//! Rooms embedded in other sites: `/embed/{roomId}` for frames, oEmbed (<https://oembed.com>), and link
//! previews.
//!
//! Previews and oEmbed are public, like the listen page: they contain only information that needs no token.
//! [`Previews`](super::previews::Previews) decides which information that is.
//!
//! Owns: the decision about which sites may show a room in a frame, and the escaping of texts in HTML. Does
//! not give out tokens. A page that embeds a room adds the token to the address of the frame (`#token=`).

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use url::Url;

use super::base_path::PublicBase;
use super::error::{ApiError, Code};
use super::previews::{Preview, Previews};
use crate::domain::ids::RoomId;
use crate::domain::profile::CoverUrl;

/// Size of a frame in CSS pixels, unless the consumer wants a smaller one.
const SIZE: (u32, u32) = (480, 640);
/// Smallest width in which the page is usable, in CSS pixels.
const LEAST_WIDTH: u32 = 240;
const LEAST_HEIGHT: u32 = 160;
/// Size in which a consumer shows the cover, in CSS pixels, unless it wants a smaller one.
const THUMBNAIL: (u32, u32) = (480, 270);
/// Number of seconds for which a consumer may cache an answer.
const CACHE_SECONDS: u32 = 300;

/// Settings of embedding.
#[derive(Debug, Clone, Default)]
pub struct Embedding {
    /// Origins of pages that may show a room in a frame, as sources of a content security policy; `*` allows
    /// all.
    pub origins: Vec<String>,
    /// Base of the URLs at which clients reach this server.
    pub base: PublicBase,
}

/// Query of an oEmbed request (section 2.2 of the specification). Other parameters are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct OembedQuery {
    url: String,
    maxwidth: Option<u32>,
    maxheight: Option<u32>,
    format: Option<String>,
}

/// Answer to an oEmbed request (section 2.3.4 of the specification).
#[derive(Serialize)]
struct Oembed {
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    provider_name: &'static str,
    provider_url: String,
    cache_age: u32,
    html: String,
    width: u32,
    height: u32,
    #[serde(flatten)]
    thumbnail: Option<Thumbnail>,
}

/// Cover of a room. The specification requires a size. The size of the image is not known; this is the one in
/// which it is shown.
#[derive(Serialize)]
struct Thumbnail {
    thumbnail_url: CoverUrl,
    thumbnail_width: u32,
    thumbnail_height: u32,
}

impl Embedding {
    /// Returns the sources of `frame-ancestors` for the page that is shown in frames.
    pub(super) fn ancestors(&self) -> String {
        if self.origins.is_empty() { "'none'".to_owned() } else { self.origins.join(" ") }
    }

    /// Returns the elements of the page's head that describe a room or a recording to other sites. `path`:
    /// path of the page, below the base.
    pub(super) fn preview(&self, request: &HttpRequest, path: &str, preview: &Preview) -> String {
        let url = format!("{}{path}", self.base.of(request));
        let Preview { title, about, cover } = preview;
        let card = if cover.is_some() { "summary_large_image" } else { "summary" };
        let about = Some(about.as_str()).filter(|about| !about.is_empty());
        let cover = cover.as_ref().map(CoverUrl::as_str);
        let mut head = String::new();
        for (attribute, name, content) in [
            ("name", "description", about),
            ("property", "og:type", Some("website")),
            ("property", "og:site_name", Some("Stentor")),
            ("property", "og:title", Some(title.as_str())),
            ("property", "og:description", about),
            ("property", "og:image", cover),
            ("property", "og:url", Some(url.as_str())),
            ("name", "twitter:card", Some(card)),
            ("name", "twitter:title", Some(title.as_str())),
            ("name", "twitter:description", about),
            ("name", "twitter:image", cover),
        ] {
            if let Some(content) = content {
                head.push_str(&format!("<meta {attribute}=\"{name}\" content=\"{}\" />", escaped(content)));
            }
        }
        head
    }

    /// Returns the element of the listen page's head that leads to its oEmbed answer; empty if no site may
    /// embed rooms.
    pub(super) fn oembed_link(&self, request: &HttpRequest, room: &RoomId) -> String {
        if self.origins.is_empty() {
            return String::new();
        }
        let base = self.base.of(request);
        let url = format!("{base}/listen/{room}");
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("url", &url).finish();
        let href = escaped(&format!("{base}/oembed?{query}"));
        format!("<link rel=\"alternate\" type=\"application/json+oembed\" href=\"{href}\" />")
    }

    /// Answers an oEmbed request.
    ///
    /// # Errors
    /// `not_found` if the URL is not that of a room on this server, or if no site may embed rooms.
    pub(super) fn oembed(
        &self,
        request: &HttpRequest,
        query: &OembedQuery,
        previews: &Previews,
    ) -> Result<HttpResponse, ApiError> {
        if query.format.as_deref().is_some_and(|format| format != "json") {
            // Section 2.4 of the specification requires this status.
            return Ok(HttpResponse::NotImplemented().body("oEmbed is served as JSON only: format=json"));
        }
        if self.origins.is_empty() {
            let message =
                "rooms of this server cannot be embedded; its operator allows it with http.embed_origins";
            return Err(ApiError::new(Code::NotFound, message));
        }
        let base = self.base.of(request);
        let room = room_of(&query.url, &base).ok_or_else(|| {
            ApiError::new(Code::NotFound, "url is not a listen or embed page of this server")
        })?;
        let bounded = |wanted: Option<u32>, most: u32, least: u32| wanted.unwrap_or(most).clamp(least, most);
        let width = bounded(query.maxwidth, SIZE.0, LEAST_WIDTH);
        let height = bounded(query.maxheight, SIZE.1, LEAST_HEIGHT);
        let Preview { title, cover, .. } = previews.of_room(&room);
        let thumbnail_width = width.min(THUMBNAIL.0);
        let thumbnail_height = (thumbnail_width * THUMBNAIL.1 / THUMBNAIL.0).min(height);
        let thumbnail =
            cover.map(|thumbnail_url| Thumbnail { thumbnail_url, thumbnail_width, thumbnail_height });
        let html = format!(
            "<iframe src=\"{}\" title=\"{}\" width=\"{width}\" height=\"{height}\" \
             allow=\"autoplay; microphone\" style=\"border:0;max-width:100%\"></iframe>",
            escaped(&format!("{base}/embed/{room}")),
            escaped(&title),
        );
        Ok(HttpResponse::Ok().json(Oembed {
            version: "1.0",
            kind: "rich",
            title,
            provider_name: "Stentor",
            provider_url: base,
            cache_age: CACHE_SECONDS,
            html,
            width,
            height,
            thumbnail,
        }))
    }
}

/// Returns the room that a listen or embed page of the server at `base` shows.
fn room_of(url: &str, base: &str) -> Option<RoomId> {
    let (url, base) = (Url::parse(url).ok()?, Url::parse(base).ok()?);
    if url.origin() != base.origin() {
        return None;
    }
    let path = url.path().strip_prefix(base.path().trim_end_matches('/'))?.strip_prefix('/')?;
    let mut path = path.split('/');
    let (page, room) = (path.next()?, path.next()?);
    if !matches!(page, "listen" | "embed") || path.next().is_some() {
        return None;
    }
    RoomId::new(room).ok()
}

/// Returns the text escaped for HTML content and for quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use actix_web::http::{StatusCode, header};
    use actix_web::test::TestRequest;
    use actix_web::{App, test};

    use super::*;
    use crate::http::pages::{People, configure_people};

    const OWN: &str = "https://live.example.org";

    fn people(origins: &[&str]) -> People {
        let embedding = Embedding {
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            base: PublicBase { url: Some(OWN.to_owned()), ..PublicBase::default() },
        };
        People { embedding, ..People::default() }
    }

    async fn get(origins: &[&str], path: &str) -> (StatusCode, String, String) {
        let people = people(origins);
        let app = test::init_service(App::new().configure(|c| configure_people(c, &people))).await;
        let answer = test::call_service(&app, TestRequest::get().uri(path).to_request()).await;
        let policy = answer.headers().get(header::CONTENT_SECURITY_POLICY);
        let policy = policy.map(|policy| policy.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = answer.status();
        let body = test::read_body(answer).await;
        (status, policy, String::from_utf8(body.to_vec()).unwrap())
    }

    #[actix::test]
    async fn only_listed_origins_may_frame() {
        let ancestors = |policy: &str| policy.split("frame-ancestors ").nth(1).unwrap().to_owned();
        assert_eq!(ancestors(&get(&[], "/embed/demo").await.1), "'none'");
        let listed = ["https://blog.example.org", "https://*.example.com"];
        let (status, policy, body) = get(&listed, "/embed/demo").await;
        assert_eq!(
            (status, ancestors(&policy).as_str()),
            (StatusCode::OK, "https://blog.example.org https://*.example.com")
        );
        assert!(body.contains("<body class=\"embed\">"));
        for path in ["/listen/demo", "/speak/demo", "/"] {
            assert_eq!(ancestors(&get(&listed, path).await.1), "'self'", "{path}");
        }
        assert_eq!(get(&listed, "/embed/a%22b").await.0, StatusCode::BAD_REQUEST);
    }

    #[actix::test]
    async fn listen_page_has_link_preview() {
        let (_, _, body) = get(&["*"], "/listen/demo").await;
        for tag in [
            "<title>demo · Stentor</title>",
            "<meta property=\"og:title\" content=\"demo\" />",
            "<meta property=\"og:url\" content=\"https://live.example.org/listen/demo\" />",
            "href=\"https://live.example.org/oembed?url=https%3A%2F%2Flive.example.org%2Flisten%2Fdemo\"",
        ] {
            assert!(body.contains(tag), "{tag}");
        }
        assert!(!get(&[], "/listen/demo").await.2.contains("oembed"), "where nobody may embed");
    }

    #[actix::test]
    async fn forged_host_cannot_add_markup() {
        let people = People::default();
        let app = test::init_service(App::new().configure(|c| configure_people(c, &people))).await;
        let request =
            TestRequest::get().uri("/listen/demo").insert_header(("host", "\"><script>alert(1)</script>"));
        let body = test::read_body(test::call_service(&app, request.to_request()).await).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(!body.contains("<script>alert") && body.contains("&quot;&gt;&lt;script&gt;"), "{body}");
    }

    #[actix::test]
    async fn oembed_describes_a_frame() {
        let query = |url: &str| url::form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>();
        let ask = async |origins: &[&str], url: &str, more: &str| {
            let (status, _, body) = get(origins, &format!("/oembed?url={}{more}", query(url))).await;
            (status.as_u16(), serde_json::from_str::<serde_json::Value>(&body).unwrap())
        };
        let (status, answer) =
            ask(&["*"], "https://live.example.org/listen/demo#token=x", "&maxwidth=300").await;
        assert_eq!((status, &answer["type"], &answer["version"]), (200, &"rich".into(), &"1.0".into()));
        assert_eq!((answer["width"].as_u64(), answer["height"].as_u64()), (Some(300), Some(640)));
        let html = answer["html"].as_str().unwrap();
        assert!(
            html.starts_with("<iframe src=\"https://live.example.org/embed/demo\" title=\"demo\""),
            "{html}"
        );
        assert!(!html.contains("token"), "the link's token is nobody else's");
        for url in [
            "https://evil.example/listen/demo",
            "https://live.example.org/speak/demo",
            "https://live.example.org/listen/demo/more",
            "https://live.example.org/listen/%3Cb%3E",
            "demo",
            "",
        ] {
            assert_eq!(ask(&["*"], url, "").await.0, 404, "{url}");
        }
        let (status, off) = ask(&[], "https://live.example.org/listen/demo", "").await;
        assert_eq!(status, 404);
        assert!(off["error"].as_str().unwrap().contains("http.embed_origins"), "{off}");
        let xml = "/oembed?url=https://live.example.org/listen/demo&format=xml";
        assert_eq!(get(&["*"], xml).await.0, StatusCode::NOT_IMPLEMENTED);
        assert_eq!(get(&["*"], "/oembed").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(get(&["*"], "/oembed?url=a&maxwidth=-1").await.0, StatusCode::BAD_REQUEST);
    }
}
