//! Captions of a live room as a subtitle rendition.
//!
//! The playlists are public, like that of the room. The captions need a token that opens the key of their
//! segment, so that only listeners who may hear the words can read them.
//!
//! Owns: tokens and headers of requests. Does not assign captions to segments;
//! [`subtitles`](crate::packager::subtitles) does.

use actix_web::{HttpRequest, HttpResponse};

use super::{HlsSide, PLAYLIST_TYPE, Query, no_such_file, token_missing, token_of};
use crate::domain::ids::RoomId;
use crate::http::error::ApiError;
use crate::http::hls_answer::{PLAYLIST, SECRET, found};
use crate::packager::subtitles::{LiveSegments, SubtitleFile, multivariant};
use crate::packager::{MediaError, MediaFile, decrypt, first_timestamp};
use crate::rooms::now;

pub(super) async fn serve(
    request: &HttpRequest,
    side: &HlsSide,
    room: &RoomId,
    file: SubtitleFile,
) -> Result<HttpResponse, ApiError> {
    let in_query = Query(request.query_string()).token()?;
    // `Query::token` accepts no character that would have to be encoded.
    let query = in_query.as_ref().map_or(String::new(), |token| format!("?token={token}"));
    let caching = if in_query.is_some() { SECRET } else { PLAYLIST };
    let live = side.media.playlist(room, None).await?;
    let (language, msn) = match file {
        SubtitleFile::Multivariant => {
            let text = multivariant(&side.captions.languages(room), &query);
            return Ok(found(PLAYLIST_TYPE, caching).body(text));
        }
        SubtitleFile::Playlist(language) => (language, None),
        SubtitleFile::Segment(language, msn) => (language, Some(msn)),
    };
    let segments = LiveSegments::read(live.plain()).ok_or(MediaError::NotYet)?;
    let Some(msn) = msn else {
        let text = segments.playlist(&language, &query, now()).ok_or(MediaError::NotYet)?;
        return Ok(found(PLAYLIST_TYPE, caching).body(text));
    };
    let token =
        token_of(request, in_query.as_deref()).ok_or_else(|| token_missing("captions need a listener"))?;
    let grant = side.tokens.verify_listener(token, room)?;
    let segment = segments.listed(msn, now()).ok_or_else(no_such_file)?;
    let MediaFile::Segment { hint, .. } = segment.file else { return Err(no_such_file()) };
    let key = side.media.key(room, &grant, &hint.to_string(), segment.key_index).await?;
    let (bytes, _) = side.media.file(room, &segment.file.to_string()).await?;
    let media = decrypt(&key, msn, &bytes).map_err(ApiError::internal)?;
    let pts = first_timestamp(&media).ok_or_else(|| ApiError::internal("a segment has no timestamp"))?;
    let text = segment.webvtt(pts, &side.captions.of(room, &language));
    Ok(found("text/vtt; charset=utf-8", SECRET).body(text))
}
