//! Edge cache of one room: its newest playlist and the requested files.
//!
//! Owns: blocking reloads, and the rules for which files may be requested and from which mixer. Does not
//! fetch a playlist (the room's actor does).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::future::FutureExt;
use tokio::sync::watch;

use super::edge_rewind::EdgeRewind;
use super::file_cache::{FetchedFile, FileCache};
use super::mixer_client::{FetchError, MixerFiles};
use crate::config::HlsConfig;
use crate::domain::hls::least_window;
use crate::domain::ids::{Nonce, RoomId};
use crate::domain::relay_room::Upstream;
use crate::packager::{
    Answer, BlockingReload, ContentKeys, MediaError, MediaFile, NonceHint, PlaylistBody, Rewind,
    advance_part_limit, is_too_far,
};

/// Upper bound of the number of segments, before the newest one, that a mixer's live window can contain. It
/// holds for any configured size of the window.
const BEHIND: u64 = 256;
/// Upper bound of the number of parts in one segment, for any configuration: ten seconds of the shortest
/// parts, plus a margin.
const MOST_PARTS: u32 = 128;

/// Times and sizes derived from the mixers' configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest wait of a request: three target durations.
    wait: Duration,
    /// Time for which a mixer holds a segment.
    keep: Duration,
    /// Maximum number of parts by which a request may be ahead of the newest part. It is the same as on the
    /// mixer.
    advance: u32,
    /// Maximum number of files of one room.
    most_files: usize,
}

/// State of one broadcast.
#[derive(Clone, Default)]
struct EdgeState {
    live: Option<(Nonce, NonceHint)>,
    source: Option<Arc<Source>>,
    /// Previous mixer, and the time until which files of its last playlist may be requested from it.
    before: Option<(Upstream, Duration)>,
    playlist: Option<PlaylistBody>,
    /// True if the last request for the playlist failed: the mixer does not answer, or refuses this node.
    is_failing: bool,
    rewind: Option<Arc<EdgeRewind>>,
}

/// Mixer from which files are fetched.
struct Source {
    upstream: Upstream,
    /// Limits the warning to one per mixer: a mixer that fails once fails for many files.
    warned: Once,
}

pub struct EdgeRoom {
    room: RoomId,
    limits: Limits,
    shown: BlockingReload<EdgeState>,
    files: FileCache,
    /// Time of the last request, in milliseconds of the node's clock.
    asked: AtomicU64,
}

impl Limits {
    pub fn new(hls: &HlsConfig) -> Self {
        let window = hls.window.max(least_window(hls.segment)) as u32;
        let keep = hls.segment * (2 * window + 2);
        let lasting = |each: Duration| keep.as_nanos().div_ceil(each.as_nanos().max(1)) as usize;
        let advance = advance_part_limit(hls.part);
        // Double the number, because segments after restarts may be short. The last term prevents files that
        // were requested before they exist from evicting files that exist.
        let most_files = 2 * (lasting(hls.part) + lasting(hls.segment)) + 4 * advance as usize;
        Self { wait: 3 * hls.target_duration(), keep, advance, most_files }
    }
}

impl EdgeRoom {
    pub fn new(room: RoomId, limits: Limits) -> Self {
        let shown = BlockingReload::new(EdgeState::default(), limits.wait);
        let files = FileCache::new(limits.keep, limits.most_files);
        Self { room, limits, shown, files, asked: AtomicU64::new(0) }
    }

    pub fn asked(&self, now: Duration) {
        self.asked.store(now.as_millis() as u64, Relaxed);
    }

    pub fn idle_for(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_millis(self.asked.load(Relaxed)))
    }

    pub fn newest(&self) -> Option<PlaylistBody> {
        self.shown.newest().playlist.clone()
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Sets the broadcast that is on air. Media of an earlier broadcast are no longer served.
    pub fn live(&self, nonce: &Nonce) {
        self.shown.change(|shown| {
            let is_new = !shown.is_of(nonce);
            if is_new {
                // The hint only names the broadcast and does not depend on the secret.
                let hint = ContentKeys::new(&[], &self.room, nonce).hint();
                let live = Some((nonce.clone(), hint));
                let rewind = Some(Arc::new(EdgeRewind::new(hint)));
                *shown = Arc::new(EdgeState { live, rewind, ..EdgeState::default() });
            }
            is_new
        });
    }

    /// Sets the mixer that files are fetched from.
    pub fn point_to(&self, upstream: Upstream, now: Duration) {
        let source = Arc::new(Source { upstream, warned: Once::new() });
        self.change(&source.upstream.nonce, |shown| {
            let before = shown.source.replace(source.clone()).map(|before| before.upstream.clone());
            if let Some(before) = before.filter(|before| before.mixer != source.upstream.mixer) {
                shown.before = Some((before, now + self.limits.keep));
            }
        });
    }

    /// Sets the newest playlist of this broadcast.
    pub fn show(&self, nonce: &Nonce, playlist: PlaylistBody) {
        self.change(nonce, |shown| {
            shown.playlist = Some(playlist);
            shown.is_failing = false;
        });
    }

    /// Records that the mixer did not answer a request for the playlist of this broadcast, or refused it.
    pub fn failed(&self, nonce: &Nonce) {
        self.change(nonce, |shown| shown.is_failing = true);
    }

    /// Applies a change unless it belongs to an earlier broadcast.
    fn change(&self, nonce: &Nonce, change: impl FnOnce(&mut EdgeState)) {
        self.shown.change(|shown| {
            let is_current = shown.is_of(nonce);
            if is_current {
                change(Arc::make_mut(shown));
            }
            is_current
        });
    }

    /// Returns the playlist of this broadcast, or of a later one that has replaced it.
    pub async fn playlist(
        &self,
        of: &Nonce,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaError> {
        let answered = async {
            // The directory learns of a new broadcast slightly before the room's actor does.
            self.shown.wait(|shown| shown.is_of(of).then_some(Ok(()))).await?;
            self.shown.wait(|shown| answer(shown.playlist.as_ref()?, at, self.limits.advance)).await
        };
        match answered.await {
            Err(MediaError::Timeout) if self.newest().is_none() => match self.shown.newest().is_failing {
                true => Err(MediaError::Unavailable),
                false => Err(MediaError::NotYet),
            },
            answer => answer,
        }
    }

    /// Returns the playlist of the broadcast that was on air last, if that playlist is cached.
    pub async fn last_playlist(&self, at: Option<(u64, Option<u32>)>) -> Option<PlaylistBody> {
        self.newest()?;
        self.shown.wait(|shown| answer(shown.playlist.as_ref()?, at, self.limits.advance)).await.ok()
    }

    /// Returns the rewind window of this broadcast, or of a later one that has replaced it.
    pub async fn rewind(
        &self,
        of: &Nonce,
        mixers: &impl MixerFiles,
        now: Duration,
    ) -> Result<Arc<Rewind>, MediaError> {
        self.shown.wait(|shown| shown.is_of(of).then_some(Ok(()))).await?;
        let (rewind, from) = self.shown.wait(|shown| shown.rewind_source().map(Ok)).await?;
        rewind.fresh(&self.room, from, mixers, now).await
    }

    /// Returns the rewind window of the broadcast that was on air last: from its mixer or, if that mixer does
    /// not answer, the copy.
    pub async fn last_rewind(&self, mixers: &impl MixerFiles, now: Duration) -> Option<Arc<Rewind>> {
        let (rewind, from) = self.shown.newest().rewind_source()?;
        let known = rewind.known().last().map(|_| rewind.known().clone());
        rewind.fresh(&self.room, from, mixers, now).await.ok().or(known)
    }

    /// Returns a file. The mixer gets one request, whatever the number of readers. The result is cached as
    /// long as the file can be requested.
    pub async fn file(&self, file: MediaFile, mixers: &impl MixerFiles, now: Duration) -> FetchedFile {
        self.shown.wait(|shown| plausible(shown, &file, self.limits.advance).transpose()).await?;
        let fetch = || {
            let fetched = fetched(mixers.clone(), self.shown.subscribe(), self.room.clone(), file, now);
            let within = tokio::time::timeout(self.limits.wait, fetched);
            within.map(|got| got.unwrap_or(Err(MediaError::NotYet))).boxed()
        };
        self.files.get(file, now, fetch).await
    }
}

impl EdgeState {
    fn is_of(&self, nonce: &Nonce) -> bool {
        self.live.as_ref().is_some_and(|(live, _)| live == nonce)
    }

    /// Returns the copy of the rewind window, and the mixer that has it.
    fn rewind_source(&self) -> Option<(Arc<EdgeRewind>, Upstream)> {
        self.rewind.clone().zip(self.source.as_ref().map(|source| source.upstream.clone()))
    }
}

/// Fetches a file from the current mixer, or from the previous mixer if the file was listed before a move. A
/// mixer that hands the room over may have announced a part that only its successor makes. In that case, this
/// function waits for the successor. After a jump of the sequence numbers no mixer makes that part: once the
/// playlist has passed the part, a second request is answered with "gone".
async fn fetched(
    mixers: impl MixerFiles,
    mut shown: watch::Receiver<Arc<EdgeState>>,
    room: RoomId,
    file: MediaFile,
    now: Duration,
) -> FetchedFile {
    loop {
        let EdgeState { source, before, playlist, .. } = EdgeState::clone(&shown.borrow_and_update());
        let Some(source) = source else { return Err(MediaError::Unavailable) };
        match mixers.clone().file(source.upstream.clone(), room.clone(), file).await {
            Ok(bytes) => return Ok(bytes),
            Err(FetchError::NotYet) => {}
            Err(FetchError::Gone) => {
                let (before, _) = before.filter(|(_, until)| now < *until).ok_or(MediaError::Gone)?;
                return listed_before(mixers, before, room, file).await;
            }
            Err(FetchError::Failed(why)) => {
                source.log_failure(&room, &file, &why);
                return Err(MediaError::Unavailable);
            }
        }
        let is_other = |now: &Arc<Source>| !Arc::ptr_eq(now, &source);
        let was_passed = has_passed(playlist.as_ref(), &file);
        let ask_again = |shown: &Arc<EdgeState>| {
            shown.source.as_ref().is_none_or(is_other)
                || (!was_passed && has_passed(shown.playlist.as_ref(), &file))
        };
        if shown.wait_for(ask_again).await.is_err() {
            return Err(MediaError::NotYet);
        }
    }
}

/// Fetches a file from the previous mixer. If that mixer does not provide the file, for whatever
/// reason, the file is gone.
async fn listed_before(
    mixers: impl MixerFiles,
    before: Upstream,
    room: RoomId,
    file: MediaFile,
) -> FetchedFile {
    let mixer = before.mixer.clone();
    mixers.file(before, room.clone(), file).await.map_err(|why| {
        tracing::debug!(%room, %mixer, %file, ?why, "previous mixer node did not provide a file");
        MediaError::Gone
    })
}

impl Source {
    fn log_failure(&self, room: &RoomId, file: &MediaFile, why: &str) {
        let mixer = &self.upstream.mixer;
        let warn = || tracing::warn!(%room, %mixer, %file, why, "mixer node did not provide a file");
        self.warned.call_once(warn);
    }
}

/// Answers a playlist request as the mixer would, with one difference. A request for a part past the end of a
/// closed segment gets the current playlist at once, because this playlist is new to the caller.
fn answer(playlist: &PlaylistBody, at: Option<(u64, Option<u32>)>, advance: u32) -> Answer<PlaylistBody> {
    let (open, parts) = playlist.next;
    let Some((msn, part)) = at.filter(|_| !playlist.ended) else { return Some(Ok(playlist.clone())) };
    let contained = match part {
        None => msn < open,
        Some(part) => msn < open || (msn == open && part < parts),
    };
    if contained {
        return Some(Ok(playlist.clone()));
    }
    is_too_far(playlist.next, msn, part, advance).then_some(Err(MediaError::TooFarAhead))
}

/// Checks that the mixer has the file or may have it soon, so that an invented name causes no request to it.
/// Returns `Ok(None)` if this cannot be decided yet.
fn plausible(shown: &EdgeState, file: &MediaFile, advance: u32) -> Result<Option<()>, MediaError> {
    let Some((_, hint)) = &shown.live else { return Ok(None) };
    if file.hint() != *hint {
        return Err(MediaError::Gone);
    }
    let Some(playlist) = &shown.playlist else { return Ok(None) };
    let open = playlist.next.0;
    let (msn, part) = match *file {
        MediaFile::Segment { msn, .. } => (msn, None),
        MediaFile::Part { msn, index, .. } => (msn, Some(index)),
    };
    let never_was = msn < open && part.is_some_and(|part| part >= MOST_PARTS);
    let rewindable = || shown.rewind.as_ref().is_some_and(|rewind| rewind.known().entry(file).is_some());
    let has_left = msn.saturating_add(BEHIND) < open && !rewindable();
    match never_was || has_left {
        true => Err(MediaError::Gone),
        false if is_too_far(playlist.next, msn, part, advance) => Err(MediaError::NotYet),
        false => Ok(Some(())),
    }
}

/// Returns true if the playlist is past this file.
fn has_passed(playlist: Option<&PlaylistBody>, file: &MediaFile) -> bool {
    playlist.is_some_and(|playlist| match *file {
        MediaFile::Segment { msn, .. } => playlist.next.0 > msn,
        MediaFile::Part { msn, index, .. } => playlist.next > (msn, index),
    })
}

#[cfg(test)]
#[path = "edge_room_tests.rs"]
mod tests;
