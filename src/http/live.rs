//! Plain streams over HTTP: one endless response per listener, of ADTS frames or of Opus in Ogg, and
//! playlists that contain its URL.
//!
//! Plain streams are for clients that play no HLS: internet radios, telephone systems, `<audio>` elements,
//! small players. Headers and in-band titles are those of Icecast. The response ends when the broadcast ends,
//! when the listener's token expires, or at most a second after the listener was banned.
//!
//! Owns: names, tokens and headers of requests, and in-band titles. Does not depend on where the media come
//! from; [`PlainListening`] hides this.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use bytes::Bytes;
use futures::future;
use futures::stream::{self, BoxStream, StreamExt};

use super::base_path::PublicBase;
use super::error::ApiError;
use super::hls::{HlsSide, Query, listeners_full, no_such_file, token_missing, token_of, verified_for};
use super::hls_answer::{SECRET, found};
use super::methods::other;
use super::server::Connection;
use crate::delivery::{PlainForm, PlainListening};
use crate::domain::grant::Grant;
use crate::domain::icy::{Inserter, METADATA_INTERVAL};
use crate::domain::ids::RoomId;
use crate::packager::ogg_stream::OggStream;
use crate::rooms::now;

/// Time after which a listener that still receives is counted again. Must be less than the window of the
/// counter.
const COUNTED_EVERY: Duration = Duration::from_secs(4);
/// Interval between two checks that the listener is not banned.
const CHECKED_EVERY: Duration = Duration::from_millis(500);

/// Services behind `/live`, in addition to those of the HLS socket.
pub struct LiveSide {
    pub hls: web::Data<HlsSide>,
    pub media: PlainListening,
    /// Base of the URLs in playlists.
    pub base: PublicBase,
}

/// Mounts everything under `/live`.
pub fn configure(config: &mut web::ServiceConfig, side: web::Data<LiveSide>) {
    let file = web::resource("/live/{name}")
        .app_data(side)
        .route(web::get().to(get))
        .route(web::method(Method::OPTIONS).to(preflight))
        .default_service(other(&[Method::GET]));
    config.service(file);
}

async fn get(request: HttpRequest, side: web::Data<LiveSide>) -> HttpResponse {
    let mut response = serve(&request, &side).await.unwrap_or_else(|error| error.error_response());
    side.hls.cors.apply(&request, response.headers_mut());
    response
}

async fn preflight(request: HttpRequest, side: web::Data<LiveSide>) -> HttpResponse {
    side.hls.cors.preflight(&request)
}

async fn serve(request: &HttpRequest, side: &LiveSide) -> Result<HttpResponse, ApiError> {
    let name = request.match_info().query("name");
    let (room, form, playlist) = requested(name).ok_or_else(no_such_file)?;
    let room = RoomId::new(room)?;
    // A client without a token learns nothing, not even which rooms exist.
    let in_query = Query(request.query_string()).token()?;
    let token = token_of(request, in_query.as_deref());
    let token = token.ok_or_else(|| token_missing("a plain stream needs a listener"))?;
    let grant = side.hls.tokens.verify_listener(token, &room)?;
    let Some(playlist) = playlist else {
        return stream(request, side, room, token, grant, form).await;
    };
    side.media.admit(&room, &grant).await?;
    let url = format!("{}/live/{room}.{}?token={token}", side.base.of(request), extension(form));
    let title = PlainListening::title(&side.media.directory, &room);
    Ok(match playlist {
        Playlist::M3u => {
            found("audio/x-mpegurl", SECRET).body(format!("#EXTM3U\n#EXTINF:-1,{title}\n{url}\n"))
        }
        Playlist::Pls => found("audio/x-scpls", SECRET).body(format!(
            "[playlist]\nNumberOfEntries=1\nFile1={url}\nTitle1={title}\nLength1=-1\nVersion=2\n"
        )),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Playlist {
    M3u,
    Pls,
}

/// Parses the name of a stream, or of a playlist for it: room, form, and playlist format.
fn requested(name: &str) -> Option<(&str, PlainForm, Option<Playlist>)> {
    let (name, format) = name.rsplit_once('.')?;
    let playlist = match format {
        "aac" => return Some((name, PlainForm::Aac, None)),
        "opus" => return Some((name, PlainForm::Opus, None)),
        "m3u" => Playlist::M3u,
        "pls" => Playlist::Pls,
        _ => return None,
    };
    Some(match name.strip_suffix(".opus") {
        Some(room) => (room, PlainForm::Opus, Some(playlist)),
        None => (name, PlainForm::Aac, Some(playlist)),
    })
}

fn extension(form: PlainForm) -> &'static str {
    match form {
        PlainForm::Aac => "aac",
        PlainForm::Opus => "opus",
    }
}

async fn stream(
    request: &HttpRequest,
    side: &LiveSide,
    room: RoomId,
    token: &str,
    grant: Grant,
    form: PlainForm,
) -> Result<HttpResponse, ApiError> {
    if !side.hls.listeners.has_place(&room, token, 1) {
        return Err(listeners_full());
    }
    let parts = side.media.open(&room, &grant, form).await?;
    if let Some(connection) = Connection::of(request) {
        connection.endless();
    }
    let wants_titles = request.headers().get("icy-metadata").is_some_and(|value| value == "1");
    let mut response = found(if form == PlainForm::Aac { "audio/aac" } else { "audio/ogg" }, SECRET);
    let title = {
        let (directory, room) = (side.media.directory.clone(), room.clone());
        move || PlainListening::title(&directory, &room)
    };
    // These headers are sent only on request: they make VLC 3 repeat its request with HTTP/1.0, which open
    // mode refuses.
    if wants_titles {
        // Like Icecast, in UTF-8. A title with control characters cannot be in a header.
        if let Ok(name) = HeaderValue::from_bytes(title().as_bytes()) {
            response.insert_header(("icy-name", name));
        }
        response.insert_header(("icy-pub", "0"));
        // Ogg has titles of its own.
        if form == PlainForm::Aac {
            response.insert_header(("icy-metaint", METADATA_INTERVAL.to_string()));
        }
    }
    // Many clients of plain streams send HTTP/1.0 or reuse no connection.
    response.force_close();
    let listened = counted(parts, side.hls.clone(), room, token.to_owned(), grant);
    let body = match form {
        PlainForm::Opus => ogg(listened, title, wants_titles).boxed(),
        PlainForm::Aac if wants_titles => listened
            .scan(Inserter::default(), move |inserter, part| {
                future::ready(Some(stream::iter(inserter.insert(part, &title))))
            })
            .flatten()
            .boxed(),
        PlainForm::Aac => listened.boxed(),
    };
    Ok(response.streaming(body.map(Ok::<_, actix_web::Error>)))
}

/// Returns the Ogg pages of one listener. The title in them is that at the start; only a listener that asks
/// for titles gets other headers when it changes, because some players stop there.
fn ogg(
    parts: impl stream::Stream<Item = Bytes> + 'static,
    title: impl Fn() -> String + 'static,
    follows_titles: bool,
) -> impl stream::Stream<Item = Bytes> + 'static {
    let (mut pages, mut shown) = (OggStream::new(rand::random(), follows_titles), None);
    parts.map(Some).chain(stream::once(future::ready(None))).map(move |part| match part {
        Some(part) => {
            let shown = shown.get_or_insert_with(&title);
            if follows_titles {
                *shown = title();
            }
            pages.part(&part, shown)
        }
        None => pages.end(),
    })
}

/// Counts the listener while it receives. The stream ends when the token expires or the listener is banned,
/// because HLS keys are refused in these cases, too.
fn counted(
    parts: BoxStream<'static, Bytes>,
    side: web::Data<HlsSide>,
    room: RoomId,
    token: String,
    grant: Grant,
) -> impl futures::Stream<Item = Bytes> + 'static {
    let (mut counted, mut checked): (Option<Instant>, Option<Instant>) = (None, None);
    parts.take_while(move |_| {
        let at = Instant::now();
        let mut is_valid = !grant.is_expired(now());
        if is_valid && checked.is_none_or(|last| at >= last + CHECKED_EVERY) {
            is_valid = !side.tokens.is_banned(&token, &room);
            checked = Some(at);
        }
        if is_valid && counted.is_none_or(|last| at >= last + COUNTED_EVERY) {
            side.listeners.counter.record(&room, &token, Some(at + verified_for(&grant)), at);
            counted = Some(at);
        }
        future::ready(is_valid)
    })
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
