//! Stream of a room: opens it, feeds it with FFmpeg's output, fills gaps with silence, ends it.

use std::time::Duration;

use bytes::Bytes;

use super::{MixerRoomActor, Msg};
use crate::actors::kernel::Cx;
use crate::actors::mixer::packaging;
use crate::actors::mixer::process::{self, Output, Read, ReadTimes};
use crate::actors::mixer::resources::OpenStream;
use crate::domain::ids::Nonce;
use crate::domain::mixer_room::{LeftStream, ProcessOutcome};
use crate::domain::model::SequenceState;
use crate::domain::timeline::frames_last;
use crate::domain::vouched::url_refusal;
use crate::packager::{ContentKeys, Packager, Progress};

/// Minimum delay before a check for due silence, so that after a pause of the node the queued output is
/// handled before the check.
const FILL_AGAIN: Duration = Duration::from_millis(10);

impl MixerRoomActor {
    /// Returns the URL from which to fetch the window of the mixer that hands this broadcast over to this
    /// mixer. `None` if there is no such mixer, or if its URL is refused.
    pub(super) fn predecessor(&self, nonce: &Nonce) -> Option<String> {
        let live = self.view.live.as_ref().filter(|live| live.nonce == *nonce)?;
        let handover = live.handover.as_ref().filter(|handover| handover.mixer_id != self.context.me)?;
        let (mixer, url) = (&handover.mixer_id, &handover.hls_url);
        url_refusal(mixer, url, &self.context.directory.modules()).is_none().then(|| url.clone())
    }

    pub(super) fn open_stream(
        &mut self,
        nonce: Nonce,
        start: SequenceState,
        window_snapshot: Option<Bytes>,
        cx: &mut Cx<Self>,
    ) -> ProcessOutcome {
        let ceiling = self.machine.ceiling().unwrap_or(start);
        let hls = &self.context.config.hls;
        let at = self.context.clock.moment();
        let started = self.view.live.as_ref().map_or(at.wall, |live| live.created_at);
        let (mut packager, stream) =
            packaging::open(hls, self.keys(&nonce), start, started, window_snapshot, at);
        packager.begin_incarnation(at);
        if let Some(running) = &mut self.running {
            let begun = std::mem::take(&mut running.standby).into_bytes(packager.missing(at.now));
            // An error needs no handling: if this output is unusable, the following output is unusable, too,
            // and its error is handled.
            let _ = packager.push(&begun, at);
        }
        self.shared.streams.open(self.room.clone(), nonce.clone(), stream.clone());
        let open = OpenStream { nonce: nonce.clone(), stream: stream.clone(), ceiling };
        self.resources.keep_stream(open);
        self.stream = Some((packager, stream));
        self.read_on(cx);
        ProcessOutcome::Opened { nonce }
    }

    /// Takes over the stream and port of an incarnation that panicked.
    pub(super) fn inherit(&mut self) {
        let left = self.resources.stream().and_then(|open| {
            let packager = Packager::resume(
                packaging::config(&self.context.config.hls),
                self.keys(&open.nonce),
                &open.stream,
                self.context.clock.moment(),
            )?;
            Some((packager, open))
        });
        let numbers = left.as_ref().map(|(packager, open)| {
            let next = packaging::numbers(packager);
            LeftStream { nonce: open.nonce.clone(), next, ceiling: open.ceiling }
        });
        let goes_on = self.machine.inherit(self.resources.port(), numbers, &self.view);
        match left {
            Some((packager, open)) if goes_on => {
                tracing::info!(room = %self.room, "stream resumed after a failure of its actor");
                self.shared.streams.open(self.room.clone(), open.nonce, open.stream.clone());
                self.stream = Some((packager, open.stream));
            }
            // The stream cannot continue. Dropping the packager makes listeners look for the successor
            // stream.
            _ => self.let_go(),
        }
    }

    fn keys(&self, nonce: &Nonce) -> ContentKeys {
        ContentKeys::new(&self.shared.secrets.hls.0, &self.room, nonce)
    }

    /// Ends the stream: for good if `over`; otherwise its readers look for the successor stream.
    pub(super) fn end_stream(&mut self, over: bool) -> ProcessOutcome {
        if let Some((mut packager, _)) = self.stream.take() {
            match over {
                true => packager.finish(),
                false => packager.leave(),
            }
            self.machine.published(packaging::numbers(&packager));
        }
        self.fill = None;
        self.let_go();
        ProcessOutcome::Ended
    }

    fn let_go(&self) {
        if let Some(open) = self.resources.take_stream() {
            self.shared.streams.ended(&self.room, &open.stream);
        }
    }

    /// Reads FFmpeg's output, unless a read is in progress. When silence is due, the read in progress ends;
    /// without a read, a timer fires.
    pub(super) fn read_on(&mut self, cx: &mut Cx<Self>) {
        let packager = self.stream.as_ref().map(|(packager, _)| packager);
        let now = self.context.clock.now();
        let times = ReadTimes {
            wait: packager.and_then(Packager::read_at).unwrap_or_default().saturating_sub(now),
            late: packager.and_then(Packager::fill_at).map(|due| due.saturating_sub(now).max(FILL_AGAIN)),
        };
        if let Some(running) = &mut self.running
            && let Some(stdout) = running.stdout.take()
        {
            self.fill = None;
            cx.run(process::read(running.pid, stdout, std::mem::take(&mut self.buffer), times), Msg::Output);
        } else {
            self.arm_fill(cx);
        }
    }

    fn arm_fill(&mut self, cx: &mut Cx<Self>) {
        let due = self.stream.as_ref().and_then(|(packager, _)| packager.fill_at());
        if let (None, Some(due)) = (&self.fill, due) {
            let wait = due.saturating_sub(self.context.clock.now()).max(FILL_AGAIN);
            self.fill = Some(cx.after(wait, Msg::Fill));
        }
    }

    /// Writes silence if FFmpeg is late. Returns true if a new plan is needed.
    pub(super) fn fill(&mut self, cx: &mut Cx<Self>) -> bool {
        self.fill = None;
        let replan = self.fill_now();
        self.arm_fill(cx);
        replan
    }

    fn fill_now(&mut self) -> bool {
        let Some((packager, _)) = self.stream.as_mut() else { return false };
        let progress = packager.fill(self.context.clock.moment());
        self.published(progress);
        progress.segments_closed > 0
    }

    /// Records published parts, of audio or of silence.
    fn published(&mut self, progress: Progress) {
        let Some((packager, _)) = self.stream.as_ref().filter(|_| progress.parts > 0) else { return };
        self.machine.published(packaging::numbers(packager));
        (0..progress.parts).for_each(|_| self.context.metrics.media_fragment());
        self.context.metrics.silence_filled(frames_last(progress.silent_frames.into()));
    }

    /// Handles one read of FFmpeg's output. Returns true if a new plan is needed.
    pub(super) fn output(&mut self, output: Output, cx: &mut Cx<Self>) -> bool {
        let running = self.running.as_mut().filter(|r| r.pid == output.pid && r.kill.is_some());
        let Some(running) = running.filter(|_| output.read != Read::Ended) else {
            self.arm_fill(cx);
            return false;
        };
        running.stdout = Some(output.stdout);
        self.buffer = output.buffer;
        let replan = match output.read {
            Read::Bytes(count) => self.bytes(count),
            Read::Late | Read::Ended => self.fill_now(),
        };
        self.read_on(cx);
        replan
    }

    /// Handles bytes at the front of the buffer.
    fn bytes(&mut self, count: usize) -> bool {
        let Some((packager, _)) = self.stream.as_mut() else { return self.warm(count) };
        match packager.push(&self.buffer[..count], self.context.clock.moment()) {
            Ok(Progress { frames: 0, .. }) => false,
            Ok(progress) => self.produced(progress),
            Err(error) => self.unusable_output(&error),
        }
    }

    fn unusable_output(&mut self, error: &dyn std::error::Error) -> bool {
        tracing::warn!(room = %self.room, %error, "FFmpeg wrote unusable output and will be restarted");
        self.machine.unusable_output();
        true
    }

    /// Handles FFmpeg's output while another mixer still publishes the room.
    fn warm(&mut self, count: usize) -> bool {
        let Some(running) = &mut self.running else { return false };
        match running.standby.push(&self.buffer[..count]) {
            Ok(0) => false,
            Ok(_) => {
                running.starting = None;
                self.machine.warm(self.context.clock.now())
            }
            Err(error) => self.unusable_output(&error),
        }
    }

    /// Records frames from FFmpeg. Returns true for the first part and at the end of a segment.
    fn produced(&mut self, progress: Progress) -> bool {
        let now = self.context.clock.now();
        self.machine.produced(now);
        self.published(progress);
        let Some(running) = self.running.as_mut().filter(|_| progress.parts > 0) else { return false };
        let late = self.context.config.hls.part * 3 / 2;
        if running.last_part.replace(now).is_some_and(|last| now.saturating_sub(last) > late) {
            self.context.metrics.late_part();
        }
        let first = running.starting.take().is_some();
        first || progress.segments_closed > 0
    }
}
