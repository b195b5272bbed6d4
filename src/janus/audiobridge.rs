//! The actors' interface to a Janus instance: rooms, forwarders, participants.
//!
//! Every call is one request with one reply and needs no other call. Calls are not retried here. After an
//! error whose [`JanusError::outcome_unknown`] is true, check (`exists`, `list_forwarders`) before the next
//! attempt.

use std::net::IpAddr;

use async_trait::async_trait;

use super::Secret;
use super::client::JanusClient;
use super::error::JanusError;
use super::rtp::{RtpJoin, RtpParticipant};
use super::wire::{
    BridgeRequest, DoneReply, ExistsReply, ForwardReply, Forwarders, Participant, Participants, Rooms,
};
use crate::domain::ids::{MediaAddr, Pin};
use crate::domain::srtp::{self, SrtpKey};

/// Sampling rate of the mix in Hz, for Opus at 48 kHz. AudioBridge's default is 16 kHz.
const SAMPLING_RATE: u32 = 48_000;
/// Bit rate of forwarded Opus, in bit/s. From about 66,000, libopus encodes mono with CELT. Below that, it
/// uses SILK with CELT, which takes three times as long to encode speech and nine times as long to encode
/// silence.
const FORWARD_BITRATE: u32 = 96_000;
/// RTP payload type of forwarded Opus. The receiver's SDP must name the same type.
pub const FORWARD_PAYLOAD_TYPE: u8 = 100;

/// Parameters of a new AudioBridge room.
#[derive(Debug, Clone)]
pub struct NewRoom {
    pub janus_room_id: u32,
    /// Ownership tag ([`super::OwnershipTag`]) as text.
    pub description: String,
    /// PIN that every join requires.
    pub pin: Pin,
    /// Secret that every request to manage the room requires.
    pub secret: Secret,
}

/// Room in Janus's list: a room of ours or of another client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    pub id: u32,
    pub description: String,
    pub participants: u32,
}

/// RTP stream of a room's mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwarderInfo {
    pub stream_id: u64,
    pub ip: IpAddr,
    pub port: u16,
    /// `None`: Janus chose it and does not report it.
    pub ssrc: Option<u32>,
    pub always_on: bool,
}

/// Participant of an AudioBridge room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantInfo {
    pub id: u64,
    pub display: String,
    /// True if media is negotiated.
    pub setup: bool,
    pub muted: bool,
    pub talking: bool,
}

impl From<Participant> for ParticipantInfo {
    fn from(p: Participant) -> Self {
        Self { id: p.id, display: p.display, setup: p.setup, muted: p.muted, talking: p.talking }
    }
}

/// Description of a Janus instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JanusInfo {
    /// Version of Janus, for example `1.1.2`.
    pub version: String,
    /// `general.server_name` in Janus's configuration.
    pub server_name: String,
    pub plugins: Vec<PluginInfo>,
}

/// Plugin of a Janus instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Package name, for example `janus.plugin.audiobridge`.
    pub package: String,
    pub version: String,
}

/// Requests to the AudioBridge of one Janus instance.
#[async_trait]
pub trait AudioBridge: Send + Sync {
    /// Creates a private room that mixes at 48 kHz. Fails with `RoomExists` if any room has the number.
    async fn create_room(&self, room: &NewRoom) -> Result<(), JanusError>;
    /// Destroys the room with its forwarders and removes all participants. Fails with `NoSuchRoom` if there
    /// is no such room.
    async fn destroy_room(&self, id: u32, secret: &Secret) -> Result<(), JanusError>;
    /// Lists all rooms, including private ones if the admin key is correct. Leaves out ids above `u32::MAX`,
    /// which are not ours.
    async fn list_rooms(&self) -> Result<Vec<RoomInfo>, JanusError>;
    /// Returns true if a room has this number.
    async fn exists(&self, id: u32) -> Result<bool, JanusError>;
    /// Starts to send the room's mix, silence included, as Opus in SRTP (payload type 100), and returns the
    /// stream id. A second call starts a second stream.
    async fn start_forwarder(
        &self,
        id: u32,
        secret: &Secret,
        target: MediaAddr,
        key: &SrtpKey,
    ) -> Result<u64, JanusError>;
    /// Stops a forwarder. Janus also reports success for an unknown stream.
    async fn stop_forwarder(&self, id: u32, secret: &Secret, stream_id: u64) -> Result<(), JanusError>;
    /// Lists the forwarders of a room.
    async fn list_forwarders(&self, id: u32, secret: &Secret) -> Result<Vec<ForwarderInfo>, JanusError>;
    /// Lists the participants of a room.
    async fn participants(&self, id: u32) -> Result<Vec<ParticipantInfo>, JanusError>;
    /// Records the RTP of each participant, including later ones, into a new file in `folder`. `None` ends
    /// the recording.
    async fn record_tracks(&self, id: u32, secret: &Secret, folder: Option<&str>) -> Result<(), JanusError>;
    /// Mutes a participant; the participant can unmute. Fails with `NoSuchParticipant` if the participant is
    /// not in the room.
    async fn mute(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError>;
    /// Removes a participant from the room; the participant can join again. Fails with `NoSuchParticipant` if
    /// the participant is not in the room.
    async fn kick(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError>;
    /// Joins over plain RTP.
    async fn join_by_rtp(&self, join: &RtpJoin) -> Result<RtpParticipant, JanusError>;
    /// Returns name, version and plugins of the instance.
    async fn info(&self) -> Result<JanusInfo, JanusError>;
}

#[async_trait]
impl AudioBridge for JanusClient {
    async fn create_room(&self, room: &NewRoom) -> Result<(), JanusError> {
        let create = BridgeRequest::Create {
            room: room.janus_room_id,
            description: &room.description,
            secret: &room.secret,
            pin: room.pin.reveal(),
            is_private: true,
            permanent: false,
            sampling_rate: SAMPLING_RATE,
            default_bitrate: FORWARD_BITRATE,
            audiolevel_event: true,
            // A participant talks if its average level over half a second is above -45 dBov. (AudioBridge's
            // defaults, 2 s and -25 dBov, miss most speech.)
            audio_active_packets: 25,
            audio_level_average: 45,
            // Only a client that can reach the Janus API and knows the pin can join this way: in practice,
            // Stentor.
            allow_rtp_participants: true,
            admin_key: self.admin_key(),
        };
        self.bridge::<DoneReply>(create).await.map(|_| ())
    }

    async fn destroy_room(&self, id: u32, secret: &Secret) -> Result<(), JanusError> {
        let destroy = BridgeRequest::Destroy { room: id, secret, permanent: false };
        self.bridge::<DoneReply>(destroy).await.map(|_| ())
    }

    async fn list_rooms(&self) -> Result<Vec<RoomInfo>, JanusError> {
        let listed: Rooms = self.bridge(BridgeRequest::List { admin_key: self.admin_key() }).await?;
        let rooms = listed.rooms.into_iter().filter_map(|room| {
            let id = u32::try_from(room.room).ok()?;
            Some(RoomInfo { id, description: room.description, participants: room.num_participants })
        });
        Ok(rooms.collect())
    }

    async fn exists(&self, id: u32) -> Result<bool, JanusError> {
        Ok(self.bridge::<ExistsReply>(BridgeRequest::Exists { room: id }).await?.exists)
    }

    async fn start_forwarder(
        &self,
        id: u32,
        secret: &Secret,
        target: MediaAddr,
        key: &SrtpKey,
    ) -> Result<u64, JanusError> {
        let forward = BridgeRequest::RtpForward {
            room: id,
            secret,
            codec: "opus",
            ptype: FORWARD_PAYLOAD_TYPE,
            host: target.ip,
            port: target.port,
            // Without this, Janus would send nothing while nobody speaks, and a silent room would never get a
            // playlist.
            always_on: true,
            srtp_suite: srtp::SUITE_BITS,
            srtp_crypto: key.reveal(),
            admin_key: self.admin_key(),
        };
        Ok(self.bridge::<ForwardReply>(forward).await?.stream_id)
    }

    async fn stop_forwarder(&self, id: u32, secret: &Secret, stream_id: u64) -> Result<(), JanusError> {
        let stop = BridgeRequest::StopRtpForward { room: id, secret, stream_id, admin_key: self.admin_key() };
        self.bridge::<DoneReply>(stop).await.map(|_| ())
    }

    async fn list_forwarders(&self, id: u32, secret: &Secret) -> Result<Vec<ForwarderInfo>, JanusError> {
        let listed: Forwarders = self.bridge(BridgeRequest::ListForwarders { room: id, secret }).await?;
        let forwarders = listed.rtp_forwarders.into_iter().map(|f| ForwarderInfo {
            stream_id: f.stream_id,
            ip: f.ip,
            port: f.port,
            ssrc: f.ssrc,
            always_on: f.always_on,
        });
        Ok(forwarders.collect())
    }

    async fn participants(&self, id: u32) -> Result<Vec<ParticipantInfo>, JanusError> {
        let listed: Participants = self.bridge(BridgeRequest::ListParticipants { room: id }).await?;
        Ok(listed.participants.into_iter().map(ParticipantInfo::from).collect())
    }

    async fn record_tracks(&self, id: u32, secret: &Secret, folder: Option<&str>) -> Result<(), JanusError> {
        let (mjrs, mjrs_dir) = (folder.is_some(), folder);
        let record = BridgeRequest::EnableMjrs { room: id, secret, mjrs, mjrs_dir };
        self.bridge::<DoneReply>(record).await.map(|_| ())
    }

    async fn mute(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError> {
        self.set_muted(id, secret, participant, true).await
    }

    async fn kick(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError> {
        self.bridge::<DoneReply>(BridgeRequest::Kick { room: id, secret, id: participant }).await.map(|_| ())
    }

    async fn join_by_rtp(&self, join: &RtpJoin) -> Result<RtpParticipant, JanusError> {
        self.join_plain(join).await
    }

    async fn info(&self) -> Result<JanusInfo, JanusError> {
        let info = self.server_info().await?;
        let plugins = info
            .plugins
            .into_iter()
            .map(|(package, plugin)| PluginInfo { package, version: plugin.version_string });
        Ok(JanusInfo {
            version: info.version_string,
            server_name: info.server_name,
            plugins: plugins.collect(),
        })
    }
}
