//! A tone in SRTP as Janus would forward it, and packets that an attacker would send.

use std::process::Stdio;

use stentor::domain::ids::MediaAddr;
use stentor::domain::srtp::{SUITE_NAME, SrtpKey};
use stentor::process;
use tokio::process::Child;

/// Returns a fixed key, for a test that acts as both sender and receiver.
pub fn key() -> SrtpKey {
    SrtpKey::new([7; SrtpKey::LENGTH])
}

/// Sends a tone until dropped. The receiver must know the key.
pub fn tone(target: MediaAddr, key: &SrtpKey, payload_type: u8, hz: u32) -> Child {
    let source = format!("sine=frequency={hz}:sample_rate=48000");
    let (payload_type, url) = (payload_type.to_string(), format!("srtp://{target}"));
    let args = [
        &["-nostdin", "-hide_banner", "-loglevel", "error", "-re", "-f", "lavfi", "-i", &source][..],
        &["-c:a", "libopus", "-b:a", "48k", "-payload_type", &payload_type, "-f", "rtp"],
        &["-srtp_out_suite", SUITE_NAME, "-srtp_out_params", key.reveal(), &url],
    ];
    let mut command = process::command("ffmpeg", args.concat());
    // FFmpeg prints its session description, which nothing reads.
    command.stdout(Stdio::null()).spawn().expect("FFmpeg starts")
}

/// Returns an RTCP BYE, an RTP packet with Opus silence and a timestamp far ahead, and noise.
pub fn forged(n: u16, payload_type: u8) -> [Vec<u8>; 3] {
    let mut rtp = vec![0x80, payload_type];
    rtp.extend(n.wrapping_mul(131).to_be_bytes());
    rtp.extend((u32::from(n) * 7_919_000).to_be_bytes());
    rtp.extend(778u32.to_be_bytes());
    rtp.extend([0xf8, 0xff, 0xfe]);
    let bye = vec![0x82, 0xcb, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
    [bye, rtp, vec![0x80; usize::from(n % 60)]]
}
