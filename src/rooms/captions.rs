//! Captions in the store: the locks of recognisers, and the final captions of recordings.
//!
//! A lock is a key under a lease, so it ends with its node. The captions of a recording are removed by the
//! transaction that marks it as deleted.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::recordings::{ATTEMPTS, KnownRecording, Recordings, parse};
use super::{RoomError, txn};
use crate::domain::captions::{Caption, CaptionChunk, ChunkFull, MAX_RECOGNISERS, TranscriptLine, recorded};
use crate::domain::ids::{ModuleId, Nonce, RoomId, UnixMs};
use crate::domain::keys;
use crate::domain::profile::Language;
use crate::domain::recording::RecordingId;
use crate::store::{KeyValue, LeaseId, Store, StoreError, Txn, TxnOutcome};

/// Maximum number of chunks that are read one by one. They contain 80 minutes of a recording.
const FEW_CHUNKS: u64 = 8;
/// Number of recordings for which the language of the first caption is cached.
const KNOWN_LANGUAGES: usize = 64;

/// Creates the locks of this node's recognisers.
pub struct RecogniserClaims {
    pub store: Arc<dyn Store>,
    pub me: ModuleId,
    /// Time after which a lock ends if it is not kept alive.
    pub ttl: Duration,
}

/// Lock of one recogniser. It ends when it is dropped.
pub struct RecogniserClaim {
    store: Arc<dyn Store>,
    lease: LeaseId,
    ttl: Duration,
    released: AtomicBool,
}

/// Reason why a recogniser gets no lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimRefused {
    /// Another recogniser of this language has the lock.
    Connected,
    /// The room already has the maximum number of recognisers, [`MAX_RECOGNISERS`].
    TooMany,
}

impl RecogniserClaims {
    /// Takes the lock of a room and language.
    ///
    /// # Errors
    /// A store error.
    pub async fn claim(
        &self,
        room: &RoomId,
        language: &Language,
    ) -> Result<Result<RecogniserClaim, ClaimRefused>, RoomError> {
        let key = keys::recogniser(room, language);
        let lease = self.store.grant(self.ttl).await?;
        let released = AtomicBool::new(false);
        let claim = RecogniserClaim { store: self.store.clone(), lease, ttl: self.ttl, released };
        let value = txn::json(&json!({ "node": self.me }));
        let txn = Txn::new().when_absent(&key).put_leased(&key, value, lease);
        let refused = match self.store.txn(txn).await {
            // Count afterwards, so that simultaneous claims cannot exceed the maximum.
            Ok(TxnOutcome::Committed(_)) => match self.store.list(&keys::recognisers(room)).await {
                Ok(all) if all.entries.len() <= MAX_RECOGNISERS => return Ok(Ok(claim)),
                counted => counted.map(|_| ClaimRefused::TooMany),
            },
            taken => taken.map(|_| ClaimRefused::Connected),
        };
        claim.release().await;
        Ok(Err(refused?))
    }
}

impl RecogniserClaim {
    /// Renews the lock until it is lost, then returns.
    pub async fn lost(&self) {
        loop {
            // Sleep: a lease is kept alive at intervals.
            tokio::time::sleep(self.ttl / 3).await;
            // While the store is unavailable, its leases do not end. If only this node cannot reach it, the
            // lock ends without notice; then two recognisers of a language can be connected for a while.
            if let Err(StoreError::LeaseNotFound) = self.store.keep_alive(self.lease).await {
                return;
            }
        }
    }

    pub async fn release(&self) {
        // If this fails, the lease ends by itself.
        let _ = self.store.revoke(self.lease).await;
        self.released.store(true, Relaxed);
    }
}

impl Drop for RecogniserClaim {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (false, Ok(runtime)) = (self.released.load(Relaxed), runtime) {
            let (store, lease) = (self.store.clone(), self.lease);
            // If this fails, the lease ends by itself.
            runtime.spawn(async move { store.revoke(lease).await });
        }
    }
}

/// Reason why a caption was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CaptionError {
    #[error(transparent)]
    Full(#[from] ChunkFull),
    #[error(transparent)]
    Store(#[from] RoomError),
}

impl Recordings {
    /// Stores a final caption of a broadcast in each recording that contains its words.
    ///
    /// # Errors
    /// The first error; see [`CaptionError`].
    pub async fn keep_caption(
        &self,
        room: &RoomId,
        nonce: &Nonce,
        caption: &Caption,
    ) -> Result<(), CaptionError> {
        if !self.is_complete() {
            let why = "this node has not listed the recordings yet".to_owned();
            return Err(RoomError::from(StoreError::Unavailable(why)).into());
        }
        let view = self.directory.room(room).unwrap_or_default();
        let mut result = Ok(());
        for KnownRecording { id, recording } in self.of_broadcast(room, nonce) {
            if let Some(part) = recorded((&id, &recording), &view, (room, nonce), caption) {
                let kept = self.keep_in(&id, &part).await;
                result = result.and(kept);
            }
        }
        result
    }

    async fn keep_in(&self, id: &RecordingId, caption: &Caption) -> Result<(), CaptionError> {
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
        lines_of(id, self.store.list(&keys::captions(id)).await?.entries)
    }

    /// Reads the captions of a part of a recording in one language: at least those whose words were spoken
    /// within `span`. `language`: `None` selects the language of the recording's first caption.
    ///
    /// # Errors
    /// An error of the store, or [`RoomError::Corrupt`].
    pub async fn captions_within(
        &self,
        id: &RecordingId,
        language: Option<&Language>,
        span: RangeInclusive<UnixMs>,
    ) -> Result<Vec<TranscriptLine>, RoomError> {
        let language = match language {
            Some(language) => language.clone(),
            None => match self.first_language(id).await? {
                Some(language) => language,
                None => return Ok(Vec::new()),
            },
        };
        let numbers = CaptionChunk::numbers(&span);
        if numbers.end() - numbers.start() >= FEW_CHUNKS {
            return lines_of(id, self.store.list(&keys::captions_in(id, &language)).await?.entries);
        }
        let mut entries = Vec::new();
        for number in numbers {
            entries.extend(self.store.get(&keys::caption_chunk(id, &language, number)).await?);
        }
        lines_of(id, entries)
    }

    fn languages(&self) -> MutexGuard<'_, VecDeque<(RecordingId, Language)>> {
        // A poisoned lock is usable: every change leaves the list consistent.
        self.languages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the language of a recording's first caption; `None` if it has no captions. Reads all captions
    /// of a recording only the first time.
    async fn first_language(&self, id: &RecordingId) -> Result<Option<Language>, RoomError> {
        let known = self.languages().iter().find(|(known, _)| known == id).map(|(_, known)| known.clone());
        if known.is_some() {
            return Ok(known);
        }
        let first = self.transcript(id).await?.into_iter().next().map(|line| line.language);
        if let Some(language) = &first {
            let mut languages = self.languages();
            languages.retain(|(known, _)| known != id);
            languages.push_back((id.clone(), language.clone()));
            if languages.len() > KNOWN_LANGUAGES {
                languages.pop_front();
            }
        }
        Ok(first)
    }
}

/// Language of the first caption, for recordings whose captions were read. The entry added last
/// is at the end.
pub(super) type Languages = Mutex<VecDeque<(RecordingId, Language)>>;

/// Returns the captions in these chunks, in the order of their starts.
fn lines_of(id: &RecordingId, chunks: Vec<KeyValue>) -> Result<Vec<TranscriptLine>, RoomError> {
    let mut lines = Vec::new();
    for kv in chunks {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::captions::CaptionText;
    use crate::domain::recording::{Recording, RecordingWrite};
    use crate::rooms::FakeStore;

    fn caption(from: u64, text: &str, language: &str) -> Caption {
        let (text, language) = (CaptionText::new(text).unwrap(), Language::new(language).unwrap());
        Caption { from: UnixMs(from), to: UnixMs(from + 1000), text, is_final: true, language }
    }

    const RECORDING: &str =
        r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5000,"takes":{"m":{}}}"#;

    fn listed(store: &Arc<FakeStore>) -> Recordings {
        let recordings = Recordings::new(store.clone(), store.directory());
        recordings.begin_list();
        recordings.end_list(0);
        recordings
    }

    #[tokio::test]
    async fn captions_live_as_long_as_their_recording() {
        let store = FakeStore::new();
        let (room, live, id) = (RoomId::new("demo").unwrap(), Nonce("n".into()), RecordingId::random(7));
        let recordings = listed(&store);
        let recording: Recording = serde_json::from_str(RECORDING).unwrap();
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
        let within = async |language: Option<&str>, from, to| {
            let language = language.map(|tag| Language::new(tag).unwrap());
            let span = UnixMs(from)..=UnixMs(to);
            let lines = recordings.captions_within(&id, language.as_ref(), span).await.unwrap();
            lines.iter().map(|line| line.caption.text.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(within(Some("de"), 0, 9_000_000).await, ["zweitens"]);
        assert_eq!(within(None, 0, 9_000_000).await, ["first", "later"]);
        assert_eq!(within(None, 680_000, 690_000).await, ["later"]);
        assert_eq!(within(Some("fr"), 680_000, 690_000).await, [""; 0]);

        let deleted = Recording { deleted_at: Some(UnixMs(9)), ..recording };
        let write = |_: Option<&Recording>| Some(RecordingWrite::Put(deleted.clone()));
        recordings.change(&id, write).await.unwrap();
        // This node has not seen the deletion yet.
        keep(&caption(8_000, "too late", "en")).await;
        assert_eq!(store.list("/captions/").await.unwrap().entries, [], "the mixer still has its data");
        recordings.change(&id, |_| Some(RecordingWrite::Remove)).await.unwrap();
        keep(&caption(8_000, "too late", "en")).await;
        assert_eq!(store.list("/captions/").await.unwrap().entries, []);
    }

    #[tokio::test]
    async fn captions_need_listed_recordings() {
        let store = FakeStore::new();
        let recordings = Recordings::new(store.clone(), store.directory());
        let (room, live) = (RoomId::new("demo").unwrap(), Nonce("n".into()));
        let kept = recordings.keep_caption(&room, &live, &caption(6_000, "first", "en")).await;
        assert!(matches!(kept, Err(CaptionError::Store(RoomError::Store(StoreError::Unavailable(_))))));
    }

    #[tokio::test]
    async fn full_recordings_do_not_hinder_others() {
        let store = FakeStore::new();
        let (room, live) = (RoomId::new("demo").unwrap(), Nonce("n".into()));
        let recordings = listed(&store);
        let (full, other) = (RecordingId::random(1), RecordingId::random(2));
        for id in [&full, &other] {
            store.put_now(&keys::recording(id), RECORDING);
            recordings.put(&store.get(&keys::recording(id)).await.unwrap().unwrap());
        }
        let chunk: Vec<_> = (0..1200).map(|n| json!({ "from": n, "to": n + 1, "text": "a" })).collect();
        let key = keys::caption_chunk(&full, &Language::new("en").unwrap(), 0);
        store.put_now(&key, &json!(chunk).to_string());
        let kept = recordings.keep_caption(&room, &live, &caption(6_000, "first", "en")).await;
        assert!(matches!(kept, Err(CaptionError::Full(_))));
        assert_eq!(recordings.transcript(&other).await.unwrap().len(), 1);
    }

    fn claims(store: &Arc<FakeStore>) -> RecogniserClaims {
        let me = ModuleId::new("api").unwrap();
        RecogniserClaims { store: store.clone(), me, ttl: Duration::from_secs(10) }
    }

    #[tokio::test]
    async fn languages_have_one_recogniser() {
        let claims = claims(&FakeStore::new());
        let (room, en) = (RoomId::new("demo").unwrap(), Language::new("en").unwrap());
        let _first = claims.claim(&room, &en).await.unwrap().ok().unwrap();
        assert_eq!(claims.claim(&room, &en).await.unwrap().err(), Some(ClaimRefused::Connected));
        let de = Language::new("de").unwrap();
        assert!(claims.claim(&room, &de).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn rooms_have_few_recognisers() {
        let store = FakeStore::new();
        let claims = claims(&store);
        let room = RoomId::new("demo").unwrap();
        let language = |n| Language::new(&format!("en-x-{n}")).unwrap();
        let mut connected = Vec::new();
        for n in 0..MAX_RECOGNISERS {
            connected.push(claims.claim(&room, &language(n)).await.unwrap().ok().unwrap());
        }
        let one_more = claims.claim(&room, &language(99)).await.unwrap().err();
        assert_eq!(one_more, Some(ClaimRefused::TooMany));
        assert!(claims.claim(&RoomId::new("other").unwrap(), &language(99)).await.unwrap().is_ok());
        assert_eq!(store.list(&keys::recognisers(&room)).await.unwrap().entries.len(), MAX_RECOGNISERS);
        connected.clear();
        // The dropped locks are released in the background.
        let free = async {
            while !store.list("/captions/").await.unwrap().entries.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), free).await.unwrap();
    }
}
