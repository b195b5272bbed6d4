//! Test tone as Opus over RTP: a participant that needs no browser.
//!
//! FFmpeg makes the packets and we forward them. Janus accepts a plain-RTP participant's packets only from
//! the address given in the join request: it connects its socket to that address. FFmpeg could get that port
//! only if we released it first. Owns: the FFmpeg process and the socket. Dropping the sender releases both.
//! Does not listen to a room.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::process::Child;

use stentor_domain::ids::MediaAddr;
use stentor_process as process;

/// Buffer size, larger than any packet FFmpeg may make.
const PACKET: usize = 1500;
/// Longest time by which the forwarding thread outlives its sender.
const LINGER: Duration = Duration::from_millis(100);

/// Sender that runs until it is dropped; FFmpeg is then killed.
pub struct ToneSender {
    child: Child,
    /// The forwarding thread runs while this value exists.
    _sending: Arc<()>,
}

impl ToneSender {
    /// Sends a sine of `hz` at an eighth of full scale; otherwise like [`play`](Self::play).
    ///
    /// # Errors
    /// The same as for [`play`](Self::play).
    pub fn start(
        ffmpeg: &Path,
        ours: UdpSocket,
        target: MediaAddr,
        payload_type: u8,
        hz: u32,
    ) -> io::Result<Self> {
        let source = format!("sine=frequency={hz}:sample_rate=48000");
        Self::play(ffmpeg, ours, target, payload_type, &source)
    }

    /// Sends the audio of `source`, a source of FFmpeg's lavfi, as 48 kHz Opus in 20 ms packets, in real
    /// time, from `ours` to `target`. Never reads packets that arrive at `ours`.
    ///
    /// # Errors
    /// FFmpeg or the forwarding thread cannot be started, or no port is free to receive the packets.
    pub fn play(
        ffmpeg: &Path,
        ours: UdpSocket,
        target: MediaAddr,
        payload_type: u8,
        source: &str,
    ) -> io::Result<Self> {
        let made = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        made.set_read_timeout(Some(LINGER))?;
        let url = format!("rtp://{}?pkt_size=1200", made.local_addr()?);
        let payload_type = payload_type.to_string();
        let input = ["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", source];
        let codec = ["-c:a", "libopus", "-b:a", "64k", "-frame_duration", "20", "-application", "lowdelay"];
        let output = ["-payload_type", &payload_type, "-f", "rtp", &url];
        let args = input.into_iter().chain(codec).chain(output);
        // FFmpeg prints the SDP of its output. stdout and stderr are not pipes, because they are not read
        // here and a full pipe would stop FFmpeg.
        let child = process::command(ffmpeg, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let sending = Arc::new(());
        let while_held = Arc::downgrade(&sending);
        // This is a separate thread, because the caller may be busy with analysis, and late packets are not
        // heard.
        thread::Builder::new().name("tone".into()).spawn(move || relay(&made, &ours, target, &while_held))?;
        Ok(Self { child, _sending: sending })
    }

    /// Returns the exit status if FFmpeg has ended by itself.
    pub fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for ToneSender {
    fn drop(&mut self) {
        process::signal_group(&self.child, rustix::process::Signal::KILL);
    }
}

/// Forwards packets. A packet that cannot be sent is dropped, as RTP allows.
fn relay(made: &UdpSocket, ours: &UdpSocket, target: MediaAddr, while_held: &Weak<()>) {
    let mut packet = [0; PACKET];
    while while_held.strong_count() > 0 {
        if let Ok(length) = made.recv(&mut packet) {
            let _ = ours.send_to(&packet[..length], (target.ip, target.port));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket as Receiver;

    #[actix::test]
    async fn tone_sender_packets_are_consecutive() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = ours.local_addr().unwrap();
        let socket = Receiver::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let target = MediaAddr { ip: address.ip(), port: address.port() };
        let mut sender = ToneSender::start(Path::new("ffmpeg"), ours, target, 111, 440).unwrap();
        let (first, second) = (packet(&socket).await, packet(&socket).await);
        assert_eq!((first.payload_type, second.payload_type), (111, 111));
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 960, "20 ms at 48 kHz");
        assert_eq!((first.from, second.from), (from, from));
        assert!(sender.ended().unwrap().is_none());
    }

    struct Rtp {
        from: std::net::SocketAddr,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
    }

    /// Receives one packet and parses its header (RFC 3550 section 5.1).
    async fn packet(socket: &Receiver) -> Rtp {
        let mut buffer = [0u8; 1500];
        let deadline = Duration::from_secs(10);
        let received = tokio::time::timeout(deadline, socket.recv_from(&mut buffer));
        let (length, from) = received.await.unwrap().unwrap();
        assert!(length > 12 && buffer[0] >> 6 == 2, "RTP version 2");
        Rtp {
            from,
            payload_type: buffer[1] & 0x7f,
            sequence: u16::from_be_bytes([buffer[2], buffer[3]]),
            timestamp: u32::from_be_bytes(buffer[4..8].try_into().unwrap()),
        }
    }
}
