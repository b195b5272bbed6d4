//! Captions in the store: the locks of recognisers, and the final captions of recordings.
//!
//! A lock is a key under a lease, so it ends with its node. The captions of a recording are removed by the
//! transaction that removes the recording.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::recordings::{ATTEMPTS, Recordings, parse};
use super::{RoomError, txn};
use crate::domain::captions::{Caption, CaptionChunk, ChunkFull, TranscriptLine, contains};
use crate::domain::ids::{ModuleId, Nonce, RoomId};
use crate::domain::keys;
use crate::domain::profile::Language;
use crate::domain::recording::RecordingId;
use crate::store::{LeaseId, Store, StoreError, Txn, TxnOutcome};

/// Creates the locks of this node's recognisers.
pub struct RecogniserClaims {
    pub store: Arc<dyn Store>,
    pub me: ModuleId,
    /// Time after which a lock ends if it is not kept alive.
    pub ttl: Duration,
}

/// Lock of one recogniser.
pub struct RecogniserClaim {
    store: Arc<dyn Store>,
    lease: LeaseId,
    ttl: Duration,
}

impl RecogniserClaims {
    /// Takes the lock of a room and language; `None` if another recogniser has it.
    ///
    /// # Errors
    /// A store error.
    pub async fn claim(
        &self,
        room: &RoomId,
        language: &Language,
    ) -> Result<Option<RecogniserClaim>, RoomError> {
        let key = keys::recogniser(room, language);
        let lease = self.store.grant(self.ttl).await?;
        let claim = RecogniserClaim { store: self.store.clone(), lease, ttl: self.ttl };
        let value = txn::json(&json!({ "node": self.me }));
        let taken = self.store.txn(Txn::new().when_absent(&key).put_leased(&key, value, lease)).await;
        if let Ok(TxnOutcome::Committed(_)) = taken {
            return Ok(Some(claim));
        }
        claim.release().await;
        taken.map(|_| None).map_err(RoomError::from)
    }
}

impl RecogniserClaim {
    /// Keeps the lock. Returns only when the lock is lost.
    pub async fn lost(&self) {
        loop {
            // Sleep: a lease is kept alive at intervals.
            tokio::time::sleep(self.ttl / 3).await;
            // While the store is unavailable, its leases do not end.
            if let Err(StoreError::LeaseNotFound) = self.store.keep_alive(self.lease).await {
                return;
            }
        }
    }

    pub async fn release(&self) {
        // If this fails, the lease ends by itself.
        let _ = self.store.revoke(self.lease).await;
    }
}

/// Reason why a caption was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    #[error(transparent)]
    Full(#[from] ChunkFull),
    #[error(transparent)]
    Store(#[from] RoomError),
}

impl Recordings {
    /// Stores a final caption of a broadcast in each recording that contains its words.
    ///
    /// # Errors
    /// See [`NotKept`].
    pub async fn keep_caption(&self, room: &RoomId, nonce: &Nonce, caption: &Caption) -> Result<(), NotKept> {
        for known in self.of_room(Some(room)) {
            if contains(&known.recording, room, nonce, caption) {
                self.keep_in(&known.id, caption).await?;
            }
        }
        Ok(())
    }

    async fn keep_in(&self, id: &RecordingId, caption: &Caption) -> Result<(), NotKept> {
        let recording = keys::recording(id);
        let key = keys::caption_chunk(id, &caption.language, CaptionChunk::number(caption));
        for _ in 0..ATTEMPTS {
            let owner = self.store.get(&recording).await.map_err(RoomError::from)?;
            // Nothing is stored for a recording that is being removed.
            let owner = owner.filter(|kv| parse(kv).is_some_and(|known| known.deleted_at.is_none()));
            let Some(owner) = owner else { return Ok(()) };
            let read = self.store.get(&key).await.map_err(RoomError::from)?;
            let mut chunk = match &read {
                Some(kv) => serde_json::from_slice::<CaptionChunk>(&kv.value)
                    .map_err(|_| RoomError::Corrupt { key: key.clone() })?,
                None => CaptionChunk::default(),
            };
            chunk.add(caption)?;
            let txn = Txn::new()
                .when(&recording, owner.mod_revision)
                .when(&key, read.map_or(0, |kv| kv.mod_revision))
                .put(&key, txn::json(&chunk));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await.map_err(RoomError::from)? {
                return Ok(());
            }
        }
        Err(RoomError::Busy.into())
    }

    /// Reads the captions of a recording, ordered by their start.
    ///
    /// # Errors
    /// A store error, or [`RoomError::Corrupt`].
    pub async fn transcript(&self, id: &RecordingId) -> Result<Vec<TranscriptLine>, RoomError> {
        let mut lines = Vec::new();
        for kv in self.store.list(&keys::captions(id)).await?.entries {
            let language = keys::parse_caption_chunk(&kv.key, id);
            let chunk = serde_json::from_slice::<CaptionChunk>(&kv.value).ok();
            let Some((language, chunk)) = language.zip(chunk) else {
                return Err(RoomError::Corrupt { key: kv.key });
            };
            let of = |caption| TranscriptLine { language: language.clone(), caption };
            lines.extend(chunk.0.into_iter().map(of));
        }
        lines.sort_by_key(|line| line.caption.from);
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::captions::CaptionText;
    use crate::domain::ids::UnixMs;
    use crate::domain::recording::{Recording, RecordingWrite};
    use crate::rooms::FakeStore;

    fn caption(from: u64, text: &str, language: &str) -> Caption {
        let (text, language) = (CaptionText::new(text).unwrap(), Language::new(language).unwrap());
        Caption { from: UnixMs(from), to: UnixMs(from + 1000), text, is_final: true, language }
    }

    #[tokio::test]
    async fn captions_live_as_long_as_their_recording() {
        let store = FakeStore::new();
        let (room, live, id) = (RoomId::new("demo").unwrap(), Nonce("n".into()), RecordingId::random(7));
        let recordings = Recordings::new(store.clone(), store.directory());
        recordings.begin_list();
        recordings.end_list(0);
        let recording: Recording = serde_json::from_str(
            r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5000,"takes":{"m":{}}}"#,
        )
        .unwrap();
        let put = async |recording: &Recording| {
            let write = |_: Option<&Recording>| Some(RecordingWrite::Put(recording.clone()));
            recordings.change(&id, write).await.unwrap();
            recordings.put(&store.get(&keys::recording(&id)).await.unwrap().unwrap());
        };
        put(&recording).await;
        let keep = async |caption: &Caption| recordings.keep_caption(&room, &live, caption).await.unwrap();
        keep(&caption(700_000, "later", "en")).await;
        keep(&caption(6_000, "first", "en")).await;
        keep(&caption(7_000, "zweitens", "de")).await;
        keep(&caption(1_000, "before the recording", "en")).await;
        let lines = recordings.transcript(&id).await.unwrap();
        let text: Vec<_> = lines.iter().map(|line| line.caption.text.as_str()).collect();
        assert_eq!(text, ["first", "zweitens", "later"]);

        let deleted = Recording { deleted_at: Some(UnixMs(9)), ..recording };
        let write = |_: Option<&Recording>| Some(RecordingWrite::Put(deleted.clone()));
        recordings.change(&id, write).await.unwrap();
        // This node has not seen the deletion yet.
        keep(&caption(8_000, "too late", "en")).await;
        assert_eq!(recordings.transcript(&id).await.unwrap().len(), 3);
        recordings.change(&id, |_| Some(RecordingWrite::Remove)).await.unwrap();
        keep(&caption(8_000, "too late", "en")).await;
        assert_eq!(store.list("/captions/").await.unwrap().entries, []);
    }

    #[tokio::test]
    async fn languages_have_one_recogniser() {
        let store = FakeStore::new();
        let (me, ttl) = (crate::domain::ids::ModuleId::new("api").unwrap(), Duration::from_secs(10));
        let claims = RecogniserClaims { store, me, ttl };
        let (room, en) = (RoomId::new("demo").unwrap(), Language::new("en").unwrap());
        assert!(claims.claim(&room, &en).await.unwrap().is_some());
        assert!(claims.claim(&room, &en).await.unwrap().is_none());
        let de = Language::new("de").unwrap();
        assert!(claims.claim(&room, &de).await.unwrap().is_some());
    }
}
