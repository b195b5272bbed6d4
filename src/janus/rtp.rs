//! A participant that speaks plain RTP instead of WebRTC: for a test tone, or a source without a browser.
//!
//! Owns: its part in the room. Never does: send or receive media; its caller does, to and from the addresses.

use std::net::IpAddr;

use super::client::{Handle, JanusClient};
use super::error::JanusError;
use super::link::HandleEvent;
use super::wire::{BridgeRequest, Joined, Quality, RtpEndpoint};
use crate::domain::ids::{MediaAddr, Pin};
use crate::domain::mix::MixShare;

/// RTP payload type of the participant's Opus, both ways.
const PAYLOAD_TYPE: u8 = 100;

#[derive(Debug)]
pub struct RtpParticipant {
    handle: Handle,
    /// Of the participant, in Janus.
    pub id: u64,
    /// Where Janus takes this participant's RTP.
    pub ip: IpAddr,
    pub port: u16,
    /// That the packets must bear; Opus at 48 kHz, two channels in the SDP sense.
    pub payload_type: u8,
}

impl JanusClient {
    /// Joins by plain RTP. Janus sends the others' mix to `ours`, once it has a valid packet from us.
    pub async fn join_rtp(
        &self,
        room: u32,
        pin: &Pin,
        display: &str,
        ours: MediaAddr,
        share: MixShare,
    ) -> Result<RtpParticipant, JanusError> {
        let handle = self.attach().await?;
        let rtp = RtpEndpoint { ip: ours.ip, port: ours.port, payload_type: PAYLOAD_TYPE };
        let join = BridgeRequest::Join {
            room,
            pin: pin.reveal(),
            display,
            muted: None,
            volume: share.volume(),
            quality: Quality::default(),
            rtp: Some(rtp),
        };
        match handle.message::<Joined>(join).await {
            Ok(Joined { id, rtp: Some(RtpEndpoint { ip, port, payload_type }), .. }) => {
                Ok(RtpParticipant { handle, id, ip, port, payload_type })
            }
            Ok(Joined { rtp: None, .. }) => {
                let _ = handle.detach().await;
                Err(JanusError::BadReply { request: "join", detail: "no RTP address".to_owned() })
            }
            Err(e) => {
                // The refusal is what matters; the handle is of no use any more.
                let _ = handle.detach().await;
                Err(e)
            }
        }
    }
}

impl RtpParticipant {
    /// What Janus tells the participant: others joining and leaving, the room destroyed. `None`: the handle is
    /// over, or too many events were left unread.
    pub async fn next_event(&mut self) -> Option<HandleEvent> {
        self.handle.events.recv().await
    }

    /// Leaves the room.
    pub async fn leave(self) -> Result<(), JanusError> {
        self.handle.detach().await
    }
}
