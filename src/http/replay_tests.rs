//! Tests of the replay endpoints: names, tokens and errors.

use actix_web::{App, test};

use super::*;

struct OneRecording;

const HINT: &str = "0123456789ab";
const ID: &str = "abcdefgh01234567";

#[async_trait]
impl ReplayMedia for OneRecording {
    fn room(&self, recording: &RecordingId) -> Result<RoomId, ReplayRefusal> {
        let room = RoomId::new("demo").unwrap();
        if recording.as_str() == ID { Ok(room) } else { Err(ReplayRefusal::NoSuchRecording) }
    }

    async fn playlist(&self, recording: &RecordingId) -> Result<Bytes, ReplayRefusal> {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0123456789ab&k=1\"\n";
        self.room(recording).map(|_| Bytes::from_static(text.as_bytes()))
    }

    async fn segment(&self, _: &RecordingId, file: &MediaFile) -> Result<Bytes, ReplayRefusal> {
        match file {
            MediaFile::Segment { msn: 7, .. } => Ok(Bytes::from_static(b"media")),
            MediaFile::Segment { msn: 8, .. } => Err(ReplayRefusal::NotReady),
            MediaFile::Segment { msn: 9, .. } => Err(ReplayRefusal::Unavailable),
            _ => Err(ReplayRefusal::NoSuchFile),
        }
    }

    async fn key(&self, _: &RecordingId, hint: NonceHint, index: u64) -> Result<[u8; 16], ReplayRefusal> {
        if hint.to_string() == HINT && index == 1 { Ok([7; 16]) } else { Err(ReplayRefusal::NoSuchKey) }
    }
}

struct OneToken;

impl ReplayAuth for OneToken {
    fn verify(&self, token: &str, _: &RecordingId, _: &RoomId) -> Result<(), TokenError> {
        match token {
            "good" => Ok(()),
            "listener" => Err(TokenError::WrongAudience),
            _ => Err(TokenError::WrongRecording),
        }
    }
}

async fn ask(path: &str) -> (u16, String, String) {
    let (media, auth, cors) = (Arc::new(OneRecording), Arc::new(OneToken), Cors::default());
    let side = web::Data::new(ReplaySide { media, auth, cors });
    let app = test::init_service(App::new().configure(|config| configure(config, side))).await;
    let request = test::TestRequest::get().uri(&format!("/hls/recordings/{path}")).to_request();
    let answer = test::call_service(&app, request).await;
    let caching =
        answer.headers().get("cache-control").map_or("", |value| value.to_str().unwrap()).to_owned();
    let status = answer.status().as_u16();
    let body = String::from_utf8_lossy(&test::read_body(answer).await).into_owned();
    (status, body, caching)
}

#[actix::test]
async fn replay_keys_need_replay_token() {
    let key = |id: &str, query: &str| format!("{id}/enc.key?{query}");
    for (query, status, code) in [
        ("n=0123456789ab&k=1", 401, "token_missing"),
        ("n=0123456789ab&k=1&token=listener", 403, "token_wrong_audience"),
        ("n=0123456789ab&k=1&token=other", 403, "token_wrong_room"),
        ("n=0123456789ab&k=2&token=good", 404, "key_not_found"),
        ("n=00&k=1&token=good", 404, "key_not_found"),
        ("k=1&token=good", 404, "key_not_found"),
        ("n=0123456789ab&k=-1&token=good", 400, "invalid_query"),
    ] {
        let (got, body, _) = ask(&key(ID, query)).await;
        assert_eq!(got, status, "{query}: {body}");
        assert!(body.contains(code), "{query}: {body}");
    }
    let (status, body, caching) = ask(&key(ID, "n=0123456789ab&k=1&token=good")).await;
    assert_eq!((status, body.len(), caching.as_str()), (200, 16, "no-store"));
    let (status, body, _) = ask(&key("aaaaaaaaaaaaaaaa", "n=0123456789ab&k=1&token=good")).await;
    assert!(status == 403 && body.contains("token_wrong_room"), "tells nothing: {body}");
}

#[actix::test]
async fn replay_files_have_documented_errors() {
    for (path, status, code) in [
        ("abcdefgh01234567/0123456789ab-8.ts", 409, "recording_not_ready"),
        ("abcdefgh01234567/0123456789ab-9.ts", 503, "media_unavailable"),
        ("abcdefgh01234567/0123456789ab-1.ts", 404, "not_found"),
        ("abcdefgh01234567/0123456789ab-7.1.ts", 404, "not_found"),
        ("abcdefgh01234567/..%2fjournal", 404, "not_found"),
        ("abcdefgh01234567/journal.jsonl", 404, "not_found"),
        ("short/index.m3u8", 400, "invalid_recording_id"),
        ("..%2f..%2f..%2f..%2f/index.m3u8", 400, "invalid_recording_id"),
        ("aaaaaaaaaaaaaaaa/index.m3u8", 404, "recording_not_found"),
    ] {
        let (got, body, _) = ask(path).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(code), "{path}: {body}");
    }
    assert_eq!(ask("abcdefgh01234567/0123456789ab-7.ts").await.1, "media");
}

#[actix::test]
async fn replay_playlist_repeats_token_in_keys() {
    let (status, body, caching) = ask("abcdefgh01234567/index.m3u8?token=good").await;
    assert_eq!((status, caching.as_str()), (200, "no-store"));
    assert!(body.contains("k=1&token=good\""), "{body}");
}
