//! A mix that is silent although somebody speaks: when FFmpeg is restarted because of it.
//!
//! The mixer key says that the mix has been silent for more than three seconds. Janus then looks for somebody
//! who speaks (`janus_room::speech`) and answers in its key. If it finds somebody, FFmpeg is killed, and the
//! starvation counts select the further repairs (`port`). Each repair needs new silence and a new answer, and
//! the number of repairs per mixer is limited. The number of moves to another mixer or Janus is limited too
//! (`failover`). So a false alarm disturbs a room only a few times.

use std::collections::VecDeque;
use std::time::Duration;

use super::port::GIVE_UP_AT;
use super::{KillReason, MixerRoom, Process, RunningProcess, outgoing_mixer};
use crate::ids::Epoch;
use crate::view::RoomView;

/// Maximum number of repairs by one mixer within [`WINDOW`].
const MOST_REPAIRS: usize = GIVE_UP_AT as usize;
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// Time without an alarm after which the earlier ones no longer count.
const FORGET_AFTER: Duration = Duration::from_secs(2 * 60);

/// Repairs of a silent mix.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    recent: VecDeque<Duration>,
    /// Time at which somebody last spoke although the mix was silent.
    alarm_at: Duration,
    /// True while somebody speaks, the mix is silent, and no further repair is permitted.
    exhausted: bool,
}

impl Repairs {
    /// Returns true if a repair may start now, and counts it.
    fn permit(&mut self, now: Duration) -> bool {
        self.recent.retain(|at| now.saturating_sub(*at) < WINDOW);
        self.exhausted = self.recent.len() >= MOST_REPAIRS;
        if !self.exhausted {
            self.recent.push_back(now);
        }
        !self.exhausted
    }
}

impl MixerRoom {
    /// Records whether FFmpeg's output has been only silence for more than three seconds. Must be called with
    /// each report of [`SilenceMeter`](crate::mix::SilenceMeter), or at least with the latest.
    pub fn metered(&mut self, silent: bool) {
        if let Process::Running(running) = &mut self.process {
            running.silent = silent;
            if !silent && self.starvation.unheard {
                self.forget_starvations();
            }
        }
    }

    pub(super) fn is_silent(&self, epoch: Epoch) -> bool {
        matches!(&self.process, Process::Running(r) if r.silent && r.epoch == epoch)
    }

    pub(super) fn look_at_silence(&mut self, view: &RoomView, now: Duration) {
        if !self.is_alarmed(view) {
            self.repairs.exhausted = false;
            if self.starvation.unheard && now.saturating_sub(self.repairs.alarm_at) > FORGET_AFTER {
                self.forget_starvations();
            }
            return;
        }
        self.repairs.alarm_at = now;
        if let Process::Running(running) = &mut self.process
            && running.unfit.is_none()
            && self.repairs.permit(now)
        {
            running.unfit = Some(KillReason::Unheard);
        }
    }

    /// Returns true if Janus has answered to the current report of silence that somebody speaks.
    fn is_alarmed(&self, view: &RoomView) -> bool {
        let (Some(mixer), Some(janus), Some(live)) = (&view.mixer, &view.janus, &view.live) else {
            return false;
        };
        let ours = mixer.id == self.me && mixer.epoch == live.epoch && janus.epoch == live.epoch;
        let answered = mixer.silent && janus.unheard && janus.mod_revision > mixer.mod_revision;
        ours && answered && self.is_silent(live.epoch) && outgoing_mixer(view).is_none()
    }

    /// Describes what a running process that Janus feeds does.
    pub(super) fn progress(&self, running: &RunningProcess) -> &'static str {
        match running.last_fragment {
            None => "waits for the first audio",
            Some(_) if self.repairs.exhausted => {
                "producing, but the mix is silent although somebody speaks, and repairs did not help"
            }
            Some(_) if self.starvation.unheard => {
                "producing, after a repair because the mix was silent although somebody spoke"
            }
            Some(_) => "producing",
        }
    }
}
