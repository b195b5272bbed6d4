//! Anchors who speak over WebRTC: WHIP for the signalling, and a WebRTC client (str0m) for the media.
//!
//! Owns: one peer connection per anchor. Does not receive audio or encode it: all anchors repeat the same
//! second of a tone.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use awc::http::header::LOCATION;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use url::Url;

use crate::cli::client::http_client;

/// Fifty Opus frames of 20 ms, mono, each after its length in two bytes (big-endian). Made by FFmpeg from
/// `sine=frequency=220:sample_rate=48000,tremolo=f=4:d=0.8,volume=0.5` with `-application voip -b:a 24k`.
const TONE: &[u8] = include_bytes!("tone.bin");
/// Samples per frame at 48 kHz.
const FRAME_SAMPLES: u64 = 960;
const FRAME: Duration = Duration::from_millis(20);
/// Audio level of speech, as a client reports it (RFC 6464), in dBov.
const LEVEL: i8 = -20;
/// Maximum time from the offer to the connection.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// Largest UDP payload that is read.
const MAX_PACKET: usize = 2000;

static FRAMES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| frames(TONE));

/// Measurements of one anchor.
#[derive(Debug, Default)]
pub struct AnchorResult {
    /// Time from the WHIP request to the established media connection (ICE and DTLS).
    pub join: Option<Duration>,
    /// Reason why the anchor ended early.
    pub failure: Option<String>,
}

/// Address and token of one anchor.
pub struct Invitation {
    pub whip_url: String,
    pub token: String,
}

/// Joins, speaks until `end`, and leaves.
pub async fn speak(invitation: &Invitation, end: Instant) -> AnchorResult {
    let mut spoken = AnchorResult::default();
    if let Err(error) = attempt(invitation, end, &mut spoken.join).await {
        spoken.failure = Some(format!("{error:#}"));
    }
    spoken
}

async fn attempt(invitation: &Invitation, end: Instant, join: &mut Option<Duration>) -> anyhow::Result<()> {
    let url = Url::parse(&invitation.whip_url).context("the WHIP URL is not valid")?;
    let socket = UdpSocket::bind((own_address(&url)?, 0)).await.context("cannot open a UDP socket")?;
    let mut peer = PeerConnection::new(socket)?;
    let client = http_client(url.scheme() == "https", JOIN_WITHIN)?;
    let began = Instant::now();
    let request = client.post(url.as_str()).bearer_auth(&invitation.token);
    let mut answer = request
        .insert_header(("content-type", "application/sdp"))
        .send_body(peer.offer.clone())
        .await
        .map_err(|error| anyhow!("WHIP: {error}"))?;
    let body = answer.body().await.map_err(|error| anyhow!("WHIP: {error}"))?;
    let text = String::from_utf8_lossy(&body);
    if !answer.status().is_success() {
        bail!("WHIP answered with {}: {text}", answer.status());
    }
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let session = url.join(location.context("the WHIP answer has no session URL")?)?;
    peer.accept(&text)?;
    let (connected, when) = oneshot::channel();
    let spoken = peer.speak(began + JOIN_WITHIN, end, connected).await;
    *join = when.await.ok().map(|at: Instant| at - began);
    // Ignore the error: the session later times out.
    let _ = client.delete(session.as_str()).bearer_auth(&invitation.token).send().await;
    spoken
}

/// WebRTC connection that sends audio.
struct PeerConnection {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    mid: Mid,
    offer: String,
    pending: Option<str0m::change::SdpPendingOffer>,
    connected: bool,
}

impl PeerConnection {
    fn new(socket: UdpSocket) -> anyhow::Result<Self> {
        let address = socket.local_addr()?;
        let mut rtc = Rtc::builder().clear_codecs().enable_opus(true, false).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp")?);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let (offer, pending) = change.apply().context("cannot create an SDP offer")?;
        let (offer, pending) = (offer.to_sdp_string(), Some(pending));
        Ok(Self { rtc, socket, address, mid, offer, pending, connected: false })
    }

    fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(answer).context("cannot parse the SDP answer")?;
        let pending = self.pending.take().context("the offer was answered already")?;
        Ok(self.rtc.sdp_api().accept_answer(pending, answer)?)
    }

    /// Sends audio from the connection until `end`. Reports the time of the connection to `connected`.
    ///
    /// # Errors
    /// No connection is established until `join_by`, or the connection is lost.
    async fn speak(
        mut self,
        join_by: Instant,
        end: Instant,
        connected: oneshot::Sender<Instant>,
    ) -> anyhow::Result<()> {
        let (mut connected, mut number) = (Some(connected), 0);
        let mut ticks = tokio::time::interval(FRAME);
        let mut packet = vec![0; MAX_PACKET];
        loop {
            let due = self.drain().await.context("the media connection was lost")?;
            let now = Instant::now();
            if self.connected
                && let Some(connected) = connected.take()
            {
                // Cannot fail: the receiver waits until the connection ends.
                let _ = connected.send(now);
            }
            if now >= end {
                let _ = self.rtc.close();
                let _ = self.drain().await;
                return if self.connected { Ok(()) } else { Err(anyhow!("the run ended before the join")) };
            }
            if !self.connected && now >= join_by {
                bail!("no media connection after {} s: is UDP to Janus open?", JOIN_WITHIN.as_secs());
            }
            tokio::select! {
                received = self.socket.recv_from(&mut packet) => {
                    let (length, source) = received?;
                    self.take(&packet[..length], source)?;
                }
                () = tokio::time::sleep_until(due.min(end).into()) => {
                    self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                }
                _ = ticks.tick() => if self.connected {
                    self.send_frame(number)?;
                    number += 1;
                },
            }
        }
    }

    /// Sends all pending packets. Returns the time of the next call; `None`: the connection has ended.
    async fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.rtc.poll_output().ok()? {
                Output::Timeout(due) => return self.rtc.is_alive().then_some(due),
                Output::Transmit(packet) => {
                    // Ignore the error: the protocols tolerate lost packets.
                    let _ = self.socket.send_to(&packet.contents, packet.destination).await;
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(_) => {}
            }
        }
    }

    fn take(&mut self, packet: &[u8], source: SocketAddr) -> anyhow::Result<()> {
        // Input that is neither STUN, DTLS nor RTP is dropped.
        if let Ok(contents) = packet.try_into() {
            let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive))?;
        }
        Ok(())
    }

    fn send_frame(&mut self, number: u64) -> anyhow::Result<()> {
        let frame = FRAMES[number as usize % FRAMES.len()];
        let time = MediaTime::new(number * FRAME_SAMPLES, Frequency::FORTY_EIGHT_KHZ);
        let Some(writer) = self.rtc.writer(self.mid) else { return Ok(()) };
        let Some(payload_type) = writer.payload_params().next().map(|params| params.pt()) else {
            return Ok(());
        };
        Ok(writer.audio_level(LEVEL, true).write(payload_type, Instant::now(), time, frame)?)
    }
}

/// Splits the embedded tone into its frames.
fn frames(mut tone: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = tone.split_first_chunk() {
        let Some((frame, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else { break };
        frames.push(frame);
        tone = rest;
    }
    frames
}

/// Returns the address of this machine from which anchors send. Janus has no candidates on loopback. So if
/// the node runs on this machine, this returns the address of the route to other networks.
fn own_address(whip: &Url) -> anyhow::Result<IpAddr> {
    let host = whip.host_str().unwrap_or_default().trim_matches(['[', ']']);
    // Connecting a UDP socket sends no packet. The last address is reserved for documentation (RFC 5737).
    let addresses = [(host, 9), ("192.0.2.1", 9)].map(|far| {
        let any = if far.0.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = std::net::UdpSocket::bind(any).ok()?;
        socket.connect(far).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    let address = addresses.into_iter().flatten().find(|ip| !ip.is_loopback());
    address.context("this machine has no network besides loopback, which WebRTC needs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tone_has_a_second_of_frames() {
        assert_eq!(FRAMES.len(), 50);
        assert_eq!(FRAMES.iter().map(|frame| frame.len() + 2).sum::<usize>(), TONE.len());
        assert!(FRAMES.iter().all(|frame| (3..400).contains(&frame.len())));
    }
}
