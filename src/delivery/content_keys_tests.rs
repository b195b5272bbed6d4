//! Tests of the keys that a node gives out.

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::config::{JwtSecret, Secret};
use crate::delivery::samples::sample_rewind;
use crate::domain::ids::{Nonce, UnixMs};
use crate::packager::{PlaylistText, Rewind};
use crate::rooms::{Scope, WatchApplier};

const CREATED: u64 = 1_000_000;

#[actix::test]
async fn only_keys_in_use_are_given_out() {
    let keys = keys(Ok(
        "#EXT-X-MEDIA-SEQUENCE:100\n#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=x&k=50\"\n#EXTINF:2,\ns\n",
    ));
    let hint = ContentKeys::new(&[1; 32], &room(), &nonce()).hint().to_string();
    let mut given = Vec::new();
    for index in 0..400 {
        match keys.key(&room(), &grant(CREATED), &hint, index).await {
            Ok(key) => given.push((index, key)),
            Err(refusal) => assert_eq!(refusal, MediaError::KeyOutOfWindow),
        }
    }
    let indexes: Vec<_> = given.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [3, 4, 5, 6, 7, 49, 50, 51], "of the rewind window and of the live window");
    assert_ne!(given[0].1, given[1].1);
    let of_other = keys.key(&room(), &grant(CREATED), "0011", 50).await;
    assert_eq!(of_other, Err(MediaError::NoSuchKey));
}

#[actix::test]
async fn token_of_earlier_room_gets_no_key() {
    let keys = keys(Ok("#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=x&k=0\"\n"));
    let hint = ContentKeys::new(&[1; 32], &room(), &nonce()).hint().to_string();
    assert!(keys.key(&room(), &grant(CREATED), &hint, 0).await.is_ok());
    assert_eq!(keys.key(&room(), &grant(CREATED - 1), &hint, 0).await, Err(MediaError::EarlierRoom));
}

#[actix::test]
async fn key_needs_published_playlist() {
    let hint = ContentKeys::new(&[1; 32], &room(), &nonce()).hint().to_string();
    for (media, refusal) in [
        (Err(MediaError::NotYet), MediaError::NotYet),
        (Err(MediaError::NotOnAir), MediaError::KeyRefused),
        (Err(MediaError::Timeout), MediaError::KeysUnknown),
        (Ok("#EXTM3U\n"), MediaError::NotYet),
    ] {
        assert_eq!(keys(media).key(&room(), &grant(CREATED), &hint, 0).await, Err(refusal));
    }
}

fn keys(playlist: Result<&'static str, MediaError>) -> Node {
    let directory = Arc::new(Directory::default());
    let meta = format!(r#"{{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":{CREATED}}}"#);
    let live = r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":1,"epoch":1}"#;
    let mut fold = WatchApplier::new(directory.clone(), Scope::Rooms);
    fold.begin_init();
    fold.put("/rooms/demo/meta", meta.as_bytes(), 1);
    fold.put("/rooms/demo/livemeta", live.as_bytes(), 1);
    fold.end_init(1);
    let secret = || Secret(vec![1; 32]);
    let jwt = vec![JwtSecret { kid: "k".into(), secret: secret() }];
    let secrets = Arc::new(Secrets { jwt, hls: secret(), janus_room: secret() });
    let policy = ContentKeyPolicy { directory, secrets, rotation: 2 };
    Node { policy, media: FixedPlaylist(playlist) }
}

fn room() -> RoomId {
    RoomId::new("demo").unwrap()
}

fn nonce() -> Nonce {
    Nonce("n".into())
}

fn grant(created: u64) -> Grant {
    let room_created_at = Some(UnixMs(created));
    Grant { issued_at: UnixMs(created), expires_at: UnixMs(u64::MAX), room_created_at }
}

struct Node {
    policy: ContentKeyPolicy,
    media: FixedPlaylist,
}

impl Node {
    async fn key(
        &self,
        room: &RoomId,
        grant: &Grant,
        hint: &str,
        index: u64,
    ) -> Result<[u8; 16], MediaError> {
        self.policy.key(&self.media, room, grant, hint, index).await
    }
}

/// Media source that gives every playlist request the same answer.
struct FixedPlaylist(Result<&'static str, MediaError>);

#[async_trait]
impl LiveMedia for FixedPlaylist {
    async fn playlist(&self, _: &RoomId, _: Option<(u64, Option<u32>)>) -> Result<PlaylistText, MediaError> {
        self.0.map(|text| Bytes::from(text).into())
    }

    async fn rewind(&self, _: &RoomId) -> Result<Arc<Rewind>, MediaError> {
        // Segments 10 to 21 with the keys 3 to 7.
        self.0.map(|_| Arc::new(sample_rewind(10..22)))
    }

    async fn key(&self, _: &RoomId, _: &Grant, _: &str, _: u64) -> Result<[u8; 16], MediaError> {
        Err(MediaError::KeyRefused)
    }

    async fn file(&self, _: &RoomId, _: &str) -> Result<(Bytes, &'static str), MediaError> {
        Err(MediaError::Gone)
    }
}
