//! A participant that uses plain RTP instead of WebRTC: for a test tone, or a source without a browser.
//!
//! Owns: the participant. Does not send or receive media; the caller does, with the addresses given here.

use std::net::IpAddr;

use super::anchor_event::AnchorEvent;
use super::client::{Handle, JanusClient};
use super::error::JanusError;
use super::link::HandleEvent;
use super::wire::{BridgeRequest, JoinReply, Quality, RtpEndpoint};
use crate::domain::ids::{MediaAddr, Pin};
use crate::domain::mix::MixShare;

/// RTP payload type of the participant's Opus, in both directions.
const PAYLOAD_TYPE: u8 = 100;

#[derive(Debug)]
pub struct RtpParticipant {
    handle: Handle,
    /// Number of the participant in Janus.
    pub id: u64,
    /// Address where Janus receives this participant's RTP.
    pub ip: IpAddr,
    pub port: u16,
    /// Payload type that the packets must have: Opus at 48 kHz, declared in SDP with two channels.
    pub payload_type: u8,
}

/// Parameters of a join over plain RTP.
#[derive(Debug, Clone)]
pub struct RtpJoin {
    pub janus_room_id: u32,
    pub pin: Pin,
    /// Name in the room's participant list.
    pub display: String,
    /// Address that sends the participant's RTP. Janus accepts packets from there only.
    pub ours: MediaAddr,
    pub share: MixShare,
    pub muted: bool,
}

impl JanusClient {
    /// Joins over plain RTP. Janus sends the mix of the other participants to `ours` after the first valid
    /// packet from us.
    ///
    /// # Errors
    /// A Janus or connection error.
    pub async fn join_rtp(
        &self,
        room: u32,
        pin: &Pin,
        display: &str,
        ours: MediaAddr,
        share: MixShare,
    ) -> Result<RtpParticipant, JanusError> {
        let (pin, display) = (pin.clone(), display.to_owned());
        self.join_plain(&RtpJoin { janus_room_id: room, pin, display, ours, share, muted: false }).await
    }

    pub(super) async fn join_plain(&self, join: &RtpJoin) -> Result<RtpParticipant, JanusError> {
        let handle = self.attach().await?;
        let rtp = RtpEndpoint { ip: join.ours.ip, port: join.ours.port, payload_type: PAYLOAD_TYPE };
        let join = BridgeRequest::Join {
            room: join.janus_room_id,
            pin: join.pin.reveal(),
            display: &join.display,
            muted: join.muted.then_some(true),
            volume: join.share.volume(),
            quality: Quality::default(),
            filename: None,
            rtp: Some(rtp),
        };
        match handle.message::<JoinReply>(join).await {
            Ok(JoinReply { id, rtp: Some(RtpEndpoint { ip, port, payload_type }), .. }) => {
                Ok(RtpParticipant { handle, id, ip, port, payload_type })
            }
            Ok(JoinReply { rtp: None, .. }) => {
                let _ = handle.detach().await;
                Err(JanusError::BadReply { request: "join", detail: "no RTP address".to_owned() })
            }
            Err(e) => {
                // The handle is no longer needed. A failure here is ignored, because the first error matters.
                let _ = handle.detach().await;
                Err(e)
            }
        }
    }
}

impl RtpParticipant {
    /// Returns the next event from Janus: other participants join or leave, or the room is destroyed. `None`:
    /// the handle no longer exists, or the reader fell too far behind.
    pub async fn next_event(&mut self) -> Option<HandleEvent> {
        self.handle.events.recv().await
    }

    /// Returns the next event that can be read as an [`AnchorEvent`]; skips all others. `None`: the handle no
    /// longer exists, or the reader fell too far behind.
    pub async fn next_anchor_event(&mut self) -> Option<AnchorEvent> {
        loop {
            if let Some(event) = AnchorEvent::read(self.next_event().await?) {
                return Some(event);
            }
        }
    }

    /// Leaves the room. Dropping the participant does the same, without waiting for Janus's answer.
    pub async fn leave(self) -> Result<(), JanusError> {
        self.handle.detach().await
    }
}
