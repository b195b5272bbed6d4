//! Small pieces of the model world: what one Janus and one mixer really have.

use std::collections::BTreeMap;

use crate::domain::ids::{Epoch, MediaAddr, Nonce};
use crate::domain::janus_room::Found;
use crate::domain::model::{ForwarderState, SequenceState};
use crate::domain::plan::WriteOutcome;
use crate::domain::ports::PortPool;

#[derive(Default)]
pub struct JanusWorld {
    pub rooms: BTreeMap<u32, (Epoch, Vec<ForwarderState>)>,
}

pub struct MixerWorld {
    pub pool: PortPool,
    pub process: Option<MediaAddr>,
    pub dying: bool,
    pub open: Option<SequenceState>,
    pub nonce: Option<Nonce>,
}

impl MixerWorld {
    pub fn new() -> Self {
        let pool = PortPool::new(20_000, 20_008, 0.0);
        Self { pool, process: None, dying: false, open: None, nonce: None }
    }
}

pub fn rtp(port: u16) -> MediaAddr {
    MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port }
}

pub fn found(rooms: &BTreeMap<u32, (Epoch, Vec<ForwarderState>)>) -> Vec<Found> {
    let found = |(id, (epoch, _)): (&u32, &(Epoch, _))| Found {
        janus_room_id: *id,
        created_at: *epoch,
        forwarders: None,
    };
    rooms.iter().map(found).collect()
}

pub fn written_or_superseded(written: Option<i64>) -> WriteOutcome {
    written.map_or(WriteOutcome::Superseded, |revision| WriteOutcome::Written { revision })
}
