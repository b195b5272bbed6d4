//! The test tone in the room: a plain-RTP participant, an anchor without a browser.
//!
//! Owns: keeping the tone in the room as long as the room exists. If somebody kills Janus or FFmpeg to see
//! what happens, the tone starts again. Does not check whether anybody hears the tone.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;

use crate::app::Node;
use crate::domain::ids::{MediaAddr, Pin, RoomId};
use crate::domain::mix::MixShare;
use crate::janus::JanusClient;
use crate::probe::ToneSender;

/// Frequency in hertz: concert pitch, soft in a loudspeaker and in headphones.
pub const TONE: u32 = 440;
const DISPLAY: &str = "test tone";
const RETRY: Duration = Duration::from_millis(500);
/// Interval at which the sender is checked: it may have ended.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Sends the tone until the future is dropped. While there is no tone, `trouble` contains the reason.
pub async fn play(
    node: &Node,
    room: &RoomId,
    pin: &Pin,
    share: MixShare,
    trouble: &RefCell<Option<String>>,
) -> Infallible {
    loop {
        let why = match take_part(node, room, pin, share, trouble).await {
            Ok(never) => match never {},
            Err(error) => format!("{error:#}"),
        };
        tracing::warn!(why, "test tone could not join the room");
        trouble.replace(Some(why));
        tokio::time::sleep(RETRY).await;
    }
}

async fn take_part(
    node: &Node,
    room: &RoomId,
    pin: &Pin,
    share: MixShare,
    trouble: &RefCell<Option<String>>,
) -> anyhow::Result<Infallible> {
    let options = node.janus().context("there is no Janus")?;
    let number = node.janus_room(room).context("Janus does not have the room")?;
    let socket = UdpSocket::bind((node.config().listen.media, 0))?;
    let address = socket.local_addr()?;
    let (events, mut down) = mpsc::unbounded_channel();
    let client = JanusClient::connect(&options, events).await?;
    let ours = MediaAddr { ip: address.ip(), port: address.port() };
    let mut part = client.join_rtp(number, pin, DISPLAY, ours, share).await?;
    let target = MediaAddr { ip: part.ip, port: part.port };
    let ffmpeg = &node.config().mixer.ffmpeg;
    let started = ToneSender::start(ffmpeg, socket, target, part.payload_type, TONE);
    let mut tone = started.context("FFmpeg cannot send the tone")?;
    trouble.take();
    loop {
        tokio::select! {
            _ = down.recv() => bail!("the connection to Janus ended"),
            event = part.next_event() => match event {
                Some(event) if event.data["audiobridge"] != "destroyed" => {}
                _ => bail!("Janus ended the room"),
            },
            () = tokio::time::sleep(CHECK_EVERY) => if let Some(status) = tone.ended()? {
                bail!("the FFmpeg that sends the tone ended: {status}");
            },
        }
    }
}
