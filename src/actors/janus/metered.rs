//! AudioBridge that counts its requests and measures their duration.

use std::time::Instant;

use async_trait::async_trait;

use crate::domain::ids::MediaAddr;
use crate::domain::srtp::SrtpKey;
use crate::janus::{
    AudioBridge, ForwarderInfo, JanusError, JanusInfo, NewRoom, ParticipantInfo, RoomInfo, RtpJoin,
    RtpParticipant, Secret,
};
use crate::telemetry::Metrics;

pub struct MeteredBridge<B> {
    pub inner: B,
    pub metrics: Metrics,
}

impl<B> MeteredBridge<B> {
    async fn timed<T>(
        &self,
        request: &'static str,
        answer: impl Future<Output = Result<T, JanusError>>,
    ) -> Result<T, JanusError> {
        let start = Instant::now();
        let result = answer.await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(JanusError::Timeout { .. }) => "timeout",
            Err(JanusError::Disconnected | JanusError::Unreachable { .. }) => "disconnected",
            Err(_) => "refused",
        };
        self.metrics.janus_request(request, outcome, start.elapsed());
        result
    }
}

#[async_trait]
impl<B: AudioBridge> AudioBridge for MeteredBridge<B> {
    async fn create_room(&self, room: &NewRoom) -> Result<(), JanusError> {
        self.timed("create", self.inner.create_room(room)).await
    }

    async fn destroy_room(&self, id: u32, secret: &Secret) -> Result<(), JanusError> {
        self.timed("destroy", self.inner.destroy_room(id, secret)).await
    }

    async fn list_rooms(&self) -> Result<Vec<RoomInfo>, JanusError> {
        self.timed("list", self.inner.list_rooms()).await
    }

    async fn exists(&self, id: u32) -> Result<bool, JanusError> {
        self.timed("exists", self.inner.exists(id)).await
    }

    async fn start_forwarder(
        &self,
        id: u32,
        secret: &Secret,
        target: MediaAddr,
        key: &SrtpKey,
    ) -> Result<u64, JanusError> {
        self.timed("rtp_forward", self.inner.start_forwarder(id, secret, target, key)).await
    }

    async fn stop_forwarder(&self, id: u32, secret: &Secret, stream_id: u64) -> Result<(), JanusError> {
        self.timed("stop_rtp_forward", self.inner.stop_forwarder(id, secret, stream_id)).await
    }

    async fn list_forwarders(&self, id: u32, secret: &Secret) -> Result<Vec<ForwarderInfo>, JanusError> {
        self.timed("listforwarders", self.inner.list_forwarders(id, secret)).await
    }

    async fn participants(&self, id: u32) -> Result<Vec<ParticipantInfo>, JanusError> {
        self.timed("listparticipants", self.inner.participants(id)).await
    }

    async fn record_tracks(&self, id: u32, secret: &Secret, folder: Option<&str>) -> Result<(), JanusError> {
        self.timed("enable_mjrs", self.inner.record_tracks(id, secret, folder)).await
    }

    async fn mute(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError> {
        self.timed("mute", self.inner.mute(id, secret, participant)).await
    }

    async fn kick(&self, id: u32, secret: &Secret, participant: u64) -> Result<(), JanusError> {
        self.timed("kick", self.inner.kick(id, secret, participant)).await
    }

    async fn join_by_rtp(&self, join: &RtpJoin) -> Result<RtpParticipant, JanusError> {
        self.timed("join", self.inner.join_by_rtp(join)).await
    }

    async fn info(&self) -> Result<JanusInfo, JanusError> {
        self.timed("info", self.inner.info()).await
    }
}
