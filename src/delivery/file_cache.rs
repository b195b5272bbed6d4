//! Requested files of one room, each with the one request that all its readers share.
//!
//! Owns: the retention and the eviction of files. Does not fetch a file.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared};

use crate::packager::{MediaError, MediaFile};

/// Encrypted bytes of a file, or the reason why there are none.
pub type FetchedFile = Result<Bytes, MediaError>;
type Request = Shared<BoxFuture<'static, FetchedFile>>;

pub struct FileCache {
    keep: Duration,
    most: usize,
    /// Requests, each with the time at which the file was first requested.
    requests: Mutex<HashMap<MediaFile, (Duration, Request)>>,
}

impl FileCache {
    /// Creates the cache. `keep` is the time for which a file can be requested; `most` is the maximum number
    /// of files.
    pub fn new(keep: Duration, most: usize) -> Self {
        Self { keep, most, requests: Mutex::default() }
    }

    pub fn len(&self) -> usize {
        self.requests().len()
    }

    /// Returns the file. A fetched file stays in the cache; after a failure the next caller fetches the file
    /// again.
    pub async fn get(
        &self,
        file: MediaFile,
        now: Duration,
        fetch: impl FnOnce() -> BoxFuture<'static, FetchedFile>,
    ) -> FetchedFile {
        let request = self.request(file, now, fetch).ok_or(MediaError::NotYet)?;
        let answer = request.clone().await;
        if answer.is_err() {
            let mut requests = self.requests();
            if requests.get(&file).is_some_and(|(_, held)| held.ptr_eq(&request)) {
                requests.remove(&file);
            }
        }
        answer
    }

    /// Returns the shared request of the file. `None` if the cache is full and every file has a waiting
    /// reader.
    fn request(
        &self,
        file: MediaFile,
        now: Duration,
        fetch: impl FnOnce() -> BoxFuture<'static, FetchedFile>,
    ) -> Option<Request> {
        let mut requests = self.requests();
        if let Some((_, request)) = requests.get(&file) {
            return Some(request.clone());
        }
        requests.retain(|_, (since, _)| now.saturating_sub(*since) < self.keep);
        if requests.len() >= self.most {
            // A request that only this map references is complete, or has no waiting reader.
            let idle = requests.iter().filter(|(_, (_, request))| request.strong_count() == Some(1));
            let oldest = idle.min_by_key(|(_, (since, _))| *since).map(|(file, _)| *file)?;
            requests.remove(&oldest);
        }
        let request = fetch().shared();
        requests.insert(file, (now, request.clone()));
        Some(request)
    }

    /// Locks the requests. A panic leaves no change half done, so a poisoned lock is usable.
    fn requests(&self) -> MutexGuard<'_, HashMap<MediaFile, (Duration, Request)>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use futures::poll;

    use super::*;

    const KEEP: Duration = Duration::from_secs(28);
    const NOW: Duration = Duration::from_secs(100);

    #[actix::test]
    async fn cached_file_is_fetched_once() {
        let (files, fetched) = (FileCache::new(KEEP, 9), AtomicUsize::new(0));
        let ask = |now| files.get(part(1), now, || came(&fetched));
        assert_eq!((ask(NOW).await, ask(NOW + KEEP / 2).await), (media(), media()));
        assert_eq!(fetched.load(Relaxed), 1);
        // An expired file is removed when the next new one is requested.
        files.get(part(2), NOW + KEEP, || came(&fetched)).await.unwrap();
        assert_eq!((files.len(), fetched.load(Relaxed)), (1, 2));
    }

    #[actix::test]
    async fn failed_fetch_is_not_cached() {
        let (files, fetched) = (FileCache::new(KEEP, 9), AtomicUsize::new(0));
        let gone = files.get(part(1), NOW, || async { Err(MediaError::Gone) }.boxed()).await;
        assert_eq!((gone, files.len()), (Err(MediaError::Gone), 0));
        assert_eq!(files.get(part(1), NOW, || came(&fetched)).await, media());
    }

    #[actix::test]
    async fn full_file_cache_evicts_oldest_unawaited() {
        let (files, fetched) = (FileCache::new(KEEP, 3), AtomicUsize::new(0));
        let mut waits = Box::pin(files.get(part(0), NOW, never));
        let mut left = Box::pin(files.get(part(1), NOW + second(1), never));
        assert!(poll!(&mut waits).is_pending() && poll!(&mut left).is_pending());
        drop(left);
        for n in 2..5 {
            assert_eq!(files.get(part(n), NOW + second(n), || came(&fetched)).await, media());
        }
        assert_eq!(files.len(), 3);
        files.get(part(4), NOW + second(5), || panic!("the newest are kept")).await.unwrap();
        files.get(part(3), NOW + second(5), || panic!("the newest are kept")).await.unwrap();
        let mut others = [part(5), part(6)].map(|file| Box::pin(files.get(file, NOW + second(6), never)));
        for other in &mut others {
            assert!(poll!(other).is_pending());
        }
        let refused = files.get(part(7), NOW + second(7), || panic!("there are too many")).await;
        assert_eq!(refused, Err(MediaError::NotYet), "somebody waits for each");
        assert!(poll!(&mut waits).is_pending());
    }

    fn part(n: u64) -> MediaFile {
        format!("0123456789ab-10.{n}.ts").parse().unwrap()
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn media() -> FetchedFile {
        Ok(Bytes::from_static(b"media"))
    }

    fn came(count: &AtomicUsize) -> BoxFuture<'static, FetchedFile> {
        count.fetch_add(1, Relaxed);
        async { media() }.boxed()
    }

    fn never() -> BoxFuture<'static, FetchedFile> {
        futures::future::pending().boxed()
    }
}
