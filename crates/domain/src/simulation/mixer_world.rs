//! One mixer of the model: its FFmpeg, its ports, its stream, and the state that outlives its actor.

use std::time::Duration;

use super::domain::ids::{Epoch, MediaAddr, Nonce};
use super::domain::mixer_room::{LeftStream, ProcessEffect, ProcessOutcome};
use super::domain::model::SequenceState;
use super::domain::plan::Failure;
use super::domain::ports::PortPool;

pub struct MixerWorld {
    pub pool: PortPool,
    pub process: Option<MediaAddr>,
    pub dying: bool,
    pub open: Option<SequenceState>,
    pub resources: RoomResources,
}

/// State that outlives an incarnation of the room's actor.
#[derive(Default)]
pub struct RoomResources {
    pub port: Option<(MediaAddr, Epoch)>,
    pub nonce: Option<Nonce>,
    pub ceiling: Option<SequenceState>,
}

impl MixerWorld {
    pub fn new(pool: PortPool) -> Self {
        Self { pool, process: None, dying: false, open: None, resources: RoomResources::default() }
    }

    /// Carries out an effect. `ceiling` is the highest one that the store has reserved.
    pub fn run(&mut self, effect: ProcessEffect, now: Duration, ceiling: u64) -> ProcessOutcome {
        match effect {
            ProcessEffect::TakePort { epoch } => {
                assert!(self.resources.port.is_none(), "a room has one port");
                let Some(rtp) = self.pool.reserve(now).map(rtp) else {
                    return ProcessOutcome::Failed(Failure::Refused("no RTP port is free".into()));
                };
                self.resources.port = Some((rtp, epoch));
                ProcessOutcome::PortTaken { rtp, epoch }
            }
            ProcessEffect::Spawn { epoch, rtp, .. } => self.spawn(epoch, rtp),
            ProcessEffect::Kill { why, .. } => {
                self.dying = true;
                ProcessOutcome::Killing { why }
            }
            ProcessEffect::FreePort { rtp } => {
                assert!(self.process.is_none(), "a port is taken until its process is gone");
                self.pool.release(rtp.port);
                self.resources.port = None;
                ProcessOutcome::Freed
            }
            ProcessEffect::OpenStream { nonce, start } => {
                assert!(start.ceiling < ceiling, "numbers are published only below the ceiling");
                self.open = Some(start);
                self.resources.nonce = Some(nonce.clone());
                ProcessOutcome::Opened { nonce }
            }
            ProcessEffect::EndStream { .. } => {
                self.open = None;
                self.resources.nonce = None;
                ProcessOutcome::Ended
            }
        }
    }

    pub fn spawn(&mut self, epoch: Epoch, rtp: MediaAddr) -> ProcessOutcome {
        assert!(self.process.is_none(), "two FFmpegs for one room on one mixer");
        assert_eq!(self.resources.port, Some((rtp, epoch)), "FFmpeg gets the port that was taken for it");
        self.process = Some(rtp);
        ProcessOutcome::Spawned { epoch }
    }

    /// Returns the stream that the next incarnation of the actor takes over.
    pub fn left(&self) -> Option<LeftStream> {
        let ((nonce, next), ceiling) =
            self.resources.nonce.clone().zip(self.open).zip(self.resources.ceiling)?;
        Some(LeftStream { nonce, next, ceiling })
    }
}

fn rtp(port: u16) -> MediaAddr {
    MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port }
}
