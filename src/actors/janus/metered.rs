//! AudioBridge that counts its requests and measures their duration.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::MediaAddr;
use crate::domain::srtp::SrtpKey;
use crate::janus::{
    AudioBridge, ForwarderInfo, JanusError, JanusInfo, NewRoom, ParticipantInfo, RoomInfo, RtpJoin,
    RtpParticipant, Secret,
};
use crate::telemetry::Metrics;
use crate::telemetry::metered::{MeteredBackend, RequestError, ok};

impl RequestError for JanusError {
    const RECORD: fn(&Metrics, &'static str, &'static str, Duration) = Metrics::janus_request;

    fn outcome(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Disconnected | Self::Unreachable { .. } => "disconnected",
            _ => "refused",
        }
    }
}

#[async_trait]
impl<B: AudioBridge> AudioBridge for MeteredBackend<B> {
    async fn create_room(&self, room: &NewRoom) -> Result<(), JanusError> {
        self.timed("create", self.inner.create_room(room), ok).await
    }

    async fn destroy_room(&self, id: u32, secret: &Secret) -> Result<(), JanusError> {
        self.timed("destroy", self.inner.destroy_room(id, secret), ok).await
    }

    async fn list_rooms(&self) -> Result<Vec<RoomInfo>, JanusError> {
        self.timed("list", self.inner.list_rooms(), ok).await
    }

    async fn exists(&self, id: u32) -> Result<bool, JanusError> {
        self.timed("exists", self.inner.exists(id), ok).await
    }

    async fn start_forwarder(
        &self,
        id: u32,
        secret: &Secret,
        target: MediaAddr,
        key: &SrtpKey,
    ) -> Result<u64, JanusError> {
        self.timed("rtp_forward", self.inner.start_forwarder(id, secret, target, key), ok).await
    }

    async fn stop_forwarder(&self, id: u32, secret: &Secret, stream_id: u64) -> Result<(), JanusError> {
        self.timed("stop_rtp_forward", self.inner.stop_forwarder(id, secret, stream_id), ok).await
    }

    async fn list_forwarders(&self, id: u32, secret: &Secret) -> Result<Vec<ForwarderInfo>, JanusError> {
        self.timed("listforwarders", self.inner.list_forwarders(id, secret), ok).await
    }

    async fn participants(&self, id: u32) -> Result<Vec<ParticipantInfo>, JanusError> {
        self.timed("listparticipants", self.inner.participants(id), ok).await
    }

    async fn record_tracks(&self, id: u32, secret: &Secret, folder: Option<&str>) -> Result<(), JanusError> {
        self.timed("enable_mjrs", self.inner.record_tracks(id, secret, folder), ok).await
    }

    async fn mute(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError> {
        self.timed("mute", self.inner.mute(id, secret, participant), ok).await
    }

    async fn kick(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError> {
        self.timed("kick", self.inner.kick(id, secret, participant), ok).await
    }

    async fn join_by_rtp(&self, join: &RtpJoin) -> Result<RtpParticipant, JanusError> {
        self.timed("join", self.inner.join_by_rtp(join), ok).await
    }

    async fn info(&self) -> Result<JanusInfo, JanusError> {
        self.timed("info", self.inner.info(), ok).await
    }
}
