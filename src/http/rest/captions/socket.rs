//! Connection of one recogniser: audio downstream, results upstream.
//!
//! Owns: the connection, its limits and close codes. Does not decode audio, or show captions.

use std::cell::Cell;
use std::time::{Duration, Instant};

use actix_web::Error;
use actix_web::http::header::HeaderValue;
use actix_web::web::{Bytes, Data};
use bytes::{BufMut, BytesMut};
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::delivery::{FeedEnd, FeedItem, PcmReader, TooSlow};
use crate::domain::api_key::KeyScope;
use crate::domain::captions::{
    AudioSpan, Caption, FINAL_BURST, FINAL_RATE, InvalidResult, MAX_MESSAGE, MESSAGE_BURST, MESSAGE_RATE,
};
use crate::domain::civil_time::Rfc3339;
use crate::domain::connection_limits::TokenBucket;
use crate::domain::ids::{Nonce, RoomId, UnixMs};
use crate::domain::profile::Language;
use crate::domain::signalling::CloseCode;
use crate::frames::{FrameDecoder, Inbound, OutboundFrame};
use crate::http::rest::Api;
use crate::http::server::ClientBytes;
use crate::packager::pcm::{PCM_RATE, PcmChunk};
use crate::presence::stage::TransientEvent;
use crate::rooms::captions::{CaptionError, RecogniserClaim};

/// Longest time that a frame waits for the recogniser to read. The feed buffers the audio meanwhile, so a
/// recogniser may pause for about this time.
const SLOW: Duration = Duration::from_secs(10);
/// Time after the end of the audio during which results are accepted.
const LAST_RESULTS: Duration = Duration::from_secs(5);
/// Interval at which the API key of a connection is checked.
const CHECK_KEY: Duration = Duration::from_secs(5);
/// Time limit for a recogniser to read the close frame.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Recogniser {
    pub api: Data<Api>,
    pub room: RoomId,
    pub nonce: Nonce,
    pub language: Language,
    pub claim: RecogniserClaim,
    /// Encoded frames for the recogniser.
    pub frames: mpsc::Sender<Bytes>,
    /// Header of the request, with the API key.
    pub authorization: Option<HeaderValue>,
}

/// Reason why nothing more is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Close with this code.
    Close(CloseCode),
    /// The connection is gone.
    Gone,
}

/// Returns the response body with these frames.
pub(super) fn body(queued: mpsc::Receiver<Bytes>) -> impl Stream<Item = Result<Bytes, Error>> {
    stream::unfold(queued, |mut queued| async move { Some((Ok(queued.recv().await?), queued)) })
}

impl Recogniser {
    /// Serves the recogniser until either side closes, then releases its lock.
    pub async fn run(self, audio: PcmReader, received: ClientBytes) {
        let connected = self.api.captions.metrics.captions().connected();
        let (room, language) = (&self.room, self.language.as_str());
        tracing::info!(%room, language, "recogniser connected");
        let heard = Cell::new(None);
        let end = tokio::select! {
            end = self.send(audio, &heard) => end,
            end = self.receive(received, &heard) => end,
            () = self.claim.lost() => End::Close(CloseCode::Unavailable),
            () = self.revoked() => End::Close(CloseCode::TokenInvalid),
            () = self.frames.closed() => End::Gone,
        };
        let reason = match end {
            End::Close(code) => {
                // Ignore a timeout: the connection is closed in any case.
                let _ = timeout(LINGER, self.frames.send(OutboundFrame::Close(code).encoded())).await;
                code.reason()
            }
            End::Gone => CloseCode::Gone.reason(),
        };
        tracing::info!(%room, language, reason, "recogniser disconnected");
        self.claim.release().await;
        drop((self, connected));
    }

    /// Returns when the API key of the connection is not valid any more.
    async fn revoked(&self) {
        let key = self.authorization.as_ref().map(HeaderValue::as_bytes);
        while self.api.auth.still_permits(key, KeyScope::Rooms) {
            // Sleep: a key is checked at intervals.
            tokio::time::sleep(CHECK_KEY).await;
        }
    }

    /// Sends the audio until it ends or the connection fails. `heard`: range of the audio sent so far.
    async fn send(&self, mut audio: PcmReader, heard: &Cell<Option<AudioSpan>>) -> End {
        loop {
            let chunk = match audio.next().await {
                Ok(FeedItem::Audio(chunk)) => chunk,
                Ok(FeedItem::End(FeedEnd::Over)) => return self.finish().await,
                Ok(FeedItem::End(FeedEnd::Stopping)) => return End::Close(CloseCode::Draining),
                Err(TooSlow) => return End::Close(CloseCode::TooSlow),
            };
            if heard.get().is_none()
                && let Err(end) = self.queue(OutboundFrame::Text(start(chunk.at).to_string().into())).await
            {
                return end;
            }
            let from = heard.get().map_or(chunk.at, |heard| heard.from);
            heard.set(Some(AudioSpan { from, to: chunk.end() }));
            if let Err(end) = self.queue(OutboundFrame::Binary(positioned(&chunk))).await {
                return end;
            }
        }
    }

    /// Announces the end of the audio, and waits for the results of the last words.
    async fn finish(&self) -> End {
        let end = json!({ "type": "end" }).to_string();
        if let Err(end) = self.queue(OutboundFrame::Text(end.into())).await {
            return end;
        }
        // Sleep: the recogniser sends its last results, or closes, within this time.
        tokio::time::sleep(LAST_RESULTS).await;
        End::Close(CloseCode::RoomClosed)
    }

    /// Reads results until the connection ends. Returns the reason.
    async fn receive(&self, mut received: ClientBytes, heard: &Cell<Option<AudioSpan>>) -> End {
        let mut frames = FrameDecoder::new(MAX_MESSAGE);
        let (mut messages, mut finals) =
            (Pace::new(MESSAGE_RATE, MESSAGE_BURST), Pace::new(FINAL_RATE, FINAL_BURST));
        loop {
            let Some(inbound) = frames.next_message() else {
                let Some(bytes) = received.next().await else { return End::Gone };
                frames.feed(bytes);
                continue;
            };
            messages.wait().await;
            let answers = match inbound {
                Inbound::Text(text) => {
                    let refused = match self.result(&text, heard.get()) {
                        Ok(caption) => {
                            if caption.is_final {
                                finals.wait().await;
                            }
                            self.show(&caption).await
                        }
                        Err(refused) => vec![refused],
                    };
                    refused.into_iter().map(|error| OutboundFrame::Text(error.to_string().into())).collect()
                }
                Inbound::Ping(payload) => vec![OutboundFrame::Pong(payload)],
                Inbound::Pong | Inbound::Fragments => continue,
                Inbound::Close => return End::Close(CloseCode::Normal),
                Inbound::Bad(code) => return End::Close(code),
                Inbound::Gone => return End::Gone,
            };
            for answer in answers {
                if let Err(end) = self.queue(answer).await {
                    return end;
                }
            }
        }
    }

    async fn queue(&self, frame: OutboundFrame) -> Result<(), End> {
        match timeout(SLOW, self.frames.send(frame.encoded())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(CloseCode::TooSlow)),
        }
    }

    /// Returns the caption in a message, or the message that says why it is invalid.
    fn result(&self, message: &str, heard: Option<AudioSpan>) -> Result<Caption, Value> {
        Caption::of_result(message, &self.language, heard).map_err(|invalid| {
            self.api.captions.metrics.captions().result("invalid");
            invalid_result(&invalid)
        })
    }

    /// Shows a caption, and stores it if it is final. Returns a message for each of these steps that failed.
    async fn show(&self, caption: &Caption) -> Vec<Value> {
        let passed = self.api.stages.pass(&self.room, &TransientEvent::Caption(caption.clone())).await;
        if let Err(error) = &passed {
            tracing::debug!(room = %self.room, %error, "a caption was not shown");
        }
        let kept = match caption.is_final {
            true => self.api.recordings.keep_caption(&self.room, &self.nonce, caption).await,
            false => Ok(()),
        };
        if let Err(error) = &kept {
            tracing::debug!(room = %self.room, %error, "a caption was not stored");
        }
        self.api.captions.metrics.captions().result(outcome(caption.is_final, passed.is_ok(), &kept));
        let not_shown = passed.err().map(|_| {
            refusal("channel_unavailable", "the listener channel does not answer; the result was not shown")
        });
        not_shown.into_iter().chain(kept.err().map(|error| not_stored(&error))).collect()
    }
}

/// Rate limit for items, such as messages: an item above the rate waits.
struct Pace {
    bucket: TokenBucket,
    began: Instant,
    rate: u32,
    burst: u32,
}

impl Pace {
    fn new(rate: u32, burst: u32) -> Self {
        Self { bucket: TokenBucket::full(burst, Duration::ZERO), began: Instant::now(), rate, burst }
    }

    async fn wait(&mut self) {
        while let Err(wait) = self.bucket.take(self.rate, self.burst, self.began.elapsed()) {
            // Sleep: the recogniser may send its next message only after this time.
            tokio::time::sleep(wait).await;
        }
    }
}

/// Returns the label of a valid result in the metrics.
fn outcome(is_final: bool, passed: bool, kept: &Result<(), CaptionError>) -> &'static str {
    match (passed, kept) {
        (false, _) => "failed",
        (true, Err(CaptionError::Full(_))) => "full",
        (true, Err(CaptionError::Store(_))) => "not_stored",
        (true, Ok(())) if is_final => "final",
        (true, Ok(())) => "partial",
    }
}

fn not_stored(error: &CaptionError) -> Value {
    match error {
        CaptionError::Full(full) => refusal("transcript_full", &full.to_string()),
        CaptionError::Store(_) => {
            refusal("store_unavailable", "the store does not answer; the result was not stored")
        }
    }
}

/// Returns the first message.
fn start(at: UnixMs) -> Value {
    json!({
        "type": "start",
        "sampleRate": PCM_RATE,
        "channels": 1,
        "encoding": "s16le",
        "startsAt": Rfc3339(at).to_string(),
    })
}

fn invalid_result(invalid: &InvalidResult) -> Value {
    refusal("invalid_result", &invalid.to_string())
}

fn refusal(code: &str, message: &str) -> Value {
    json!({ "type": "error", "code": code, "message": message })
}

/// Returns a chunk with its position in front: 8 bytes, big endian, in milliseconds.
fn positioned(chunk: &PcmChunk) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + chunk.samples.len());
    bytes.put_u64(chunk.at.0);
    bytes.extend_from_slice(&chunk.samples);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::captions::ChunkFull;
    use crate::rooms::RoomError;

    #[test]
    fn outcomes_name_what_failed() {
        let (full, store) =
            (|| Err(CaptionError::Full(ChunkFull)), || Err(CaptionError::Store(RoomError::Busy)));
        assert_eq!([outcome(true, true, &Ok(())), outcome(false, true, &Ok(()))], ["final", "partial"]);
        assert_eq!([outcome(true, true, &full()), outcome(true, true, &store())], ["full", "not_stored"]);
        assert_eq!([outcome(true, false, &store()), outcome(false, false, &Ok(()))], ["failed", "failed"]);
    }
}
