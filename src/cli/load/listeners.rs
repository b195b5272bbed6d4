//! Listeners of low-latency HLS and of the plain stream. They measure when media arrive, and do not decode
//! audio.

use std::time::{Duration, Instant};

use futures::StreamExt;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode, ProbeError};
use tokio::time::timeout_at;

use crate::cli::client::http_client;

/// Duration above which a pause of a plain stream counts as a gap.
const GAP: Duration = Duration::from_secs(1);
/// Duration of an AAC frame: 1,024 samples at 48 kHz.
const FRAME: Duration = Duration::from_nanos(21_333_333);
/// Length of the header of an ADTS frame without a checksum, in bytes.
const HEADER: usize = 7;

/// Measurements of one listener.
#[derive(Debug, Default)]
pub struct ListenerResult {
    /// Time from the first request to the first audio.
    pub first_sound: Option<Duration>,
    /// HLS: ages of the parts at their arrival. Plain stream: delays of the audio behind real time since the
    /// first audio.
    pub delays: Vec<Duration>,
    /// HLS: number of lost segments. Plain stream: number of pauses longer than [`GAP`].
    pub gaps: u64,
    /// Reason why the listener ended early.
    pub failure: Option<String>,
}

/// Listens to LL-HLS, part by part, until `end`.
pub async fn by_parts(target: &Target, end: Instant) -> ListenerResult {
    let (began, mut heard) = (Instant::now(), ListenerResult::default());
    let listening = async {
        let mut listener = Listener::open_by(target, Mode::Parts, end).await?;
        loop {
            let piece = listener.next_piece().await?;
            heard.gaps = listener.gaps().iter().map(|gap| gap.to - gap.from).sum();
            if let Some(piece) = piece {
                heard.first_sound.get_or_insert_with(|| began.elapsed());
                let age = piece.age.map(|age| Duration::try_from_secs_f64(age).unwrap_or_default());
                heard.delays.extend(age);
            }
        }
    };
    let ended: Result<Result<(), ProbeError>, _> = timeout_at(end.into(), listening).await;
    heard.failure = ended.ok().and_then(Result::err).map(|error| error.to_string());
    heard
}

/// Listens to the plain stream until `end`.
pub async fn plainly(target: &Target, end: Instant) -> ListenerResult {
    let (began, mut heard) = (Instant::now(), ListenerResult::default());
    let Target { base_url, room, token, .. } = target;
    let url = format!("{base_url}/live/{room}.aac");
    let listening = async {
        let time_left = end.saturating_duration_since(began) + GAP;
        let client = http_client(base_url.starts_with("https"), time_left).map_err(|e| e.to_string())?;
        let request = client.get(url).bearer_auth(token);
        let mut answer = request.send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the plain stream answered with {}", answer.status()));
        }
        let (mut frames, mut last) = (Frames::default(), None::<Instant>);
        while let Some(chunk) = answer.next().await {
            frames.take(&chunk.map_err(|error| error.to_string())?)?;
            if frames.count == 0 {
                continue;
            }
            let now = Instant::now();
            let first = began + *heard.first_sound.get_or_insert(now - began);
            heard.delays.push((now - first).saturating_sub(FRAME * frames.count));
            heard.gaps += u64::from(last.is_some_and(|last| now - last > GAP));
            last = Some(now);
        }
        Err("the plain stream has ended".to_owned())
    };
    let ended: Result<Result<(), String>, _> = timeout_at(end.into(), listening).await;
    heard.failure = ended.ok().and_then(Result::err);
    heard
}

/// Counter of the ADTS frames in a stream of bytes.
#[derive(Default)]
struct Frames {
    rest: Vec<u8>,
    count: u32,
}

impl Frames {
    /// Counts the frames that `bytes` completes.
    ///
    /// # Errors
    /// The stream is not ADTS.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.rest.get(at..at + HEADER) {
            let length =
                usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5]) >> 5;
            if header[0] != 0xff || header[1] & 0xf0 != 0xf0 || length < HEADER {
                return Err("the plain stream is not ADTS".to_owned());
            }
            if self.rest.len() < at + length {
                break;
            }
            at += length;
            self.count += 1;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_across_chunks() {
        // MPEG-4 AAC-LC at 48 kHz, stereo, 9 bytes with the header.
        let frame = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 1, 2];
        let bytes = frame.repeat(5);
        for size in [1, 7, 9, 45] {
            let mut frames = Frames::default();
            bytes.chunks(size).for_each(|chunk| frames.take(chunk).unwrap());
            assert_eq!((frames.count, frames.rest.len()), (5, 0), "{size}");
        }
        assert!(Frames::default().take(b"ID3 and more").is_err());
    }
}
