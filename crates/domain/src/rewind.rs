//! Rewind: how far back the listeners of a room on air can go, and the window of segments that they can
//! reach. This module is pure.
//!
//! ```text
//!  on the disk   [ expired │ available │        listed        ]
//!                          └── GRACE ──┘                       newest
//! ```
//! If a room offers rewind, a mixer keeps the window of each broadcast that it publishes. The sequence
//! numbers of a window are consecutive: after a gap, a new window begins.
//!
//! After a handover, the new mixer takes the list of its predecessor's window, and then the media files, the
//! newest first. A file keeps its number, so the entries stay as they are. The predecessor lends its window
//! meanwhile. Owns these rules. Never accesses a disk, and never renders playlists.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ModuleId, Nonce};
use super::key_window::KeyWindow;
use super::model::Handover;
use super::recording::is_mixed_by;
use super::recording_journal::JournalEntry;
use super::view::RoomView;

/// Longest time that listeners can go back.
pub const LONGEST: Duration = Duration::from_secs(3 * 3600);
/// Shortest rewind window of a room that offers rewind. It exceeds the live window, and a playlist needs at
/// least three target durations (RFC 8216 section 6.2.2).
pub const SHORTEST: Duration = Duration::from_secs(60);
/// Time for which a segment and its key stay available after the segment has left the playlist.
const GRACE: Duration = Duration::from_secs(60);
/// Longest time for which a mixer lends its window to its successor.
pub const LEND_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Returns how far the room's listeners can go back; `None` if they cannot. `default`: `hls.rewind`.
pub fn offered(view: &RoomView, default: Duration) -> Option<Duration> {
    let seconds = view.meta.as_ref()?.profile.rewind;
    let span = seconds.map_or(default, |seconds| Duration::from_secs(seconds.into()));
    (!span.is_zero()).then(|| span.clamp(SHORTEST, LONGEST))
}

/// Task of a mixer for the rewind window of one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewindDuty {
    /// Write the segments of this broadcast, and keep those of the last `span`.
    Keep {
        nonce: Nonce,
        span: Duration,
    },
    /// Another mixer continues the broadcast: keep the window until that mixer has taken it, at most for
    /// [`LEND_WITHIN`].
    Lend,
    /// The broadcast is over: write its last segments and end the playlist.
    End,
    /// Delete the window: it is no longer offered, it belongs to an earlier broadcast, or another mixer has
    /// the room.
    Erase,
    Nothing,
}

/// Window that a mixer has.
#[derive(Debug, Clone, Copy)]
pub struct KeptWindow<'a> {
    /// Broadcast of the window.
    pub nonce: &'a Nonce,
    /// True if the mixer lends it to its successor.
    pub lent: bool,
}

/// Returns the task of mixer `me`.
pub fn duty(view: &RoomView, me: &ModuleId, default: Duration, kept: Option<KeptWindow<'_>>) -> RewindDuty {
    let live = view.live.as_ref().filter(|_| view.is_on_air());
    let offered = live.zip(offered(view, default));
    let wanted = offered.filter(|_| is_mixed_by(view, me));
    match (wanted, kept) {
        // The room has come back. A lent window has a gap, so it is taken from the other mixer again.
        (Some((live, span)), kept) if kept.is_none_or(|kept| *kept.nonce == live.nonce && !kept.lent) => {
            RewindDuty::Keep { nonce: live.nonce.clone(), span }
        }
        (_, None) => RewindDuty::Nothing,
        (None, Some(_)) if live.is_none() => RewindDuty::End,
        (None, Some(kept)) => {
            let is_of_live = offered.is_some_and(|(live, _)| live.nonce == *kept.nonce);
            match is_of_live && (kept.lent || is_predecessor(view, me)) {
                true => RewindDuty::Lend,
                false => RewindDuty::Erase,
            }
        }
        (Some(_), Some(_)) => RewindDuty::Erase,
    }
}

/// Returns the mixer from which mixer `me` takes over the window of this broadcast.
pub fn predecessor<'a>(view: &'a RoomView, me: &ModuleId, nonce: &Nonce) -> Option<&'a Handover> {
    let live = view.live.as_ref().filter(|live| live.nonce == *nonce && live.mixer_id == *me)?;
    live.handover.as_deref().filter(|handover| handover.mixer_id != *me)
}

/// Returns true if mixer `me` has handed the room over to its current mixer.
fn is_predecessor(view: &RoomView, me: &ModuleId) -> bool {
    let handover = view.live.as_ref().and_then(|live| live.handover.as_ref());
    handover.is_some_and(|handover| handover.mixer_id == *me)
}

/// Segments of one broadcast with consecutive sequence numbers, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RewindWindow {
    entries: VecDeque<JournalEntry>,
    /// Number of entries before the first listed one.
    delisted: usize,
    /// EXT-X-DISCONTINUITY-SEQUENCE: discontinuities of the broadcast before the first listed segment.
    discontinuity_sequence: u64,
}

/// Changes to a window, for a node that has an older state of the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewindUpdate {
    /// EXT-X-TARGETDURATION, in seconds.
    pub target: u64,
    /// True if the broadcast is over.
    pub ended: bool,
    pub discontinuity_sequence: u64,
    /// Number of the oldest available segment.
    pub available: u64,
    /// Number of the first listed segment.
    pub first: u64,
    /// Segments that the other node does not have, or all available ones.
    pub entries: Vec<JournalEntry>,
}

/// Error for an update that does not describe a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rewind window of the mixer has a gap")]
pub struct BrokenUpdate;

impl RewindWindow {
    /// Adds the next segment. After a gap in the sequence numbers, a new window begins with this segment.
    /// `discontinuities` is the number of discontinuities of the broadcast before this segment.
    pub fn push(&mut self, entry: JournalEntry, discontinuities: u64) {
        if self.last().is_none_or(|last| last + 1 != entry.sequence) {
            self.entries.clear();
            self.delisted = 0;
            self.discontinuity_sequence = discontinuities;
        }
        self.entries.push_back(entry);
    }

    /// Shortens the list to `span`, and removes the entries of media files that no longer contain an
    /// available segment.
    pub fn trim(&mut self, span: Duration) {
        let mut listed = self.span();
        while listed > span && self.delisted + 1 < self.entries.len() {
            listed = listed.saturating_sub(self.delist());
        }
        let expired = self.entries.len() - self.available().count();
        let kept_file = self.entries.get(expired).map(|entry| entry.file);
        while self.entries.front().is_some_and(|entry| Some(entry.file) != kept_file) && self.delisted > 0 {
            self.entries.pop_front();
            self.delisted -= 1;
        }
    }

    /// Removes the segments of the oldest media file, because the disk is full. Returns their number.
    pub fn shrink(&mut self) -> u64 {
        let Some(oldest) = self.oldest_file() else { return 0 };
        let before = self.entries.len();
        while self.entries.front().is_some_and(|entry| entry.file == oldest) {
            if self.delisted == 0 {
                self.delist();
            }
            self.entries.pop_front();
            self.delisted -= 1;
        }
        (before - self.entries.len()) as u64
    }

    /// Removes the segments of the media files before number `first`. Returns their number.
    pub fn drop_before(&mut self, first: u32) -> u64 {
        let mut dropped = 0;
        while self.oldest_file().is_some_and(|oldest| oldest < first) {
            dropped += self.shrink();
        }
        dropped
    }

    /// Returns the newest media file before number `below`, and the size in bytes up to the end of its last
    /// segment.
    pub fn file_before(&self, below: u32) -> Option<(u32, u64)> {
        let count = self.entries.partition_point(|entry| entry.file < below);
        let last = self.entries.get(count.checked_sub(1)?)?;
        Some((last.file, last.offset.saturating_add(last.bytes)))
    }

    /// Takes the first listed segment off the list, and returns its duration.
    fn delist(&mut self) -> Duration {
        let Some(entry) = self.entries.get(self.delisted) else { return Duration::ZERO };
        self.discontinuity_sequence += u64::from(entry.discontinuity);
        self.delisted += 1;
        entry.duration()
    }

    /// Returns the number of the oldest media file of the window.
    pub fn oldest_file(&self) -> Option<u32> {
        self.entries.front().map(|entry| entry.file)
    }

    /// Returns the number of the newest media file of the window.
    pub fn newest_file(&self) -> Option<u32> {
        self.entries.back().map(|entry| entry.file)
    }

    /// Returns the number of the newest segment.
    pub fn last(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.sequence)
    }

    pub fn listed(&self) -> impl DoubleEndedIterator<Item = &JournalEntry> + ExactSizeIterator {
        self.entries.range(self.delisted..)
    }

    /// Returns the duration of the listed segments.
    pub fn span(&self) -> Duration {
        self.listed().map(JournalEntry::duration).sum()
    }

    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// Returns the number of discontinuities of the broadcast up to the newest segment.
    pub fn discontinuities(&self) -> u64 {
        self.discontinuity_sequence + self.listed().filter(|entry| entry.discontinuity).count() as u64
    }

    /// Returns the listed segments and those that left the list at most [`GRACE`] ago.
    fn available(&self) -> impl Iterator<Item = &JournalEntry> {
        let mut after = Duration::ZERO;
        let mut first = self.delisted;
        for entry in self.entries.range(..self.delisted).rev() {
            if after >= GRACE {
                break;
            }
            after += entry.duration();
            first -= 1;
        }
        self.entries.range(first..)
    }

    /// Returns the entry of a segment that is on the disk.
    pub fn get(&self, sequence: u64) -> Option<&JournalEntry> {
        let first = self.entries.front()?.sequence;
        self.entries.get(usize::try_from(sequence.checked_sub(first)?).ok()?)
    }

    /// Returns the range of the keys of the available segments.
    pub fn keys(&self) -> Option<KeyWindow> {
        Some(KeyWindow::new(self.available().next()?.key_index, self.entries.back()?.key_index))
    }

    /// Returns the changes for a node whose newest segment is `last`.
    pub fn update(&self, last: Option<u64>, target: u64, ended: bool) -> RewindUpdate {
        let available = self.available().next().map_or(0, |entry| entry.sequence);
        let known = last.filter(|last| last + 1 >= available && Some(*last) <= self.last());
        let entries = self.available().filter(|entry| known.is_none_or(|known| entry.sequence > known));
        RewindUpdate {
            target,
            ended,
            discontinuity_sequence: self.discontinuity_sequence,
            available,
            first: self.listed().next().map_or(0, |entry| entry.sequence),
            entries: entries.cloned().collect(),
        }
    }

    /// Applies changes from [`update`](Self::update).
    ///
    /// # Errors
    /// The numbers of the segments are not consecutive. The window is unchanged.
    pub fn apply(&mut self, update: RewindUpdate) -> Result<(), BrokenUpdate> {
        let numbers = update.entries.iter().map(|entry| entry.sequence);
        let is_whole =
            numbers.clone().zip(numbers.skip(1)).all(|(one, next)| one.checked_add(1) == Some(next));
        if !is_whole {
            return Err(BrokenUpdate);
        }
        let follows = |entry: &JournalEntry| self.last().is_some_and(|last| last + 1 == entry.sequence);
        if !update.entries.first().is_none_or(follows) {
            self.entries.clear();
        }
        self.entries.extend(update.entries);
        while self.entries.front().is_some_and(|entry| entry.sequence < update.available) {
            self.entries.pop_front();
        }
        self.delisted = self.entries.partition_point(|entry| entry.sequence < update.first);
        self.discontinuity_sequence = update.discontinuity_sequence;
        Ok(())
    }
}

#[cfg(test)]
#[path = "rewind_tests.rs"]
mod tests;
