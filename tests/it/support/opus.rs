//! Opus frames of a tone, and the decoding of received frames: through FFmpeg, as Ogg (RFC 3533, RFC 7845).
//!
//! Owns: just enough of Ogg for mono or stereo Opus in frames of 20 ms.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Samples per frame: 20 ms at 48 kHz.
pub const FRAME_SAMPLES: u64 = 960;

/// Returns four seconds of a sine at an eighth of full scale, to be sent in a loop.
pub fn tone(hz: u32) -> Vec<Arc<[u8]>> {
    frames(&format!("sine=frequency={hz}:sample_rate=48000"))
}

/// Returns four seconds of an FFmpeg lavfi source in frames of 20 ms, to be sent in a loop.
pub fn frames(source: &str) -> Vec<Arc<[u8]>> {
    frames_of(source, 20)
}

/// Returns four seconds of an FFmpeg lavfi source in frames of `millis` milliseconds.
pub fn frames_of(source: &str, millis: usize) -> Vec<Arc<[u8]>> {
    let duration = millis.to_string();
    let args = [
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-t",
        "4",
        "-c:a",
        "libopus",
        "-frame_duration",
        &duration,
    ];
    let ogg = ffmpeg(&[&args[..], &["-b:a", "48k", "-f", "ogg", "pipe:1"]].concat(), Vec::new());
    let frames: Vec<Arc<[u8]>> = packets(&ogg).into_iter().skip(2).map(Arc::from).collect();
    assert!(frames.len() >= 4_000 / millis, "{} frames", frames.len());
    frames
}

/// Returns six seconds of an FFmpeg lavfi source, mono at 48 kHz.
pub fn samples(source: &str) -> Vec<f32> {
    let args = ["-v", "error", "-f", "lavfi", "-i", source, "-t", "6", "-ac", "1", "-f", "f32le", "pipe:1"];
    floats(&ffmpeg(&args, Vec::new()))
}

/// Returns the integrated loudness in LUFS and true peak in dBTP of mono samples at 48 kHz (EBU R 128).
pub fn loudness(pcm: &[f32]) -> (f64, f64) {
    let input: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let print = "ebur128=peak=true:metadata=1,ametadata=print:file=-";
    let args = ["-v", "error", "-f", "f32le", "-ar", "48000", "-ac", "1", "-i", "pipe:0", "-af", print];
    let printed = ffmpeg(&[&args[..], &["-f", "null", "/dev/null"]].concat(), input);
    let printed = String::from_utf8_lossy(&printed);
    let all = |key: &str| {
        let values = printed.lines().filter_map(|line| line.strip_prefix(key)?.parse().ok());
        values.collect::<Vec<f64>>()
    };
    let integrated = all("lavfi.r128.I=").last().copied().expect("a loudness");
    let peak = all("lavfi.r128.true_peaks_ch0=").into_iter().fold(0.0, f64::max);
    (integrated, 20.0 * peak.log10())
}

/// Decodes Opus frames to mono samples at 48 kHz.
pub fn decode(frames: &[Vec<u8>]) -> Vec<f32> {
    let args =
        ["-v", "error", "-f", "ogg", "-i", "pipe:0", "-ac", "1", "-ar", "48000", "-f", "f32le", "pipe:1"];
    floats(&ffmpeg(&args, ogg(frames)))
}

fn floats(pcm: &[u8]) -> Vec<f32> {
    pcm.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn ffmpeg(args: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("ffmpeg runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Write concurrently with reading, otherwise each side could wait for the other to read.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("ffmpeg ends");
    feed.join().expect("fed");
    assert!(output.status.success());
    output.stdout
}

/// Returns the packets of an Ogg stream (RFC 3533, section 6): a segment of 255 bytes continues, a shorter
/// one ends a packet.
fn packets(ogg: &[u8]) -> Vec<Vec<u8>> {
    let (mut packets, mut packet, mut rest) = (Vec::new(), Vec::new(), ogg);
    while rest.len() > 27 && rest.starts_with(b"OggS") {
        let count = usize::from(rest[26]);
        let (lacing, mut body) = rest[27..].split_at(count);
        for &length in lacing {
            let (segment, after) = body.split_at(usize::from(length));
            packet.extend_from_slice(segment);
            body = after;
            if length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = body;
    }
    packets
}

/// Packs each frame on its own Ogg page.
fn ogg(frames: &[Vec<u8>]) -> Vec<u8> {
    // RFC 7845, section 5: version, channels, pre-skip, rate, gain, mapping; then vendor and no comments.
    let head = [&b"OpusHead\x01\x02"[..], &[0, 0], &48_000u32.to_le_bytes(), &[0, 0, 0]].concat();
    let tags = [&b"OpusTags"[..], &[1, 0, 0, 0], b"t", &[0; 4]].concat();
    let mut stream = page(0, 0, 2, &head);
    stream.extend(page(1, 0, 0, &tags));
    for (sequence, frame) in (2..).zip(frames) {
        let position = u64::from(sequence - 1) * FRAME_SAMPLES;
        stream.extend(page(sequence, position, 0, frame));
    }
    stream
}

fn page(sequence: u32, position: u64, flags: u8, packet: &[u8]) -> Vec<u8> {
    let mut lacing = vec![255; packet.len() / 255];
    lacing.push((packet.len() % 255) as u8);
    let mut page = [&b"OggS\0"[..], &[flags], &position.to_le_bytes(), &7u32.to_le_bytes()].concat();
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    page.push(lacing.len() as u8);
    page.extend(lacing);
    page.extend_from_slice(packet);
    let sum = checksum(&page);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

/// Computes the CRC-32 of Ogg: polynomial 0x04c11db7, neither reflected nor inverted.
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 }
        })
    })
}
