//! One Janus of the model: its rooms, and the requests that arrive late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::domain::ids::Epoch;
use super::domain::janus_room::{Effect, FoundRoom, Outcome};
use super::domain::model::ForwarderState;
use super::domain::plan::Failure;

#[derive(Default)]
pub struct JanusWorld {
    pub rooms: BTreeMap<u32, (Epoch, Vec<ForwarderState>)>,
    /// Create requests whose caller has given up, with the time at which they are carried out.
    pub late: Vec<(Duration, u32, Epoch)>,
}

impl JanusWorld {
    /// Carries out an effect on Janus. `fresh` is a number that was never used before.
    pub fn run(&mut self, effect: Effect, fresh: u32) -> Outcome {
        let gone = Outcome::Failed(Failure::Unknown("no such room".into()));
        match effect {
            Effect::Inspect => Outcome::Inspected(self.found()),
            Effect::Create { again: Some(number), .. } if self.rooms.contains_key(&number) => {
                Outcome::Inspected(self.found())
            }
            Effect::Create { epoch, again, .. } => {
                let janus_room_id = again.unwrap_or(fresh);
                self.rooms.insert(janus_room_id, (epoch, Vec::new()));
                Outcome::Created { janus_room_id, epoch }
            }
            Effect::Destroy { janus_room_id } => {
                self.rooms.remove(&janus_room_id);
                Outcome::Gone { janus_room_id }
            }
            Effect::ListForwarders { janus_room_id } => match self.rooms.get(&janus_room_id) {
                Some((_, f)) => Outcome::Forwarders { janus_room_id, forwarders: f.clone() },
                None => gone,
            },
            Effect::ListTalkers { .. } => Outcome::Talkers(BTreeMap::new()),
            Effect::StartForwarder { janus_room_id, target, epoch, .. } => {
                match self.rooms.get_mut(&janus_room_id) {
                    Some((_, forwarders)) => {
                        let forwarder = ForwarderState { stream_id: fresh.into(), target };
                        forwarders.push(forwarder);
                        Outcome::Started { janus_room_id, forwarder, epoch }
                    }
                    None => gone,
                }
            }
            Effect::StopForwarder { janus_room_id, stream_id } => {
                if let Some((_, forwarders)) = self.rooms.get_mut(&janus_room_id) {
                    forwarders.retain(|f| f.stream_id != stream_id);
                }
                Outcome::Stopped { janus_room_id, stream_id }
            }
            Effect::MuteAll { key_revision, .. } => Outcome::MutedAll { key_revision },
            Effect::Expel { janus_room_id, users } => Outcome::Expelled { janus_room_id, users },
            Effect::RecordTracks { janus_room_id, recording } => {
                Outcome::TracksSwitched { janus_room_id, recording }
            }
            Effect::CheckTrackDisk => Outcome::TrackDiskChecked,
            Effect::WriteKey { .. } | Effect::DeleteKey { .. } => unreachable!("an effect of the store"),
        }
    }

    /// Schedules a late effect: a create is carried out at `due`. Any other late effect is dropped here; the
    /// machine learns the state by inspecting.
    pub fn later(&mut self, effect: Effect, fresh: u32, due: Duration) {
        if let Effect::Create { epoch, again, .. } = effect {
            self.late.push((due, again.unwrap_or(fresh), epoch));
        }
    }

    /// Carries out the create requests that are due at `now`. Janus refuses a number that it already has.
    pub fn land(&mut self, now: Duration) {
        for (_, number, epoch) in self.late.extract_if(.., |(due, ..)| *due <= now) {
            self.rooms.entry(number).or_insert((epoch, Vec::new()));
        }
    }

    pub fn found(&self) -> Vec<FoundRoom> {
        let found = |(id, (epoch, _)): (&u32, &(Epoch, _))| FoundRoom {
            janus_room_id: *id,
            created_at: *epoch,
            forwarders: None,
        };
        self.rooms.iter().map(found).collect()
    }
}
