//! Endpoints of a mixer node from which listener nodes fetch, over the private network.
//!
//! File names are those of the listener side. Every request carries the relay token of its room, which is
//! derived from a secret that all nodes share. A client without the token learns nothing, not even whether
//! the room exists. The media are encrypted, and listener nodes derive the keys themselves.
//!
//! Owns: the token and the headers. A forwarded request is not forwarded again.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};

use super::error::{ApiError, Code};
use super::hls::{PLAYLIST_NAME, PLAYLIST_TYPE, Query, is_file_name, no_such_file};
use super::hls_answer::{MEDIA, SECRET, found};
use super::methods::only_get;
use crate::delivery::RelaySource;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::recording::RecordingId;
use crate::domain::relay_protocol::{
    EARLIER_WINDOW, ENDED, FORWARDED, LAST, LISTENERS, LIVE, NEXT, REWIND, REWIND_FILE, REWIND_TAKEN, TOKEN,
    WINDOW,
};
use crate::packager::NonceHint;

/// Service behind `/relay`.
pub type RelaySide = Arc<dyn RelaySource>;

/// Mounts all routes below `/relay`.
pub fn configure(config: &mut web::ServiceConfig, side: web::Data<RelaySide>) {
    let recorded = only_get("/relay/rooms/{room}/recordings/{recording}/{name}", recorded);
    config.service(recorded.app_data(side.clone()));
    config.service(only_get("/relay/rooms/{room}/{name}", get).app_data(side));
}

/// Returns the room of a request that carries the room's relay token.
fn admitted(request: &HttpRequest, side: &RelaySide) -> Result<RoomId, ApiError> {
    let room = RoomId::new(request.match_info().query("room"))?;
    let token = request.headers().get(TOKEN).map_or(&b""[..], |token| token.as_bytes());
    match side.admits(token, &room) {
        true => Ok(room),
        false => {
            Err(ApiError::new(Code::TokenInvalid, "only listener nodes of this installation may fetch here"))
        }
    }
}

async fn recorded(request: HttpRequest, side: web::Data<RelaySide>) -> Result<HttpResponse, ApiError> {
    admitted(&request, &side)?;
    let names = request.match_info();
    let recording = RecordingId::new(names.query("recording"))?;
    let body = side.recorded(recording, names.query("name").to_owned()).await.ok_or_else(no_such_file)?;
    Ok(found("application/octet-stream", SECRET).body(body))
}

async fn get(request: HttpRequest, side: web::Data<RelaySide>) -> Result<HttpResponse, ApiError> {
    let names = request.match_info();
    let room = admitted(&request, &side)?;
    match names.query("name") {
        PLAYLIST_NAME => {
            let live = live(&request)?;
            if let Some((by, count)) = listeners(&request) {
                side.listened(&room, &by, count);
            }
            let playlist = side.playlist(&room, live, Query(request.query_string()).reload()?).await?;
            let (msn, part) = playlist.next;
            let mut answer = found(PLAYLIST_TYPE, SECRET);
            answer.insert_header((NEXT, format!("{msn}.{part}")));
            if playlist.ended {
                answer.insert_header((ENDED, "1"));
            }
            Ok(answer.body(playlist.text.plain().clone()))
        }
        REWIND => {
            let last = Query(request.query_string()).number(LAST)?;
            let update = side.rewind(&room, live(&request)?, last)?;
            let mut answer = HttpResponse::Ok();
            answer.insert_header((CACHE_CONTROL, SECRET));
            Ok(answer.json(update))
        }
        REWIND_TAKEN => {
            side.rewind_taken(&room, live(&request)?);
            Ok(found("application/octet-stream", SECRET).finish())
        }
        name if name.starts_with(REWIND_FILE) => {
            let number = name.trim_start_matches(REWIND_FILE).parse().map_err(|_| no_such_file())?;
            let body = side.rewind_file(&room, live(&request)?, number).await?;
            Ok(found("application/octet-stream", SECRET).body(body))
        }
        WINDOW | EARLIER_WINDOW => {
            let snapshot = side.window_snapshot(&room).ok_or_else(no_such_file)?;
            Ok(found("application/octet-stream", SECRET).body(snapshot))
        }
        name if is_file_name(name) => {
            let forwarded = request.headers().contains_key(FORWARDED);
            let (body, content_type) = side.file(&room, name, forwarded).await?;
            Ok(found(content_type, MEDIA).body(body))
        }
        _ => Err(no_such_file()),
    }
}

fn listeners(request: &HttpRequest) -> Option<(ModuleId, usize)> {
    let (by, count) = request.headers().get(LISTENERS)?.to_str().ok()?.split_once(' ')?;
    Some((ModuleId::new(by).ok()?, count.parse().ok()?))
}

/// Returns the broadcast that the request names.
fn live(request: &HttpRequest) -> Result<NonceHint, ApiError> {
    let live = request.headers().get(LIVE).and_then(|hint| hint.to_str().ok()?.parse().ok());
    live.ok_or_else(|| ApiError::new(Code::InvalidQuery, "the header that names the broadcast is missing"))
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test};

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::domain::rewind::{RewindUpdate, RewindWindow};
    use crate::packager::{MediaError, PlaylistBody};

    struct Fake;

    const HINT: &str = "0123456789ab";

    #[async_trait]
    impl RelaySource for Fake {
        fn admits(&self, token: &[u8], room: &RoomId) -> bool {
            token == b"good" && room.as_str() == "demo"
        }

        async fn playlist(
            &self,
            _: &RoomId,
            of: NonceHint,
            at: Option<(u64, Option<u32>)>,
        ) -> Result<PlaylistBody, MediaError> {
            assert_eq!(of.to_string(), HINT);
            let ended = at == Some((9, Some(1)));
            Ok(PlaylistBody { text: Bytes::from_static(b"#EXTM3U").into(), ended, next: (9, 2) })
        }

        fn rewind(&self, _: &RoomId, of: NonceHint, last: Option<u64>) -> Result<RewindUpdate, MediaError> {
            assert_eq!((of.to_string().as_str(), last), (HINT, Some(7)));
            Ok(RewindWindow::default().update(last, 2, false))
        }

        async fn rewind_file(&self, _: &RoomId, of: NonceHint, number: u32) -> Result<Bytes, MediaError> {
            assert_eq!((of.to_string().as_str(), number), (HINT, 3));
            Ok(Bytes::from_static(b"media"))
        }

        fn rewind_taken(&self, room: &RoomId, of: NonceHint) {
            assert_eq!((room.as_str(), of.to_string().as_str()), ("demo", HINT));
        }

        fn listened(&self, room: &RoomId, by: &ModuleId, count: usize) {
            assert_eq!((room.as_str(), by.as_str(), count), ("demo", "ear", 7));
        }

        async fn file(
            &self,
            _: &RoomId,
            name: &str,
            forwarded: bool,
        ) -> Result<(Bytes, &'static str), MediaError> {
            match name {
                "seg.ts" => Ok((Bytes::from_static(b"media"), "video/mp2t")),
                "far.ts" if forwarded => Err(MediaError::NotYet),
                _ => Err(MediaError::Gone),
            }
        }

        async fn recorded(&self, recording: RecordingId, name: String) -> Option<Bytes> {
            (name == "journal").then(|| Bytes::from(recording.to_string()))
        }

        fn window_snapshot(&self, _: &RoomId) -> Option<Bytes> {
            Some(Bytes::from_static(b"window"))
        }
    }

    async fn ask(uri: &str, token: Option<&str>) -> (u16, Option<String>, bool) {
        let side: RelaySide = Arc::new(Fake);
        let app = test::init_service(App::new().configure(|c| configure(c, web::Data::new(side)))).await;
        let mut request =
            test::TestRequest::get().uri(uri).insert_header((LIVE, HINT)).insert_header((LISTENERS, "ear 7"));
        if let Some(token) = token {
            request = request.insert_header((TOKEN, token));
        }
        let answer = test::call_service(&app, request.to_request()).await;
        let next = answer.headers().get(NEXT).map(|v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), next, answer.headers().contains_key(ENDED))
    }

    #[actix::test]
    async fn relay_requires_token_of_room() {
        for token in [None, Some(""), Some("bad")] {
            for name in
                ["index.m3u8", "rewind?last=7", "rewind-3", "rewind-taken", "seg.ts", "window", "other"]
            {
                assert_eq!(ask(&format!("/relay/rooms/demo/{name}"), token).await.0, 401);
            }
        }
        assert_eq!(ask("/relay/rooms/other/index.m3u8", Some("good")).await.0, 401);
    }

    #[actix::test]
    async fn relay_playlist_requires_valid_nonce() {
        let side: RelaySide = Arc::new(Fake);
        let app = test::init_service(App::new().configure(|c| configure(c, web::Data::new(side)))).await;
        for live in ["", "demo", "0123456789ab0"] {
            let request = test::TestRequest::get().uri("/relay/rooms/demo/index.m3u8");
            let request = request.insert_header((TOKEN, "good")).insert_header((LIVE, live)).to_request();
            assert_eq!(test::call_service(&app, request).await.status(), 400, "{live:?}");
        }
    }

    #[actix::test]
    async fn forwarded_requests_are_marked() {
        let side: RelaySide = Arc::new(Fake);
        let app = test::init_service(App::new().configure(|c| configure(c, web::Data::new(side)))).await;
        for (header, status) in [(FORWARDED, 503), (LISTENERS, 410)] {
            let request = test::TestRequest::get().uri("/relay/rooms/demo/far.ts");
            let request = request.insert_header((TOKEN, "good")).insert_header((header, "1")).to_request();
            assert_eq!(test::call_service(&app, request).await.status(), status, "{header}");
        }
    }

    #[actix::test]
    async fn relay_playlist_states_next_and_end() {
        let good = Some("good");
        assert_eq!(ask("/relay/rooms/demo/index.m3u8", good).await, (200, Some("9.2".into()), false));
        let last = ask("/relay/rooms/demo/index.m3u8?_HLS_msn=9&_HLS_part=1", good).await;
        assert_eq!(last, (200, Some("9.2".into()), true));
        assert_eq!(ask("/relay/rooms/demo/rewind?last=7", good).await.0, 200);
        assert_eq!(ask("/relay/rooms/demo/rewind?last=x", good).await.0, 400);
        for name in ["seg.ts", "window", "heritage", "rewind-3", "rewind-taken"] {
            assert_eq!(ask(&format!("/relay/rooms/demo/{name}"), good).await.0, 200, "{name}");
        }
        assert_eq!(ask("/relay/rooms/demo/old.ts", good).await.0, 410);
        assert_eq!(ask("/relay/rooms/demo/enc.key?n=a&k=1", good).await.0, 410, "keys are made elsewhere");
        assert_eq!(ask("/relay/rooms/demo/.hidden", good).await.0, 404);
    }
}
