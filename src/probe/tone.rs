//! A test tone as Opus over RTP, sent by FFmpeg: a participant that needs no browser.
//!
//! Owns: the FFmpeg process, which ends with the sender. Never does: listen.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Child;

use crate::domain::ids::MediaAddr;
use crate::process;

/// Sends until dropped (FFmpeg is then killed).
pub struct ToneSender {
    child: Child,
}

impl ToneSender {
    /// A sine of `hz` at an eighth of full scale, 48 kHz Opus in packets of 20 ms, in real time.
    ///
    /// # Errors
    /// FFmpeg cannot be started.
    pub fn start(ffmpeg: &Path, target: MediaAddr, payload_type: u8, hz: u32) -> io::Result<Self> {
        let source = format!("sine=frequency={hz}:sample_rate=48000");
        let url = format!("rtp://{target}?pkt_size=1200");
        let payload_type = payload_type.to_string();
        let input = ["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", &source];
        let codec = ["-c:a", "libopus", "-b:a", "64k", "-frame_duration", "20", "-application", "lowdelay"];
        let output = ["-payload_type", &payload_type, "-f", "rtp", &url];
        let args = input.into_iter().chain(codec).chain(output);
        // It prints the SDP of what it sends, and nobody reads either stream: a full pipe would stop it.
        let child = process::command(ffmpeg, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    /// The exit status, if FFmpeg has ended by itself.
    pub fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for ToneSender {
    fn drop(&mut self) {
        process::signal_group(&self.child, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::UdpSocket;

    #[actix::test]
    async fn packets_carry_the_payload_type_and_rise_by_one_frame() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let target = MediaAddr { ip: address.ip(), port: address.port() };
        let mut sender = ToneSender::start(Path::new("ffmpeg"), target, 111, 440).unwrap();
        let (first, second) = (packet(&socket).await, packet(&socket).await);
        assert_eq!((first.payload_type, second.payload_type), (111, 111));
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 960, "20 ms at 48 kHz");
        assert!(sender.ended().unwrap().is_none());
    }

    struct Rtp {
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
    }

    /// RFC 3550 section 5.1.
    async fn packet(socket: &UdpSocket) -> Rtp {
        let mut buffer = [0u8; 1500];
        let deadline = Duration::from_secs(10);
        let length = tokio::time::timeout(deadline, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 12 && buffer[0] >> 6 == 2, "RTP version 2");
        Rtp {
            payload_type: buffer[1] & 0x7f,
            sequence: u16::from_be_bytes([buffer[2], buffer[3]]),
            timestamp: u32::from_be_bytes(buffer[4..8].try_into().unwrap()),
        }
    }
}
