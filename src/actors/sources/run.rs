//! One run of a source: a participant in Janus, and an FFmpeg process that sends its sound.
//!
//! Dropping the run ends everything: FFmpeg is killed, and the participant leaves.
//!
//! Owns: the process, the participant and the packets between them. Does not repeat a run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::process::ChildStdin;

use super::input::{Body, SourceParts};
use crate::domain::ids::{MediaAddr, Pin, RoomId, UserId};
use crate::domain::mix::MixShare;
use crate::domain::source_player::RunEnd;
use crate::domain::sources::Source;
use crate::ffmpeg::{FfmpegProgram, SourceCommand, SourceProcess};
use crate::janus::{AnchorEvent, AudioBridge, RtpJoin};

/// Time without packets from FFmpeg after which the input counts as dead. FFmpeg also sends packets for
/// silence.
const SILENT: Duration = Duration::from_secs(10);
/// Size of the receive buffer in bytes; larger than any FFmpeg packet.
const PACKET: usize = 1500;

/// Parameters of a run.
pub struct Job {
    pub parts: SourceParts,
    pub bridge: Arc<dyn AudioBridge>,
    pub source: Source,
    pub room: RoomId,
    pub id: UserId,
    pub janus_room_id: u32,
    pub pin: Pin,
    pub share: MixShare,
    /// Address of this node from which RTP is sent to Janus.
    pub media: IpAddr,
    pub ffmpeg: FfmpegProgram,
}

/// Event of a run.
pub enum Notice {
    /// The first sound was sent to Janus.
    Playing,
    Muted(bool),
}

/// Plays the source until the input ends or something fails.
pub async fn run(job: Job, tell: impl Fn(Notice)) -> RunEnd {
    play(&job, &tell).await.unwrap_or_else(RunEnd::Failed)
}

async fn play(job: &Job, tell: &impl Fn(Notice)) -> Result<RunEnd, String> {
    let (input, body) = job.parts.open((&job.room, &job.id), &job.source).await?;
    let udp = |ip: IpAddr| async move {
        UdpSocket::bind((ip, 0)).await.map_err(|error| format!("cannot open a port for RTP: {error}"))
    };
    let (ours, made) = (udp(job.media).await?, udp(Ipv4Addr::LOCALHOST.into()).await?);
    let port = |socket: &UdpSocket| socket.local_addr().map_err(|error| format!("no port for RTP: {error}"));
    let join = RtpJoin {
        janus_room_id: job.janus_room_id,
        pin: job.pin.clone(),
        display: job.id.to_string(),
        ours: MediaAddr { ip: job.media, port: port(&ours)?.port() },
        share: job.share,
        muted: job.source.muted,
    };
    let joined = job.bridge.join_by_rtp(&join).await;
    let mut participant = joined.map_err(|error| format!("Janus did not admit the source: {error}"))?;
    let (payload_type, me) = (participant.payload_type, participant.id);
    let command = SourceCommand { program: job.ffmpeg.clone(), input, to: port(&made)?, payload_type };
    let SourceProcess { mut child, log } = command.spawn().map_err(|error| {
        format!(
            "{error}: {}",
            std::error::Error::source(&error).map_or_else(String::new, ToString::to_string)
        )
    })?;
    let feed = feed(body, child.stdin.take());
    let send = send(&made, &ours, SocketAddr::new(participant.ip, participant.port), tell);
    let watch = async {
        loop {
            match participant.next_anchor_event().await {
                Some(AnchorEvent::Changed(all)) => {
                    all.iter().filter(|p| p.id == me).for_each(|p| tell(Notice::Muted(p.muted)));
                }
                Some(AnchorEvent::Removed { participant }) if participant == me => {
                    return "Janus removed the source from the room".to_owned();
                }
                Some(AnchorEvent::RoomDestroyed) => return "Janus ended the room".to_owned(),
                Some(AnchorEvent::SessionOver) | None => return "the connection to Janus ended".to_owned(),
                Some(_) => {}
            }
        }
    };
    tokio::select! {
        // The log is read to its end, because its last line has the reason.
        ended = async { tokio::join!(child.wait(), log.last(1)) } => match ended {
            (Ok(status), _) if status.success() => Ok(RunEnd::Finished),
            (Ok(status), last) => match last.first().and_then(|text| command.input.redact(text)) {
                Some(text) => Err(format!("FFmpeg: {text}")),
                None => Err(format!("FFmpeg ended: {status}")),
            },
            (Err(error), _) => Err(format!("cannot wait for FFmpeg: {error}")),
        },
        why = feed => Err(why),
        why = send => Err(why),
        why = watch => Err(why),
    }
}

/// Writes the body to FFmpeg. Returns only if the body cannot be read; the value is the reason. After the end
/// of the body, waits forever, because FFmpeg plays the rest and then exits, which `play` detects.
async fn feed(body: Option<Body>, stdin: Option<ChildStdin>) -> String {
    if let (Some(mut body), Some(mut stdin)) = (body, stdin) {
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => {
                    if stdin.write_all(&chunk).await.is_err() {
                        break;
                    }
                }
                Err(why) => return why,
            }
        }
        // Dropping stdin here ends the input of FFmpeg.
    }
    std::future::pending().await
}

/// Forwards FFmpeg's packets to Janus from the address that Janus was given. Returns if FFmpeg sends no
/// packet for [`SILENT`].
async fn send(made: &UdpSocket, ours: &UdpSocket, to: SocketAddr, tell: &impl Fn(Notice)) -> String {
    let (mut packet, mut is_first) = ([0; PACKET], true);
    loop {
        match tokio::time::timeout(SILENT, made.recv(&mut packet)).await {
            Ok(Ok(length)) => {
                // Ignore the error: RTP tolerates lost packets.
                let _ = ours.send_to(&packet[..length], to).await;
                if std::mem::take(&mut is_first) {
                    tell(Notice::Playing);
                }
            }
            // Ignore the error: it belongs to an earlier packet, and the next one may arrive.
            Ok(Err(_)) => {}
            Err(_) => return format!("the input had no sound for {} s", SILENT.as_secs()),
        }
    }
}
