//! Runs the effects of one room on the AudioBridge and translates typed errors into outcomes of the
//! machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::actors::recording::copying::blocking;
use crate::auth::secrets::Secrets;
use crate::domain::ids::{Epoch, MediaAddr, Nonce, Pin, RoomId, UserId};
use crate::domain::janus_room::{Effect, FoundRoom, Outcome};
use crate::domain::model::ForwarderState;
use crate::domain::plan::Failure;
use crate::domain::recording::RecordingId;
use crate::janus::{
    AudioBridge, ForwarderInfo, JanusError, NewRoom, OwnershipTag, ParticipantInfo, PluginError, RoomInfo,
    Secret, TRACKS,
};
use crate::rooms::now;
use crate::spool::tracks::check_disk;

/// Maximum attempts to find a free room number; among 900,000 numbers one attempt is nearly always enough.
const NUMBER_TRIES: usize = 10;

pub struct RoomOnBridge {
    pub bridge: Arc<dyn AudioBridge>,
    pub room: RoomId,
    pub cluster: String,
    pub secrets: Arc<Secrets>,
    /// Folder of a managed Janus.
    pub folder: PathBuf,
}

impl RoomOnBridge {
    /// Runs one effect. Refuses effects on keys of the store; callers never pass such effects.
    pub async fn run(&self, effect: Effect) -> Outcome {
        let done = match effect {
            Effect::Inspect => self.inspect().await,
            Effect::Create { epoch, pin, again } => self.create(epoch, pin, again).await,
            Effect::Destroy { janus_room_id } => self.destroy(janus_room_id).await,
            Effect::ListForwarders { janus_room_id } => self.forwarders(janus_room_id).await,
            Effect::ListTalkers { janus_room_id } => self.talkers(janus_room_id).await,
            Effect::StartForwarder { janus_room_id, target, epoch, nonce } => {
                self.start(janus_room_id, target, epoch, &nonce).await
            }
            Effect::StopForwarder { janus_room_id, stream_id } => self.stop(janus_room_id, stream_id).await,
            Effect::Expel { janus_room_id, users } => {
                return self
                    .expel(janus_room_id, users)
                    .await
                    .unwrap_or_else(|error| Outcome::NotModerated(error.to_string()));
            }
            Effect::MuteAll { janus_room_id, but, key_revision } => {
                let muted = self.mute_all(janus_room_id, but.as_ref()).await;
                return muted.map_or_else(
                    |error| Outcome::NotModerated(error.to_string()),
                    |()| Outcome::MutedAll { key_revision },
                );
            }
            Effect::RecordTracks { janus_room_id, recording } => {
                return self.record_tracks(janus_room_id, recording).await;
            }
            Effect::CheckTrackDisk => {
                return self.check_disk().await.map_or_else(|full| full, |()| Outcome::TrackDiskChecked);
            }
            Effect::WriteKey { .. } | Effect::DeleteKey { .. } => return refused("not an effect of Janus"),
        };
        done.unwrap_or_else(failed)
    }

    fn secret(&self) -> Secret {
        Secret(self.secrets.of_janus_room(&self.room))
    }

    async fn inspect(&self) -> Result<Outcome, JanusError> {
        Ok(Outcome::Inspected(self.mine().await?))
    }

    /// Returns the Janus rooms that have our cluster's ownership tag for this room.
    async fn mine(&self) -> Result<Vec<FoundRoom>, JanusError> {
        let rooms = self.bridge.list_rooms().await?;
        let ours = rooms.iter().filter_map(|info| found(info, &self.cluster));
        Ok(ours.filter(|(room, _)| *room == self.room).map(|(_, found)| found).collect())
    }

    async fn create(&self, epoch: Epoch, pin: Pin, again: Option<u32>) -> Result<Outcome, JanusError> {
        let Some(mark) = OwnershipTag::new(&self.cluster, self.room.clone(), epoch) else {
            return Ok(refused("node.cluster cannot be part of a Janus room description"));
        };
        let fresh = std::iter::repeat_with(|| rand::random_range(100_000..1_000_000)).take(NUMBER_TRIES);
        let mut room =
            NewRoom { janus_room_id: 0, description: mark.to_string(), pin, secret: self.secret() };
        for janus_room_id in again.into_iter().chain(fresh) {
            room.janus_room_id = janus_room_id;
            match self.bridge.create_room(&room).await {
                Ok(()) => return Ok(Outcome::Created { janus_room_id, epoch }),
                Err(JanusError::Plugin(PluginError::RoomExists)) if again == Some(janus_room_id) => {
                    let mine = self.mine().await?;
                    if mine.iter().any(|found| found.janus_room_id == janus_room_id) {
                        return Ok(Outcome::Inspected(mine));
                    }
                }
                Err(JanusError::Plugin(PluginError::RoomExists)) => {}
                Err(error) if error.outcome_unknown() => {
                    return Ok(Outcome::Unanswered { janus_room_id, why: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused("all random room numbers that were tried are in use on this Janus"))
    }

    async fn destroy(&self, janus_room_id: u32) -> Result<Outcome, JanusError> {
        match self.bridge.destroy_room(janus_room_id, &self.secret()).await {
            Ok(()) | Err(JanusError::Plugin(PluginError::NoSuchRoom)) => Ok(Outcome::Gone { janus_room_id }),
            Err(error) => locked(error, janus_room_id),
        }
    }

    async fn forwarders(&self, janus_room_id: u32) -> Result<Outcome, JanusError> {
        match self.bridge.list_forwarders(janus_room_id, &self.secret()).await {
            Ok(listed) => {
                let forwarders = listed.iter().map(forwarder).collect();
                Ok(Outcome::Forwarders { janus_room_id, forwarders })
            }
            Err(error) => locked(error, janus_room_id),
        }
    }

    async fn talkers(&self, janus_room_id: u32) -> Result<Outcome, JanusError> {
        let all = self.bridge.participants(janus_room_id).await?;
        let can_speak = all.into_iter().filter(|p| p.setup && !p.muted);
        Ok(Outcome::Talkers(can_speak.map(|p| (p.id, p.talking)).collect()))
    }

    async fn start(
        &self,
        janus_room_id: u32,
        target: MediaAddr,
        epoch: Epoch,
        nonce: &Nonce,
    ) -> Result<Outcome, JanusError> {
        let key = self.secrets.srtp_key(&self.room, nonce, epoch, target);
        let stream_id = self.bridge.start_forwarder(janus_room_id, &self.secret(), target, &key).await?;
        Ok(Outcome::Started { janus_room_id, forwarder: ForwarderState { stream_id, target }, epoch })
    }

    async fn stop(&self, janus_room_id: u32, stream_id: u64) -> Result<Outcome, JanusError> {
        self.bridge.stop_forwarder(janus_room_id, &self.secret(), stream_id).await?;
        Ok(Outcome::Stopped { janus_room_id, stream_id })
    }

    /// Records into a new folder, so that no file of an earlier attempt is replaced. `None` ends the
    /// recording.
    async fn record_tracks(&self, janus_room_id: u32, recording: Option<RecordingId>) -> Outcome {
        if recording.is_some()
            && let Err(full) = self.check_disk().await
        {
            return full;
        }
        // Janus runs in its configuration folder, and may have no access to the folders above it.
        let folder = recording.as_ref().map(|id| format!("{TRACKS}/{id}/{}", now().0));
        match self.bridge.record_tracks(janus_room_id, &self.secret(), folder.as_deref()).await {
            Ok(()) => Outcome::TracksSwitched { janus_room_id, recording },
            Err(error) => Outcome::NoTracks { why: error.to_string(), full: false },
        }
    }

    async fn check_disk(&self) -> Result<(), Outcome> {
        let folder = self.folder.join(TRACKS);
        let checked = blocking(move || check_disk(&folder)).await;
        checked.map_err(|error| Outcome::NoTracks { why: error.to_string(), full: true })
    }

    async fn mute_all(&self, janus_room_id: u32, but: Option<&UserId>) -> Result<(), JanusError> {
        let participants = self.bridge.participants(janus_room_id).await?;
        let audible = |p: &&ParticipantInfo| !p.muted && but.is_none_or(|but| but.as_str() != p.display);
        for participant in participants.iter().filter(audible) {
            match self.bridge.mute(janus_room_id, &self.secret(), participant.id).await {
                Ok(()) | Err(JanusError::Plugin(PluginError::NoSuchParticipant)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn expel(&self, janus_room_id: u32, users: BTreeMap<UserId, i64>) -> Result<Outcome, JanusError> {
        // The display name of an anchor's participant is the user id.
        let participants = self.bridge.participants(janus_room_id).await?;
        let theirs = participants.iter().filter(|p| users.keys().any(|user| user.as_str() == p.display));
        for participant in theirs {
            match self.bridge.kick(janus_room_id, &self.secret(), participant.id).await {
                // The gateway node of that user may have removed the participant first.
                Ok(()) | Err(JanusError::Plugin(PluginError::NoSuchParticipant)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Expelled { janus_room_id, users })
    }
}

/// Returns the room that this Janus room belongs to, if the Janus room has our cluster's ownership tag.
pub fn found(info: &RoomInfo, cluster: &str) -> Option<(RoomId, FoundRoom)> {
    let mark = OwnershipTag::parse(&info.description).filter(|mark| mark.cluster() == cluster)?;
    Some((mark.room, FoundRoom { janus_room_id: info.id, created_at: mark.epoch, forwarders: None }))
}

pub fn refused(why: impl ToString) -> Outcome {
    Outcome::Failed(Failure::Refused(why.to_string()))
}

fn forwarder(info: &ForwarderInfo) -> ForwarderState {
    ForwarderState { stream_id: info.stream_id, target: MediaAddr { ip: info.ip, port: info.port } }
}

/// Translates the error of a request that needs only the room's secret: `Unauthorized` means that the room
/// has another secret.
fn locked(error: JanusError, janus_room_id: u32) -> Result<Outcome, JanusError> {
    match error {
        JanusError::Plugin(PluginError::Unauthorized) => Ok(Outcome::Locked { janus_room_id }),
        error => Err(error),
    }
}

fn failed(error: JanusError) -> Outcome {
    // If the room does not exist any more, Janus must be inspected again, as after a missing answer.
    let look_again = error.outcome_unknown() || matches!(error, JanusError::Plugin(PluginError::NoSuchRoom));
    let text = error.to_string();
    Outcome::Failed(if look_again { Failure::Unknown(text) } else { Failure::Refused(text) })
}
