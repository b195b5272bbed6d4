//! Tests of the replay endpoints: names, tokens and errors.

use actix_web::{App, test};
use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::delivery::samples::synth;
use crate::delivery::{OpusFile, SegmentArchive};
use crate::domain::feed::{Feed, FeedItem, FeedSelector};
use crate::domain::ids::UnixMs;
use crate::domain::profile::Owner;
use crate::domain::recording::Recording;
use crate::http::test_tokens::node_tokens;
use crate::packager::{M4aBuilder, M4aTags, NonceHint, RecordedM4a, without_headers};
use crate::rooms::now;

struct OneRecording;

const HINT: &str = "0123456789ab";
const ID: &str = "abcdefgh01234567";

fn stored() -> Recording {
    let stored = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5,"takes":{},"title":"Tea"}"#;
    serde_json::from_str(stored).unwrap()
}

#[async_trait]
impl ReplayMedia for OneRecording {
    fn room(&self, recording: &RecordingId) -> Result<RoomId, MediaError> {
        let room = RoomId::new("demo").unwrap();
        if recording.as_str() == ID { Ok(room) } else { Err(MediaError::NoSuchRecording) }
    }

    async fn info(&self, recording: &RecordingId, clip: Clip) -> Result<ReplayInfo, MediaError> {
        Ok(ReplayInfo::of(recording, &stored(), &[], clip))
    }

    async fn captions(
        &self,
        recording: &RecordingId,
        clip: Clip,
        language: Option<&Language>,
    ) -> Result<String, MediaError> {
        let language = language.map_or("any", Language::as_str);
        self.room(recording).map(|_| format!("WEBVTT\n{language} from {}\n", clip.from.as_secs()))
    }

    async fn playlist(&self, recording: &RecordingId, clip: Clip) -> Result<Bytes, MediaError> {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0123456789ab&k=1\"\n";
        if clip.from.as_secs() > 99 {
            return Err(MediaError::NoSuchClip);
        }
        self.room(recording).map(|_| format!("{text}# from {}\n", clip.from.as_secs_f64()).into())
    }

    async fn segment(&self, _: &RecordingId, file: &MediaFile) -> Result<Bytes, MediaError> {
        match file {
            MediaFile::Segment { msn: 7, .. } => Ok(Bytes::from_static(b"media")),
            MediaFile::Segment { msn: 8, .. } => Err(MediaError::RecordingNotReady),
            MediaFile::Segment { msn: 9, .. } => Err(MediaError::RecordingUnavailable),
            _ => Err(MediaError::NoSuchFile),
        }
    }

    fn feed(&self, _: &Feed) -> Result<Vec<FeedItem>, MediaError> {
        Ok(vec![FeedItem { id: RecordingId::new(ID).unwrap(), recording: stored() }])
    }

    fn is_in_feed(&self, recording: &RecordingId, _: &Feed) -> bool {
        recording.as_str() == ID
    }

    async fn archive(&self, _: &RecordingId) -> Result<Arc<SegmentArchive>, MediaError> {
        Err(MediaError::NoSuchFile)
    }

    async fn encrypted(&self, _: &RecordingId, _: u64) -> Result<Bytes, MediaError> {
        Err(MediaError::NoSuchFile)
    }

    async fn m4a(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<RecordedM4a>, MediaError> {
        let mut file = M4aBuilder::default();
        file.segment(7, &synth::frames(9, 1), clip.from.as_secs()..u64::MAX).unwrap();
        file.silence(47);
        let started = UnixMs(1_790_000_000_000);
        let file = file.finish(started, &M4aTags::default()).unwrap();
        Ok(Arc::new(RecordedM4a {
            room: self.room(recording)?,
            started,
            etag: "state".into(),
            complete: true,
            file,
        }))
    }

    async fn opus(&self, _: &RecordingId, _: Clip) -> Result<Arc<OpusFile>, MediaError> {
        Err(MediaError::RecordingUnavailable)
    }

    async fn frames(&self, _: &RecordingId, sequence: u64) -> Result<Bytes, MediaError> {
        assert_eq!(sequence, 7);
        Ok(without_headers(&synth::frames(9, 1)).unwrap())
    }

    async fn key(
        &self,
        _: &RecordingId,
        clip: Clip,
        hint: NonceHint,
        index: u64,
    ) -> Result<[u8; 16], MediaError> {
        let is_used = hint.to_string() == HINT && index == 1 && clip == Clip::WHOLE;
        if is_used { Ok([7; 16]) } else { Err(MediaError::NoSuchKey) }
    }
}

/// Returns a listener token, and replay tokens for [`ID`], for another recording, and for a clip of [`ID`].
fn tokens() -> [(&'static str, String); 4] {
    let (tokens, room) = (node_tokens(Arc::default()).tokens, RoomId::new("demo").unwrap());
    let replay = |id, clip| tokens.issue_replay(&RecordingId::new(id).unwrap(), &room, clip, now()).token;
    let listener = tokens.issue_listener(&room, None, now()).token;
    let clip = Clip::new(2.0, 5.0).ok();
    let of_clip = ("clip", replay(ID, clip));
    [("listener", listener), ("good", replay(ID, None)), ("other", replay(OTHER, None)), of_clip]
}

/// Replaces each kind in braces, such as `{good}`, with a token of this kind.
fn with_tokens(text: &str) -> String {
    tokens().iter().fold(text.to_owned(), |text, (kind, token)| text.replace(&format!("{{{kind}}}"), token))
}

fn side() -> ReplaySide {
    let tokens = Arc::new(node_tokens(Arc::default()));
    let feeds = FeedTokens::new(&tokens.secrets);
    let base = "https://live.example.org".to_owned();
    ReplaySide { media: Arc::new(OneRecording), tokens, feeds, base, cors: Cors::default() }
}

const OTHER: &str = "0000000000000000";

#[actix::test]
async fn replay_token_opens_recording_instead() {
    let (side, room) = (side(), RoomId::new("demo").unwrap());
    for ((kind, token), wanted) in tokens().iter().zip([None, Some(ID), None, Some(ID)]) {
        let instead = side.instead_of(&room, token).await.map(|recording| recording.to_string());
        assert_eq!(instead.as_deref(), wanted, "{kind}");
    }
}

async fn ask(path: &str) -> (u16, String, String) {
    let side = web::Data::new(side());
    let app = test::init_service(App::new().configure(|config| configure(config, side))).await;
    let request = test::TestRequest::get().uri(&with_tokens(&format!("/hls/recordings/{path}"))).to_request();
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
        ("n=0123456789ab&k=1&token={listener}", 403, "token_wrong_audience"),
        ("n=0123456789ab&k=1&token={other}", 403, "token_wrong_room"),
        ("n=0123456789ab&k=2&token={good}", 404, "key_not_found"),
        ("n=00&k=1&token={good}", 404, "key_not_found"),
        ("k=1&token={good}", 404, "key_not_found"),
        ("n=0123456789ab&k=-1&token={good}", 400, "invalid_query"),
    ] {
        let (got, body, _) = ask(&key(ID, query)).await;
        assert_eq!(got, status, "{query}: {body}");
        assert!(body.contains(code), "{query}: {body}");
    }
    let (status, body, caching) = ask(&key(ID, "n=0123456789ab&k=1&token={good}")).await;
    assert_eq!((status, body.len(), caching.as_str()), (200, 16, "no-store"));
    let (status, body, _) = ask(&key("aaaaaaaaaaaaaaaa", "n=0123456789ab&k=1&token={good}")).await;
    assert!(status == 403 && body.contains("token_wrong_room"), "tells nothing: {body}");
    let (status, body, _) = ask(&key(OTHER, "n=0123456789ab&k=1&token={other}")).await;
    assert!(status == 404 && body.contains("recording_not_found"), "tells the holder of its token: {body}");
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
    let [_, (_, good), ..] = tokens();
    let (status, body, caching) = ask(&format!("abcdefgh01234567/index.m3u8?token={good}")).await;
    assert_eq!((status, caching.as_str()), (200, "no-store"));
    assert!(body.contains(&format!("k=1&token={good}\"")), "{body}");
}

#[actix::test]
async fn clips_are_served_within_their_token() {
    let begins = async |query: &str| {
        let (status, body, _) = ask(&format!("{ID}/index.m3u8{query}")).await;
        assert_eq!(status, 200, "{body}");
        body.rsplit(' ').next().unwrap().trim().to_owned()
    };
    assert_eq!(begins("").await, "0");
    assert_eq!(begins("?from=1.5&to=3").await, "1.5");
    assert_eq!(begins("?token={clip}").await, "2");
    assert_eq!(begins("?token=x").await, "0");
    for (path, status, code) in [
        ("index.m3u8?from=3&to=2", 400, "invalid_query"),
        ("index.m3u8?from=-3", 400, "invalid_query"),
        ("index.m3u8?from=100", 400, "invalid_query"),
        ("recording.m4a?token={good}&from=x", 400, "invalid_query"),
        ("recording.m4a?token={clip}&from=1&to=3", 403, "token_wrong_room"),
        ("recording.m4a?token={clip}&from=3", 403, "token_wrong_room"),
        ("enc.key?n=0123456789ab&k=1&token={clip}", 404, "key_not_found"),
    ] {
        let (got, body, _) = ask(&format!("{ID}/{path}")).await;
        assert!(got == status && body.contains(code), "{path}: {got} {body}");
    }
    let length = async |query: &str| ask(&format!("{ID}/recording.m4a?{query}")).await.1.len();
    let (whole, clip) = (length("token={good}").await, length("token={clip}").await);
    assert!(clip < whole, "{clip} of {whole} characters");
    assert_eq!(length("token={good}&from=2").await, clip);
    assert_eq!(length("token={clip}&from=2&to=5").await, clip);
}

#[actix::test]
async fn description_needs_replay_token() {
    assert_eq!(ask(&format!("{ID}/info.json")).await.0, 401);
    assert_eq!(ask(&format!("{ID}/info.json?token={{listener}}")).await.0, 403);
    let told = async |token: &str| {
        let (status, body, caching) = ask(&format!("{ID}/info.json?token={{{token}}}")).await;
        assert_eq!((status, caching.as_str()), (200, "no-store"), "{body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let whole = told("good").await;
    assert_eq!((whole["title"].as_str(), whole["roomId"].as_str()), (Some("Tea"), Some("demo")));
    assert!(whole["clip"].is_null() && whole["expiresAt"].is_u64(), "{whole}");
    assert_eq!(told("clip").await["clip"], serde_json::json!({ "from": 2.0, "to": 5.0 }));
}

#[actix::test]
async fn file_is_served_in_ranges() {
    let side = web::Data::new(side());
    let app = test::init_service(App::new().configure(|config| configure(config, side))).await;
    let get = async |query: &str, headers: &[(&'static str, &'static str)]| {
        let request =
            test::TestRequest::get().uri(&with_tokens(&format!("/hls/recordings/{ID}/recording.m4a{query}")));
        let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
        let answer = test::call_service(&app, request.to_request()).await;
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let named = ["content-range", "content-disposition", "etag", "accept-ranges"].map(header);
        (answer.status().as_u16(), named, test::read_body(answer).await)
    };
    for (query, status) in [("", 401), ("?token={listener}", 403), ("?token={other}", 403)] {
        assert_eq!(get(query, &[]).await.0, status, "{query}");
    }
    let (status, [range, name, etag, ranges], whole) = get("?token={good}", &[]).await;
    assert_eq!((status, range, ranges.as_deref()), (200, None, Some("bytes")));
    assert_eq!(name.unwrap(), "inline; filename=\"demo-2026-09-21-1413.m4a\"");
    assert_eq!((etag.as_deref(), &whole[4..11]), (Some("\"state\""), &b"ftypM4A"[..]));
    let length = whole.len();
    for (asked, from, to) in [
        ("bytes=0-3".to_owned(), 0, 4),
        ("bytes=-5".to_owned(), length - 5, length),
        (format!("bytes={}-", length - 300), length - 300, length),
        (format!("bytes=700-{}", 2 * length), 700, length),
    ] {
        let asked: &'static str = asked.leak();
        let (status, [range, ..], body) = get("?token={good}", &[("range", asked)]).await;
        assert_eq!((status, body), (206, whole.slice(from..to)), "{asked}");
        assert_eq!(range.unwrap(), format!("bytes {from}-{}/{length}", to - 1));
    }
    let same = [("range", "bytes=0-3"), ("if-range", "\"state\"")];
    assert_eq!(get("?token={good}", &same).await.0, 206);
    for headers in [
        [("range", "bytes=0-3"), ("if-range", "\"other\"")],
        [("range", "bytes=0-3"), ("if-range", "Mon, 21 Sep 2026 14:13:20 GMT")],
        [("range", "bytes=0-3,9-12"), ("accept", "*/*")],
        [("range", "lines=0-3"), ("accept", "*/*")],
    ] {
        let (status, _, body) = get("?token={good}", &headers).await;
        assert_eq!((status, body.len()), (200, length), "{headers:?}");
    }
    let (status, [range, ..], body) = get("?token={good}", &[("range", "bytes=9000000-")]).await;
    assert_eq!((status, range.unwrap()), (416, format!("bytes */{length}")));
    assert!(String::from_utf8_lossy(&body).contains("range_not_satisfiable"));
}

#[actix::test]
async fn feed_token_opens_feed_and_files() {
    let side = side();
    let of = FeedSelector::Owner(Owner::new("ann").unwrap());
    let feed = Feed { of, title: None, description: None, language: None, author: None, cover_url: None };
    let (token, _) = side.feeds.issue(&feed, now(), std::time::Duration::from_secs(60)).unwrap();
    let (expired, _) = side.feeds.issue(&feed, UnixMs(1), std::time::Duration::from_secs(60)).unwrap();
    let side = web::Data::new(side);
    let app = test::init_service(App::new().configure(|config| configure(config, side))).await;
    let ask = async |uri: String| {
        let answer = test::call_service(&app, test::TestRequest::get().uri(&uri).to_request()).await;
        (answer.status().as_u16(), String::from_utf8_lossy(&test::read_body(answer).await).into_owned())
    };
    let (status, text) = ask(format!("/hls/feed.xml?token={token}")).await;
    assert!(status == 200 && text.contains("<title>Tea</title>"), "{text}");
    let file = format!("/hls/recordings/{ID}/recording.m4a?token={token}");
    assert!(text.contains(&file), "{text}");
    assert_eq!(ask(file).await.0, 200);
    // The token of a feed gives access neither to descriptions nor to recordings outside the feed.
    assert_eq!(ask(format!("/hls/recordings/{ID}/info.json?token={token}")).await.0, 401);
    assert_eq!(ask(format!("/hls/recordings/{OTHER}/recording.m4a?token={token}")).await.0, 403);
    for (query, code) in [
        (String::new(), "token_missing"),
        (format!("?token={expired}"), "token_expired"),
        ("?token=x".to_owned(), "token_invalid"),
    ] {
        let (status, text) = ask(format!("/hls/feed.xml{query}")).await;
        assert!(status == 401 && text.contains(code), "{query}: {status} {text}");
    }
}
