//! Heard media: pieces decoded to samples, and the tones in them.
//!
//! Owns: decoding (by FFmpeg) and tone detection (a coarse spectrum, then Goertzel's algorithm). Does not
//! fetch.

use std::f64::consts::TAU;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::listener::ProbeError;
use super::spectrum;
use super::transport::Audio;
use stentor_process as process;

/// Samples per second of all decoded audio.
pub const SAMPLE_RATE: u32 = 48_000;
const RATE: f64 = SAMPLE_RATE as f64;
/// Samples in 50 ms: long enough to separate neighbouring notes, short enough to tolerate an error of several
/// hertz.
const BLOCK: usize = 2_400;
/// Amplitude below which audio counts as silence: −60 dB relative to full scale.
const QUIET: f32 = 1e-3;
/// Samples in 0.5 s, which separates frequencies 2 Hz apart.
const FINE: usize = 24_000;

/// Decrypted part or segment.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Media sequence number of the segment, or of the segment that the part belongs to.
    pub sequence: u64,
    /// Index of the part; `None` for a whole segment.
    pub part: Option<u32>,
    /// Duration in seconds, as listed.
    pub duration: f64,
    /// Discontinuity sequence number.
    pub discontinuity: u64,
    pub key_uri: Option<String>,
    /// ADTS frames as contained in the transport stream.
    pub audio: Audio,
    /// Seconds between the recording of the last sample and its arrival.
    pub age: Option<f64>,
}

/// Result of one `hear…` call.
#[derive(Debug, Clone, Default)]
pub struct HeardAudio {
    /// Samples: mono, 48 kHz, −1 to 1.
    pub pcm: Vec<f32>,
    pub pieces: Vec<Piece>,
    /// Delay, in seconds, between the room and a player that keeps the hold-back of the playlist. Measured at
    /// the newest piece.
    pub behind_live: Option<f64>,
    /// Media lost between pieces since the listener was opened.
    pub gaps: Vec<Gap>,
    /// Violations of HLS rules since the listener was opened, each once.
    pub violations: Vec<String>,
}

/// Range of media sequence numbers (`from` inclusive, `to` exclusive) whose media left the playlist before
/// all of them were heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub from: u64,
    pub to: u64,
}

impl HeardAudio {
    /// Returns the distinct media sequence numbers heard, in ascending order.
    pub fn segments(&self) -> Vec<u64> {
        distinct(self.pieces.iter().map(|p| p.sequence))
    }

    /// Returns the key URIs in the order of use.
    pub fn keys(&self) -> Vec<String> {
        distinct(self.pieces.iter().filter_map(|p| p.key_uri.clone()))
    }

    /// Returns the number of changes of the discontinuity number.
    pub fn discontinuities(&self) -> usize {
        distinct(self.pieces.iter().map(|p| p.discontinuity)).len().saturating_sub(1)
    }

    /// Returns the duration of the media in seconds, as listed in the playlists.
    pub fn seconds(&self) -> f64 {
        self.pieces.iter().map(|p| p.duration).sum()
    }

    /// Returns the loudest frequency, to 1 Hz; `None` in silence.
    pub fn strongest_hz(&self) -> Option<f64> {
        strongest_hz(&self.pcm)
    }

    /// Returns the amplitude (0 to 1) of the tone at `hz`, averaged over all audio heard.
    pub fn level(&self, hz: f64) -> f64 {
        level(&self.pcm, hz)
    }

    pub(super) async fn decode(&mut self, ffmpeg: &Path) -> Result<(), ProbeError> {
        for run in self.pieces.chunk_by(|a, b| a.discontinuity == b.discontinuity) {
            let stream = run.iter().flat_map(|piece| piece.audio.frames.concat()).collect();
            self.pcm.extend(decode(ffmpeg, stream).await?);
        }
        Ok(())
    }

    /// Returns the longest silence in seconds, in steps of 10 ms. Silence at the start or end counts, too.
    pub fn longest_silence(&self) -> f64 {
        let quiet = |block: &[f32]| block.iter().all(|sample| sample.abs() < QUIET);
        let blocks: Vec<bool> = self.pcm.chunks(480).map(quiet).collect();
        let between = blocks.split(|is_quiet| !is_quiet);
        between.map(<[bool]>::len).max().unwrap_or(0) as f64 / 100.0
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.dedup();
    list
}

/// Decodes ADTS frames to mono samples.
pub async fn decode(ffmpeg: &Path, stream: Vec<u8>) -> Result<Vec<f32>, ProbeError> {
    let failed = |e: std::io::Error| ProbeError::Decode(e.to_string());
    let args = "-nostdin -v error -xerror -f aac -i pipe:0 -map 0:a:0 -ac 1 -ar 48000 -f f32le pipe:1";
    let mut child =
        process::command(ffmpeg, args.split(' ')).stdin(Stdio::piped()).spawn().map_err(failed)?;
    // All three were configured as pipes above and are taken only here.
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(ProbeError::Decode("no pipes to FFmpeg".into()));
    };
    let feed = async move {
        // A decoder that failed closes its end of the pipe, and this write fails. The exit status and stderr
        // of the decoder state the reason.
        let _ = stdin.write_all(&stream).await;
    };
    let (mut samples, mut words) = (Vec::new(), String::new());
    let (_, read, _) =
        tokio::join!(feed, stdout.read_to_end(&mut samples), stderr.read_to_string(&mut words));
    read.map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    if !status.success() || !words.is_empty() {
        return Err(ProbeError::Decode(format!("{status}: {}", words.trim())));
    }
    let (samples, _) = samples.as_chunks::<4>();
    Ok(samples.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Returns the amplitude (0 to 1) of the tone at `hz`, averaged over 50 ms blocks.
pub fn level(pcm: &[f32], hz: f64) -> f64 {
    let blocks = pcm.chunks_exact(BLOCK);
    let count = blocks.len().max(1) as f64;
    blocks.map(|block| goertzel(block, hz)).sum::<f64>() / count
}

/// Returns the loudest frequency between 20 Hz and 20 kHz, to 1 Hz; `None` in silence, or in less than 50 ms
/// of audio.
pub fn strongest_hz(pcm: &[f32]) -> Option<f64> {
    let quiet = pcm.iter().all(|s| s.abs() < 1e-3);
    if quiet || pcm.len() < BLOCK {
        return None;
    }
    // Nine blocks are spread over all audio, so that a short pause at the start or the end does not affect
    // the result.
    let spread = (0..9).map(|i| &pcm[(pcm.len() - BLOCK) * i / 8..][..BLOCK]);
    let coarse = spectrum::strongest(spread, RATE, 20.0..=20_000.0)?;
    let middle = &pcm[pcm.len().saturating_sub(FINE) / 2..];
    let fine = &middle[..middle.len().min(FINE)];
    let near = (-15..=15).map(|d| coarse.round() + f64::from(d));
    near.map(|hz| (hz, goertzel(fine, hz))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(hz, _)| hz)
}

/// Returns the energy outside these bands relative to the energy inside them, in dB: the median over 85 ms
/// blocks, so that a lost packet does not count. Infinite if there is no whole block.
pub fn beside(pcm: &[f32], bands: &[RangeInclusive<f64>]) -> f64 {
    let blocks = pcm.chunks_exact(spectrum::POINTS);
    let mut all: Vec<_> = blocks.map(|block| spectrum::beside(block, RATE, bands)).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Returns the amplitude of one frequency in a block under a Hann window, which limits leakage from a strong
/// neighbour.
fn goertzel(block: &[f32], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / RATE).cos();
    let (mut last, mut before) = (0.0, 0.0);
    let step = TAU / block.len() as f64;
    // cos(n·step) by rotation: a cosine per sample would cost more than the filter itself.
    let (turn_re, turn_im) = (step.cos(), step.sin());
    let (mut re, mut im) = (1.0f64, 0.0f64);
    for &sample in block {
        let hann = 0.5 - 0.5 * re;
        let now = f64::from(sample) * hann + coefficient * last - before;
        before = last;
        last = now;
        (re, im) = (re * turn_re - im * turn_im, re * turn_im + im * turn_re);
    }
    let power = last * last + before * before - coefficient * last * before;
    // The window's mean is one half, and a real tone splits between the positive and the negative frequency.
    4.0 * power.max(0.0).sqrt() / block.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, amplitude: f64, seconds: f64) -> Vec<f32> {
        (0..(seconds * RATE) as usize)
            .map(|n| (amplitude * (TAU * hz * n as f64 / RATE).sin()) as f32)
            .collect()
    }

    #[test]
    fn strongest_hz_is_exact_to_hertz() {
        for hz in [120.0, 440.0, 997.0, 10_000.0, 15_000.0] {
            let found = strongest_hz(&tone(hz, 0.2, 1.0)).unwrap();
            assert!((found - hz).abs() <= 1.0, "{hz} was heard as {found}");
        }
    }

    #[test]
    fn level_measures_only_given_tone() {
        let mixed: Vec<f32> =
            tone(440.0, 0.3, 1.0).iter().zip(tone(660.0, 0.1, 1.0)).map(|(a, b)| a + b).collect();
        assert!((level(&mixed, 440.0) - 0.3).abs() < 0.01);
        assert!((level(&mixed, 660.0) - 0.1).abs() < 0.01);
        assert!(level(&mixed, 880.0) < 0.002);
    }

    #[test]
    fn silence_has_no_tone() {
        assert_eq!(strongest_hz(&vec![0.0; 48_000]), None);
        assert_eq!(strongest_hz(&[]), None);
        assert_eq!(level(&[], 440.0), 0.0);
    }

    #[actix::test]
    async fn decode_error_contains_ffmpeg_message() {
        let error = decode(Path::new("ffmpeg"), b"no ADTS at all".to_vec()).await.unwrap_err();
        assert!(matches!(&error, ProbeError::Decode(words) if words.contains("pipe:0")), "{error}");
    }
}
