//! What is held of one room: its newest playlist, and the files that were asked for.
//!
//! Owns: waiting (blocking reload), the sharing of one request per file, and how long a file is kept. Never
//! does: fetch a playlist (the room's actor does).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::watch;

use super::fetch::Fetcher;
use crate::config::HlsConfig;
use crate::domain::hls::least_window;
use crate::domain::ids::RoomId;
use crate::domain::relay_room::Upstream;
use crate::media::{MediaFile, NonceHint, NotServed, PlaylistBody};

/// Parts a reload may be ahead of the newest: three seconds' worth of the shortest ones.
const AHEAD: u32 = 30;
/// Segments before the newest that a mixer may still hold, whatever its window.
const BEHIND: u64 = 256;
/// Files kept of one room at most; what listeners ask for within a window is far less.
const MOST_FILES: usize = 1024;

/// Times that follow from the mixers' configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Three target durations: nothing is waited for longer.
    wait: Duration,
    /// As long as a mixer holds a segment.
    keep: Duration,
}

#[derive(Clone, Default)]
pub struct Shown {
    pub upstream: Option<Upstream>,
    /// The mixer before it: what it listed last may be asked for after the move.
    pub before: Option<Upstream>,
    pub hint: Option<NonceHint>,
    pub playlist: Option<PlaylistBody>,
}

type Answer = Result<Bytes, NotServed>;
type Request = Shared<BoxFuture<'static, Answer>>;

pub struct Held {
    limits: Limits,
    shown: watch::Sender<Arc<Shown>>,
    files: Mutex<HashMap<MediaFile, (Duration, Request)>>,
    /// When somebody asked last, in milliseconds of the node's clock.
    asked: AtomicU64,
}

impl Limits {
    pub fn new(hls: &HlsConfig) -> Self {
        let window = hls.window.max(least_window(hls.segment)) as u32;
        Self { wait: 3 * hls.target_duration(), keep: hls.segment * (2 * window + 2) }
    }
}

impl Held {
    pub fn new(limits: Limits) -> Self {
        let shown = watch::Sender::new(Arc::new(Shown::default()));
        Self { limits, shown, files: Mutex::default(), asked: AtomicU64::new(0) }
    }

    pub fn asked(&self, now: Duration) {
        self.asked.store(now.as_millis() as u64, Relaxed);
    }

    pub fn idle_for(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_millis(self.asked.load(Relaxed)))
    }

    pub fn newest(&self) -> Option<PlaylistBody> {
        self.shown.borrow().playlist.clone()
    }

    pub fn file_count(&self) -> usize {
        self.files().len()
    }

    pub fn show(&self, change: impl FnOnce(&mut Shown)) {
        self.shown.send_modify(|shown| change(Arc::make_mut(shown)));
    }

    pub async fn playlist(&self, at: Option<(u64, Option<u32>)>) -> Result<PlaylistBody, NotServed> {
        match self.wait(|shown| answer(shown.playlist.as_ref()?, at)).await {
            Err(NotServed::Timeout) if self.newest().is_none() => Err(NotServed::NotYet),
            answer => answer,
        }
    }

    /// However many ask, the mixer is asked once; the answer is kept as long as it could be asked for.
    pub async fn file(&self, room: &RoomId, file: &MediaFile, fetcher: &Fetcher, now: Duration) -> Answer {
        self.wait(|shown| plausible(shown, file).transpose()).await?;
        let request = {
            let mut files = self.files();
            files.retain(|_, (since, _)| now.saturating_sub(*since) < self.limits.keep);
            if files.len() >= MOST_FILES && !files.contains_key(file) {
                return Err(NotServed::Gone);
            }
            let fetch = || {
                let fetched = fetched(fetcher.clone(), self.shown.subscribe(), room.clone(), *file);
                let within = tokio::time::timeout(self.limits.wait, fetched);
                within.map(|got| got.unwrap_or(Err(NotServed::NotYet))).boxed().shared()
            };
            files.entry(*file).or_insert_with(|| (now, fetch())).1.clone()
        };
        let answer = request.clone().await;
        if answer.is_err() {
            // Whoever asks next asks anew.
            let mut files = self.files();
            if files.get(file).is_some_and(|(_, held)| held.ptr_eq(&request)) {
                files.remove(file);
            }
        }
        answer
    }

    fn files(&self) -> MutexGuard<'_, HashMap<MediaFile, (Duration, Request)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait<T>(&self, answer: impl Fn(&Shown) -> Option<Result<T, NotServed>>) -> Result<T, NotServed> {
        let mut changes = self.shown.subscribe();
        let search = async {
            loop {
                let shown = changes.borrow_and_update().clone();
                if let Some(answer) = answer(&shown) {
                    return answer;
                }
                // The sender is in `self`, so it outlives this wait.
                if changes.changed().await.is_err() {
                    return Err(NotServed::Superseded);
                }
            }
        };
        tokio::time::timeout(self.limits.wait, search).await.unwrap_or(Err(NotServed::Timeout))
    }
}

/// From whoever has the room; what was listed before a move, from the mixer before. One that hands the room over and
/// does not make this file any more may have hinted at it: then its successor makes it.
async fn fetched(
    fetcher: Fetcher,
    mut shown: watch::Receiver<Arc<Shown>>,
    room: RoomId,
    file: MediaFile,
) -> Answer {
    loop {
        let Shown { upstream, before, .. } = Shown::clone(&shown.borrow_and_update());
        let Some(asked) = upstream else { return Err(NotServed::Superseded) };
        match (fetcher.clone().file(asked.clone(), room.clone(), file).await, before) {
            (Err(NotServed::Gone), Some(before)) => return fetcher.file(before, room, file).await,
            (Err(NotServed::NotYet), _) => {}
            (answer, _) => return answer,
        }
        if shown.wait_for(|shown| shown.upstream.as_ref() != Some(&asked)).await.is_err() {
            return Err(NotServed::NotYet);
        }
    }
}

/// As the mixer would answer, but for a part index past the end of the newest closed segment, which is taken
/// for its last one: that playlist is news to whoever asks for it.
fn answer(
    playlist: &PlaylistBody,
    at: Option<(u64, Option<u32>)>,
) -> Option<Result<PlaylistBody, NotServed>> {
    let (open, parts) = playlist.next;
    let Some((msn, part)) = at.filter(|_| !playlist.ended) else { return Some(Ok(playlist.clone())) };
    let contained = match part {
        None => msn < open,
        Some(part) => msn < open || (msn == open && part < parts),
    };
    if contained {
        return Some(Ok(playlist.clone()));
    }
    let from = if msn == open { parts } else { 0 };
    let too_far = msn > open.saturating_add(1) || part.is_some_and(|part| part > from.saturating_add(AHEAD));
    too_far.then_some(Err(NotServed::TooFarAhead))
}

/// Whether the mixer could have the file. `Ok(None)`: that is not known yet.
fn plausible(shown: &Shown, file: &MediaFile) -> Result<Option<()>, NotServed> {
    let (Some(hint), Some(playlist)) = (shown.hint, &shown.playlist) else { return Ok(None) };
    let newest = playlist.next.0;
    let msn = match *file {
        // A process may have begun long ago.
        MediaFile::Init { msn, .. } => msn.max(newest.saturating_sub(BEHIND)),
        MediaFile::Segment { msn, .. } | MediaFile::Part { msn, .. } => msn,
    };
    match (file.hint() == hint, msn) {
        (false, _) => Err(NotServed::Gone),
        (true, msn) if msn > newest.saturating_add(1) => Err(NotServed::NotYet),
        (true, msn) if msn.saturating_add(BEHIND) < newest => Err(NotServed::Gone),
        _ => Ok(Some(())),
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
