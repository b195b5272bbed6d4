//! Takeover of a rewind window from the room's earlier mixer: its list first, then its media files, the
//! newest first. So if the earlier mixer is lost meanwhile, the window only becomes shorter.
//!
//! The earlier mixer lends its window until it is told that nothing more is needed. Owns the requests to that
//! mixer, and their rate.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use super::{Msg, RewindActor};
use crate::actors::kernel::Cx;
use crate::actors::recording::copying::blocking;
use crate::actors::rewind::RewindParts;
use crate::delivery::{EarlierMixer, FetchError, KeptRewind, MixerFiles};
use crate::domain::ids::RoomId;
use crate::domain::recording::RecordingId;
use crate::domain::relay_room::Upstream;
use crate::domain::rewind::{LEND_WITHIN, RewindDuty, RewindUpdate, predecessor};
use crate::domain::vouched::url_refusal;

/// Longest wait for the list of the window, in which the new mixer has no rewind playlist.
const LIST_WITHIN: Duration = Duration::from_secs(3);
/// Shortest time between two requests for media files of one window. A file has 4 MiB, so a window is taken
/// with at most 16 MiB per second.
const PACE: Duration = Duration::from_millis(250);
/// Longest time for which a request holds its turn. A mixer that is lost may not answer for longer, and must
/// not delay the windows of other mixers. Then the request continues in a slow turn.
const TURN: Duration = Duration::from_secs(5);
/// Time after which a failed request is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// Number of consecutive failures after which the rest of the window is given up.
const MOST_FAILURES: u32 = 10;
/// Time for which a window is still served after the next mixer has taken it. Listener nodes may still
/// request segments here.
const TAKEN_FOR: Duration = Duration::from_secs(10);
/// Time between two checks whether the next mixer has taken the window.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// State of the fetching of media files from the earlier mixer.
#[derive(Default)]
pub struct TakeoverProgress {
    /// True while a request is in progress.
    busy: bool,
    /// Time before which no request begins.
    due: Duration,
    failures: u32,
    /// Time at which the list was received.
    since: Duration,
    /// Mixer to tell that nothing more is needed of its window.
    release: Option<Upstream>,
}

/// Reason why a media file was not taken.
pub enum NotTaken {
    /// The earlier mixer does not have the file either, or not yet.
    NotYet,
    /// The earlier mixer does not answer.
    Failed(String),
    /// The file is lost, or this disk failed.
    Lost(String),
}

impl RewindActor {
    /// Returns the mixer whose window is to be taken over: once this mixer has the stream, and before it has
    /// written a segment.
    pub(super) fn earlier_mixer(&self, kept: &KeptRewind) -> Option<Upstream> {
        let has_stream = self.stream.as_ref().is_some_and(|source| source.stream.is_live());
        if self.asked || !has_stream || kept.rewind.last().is_some() {
            return None;
        }
        let view = self.context.directory.room(&self.room)?;
        let earlier = predecessor(&view, &self.context.me, &kept.nonce)?;
        let (mixer, url) = (earlier.mixer_id.clone(), earlier.hls_url.clone());
        let is_known = url_refusal(&mixer, &url, &self.context.directory.modules()).is_none();
        is_known.then(|| Upstream { mixer, url, nonce: kept.nonce.clone(), epoch: earlier.epoch })
    }

    pub(super) fn request_list(&mut self, mixer: Upstream, cx: &mut Cx<Self>) {
        (self.busy, self.asked) = (true, true);
        self.reason = format!("requests the window of mixer {}", mixer.mixer);
        let fetcher = self.parts.rewinds.fetcher.clone();
        let list = list(fetcher, mixer.clone(), self.room.clone());
        cx.run(list, |list| Msg::Listed(mixer, list));
    }

    /// Puts the window of the earlier mixer before the segments of this mixer.
    pub(super) fn listed(&mut self, mixer: Upstream, list: Option<RewindUpdate>) {
        let Some(kept) = &self.kept else { return };
        let Some(list) = list else {
            self.taking.release = Some(mixer);
            return;
        };
        if let Err(error) = kept.rewind.change(|window| window.apply(list)) {
            tracing::warn!(room = %self.room, mixer = %mixer.mixer, %error, "rewind window refused");
            self.taking.release = Some(mixer);
            return;
        }
        self.oldest_file = kept.rewind.oldest_file();
        // The numbers of new media files must follow those of the earlier mixer.
        self.writer = None;
        let below = kept.rewind.newest_file() + 1;
        kept.takeover.set_earlier(Some(EarlierMixer { mixer, below }));
        (self.taking.since, self.taking.failures) = (self.context.clock.now(), 0);
        if let (Some(source), Some(last)) = (&mut self.stream, kept.rewind.last()) {
            source.next = source.next.map(|next| next.max(last + 1));
        }
    }

    /// Fetches the next media file from the earlier mixer, or tells it that nothing more is needed.
    pub(super) fn take(&mut self, cx: &mut Cx<Self>) {
        if let Some(mixer) = self.taking.release.take() {
            self.release(mixer, cx);
        }
        let now = self.context.clock.now();
        let Some(kept) =
            self.kept.clone().filter(|_| matches!(self.duty, RewindDuty::Keep { .. } | RewindDuty::Lend))
        else {
            return;
        };
        let Some(earlier) = kept.takeover.earlier() else { return };
        // The folder exists once the writer has been opened.
        if self.leaving || self.taking.busy || self.taking.due > now || !self.is_open {
            return;
        }
        let Some(file) = kept.rewind.file_before(earlier.below) else {
            kept.takeover.set_earlier(None);
            return self.release(earlier.mixer, cx);
        };
        let view = self.context.directory.room(&self.room).unwrap_or_default();
        if view.live.as_ref().is_some_and(|live| live.mixer_id == earlier.mixer.mixer) {
            // The room has gone back to that mixer, which has erased its earlier window.
            return self.give_up(file.0, "the earlier mixer has the room again");
        }
        self.taking.busy = true;
        let id = kept.id.clone();
        let failed = self.taking.failures > 0;
        let take = take(self.parts.clone(), failed, self.room.clone(), (kept, earlier), file);
        cx.run(take, move |taken| Msg::Taken(id, file.0, taken));
    }

    fn release(&self, mixer: Upstream, cx: &mut Cx<Self>) {
        let told = self.parts.rewinds.fetcher.clone().rewind_taken(mixer, self.room.clone());
        cx.run(told, |()| Msg::Released);
    }

    pub(super) fn took(&mut self, id: &RecordingId, number: u32, taken: Result<(), NotTaken>) {
        self.taking.busy = false;
        let Some(kept) = self.kept.as_ref().filter(|kept| kept.id == *id) else { return };
        let now = self.context.clock.now();
        let why = match taken {
            Ok(()) => {
                self.taking.failures = 0;
                let earlier = kept.takeover.earlier();
                return kept
                    .takeover
                    .set_earlier(earlier.map(|earlier| EarlierMixer { below: number, ..earlier }));
            }
            Err(NotTaken::Lost(why)) => why,
            Err(NotTaken::Failed(why)) => {
                self.taking.failures += 1;
                self.taking.due = now + REPEAT_AFTER;
                if self.taking.failures < MOST_FAILURES {
                    return;
                }
                why
            }
            Err(NotTaken::NotYet) => {
                self.taking.due = now + REPEAT_AFTER;
                if now < self.taking.since + LEND_WITHIN {
                    return;
                }
                "the earlier mixer does not have it".into()
            }
        };
        self.give_up(number, &why);
    }

    /// Removes the segments of the media files up to `number` from the window, because they are lost.
    fn give_up(&mut self, number: u32, why: &str) {
        let Some(kept) = &self.kept else { return };
        self.taking.release = kept.takeover.earlier().map(|earlier| earlier.mixer);
        kept.takeover.set_earlier(None);
        let lost = kept.rewind.change(|window| window.drop_before(number + 1));
        self.oldest_file = kept.rewind.oldest_file();
        self.context.metrics.rewind().segments("lost", lost);
        tracing::warn!(room = %self.room, lost, why, "the earlier part of a rewind window is lost");
    }

    /// Serves the window to the next mixer, and erases it when that mixer has taken it.
    pub(super) fn lend(&mut self, now: Duration, cx: &mut Cx<Self>) {
        let Some(kept) = self.kept.clone() else { return };
        let since = *self.lent.get_or_insert(now);
        (self.writer, self.stream, self.active) = (None, None, None);
        if kept.takeover.is_taken() {
            self.taken.get_or_insert(now);
        }
        let until = self.taken.map_or(since + LEND_WITHIN, |taken| taken + TAKEN_FOR);
        if now >= until || kept.rewind.last().is_none() {
            return self.erase(cx);
        }
        if !self.is_open && kept.takeover.earlier().is_some() {
            // The room has moved on before this mixer wrote a segment. The folder is needed for the files of
            // the earlier mixer.
            return self.open(&kept, cx);
        }
        self.reason = match self.taken {
            Some(_) => "the next mixer has taken the window".into(),
            None => "the next mixer takes the window over".into(),
        };
        self.wake((now + LOOK_EVERY).min(until), now, cx);
    }
}

/// Returns the list of the window; `None` if the earlier mixer has none or does not answer in time. If the
/// room has moved twice in a row, the earlier mixer may itself still wait for the list of its predecessor.
async fn list(fetcher: impl MixerFiles, mixer: Upstream, room: RoomId) -> Option<RewindUpdate> {
    let ask = async {
        loop {
            match fetcher.clone().rewind(mixer.clone(), room.clone(), None).await {
                Ok(update) => return Some(update),
                Err(FetchError::Gone) => return None,
                // Sleep: delays the repetition.
                Err(FetchError::NotYet | FetchError::Failed(_)) => {
                    tokio::time::sleep(LIST_WITHIN / 10).await;
                }
            }
        }
    };
    tokio::time::timeout(LIST_WITHIN, ask).await.ok().flatten()
}

/// Does the work in a turn, if there are turns, and returns the turn. Work that lasts longer continues in a
/// slow turn. The semaphores are never closed.
async fn in_turn<'a, T>(
    (turns, slow_turns): (Option<&'a Semaphore>, &'a Semaphore),
    longest: Duration,
    work: impl Future<Output = T>,
) -> (T, Result<SemaphorePermit<'a>, AcquireError>) {
    let mut work = pin!(work);
    if let Some(turns) = turns {
        let turn = turns.acquire().await;
        if let Ok(done) = tokio::time::timeout(longest, &mut work).await {
            return (done, turn);
        }
    }
    let turn = slow_turns.acquire().await;
    (work.await, turn)
}

/// Copies a media file of at least `size` bytes to this disk. `failed`: the request before has failed.
async fn take(
    parts: RewindParts,
    failed: bool,
    room: RoomId,
    (kept, earlier): (KeptRewind, EarlierMixer),
    (number, size): (u32, u64),
) -> Result<(), NotTaken> {
    let request = parts.rewinds.fetcher.clone().rewind_file(earlier.mixer, room, number);
    let turns = (!failed).then_some(&*parts.turns);
    // The turn is kept until the end, so that it also limits the writes and the rate of all windows.
    let (media, _turn) = in_turn((turns, &parts.slow_turns), TURN, request).await;
    let media = media.map_err(|error| match error {
        FetchError::NotYet => NotTaken::NotYet,
        FetchError::Gone => NotTaken::Lost("the earlier mixer has erased it".into()),
        FetchError::Failed(why) => NotTaken::Failed(why),
    })?;
    if (media.len() as u64) < size {
        return Err(NotTaken::Lost("the media file is too short".into()));
    }
    let spool = parts.rewinds.spool().clone();
    let put = blocking(move || spool.put_media(&kept.id, number, &media)).await;
    put.map_err(|error: io::Error| NotTaken::Lost(error.to_string()))?;
    // Sleep: see PACE.
    tokio::time::sleep(PACE).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use bytes::Bytes;

    use super::*;
    use crate::delivery::samples::sample_rewind;
    use crate::domain::ids::{Epoch, ModuleId, Nonce};
    use crate::packager::MediaFile;

    /// Mixer that has no list for some requests, because it waits for its own predecessor.
    #[derive(Clone)]
    struct SecondMixer {
        requests: Arc<AtomicU32>,
        missing: u32,
    }

    impl MixerFiles for SecondMixer {
        async fn file(self, _: Upstream, _: RoomId, _: MediaFile) -> Result<Bytes, FetchError> {
            Err(FetchError::NotYet)
        }

        async fn rewind(self, _: Upstream, _: RoomId, last: Option<u64>) -> Result<RewindUpdate, FetchError> {
            match self.requests.fetch_add(1, Relaxed) < self.missing {
                true => Err(FetchError::NotYet),
                false => Ok(sample_rewind(100..110).update(last)),
            }
        }
    }

    async fn listed(missing: u32) -> Option<usize> {
        let mixer = SecondMixer { requests: Arc::default(), missing };
        let (id, nonce) = (ModuleId::new("b").unwrap(), Nonce("n".into()));
        let from = Upstream { mixer: id, url: "http://b".into(), nonce, epoch: Epoch(1) };
        list(mixer, from, RoomId::new("demo").unwrap()).await.map(|list| list.entries.len())
    }

    #[tokio::test]
    async fn list_waits_for_earlier_takeover() {
        assert_eq!(listed(2).await, Some(10));
        assert_eq!(listed(u32::MAX).await, None);
    }

    #[tokio::test]
    async fn silent_mixer_loses_its_turn() {
        let (turns, slow_turns) = (Semaphore::new(1), Semaphore::new(2));
        let longest = Duration::from_millis(50);
        let mut silent = pin!(in_turn((Some(&turns), &slow_turns), longest, std::future::pending::<()>()));
        let other = in_turn((Some(&turns), &slow_turns), longest, std::future::ready(7));
        tokio::select! {
            biased;
            _ = &mut silent => unreachable!(),
            (done, _turn) = other => {
                assert_eq!((done, turns.available_permits()), (7, 0), "the turn lasts until the write");
                assert_eq!(slow_turns.available_permits(), 1, "the silent request has a slow turn");
                let (done, _slow) = in_turn((None, &slow_turns), longest, std::future::ready(8)).await;
                assert_eq!((done, slow_turns.available_permits()), (8, 0), "after a failure");
            }
        }
    }
}
