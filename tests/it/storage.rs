//! Tests of copies of recordings on a real S3 server. The server and the node fail during uploads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use stentor::actors::recording::uploading::{UploadError, UploadParts, UploadProgress, advance, remove};
use stentor::config::{Secret, StorageConfig};
use stentor::delivery::{OpusFile, ReplayInfo, ReplayMedia, SegmentArchive};
use stentor::domain::clip::Clip;
use stentor::domain::feed::{Feed, FeedItem};
use stentor::domain::ids::{RoomId, UnixMs};
use stentor::domain::profile::Language;
use stentor::domain::recording::RecordingId;
use stentor::domain::upload::{CopyKind, PART_SIZE, object_name};
use stentor::packager::{
    M4aBuilder, M4aTags, MediaError, MediaFile, NonceHint, Piece, RecordedM4a, Source, without_headers,
};
use stentor::probe::Mode;
use stentor::spool::Spool;
use stentor::storage::Storage;

use crate::rooms::tuned_in;
use crate::support::moto::{BUCKET, Moto};
use crate::support::node::{Node, request};
use crate::support::studio::Studio;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::until;

const ROOM: &str = "kept-for-good";

#[actix::test]
async fn recordings_are_copied_to_object_storage() {
    let Some(mut moto) = Moto::prepare() else { return };
    let (url, endpoint) = (format!("s3://{BUCKET}/radio"), format!("http://{}", moto.address()));
    let settings = [
        ("recording.mode", "always"),
        ("recording.storage.url", url.as_str()),
        ("recording.storage.endpoint", &endpoint),
        ("recording.storage.access_key", "key"),
        ("recording.storage.secret_key", "secret"),
        ("hls.segment_ms", "500"),
    ];
    let mut node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    let studio = Studio::managed(&node).await;
    let speaker = studio.speak(&node, ROOM, 440).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    listener.hear(Duration::from_secs(3)).await.unwrap();
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded without a request").to_owned();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    drop((listener, speaker, studio));
    let known =
        async |node: &Node| node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    until("the upload fails", async || {
        let uploader = node.state_of("uploader").await;
        uploader["state"] == "failing" && uploader["attempt"].as_u64() > Some(1)
    })
    .await;
    let uploader = node.state_of("uploader").await;
    assert!(uploader["reason"].as_str().unwrap().contains(&id), "{uploader}");
    let waiting = known(&node).await;
    assert_eq!((&waiting["state"], &waiting["storedAt"]), (&json!("ready"), &Value::Null), "{waiting}");

    node.kill();
    moto.run().await;
    node.run();
    node.ready().await;
    until("the copy is complete", async || known(&node).await["storedAt"].is_u64()).await;
    let name = format!("radio/{ROOM}/{id}.m4a");
    let copy = moto.object(&name).await;
    let token = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = format!("Bearer {}", token["token"].as_str().unwrap());
    let file = format!("{}/hls/recordings/{id}/recording.m4a", node.hls);
    let file = request("GET", &file, &[("authorization", &token)], None).await;
    assert_eq!((copy.status, copy.body == file.body), (200, true), "{} bytes", copy.body.len());

    // The mixer keeps its data until the storage has removed the copy.
    let folder = node.data_dir().join("recordings").join(&id);
    moto.stop();
    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.status, 200);
    until("the removal fails", async || {
        let recorder = node.state_of("recorder").await;
        recorder["reason"].as_str().is_some_and(|reason| reason.contains("not removed"))
    })
    .await;
    assert!(folder.exists());
    moto.run().await;
    until("the data is removed", async || !folder.exists()).await;
    assert_eq!(moto.object(&name).await.status, 404);
}

#[actix::test]
async fn upload_goes_on_after_failures() {
    let Some(mut moto) = Moto::prepare() else { return };
    moto.run().await;
    let proxy = TcpProxy::start(moto.address()).await;
    let (scratch, id) = (tempfile::tempdir().unwrap(), RecordingId::random(7));
    let spool = Spool::new(scratch.path().into());
    drop(spool.open(&id).unwrap());
    // Like a new process, each of these values has only the state in the spool.
    let process = |segments| UploadParts {
        storage: Arc::new(Storage::new(&settings(&format!("http://{}", proxy.address()))).unwrap()),
        spool: spool.clone(),
        media: Arc::new(GeneratedRecording { segments, complete: true }),
        turn: Arc::default(),
    };
    let room = RoomId::new(ROOM).unwrap();
    let object = object_name(&room, &id, CopyKind::M4a);
    let partial =
        UploadParts { media: Arc::new(GeneratedRecording { segments: 30, complete: false }), ..process(30) };
    let waiting = advance(&partial, &id, CopyKind::M4a).await;
    assert!(matches!(waiting, Err(UploadError::Incomplete)), "{waiting:?}");
    let first = process(30);
    let length = first.media.m4a(&id, Clip::WHOLE).await.unwrap().file.length();
    assert!(length > 3 * PART_SIZE, "{length} bytes");
    assert_eq!(advance(&first, &id, CopyKind::M4a).await.unwrap(), UploadProgress::Sent { sent: 0, length });
    assert_eq!(
        advance(&first, &id, CopyKind::M4a).await.unwrap(),
        UploadProgress::Sent { sent: PART_SIZE, length }
    );
    proxy.cut();
    let failed = advance(&first, &id, CopyKind::M4a).await;
    assert!(matches!(failed, Err(UploadError::Storage(_))), "{failed:?}");
    proxy.heal();
    drop(first);

    let second = process(30);
    assert_eq!(
        advance(&second, &id, CopyKind::M4a).await.unwrap(),
        UploadProgress::Sent { sent: 2 * PART_SIZE, length }
    );
    let stored = finish(&second, &id).await;
    assert_eq!(stored, UploadProgress::Stored { parts: (length, 0) });
    let copy = moto.object(&format!("radio/{object}")).await;
    assert_eq!((copy.status, copy.body.len() as u64), (200, length));
    assert!(copy.body == whole(&second, &id).await, "the copy differs from the file");

    // If the answer to the last request was lost, the next step finds the complete object.
    std::fs::remove_file(scratch.path().join(id.as_str()).join("upload.json")).unwrap();
    assert_eq!(advance(&process(30), &id, CopyKind::M4a).await.unwrap(), stored);

    // Another object of the same size is not taken for the copy.
    for state in ["lost", "kept"] {
        let other = vec![b'x'; usize::try_from(length).unwrap()];
        moto.put(&format!("radio/{object}"), other).await;
        if state == "lost" {
            std::fs::remove_file(scratch.path().join(id.as_str()).join("upload.json")).unwrap();
        } else {
            let differs = advance(&process(30), &id, CopyKind::M4a).await;
            assert!(matches!(differs, Err(UploadError::Differs { .. })), "{differs:?}");
        }
        assert_eq!(finish(&process(30), &id).await, stored);
        let copy = moto.object(&format!("radio/{object}")).await;
        assert!(copy.body == whole(&second, &id).await, "{state}: the copy differs from the file");
    }

    // A file that has changed, because a mixer returned with its part, is uploaded again from the start.
    let changed = process(31);
    let longer = finish(&changed, &id).await;
    let UploadProgress::Stored { parts: (bytes, 0) } = longer else { panic!("{longer:?}") };
    assert!(bytes > length);
    assert_eq!(moto.object(&format!("radio/{object}")).await.body.len() as u64, bytes);

    // The removal waits for the step in progress, which could otherwise complete the object after the
    // removal.
    let step = changed.turn.lock().await;
    let removal = remove(&changed, &id, &room, []);
    let others = async {
        for _ in 0..20 {
            assert_eq!(moto.object(&format!("radio/{object}")).await.status, 200);
        }
        drop(step);
    };
    let (removed, ()) = tokio::join!(removal, others);
    removed.unwrap();
    assert_eq!(moto.object(&format!("radio/{object}")).await.status, 404);
    remove(&changed, &id, &room, []).await.unwrap();

    // The state of an upload cannot be stored, because the recording was erased meanwhile.
    spool.erase(&id).unwrap();
    let failed = advance(&changed, &id, CopyKind::M4a).await;
    assert!(matches!(failed, Err(UploadError::Spool(_))), "{failed:?}");
    let uploads = String::from_utf8(moto.object("?uploads").await.body.to_vec()).unwrap();
    assert!(uploads.contains("ListMultipartUploadsResult") && !uploads.contains(id.as_str()), "{uploads}");
}

/// Performs all remaining steps of an upload.
async fn finish(parts: &UploadParts, id: &RecordingId) -> UploadProgress {
    for _ in 0..20 {
        if let stored @ UploadProgress::Stored { .. } = advance(parts, id, CopyKind::M4a).await.unwrap() {
            return stored;
        }
    }
    panic!("the upload does not end");
}

fn settings(endpoint: &str) -> StorageConfig {
    StorageConfig {
        bucket: BUCKET.into(),
        prefix: "radio".into(),
        endpoint: Some(endpoint.into()),
        region: "us-east-1".into(),
        access_key: "key".into(),
        secret_key: Secret(b"secret".to_vec()),
        keep_local: None,
    }
}

/// Recording of large frames with arbitrary content; no test decodes them.
struct GeneratedRecording {
    segments: u64,
    /// False: a mixer does not answer. The M4A file must then not be laid out.
    complete: bool,
}

/// Number of frames per segment.
const FRAMES: usize = 900;
/// Size of a frame with its ADTS header, in bytes.
const FRAME: usize = 775;

/// Returns the frames of a segment with ADTS headers (ISO/IEC 13818-7 section 6.2): AAC-LC, 48 kHz, mono.
fn adts(sequence: u64) -> Vec<u8> {
    let mut frame = vec![0xff, 0xf1, 0x4c, 0x40 | (FRAME >> 11) as u8];
    frame.extend([(FRAME >> 3) as u8, ((FRAME & 7) << 5) as u8 | 0x1f, 0xfc]);
    frame.resize(FRAME, sequence as u8);
    frame.repeat(FRAMES)
}

#[async_trait]
impl ReplayMedia for GeneratedRecording {
    fn room(&self, _: &RecordingId) -> Result<RoomId, MediaError> {
        Ok(RoomId::new(ROOM).unwrap())
    }

    async fn captions(&self, _: &RecordingId, _: Clip, _: Option<&Language>) -> Result<String, MediaError> {
        Err(MediaError::NoSuchRecording)
    }

    async fn m4a(&self, recording: &RecordingId, _: Clip) -> Result<Arc<RecordedM4a>, MediaError> {
        assert!(self.complete, "a layout reads all segments");
        let mut file = M4aBuilder::default();
        (0..self.segments).for_each(|n| file.segment(n, &adts(n), 0..u64::MAX).unwrap());
        let (room, started) = (self.room(recording)?, UnixMs(1_790_000_000_000));
        let file = file.finish(started, &M4aTags::default()).unwrap();
        Ok(Arc::new(RecordedM4a { room, started, etag: "state".into(), complete: true, file }))
    }

    async fn opus(&self, _: &RecordingId, _: Clip) -> Result<Arc<OpusFile>, MediaError> {
        Err(MediaError::NoSuchRecording)
    }

    async fn frames(&self, _: &RecordingId, sequence: u64) -> Result<Bytes, MediaError> {
        Ok(without_headers(&adts(sequence)).unwrap())
    }

    fn feed(&self, _: &Feed) -> Result<Vec<FeedItem>, MediaError> {
        Ok(Vec::new())
    }

    fn is_in_feed(&self, _: &RecordingId, _: &Feed) -> bool {
        false
    }

    async fn archive(&self, recording: &RecordingId) -> Result<Arc<SegmentArchive>, MediaError> {
        Ok(Arc::new(SegmentArchive::new(self.room(recording)?, self.complete, [])))
    }

    async fn encrypted(&self, _: &RecordingId, _: u64) -> Result<Bytes, MediaError> {
        Err(MediaError::NoSuchRecording)
    }

    async fn info(&self, _: &RecordingId, _: Clip) -> Result<ReplayInfo, MediaError> {
        Err(MediaError::NoSuchRecording)
    }

    async fn playlist(&self, _: &RecordingId, _: Clip) -> Result<Bytes, MediaError> {
        Err(MediaError::NoSuchRecording)
    }

    async fn segment(&self, _: &RecordingId, _: &MediaFile) -> Result<Bytes, MediaError> {
        Err(MediaError::NoSuchRecording)
    }

    async fn key(&self, _: &RecordingId, _: Clip, _: NonceHint, _: u64) -> Result<[u8; 16], MediaError> {
        Err(MediaError::NoSuchRecording)
    }
}

/// Returns the whole M4A file.
async fn whole(parts: &UploadParts, id: &RecordingId) -> Vec<u8> {
    let m4a = parts.media.m4a(id, Clip::WHOLE).await.unwrap();
    let mut bytes = Vec::new();
    for Piece { source, range } in m4a.file.pieces(0..m4a.file.length()) {
        let piece = match source {
            Source::Known(known) => known,
            Source::Segment(sequence) => parts.media.frames(id, sequence).await.unwrap(),
        };
        bytes.extend_from_slice(&piece[range]);
    }
    bytes
}
