//! Recordings over HTTP: description, playlist, segments, keys, captions and M4A file of a recording or of a
//! clip of it; and podcast feeds of recordings.
//!
//! As with live rooms, the playlist and the encrypted segments are public. Keys, description, captions and
//! file need a token for this recording. A live listener's token gives no access to recordings, and a replay
//! token none to live rooms. A token for a clip gives access to the keys, the captions and the file of that
//! clip only. While its broadcast is on air, a recording is not served, so that no key of a live room is
//! given out here.
//!
//! Owns: names, tokens and headers of requests. Does not find or read a recording; [`ReplayMedia`] does.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Serialize;

use super::error::ApiError;
use super::hls::{KEY_NAME, PLAYLIST_NAME, PLAYLIST_TYPE, Query, token_missing, token_of};
use super::hls_answer::{Cors, MEDIA, SECRET, found};
use super::methods::other;
use super::server::large;
use super::tokens::NodeTokens;
use crate::auth::{FeedTokens, ReplayGrant, SealError, TokenError};
use crate::delivery::{ReplayInfo, ReplayMedia};
use crate::domain::clip::Clip;
use crate::domain::feed::FeedLinks;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::profile::Language;
use crate::domain::recording::RecordingId;
use crate::packager::{self, MediaError, MediaFile};
use download::download;
pub(super) use download::{out_of_range, ranged};

mod download;
mod opus;

/// Name of the M4A file of a recording.
const M4A_NAME: &str = "recording.m4a";
/// Name of the Opus file of a recording.
const OPUS_NAME: &str = "recording.opus";
/// Name of the captions of a recording.
const CAPTIONS_NAME: &str = "captions.vtt";
/// Name of the description of a recording.
const INFO_NAME: &str = "info.json";

/// Services behind `/hls/recordings`.
pub struct ReplaySide {
    pub media: Arc<dyn ReplayMedia>,
    pub tokens: Arc<NodeTokens>,
    pub feeds: FeedTokens,
    /// Base of the URLs given to listeners, without a trailing slash.
    pub base: String,
    pub cors: Cors,
}

/// Description of a recording for the holder of a replay token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(flatten)]
    info: ReplayInfo,
    /// Part of the recording to which the token gives access, in seconds; absent for the whole recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    clip: Option<Clip>,
    /// Time at which the token expires.
    expires_at: UnixMs,
}

/// Mounts everything below `/hls/recordings`.
pub fn configure(config: &mut web::ServiceConfig, side: web::Data<ReplaySide>) {
    let feed = web::resource("/hls/feed.xml")
        .app_data(side.clone())
        .route(web::get().to(feed))
        .default_service(other(&[Method::GET]));
    config.service(feed);
    let captions = web::resource("/hls/recordings/{recording}/{name:captions\\.vtt}")
        .app_data(side.clone())
        .route(web::get().to(get).wrap(from_fn(large)))
        .route(web::method(Method::OPTIONS).to(preflight))
        .default_service(other(&[Method::GET]));
    config.service(captions);
    let file = web::resource("/hls/recordings/{recording}/{name}")
        .app_data(side)
        .route(web::get().to(get))
        .route(web::method(Method::OPTIONS).to(preflight))
        .default_service(other(&[Method::GET]));
    config.service(file);
}

/// Answers with the feed that the token in the query describes.
async fn feed(request: HttpRequest, side: web::Data<ReplaySide>) -> HttpResponse {
    let mut answer = side.feed(&request).unwrap_or_else(|error| error.error_response());
    side.cors.apply(&request, answer.headers_mut());
    answer
}

async fn get(request: HttpRequest, side: web::Data<ReplaySide>) -> HttpResponse {
    let mut answer = serve(&request, &side).await.unwrap_or_else(|error| error.error_response());
    side.cors.apply(&request, answer.headers_mut());
    answer
}

async fn preflight(request: HttpRequest, side: web::Data<ReplaySide>) -> HttpResponse {
    side.cors.preflight(&request)
}

async fn serve(request: &HttpRequest, side: &ReplaySide) -> Result<HttpResponse, ApiError> {
    let names = request.match_info();
    let recording = RecordingId::new(names.query("recording"))?;
    let query = Query(request.query_string());
    match names.query("name") {
        PLAYLIST_NAME => {
            let token = query.token()?;
            let clip = side.clip_of(request, &recording, token.as_deref(), query.clip()?);
            let text = side.media.playlist(&recording, clip).await?;
            // The playlist must not be cached: the recording can be deleted, and it grows when a mixer with a
            // part of it becomes available again.
            let body = token.map_or_else(|| text.clone(), |token| packager::with_token(&text, &token));
            Ok(found(PLAYLIST_TYPE, SECRET).body(body))
        }
        M4A_NAME => {
            let clip = side.clip_of_file(request, &recording, &query)?;
            let m4a = side.media.m4a(&recording, clip).await?;
            Ok(download(request, side.media.clone(), recording, &m4a))
        }
        OPUS_NAME => {
            let clip = side.clip_of_file(request, &recording, &query)?;
            opus::download(request, side.media.opus(&recording, clip).await?).await
        }
        INFO_NAME => {
            let grant = side.admit(request, &recording, query.token()?.as_deref())?;
            let info = side.media.info(&recording, grant.clip).await?;
            let clip = Some(grant.clip).filter(|clip| *clip != Clip::WHOLE);
            Ok(found("application/json", SECRET).json(Info { info, clip, expires_at: grant.expires_at }))
        }
        CAPTIONS_NAME => {
            let grant = side.admit(request, &recording, query.token()?.as_deref())?;
            let language = query.text("language").map(|tag| Language::new(&tag)).transpose()?;
            let text = side.media.captions(&recording, grant.clip, language.as_ref()).await?;
            Ok(found("text/vtt; charset=utf-8", SECRET).body(text))
        }
        KEY_NAME => {
            let grant = side.admit(request, &recording, query.token()?.as_deref())?;
            let hint = query.text("n").and_then(|hint| hint.parse().ok()).ok_or(MediaError::NoSuchKey)?;
            let index = query.number("k")?.ok_or(MediaError::NoSuchKey)?;
            let key = side.media.key(&recording, grant.clip, hint, index).await?;
            Ok(found("application/octet-stream", SECRET).body(key.to_vec()))
        }
        name => {
            let file = name.parse().map_err(|_| MediaError::NoSuchFile)?;
            let body = side.media.segment(&recording, &file).await?;
            Ok(found(MediaFile::CONTENT_TYPE, MEDIA).body(body))
        }
    }
}

impl ReplaySide {
    /// Returns the recording to serve in place of the playlist of a room that is off air. It is the recording
    /// to which the replay token gives access, if this recording can be played.
    pub async fn instead_of(&self, room: &RoomId, token: &str) -> Option<RecordingId> {
        let recording = self.tokens.recording_of(token, room)?;
        self.media.playlist(&recording, Clip::WHOLE).await.is_ok().then_some(recording)
    }

    /// Returns the clip whose playlist is requested: the clip in the query, otherwise the clip of the token.
    /// The playlist is public, so a request with an invalid token is served like one without a token.
    fn clip_of(
        &self,
        request: &HttpRequest,
        recording: &RecordingId,
        in_query: Option<&str>,
        asked: Option<Clip>,
    ) -> Clip {
        let granted = || self.admit(request, recording, in_query).ok().map(|grant| grant.clip);
        asked.or_else(granted).unwrap_or(Clip::WHOLE)
    }

    /// Returns the clip whose file is requested.
    fn clip_of_file(
        &self,
        request: &HttpRequest,
        recording: &RecordingId,
        query: &Query,
    ) -> Result<Clip, ApiError> {
        let granted = self.admit_file(request, recording, query.token()?.as_deref())?;
        let clip = query.clip()?.unwrap_or(granted);
        if granted.contains(&clip) { Ok(clip) } else { Err(TokenError::OutsideClip.into()) }
    }

    /// Checks the token of a request for a file, and returns the part to which the token gives access.
    /// The token of a feed gives access to the files of all recordings in the feed, so the URLs of the files
    /// do not change.
    fn admit_file(
        &self,
        request: &HttpRequest,
        recording: &RecordingId,
        in_query: Option<&str>,
    ) -> Result<Clip, ApiError> {
        let refused = match self.admit(request, recording, in_query) {
            Ok(grant) => return Ok(grant.clip),
            Err(refused) => refused,
        };
        let token = token_of(request, in_query);
        let feed = token.and_then(|token| self.feeds.open(token, self.tokens.clock.wall()).ok());
        match feed {
            Some(feed) if self.media.is_in_feed(recording, &feed) => Ok(Clip::WHOLE),
            _ => Err(refused),
        }
    }

    fn feed(&self, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
        let in_query = Query(request.query_string()).token()?;
        let token = token_of(request, in_query.as_deref());
        let token = token.ok_or_else(|| token_missing("the feed needs a feed"))?;
        let feed = self.feeds.open(token, self.tokens.clock.wall()).map_err(|error| match error {
            SealError::Expired => TokenError::Expired,
            SealError::Refused => TokenError::Malformed,
        })?;
        let items = self.media.feed(&feed)?;
        let links = FeedLinks { base: &self.base, token };
        Ok(found("application/rss+xml; charset=utf-8", SECRET).body(feed.render(links, &items)))
    }

    /// Checks the token of a request for keys, description, captions or the M4A file. A client without a
    /// valid token learns nothing, not even which recordings exist. Only the holder of a token for this
    /// recording learns that it was deleted, or is not known yet.
    fn admit(
        &self,
        request: &HttpRequest,
        recording: &RecordingId,
        in_query: Option<&str>,
    ) -> Result<ReplayGrant, ApiError> {
        let token = token_of(request, in_query);
        let token = token.ok_or_else(|| {
            token_missing("keys, description, captions and file of a recording need a replay")
        })?;
        let room =
            self.media.room(recording).map_err(|missing| match self.tokens.names(token, recording) {
                true => ApiError::from(missing),
                false => TokenError::WrongRecording.into(),
            })?;
        Ok(self.tokens.verify_replay(token, recording, &room)?)
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
