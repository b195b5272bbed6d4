//! Listener side over HTTP: playlist, parts, segments and keys of every room.
//!
//! Owns: names, tokens and headers of requests. Does not store media or derive keys; [`LiveMedia`] does, and
//! hides whether the media come from this node or from another.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::guard::{GuardContext, fn_guard};
use actix_web::http::Method;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Encoding, Header, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Resource, ResponseError, web};
use url::form_urlencoded;

use super::error::{ApiError, Code};
use super::extract::cookie;
use super::hls_answer::{BLOCKING_PLAYLIST, Cors, MEDIA, PLAYLIST, SECRET, found};
use super::methods::other;
use super::replay::ReplaySide;
use super::tokens::NodeTokens;
use crate::auth::TokenError;
use crate::delivery::LiveMedia;
use crate::delivery::listener_counter::Listeners;
use crate::domain::client_address::network;
use crate::domain::clip::Clip;
use crate::domain::grant::Grant;
use crate::domain::ids::RoomId;
use crate::packager::subtitles::SubtitleFile;
use crate::packager::{self, MediaError, PlaylistText};
use crate::rooms::now;
use crate::stage::LiveCaptions;

mod subtitles;

/// Name of the cookie that may hold a listener token.
pub const TOKEN_COOKIE: &str = "stentor_listener";
pub(super) const PLAYLIST_NAME: &str = "index.m3u8";
pub(super) const REWIND_NAME: &str = "rewind.m3u8";
pub(super) const KEY_NAME: &str = "enc.key";
pub(super) const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
const MAX_NAME: usize = 128;
const MAX_TOKEN: usize = 4096;
/// Time for which a listener with a verified token is counted before the token is verified again.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// Services behind the HLS socket.
pub struct HlsSide {
    pub media: Arc<dyn LiveMedia>,
    pub tokens: Arc<NodeTokens>,
    /// Recordings of rooms whose broadcast is over; `None`: recordings are not served.
    pub replay: Option<web::Data<ReplaySide>>,
    /// Listener counter and the listener limits of the rooms. Every served playlist updates the counter.
    pub listeners: Listeners,
    pub cors: Cors,
    /// Recent captions of the rooms.
    pub captions: Arc<LiveCaptions>,
}

/// Registers the media files of rooms: all names with a dot. Call it before [`channel::configure`], because
/// otherwise the path of every media request would first be compared with the many paths of the channel.
///
/// [`channel::configure`]: super::channel::configure
pub fn configure_files(config: &mut web::ServiceConfig, side: web::Data<HlsSide>) {
    let names_a_file = |context: &GuardContext<'_>| {
        let path = context.head().uri.path();
        path.rsplit('/').next().is_some_and(|name| name.contains('.'))
    };
    config.service(file("/hls/rooms/{room}/{name}").app_data(side).guard(fn_guard(names_a_file)));
}

/// Registers all other paths below `/hls`, which are refused.
pub fn configure(config: &mut web::ServiceConfig, side: web::Data<HlsSide>) {
    let file = file("/rooms/{room}/{name}");
    config.service(web::scope("/hls").app_data(side).service(file).default_service(web::to(nothing_here)));
}

fn file(path: &str) -> Resource {
    web::resource(path)
        .route(web::get().to(get))
        .route(web::method(Method::OPTIONS).to(preflight))
        .default_service(other(&[Method::GET]))
}

async fn get(request: HttpRequest, side: web::Data<HlsSide>) -> HttpResponse {
    let mut answer = serve(&request, &side).await.unwrap_or_else(|error| error.error_response());
    side.cors.apply(&request, answer.headers_mut());
    answer
}

async fn preflight(request: HttpRequest, side: web::Data<HlsSide>) -> HttpResponse {
    side.cors.preflight(&request)
}

async fn nothing_here() -> HttpResponse {
    no_such_file().error_response()
}

async fn serve(request: &HttpRequest, side: &HlsSide) -> Result<HttpResponse, ApiError> {
    let names = request.match_info();
    let room = RoomId::new(names.query("room"))?;
    if let Some(file) = SubtitleFile::parse(names.query("name")) {
        return subtitles::serve(request, side, &room, file).await;
    }
    match names.query("name") {
        PLAYLIST_NAME => {
            if let Some(recording) = recorded(request, side, &room).await? {
                return Ok(recording);
            }
            let at = Query(request.query_string()).reload()?;
            let caching = if at.is_some() { BLOCKING_PLAYLIST } else { PLAYLIST };
            playlist(request, side, &room, caching, side.media.playlist(&room, at)).await
        }
        REWIND_NAME => {
            let query = Query(request.query_string());
            // `v2` also lets the server skip date ranges, which our playlists do not have (RFC 8216bis
            // section 6.2.5.1).
            let delta = query.text("_HLS_skip").is_some_and(|skip| matches!(&*skip, "YES" | "v2"));
            let text = async { side.media.rewind(&room).await?.playlist(delta).ok_or(MediaError::NotYet) };
            playlist(request, side, &room, PLAYLIST, text).await
        }
        KEY_NAME => key(request, side, &room).await,
        name if is_file_name(name) => {
            let (body, content_type) = side.media.file(&room, name).await?;
            Ok(found(content_type, MEDIA).body(body))
        }
        _ => Err(no_such_file()),
    }
}

/// Returns a redirect to a recording if the request has a replay token for it and the broadcast is over;
/// otherwise `None`.
async fn recorded(
    request: &HttpRequest,
    side: &HlsSide,
    room: &RoomId,
) -> Result<Option<HttpResponse>, ApiError> {
    let in_query = Query(request.query_string()).token()?;
    let Some(token) = token_of(request, in_query.as_deref()) else { return Ok(None) };
    let view = side.listeners.directory.room(room);
    if view.is_some_and(|view| view.is_on_air()) {
        return Ok(None);
    }
    let Some(replay) = &side.replay else { return Ok(None) };
    let Some(recording) = replay.instead_of(room, token).await else { return Ok(None) };
    // `Query::token` accepts no character that would have to be encoded.
    let query = in_query.map_or(String::new(), |token| format!("?token={token}"));
    let location = format!("../../recordings/{recording}/{PLAYLIST_NAME}{query}");
    let mut answer = HttpResponse::TemporaryRedirect();
    answer.insert_header((header::LOCATION, location)).insert_header((header::CACHE_CONTROL, SECRET));
    Ok(Some(answer.finish()))
}

/// Answers with a playlist. Awaits `text` only after the client is admitted.
async fn playlist(
    request: &HttpRequest,
    side: &HlsSide,
    room: &RoomId,
    caching: HeaderValue,
    text: impl Future<Output = Result<PlaylistText, MediaError>>,
) -> Result<HttpResponse, ApiError> {
    let token = Query(request.query_string()).token()?;
    if token_of(request, token.as_deref()).is_some_and(|token| side.tokens.is_banned(token, room)) {
        return Err(TokenError::Banned.into());
    }
    if !has_place(request, side, room, token.as_deref()) {
        return Err(listeners_full());
    }
    let text = text.await?;
    count(request, side, room, token.as_deref());
    if let Some(token) = token {
        return Ok(found(PLAYLIST_TYPE, SECRET).body(packager::with_token(text.plain(), &token)));
    }
    let mut answer = found(PLAYLIST_TYPE, caching);
    answer.append_header((header::VARY, HeaderValue::from_static("accept-encoding")));
    Ok(match takes_gzip(request) {
        true => answer.insert_header(ContentEncoding::Gzip).body(text.gzip().clone()),
        false => answer.body(text.plain().clone()),
    })
}

/// Returns true if the client accepts gzip (RFC 9110 section 12.5.3). A malformed header counts as no.
fn takes_gzip(request: &HttpRequest) -> bool {
    let offered = [Encoding::gzip(), Encoding::identity()];
    request.headers().contains_key(header::ACCEPT_ENCODING)
        && AcceptEncoding::parse(request)
            .is_ok_and(|accepted| accepted.negotiate(offered.iter()) == Some(Encoding::gzip()))
}

async fn key(request: &HttpRequest, side: &HlsSide, room: &RoomId) -> Result<HttpResponse, ApiError> {
    let query = Query(request.query_string());
    // A client without a token learns nothing, not even which rooms exist.
    let in_query = query.token()?;
    let token =
        token_of(request, in_query.as_deref()).ok_or_else(|| token_missing("keys need a listener"))?;
    let grant = side.tokens.verify_listener(token, room)?;
    // A request for a key does not add a listener, because the request for the playlist has counted the
    // player already. It was counted by its token or, if that request had no token, by its address.
    if !side.listeners.has_place(room, token, 0) {
        return Err(listeners_full());
    }
    let hint = query.text("n").filter(|n| is_file_name(n)).ok_or_else(bad_query)?;
    let index = query.number("k")?.ok_or_else(bad_query)?;
    let key = side.media.key(room, &grant, &hint, index).await?;
    Ok(found("application/octet-stream", SECRET).body(key.to_vec()))
}

/// Returns the token from the header, the query or the cookie, in this order.
pub(super) fn token_of<'a>(request: &'a HttpRequest, in_query: Option<&'a str>) -> Option<&'a str> {
    bearer(request).or(in_query).or_else(|| cookie(request.headers(), TOKEN_COOKIE))
}

/// Returns true if the client of a playlist is already counted, or if the room's limit allows one more
/// listener.
fn has_place(request: &HttpRequest, side: &HlsSide, room: &RoomId, in_query: Option<&str>) -> bool {
    if !side.listeners.is_limited(room) {
        return true;
    }
    let token = token_of(request, in_query).filter(|token| side.tokens.verify_listener(token, room).is_ok());
    match token {
        Some(token) => side.listeners.has_place(room, token, 1),
        None => side.listeners.has_place(room, request.peer_addr().map(|peer| network(peer.ip())), 1),
    }
}

pub(super) fn listeners_full() -> ApiError {
    ApiError::new(Code::ListenersFull, "the room has as many listeners as its listenerLimit allows")
}

/// Counts the client of a served playlist: by its valid token, otherwise by its address. All clients that
/// have no token and share a proxy count as one.
fn count(request: &HttpRequest, side: &HlsSide, room: &RoomId, in_query: Option<&str>) {
    let now = Instant::now();
    if let Some(token) = token_of(request, in_query) {
        if side.listeners.counter.record_again(room, token, now) {
            return;
        }
        if let Ok(grant) = side.tokens.verify_listener(token, room) {
            return side.listeners.counter.record(room, token, Some(now + verified_for(&grant)), now);
        }
    }
    side.listeners.counter.record(room, request.peer_addr().map(|peer| network(peer.ip())), None, now);
}

pub(super) fn verified_for(grant: &Grant) -> Duration {
    Duration::from_millis(grant.expires_at.0.saturating_sub(now().0)).min(VERIFIED_FOR)
}

pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns true if `name` is one path segment of the form that the packager writes: without a leading dot,
/// separators or control characters.
pub(super) fn is_file_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Query of a request. If a parameter is repeated, the first one counts. Unknown parameters are ignored,
/// because players and caches add their own.
pub(super) struct Query<'a>(pub(super) &'a str);

impl<'a> Query<'a> {
    /// Returns the value of a parameter. Names are compared as written, and only the value of this parameter
    /// is decoded. This saves time, because a token makes the query long, and players send several
    /// parameters.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let named = |pair: &&str| pair.split_once('=').map_or(*pair, |(name, _)| name) == name;
        let pair = self.0.split('&').find(named)?;
        let value = pair.split_once('=').map_or("", |(_, value)| value);
        if !value.contains(['%', '+']) {
            return Some(Cow::Borrowed(value));
        }
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value)
    }

    /// Returns the value of a parameter that is a non-negative integer.
    ///
    /// # Errors
    /// `invalid_query` if the value has anything but digits, or is too large.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        // `parse` alone would also accept a sign.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        value.parse().ok().filter(|_| digits).ok_or_else(bad_query).map(Some)
    }

    /// Returns the position that a blocking reload waits for: media sequence number and part.
    ///
    /// # Errors
    /// `invalid_query` if a value is not a number, or if there is a part without a media sequence number.
    pub(super) fn reload(&self) -> Result<Option<(u64, Option<u32>)>, ApiError> {
        Ok(match (self.number("_HLS_msn")?, self.number("_HLS_part")?) {
            (Some(msn), None) => Some((msn, None)),
            (Some(msn), Some(part)) => Some((msn, Some(u32::try_from(part).map_err(|_| bad_query())?))),
            (None, None) => None,
            (None, Some(_)) => return Err(bad_query()),
        })
    }

    /// Returns the part of a recording that is requested.
    ///
    /// # Errors
    /// `invalid_query` if the positions are not valid.
    pub(super) fn clip(&self) -> Result<Option<Clip>, ApiError> {
        let clip = Clip::parse(self.text("from").as_deref(), self.text("to").as_deref());
        clip.map_err(|invalid| ApiError::new(Code::InvalidQuery, invalid.to_string()))
    }

    /// Returns the token in the query.
    ///
    /// # Errors
    /// `invalid_query` if the token is empty, too long, or has characters that no token has.
    pub(super) fn token(&self) -> Result<Option<Cow<'a, str>>, ApiError> {
        let Some(token) = self.text("token") else { return Ok(None) };
        let safe = token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'));
        if safe && (1..=MAX_TOKEN).contains(&token.len()) { Ok(Some(token)) } else { Err(bad_query()) }
    }
}

fn bad_query() -> ApiError {
    ApiError::new(Code::InvalidQuery, "a query parameter is malformed or missing")
}

pub(super) fn no_such_file() -> ApiError {
    MediaError::NoSuchFile.into()
}

pub(super) fn token_missing(what_needs_which: &str) -> ApiError {
    let message = format!("{what_needs_which} token: Authorization header, cookie or token parameter");
    ApiError::new(Code::TokenMissing, message)
}

impl From<MediaError> for ApiError {
    fn from(error: MediaError) -> Self {
        let code = match error {
            MediaError::EarlierRoom => return TokenError::EarlierRoom.into(),
            MediaError::NoSuchRoom => Code::RoomNotFound,
            MediaError::NotOnAir => Code::RoomNotOnAir,
            MediaError::NoRewind => Code::RewindOff,
            MediaError::NoSuchFile => Code::NotFound,
            MediaError::NotYet => Code::MediaNotReady,
            MediaError::Gone => Code::MediaGone,
            MediaError::TooFarAhead => Code::TooFarAhead,
            MediaError::Timeout => Code::MediaTimeout,
            MediaError::Unavailable | MediaError::KeysUnknown | MediaError::RecordingUnavailable => {
                Code::MediaUnavailable
            }
            MediaError::KeyRefused => Code::KeyRefused,
            MediaError::NoSuchKey => Code::KeyNotFound,
            MediaError::KeyOutOfWindow => Code::KeyOutOfWindow,
            MediaError::NoSuchRecording => Code::RecordingNotFound,
            MediaError::RecordingNotReady => Code::RecordingNotReady,
            MediaError::NoSuchClip => Code::InvalidQuery,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::Expired => Code::TokenExpired,
            TokenError::WrongRoom | TokenError::WrongRecording | TokenError::OutsideClip => {
                Code::TokenWrongRoom
            }
            TokenError::WrongAudience => Code::TokenWrongAudience,
            TokenError::Banned => Code::UserRemoved,
            _ => Code::TokenInvalid,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
#[path = "hls_tests.rs"]
mod tests;
