//! Connection of one recogniser: audio downstream, results upstream.
//!
//! Owns: the connection, its limits and close codes. Does not decode audio, or show captions.

use std::cell::Cell;
use std::time::{Duration, Instant};

use actix_web::Error;
use actix_web::web::{Bytes, Data, Payload};
use bytes::{BufMut, BytesMut};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::delivery::{FeedEnd, FeedItem, PcmReader, TooSlow};
use crate::domain::captions::{Caption, Heard, InvalidResult, MAX_MESSAGE, MESSAGE_BURST, MESSAGE_RATE};
use crate::domain::civil_time::Rfc3339;
use crate::domain::connection_limits::TokenBucket;
use crate::domain::ids::{Nonce, RoomId, UnixMs};
use crate::domain::profile::Language;
use crate::domain::signalling::CloseCode;
use crate::frames::{FrameDecoder, Inbound, OutboundFrame};
use crate::http::rest::Api;
use crate::http::server::Connection;
use crate::http::upgrade::hang_up;
use crate::packager::pcm::{PCM_RATE, PcmChunk};
use crate::presence::stage::Passing;
use crate::rooms::captions::{NotKept, RecogniserClaim};

/// Longest time that a frame waits for the recogniser to read. The feed buffers the audio meanwhile, so a
/// recogniser may pause for about this time.
const SLOW: Duration = Duration::from_secs(10);
/// Time after the end of the audio in which results are taken.
const LAST_RESULTS: Duration = Duration::from_secs(5);
/// Time that a recogniser has to take the close frame.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Recogniser {
    pub api: Data<Api>,
    pub room: RoomId,
    pub nonce: Nonce,
    pub language: Language,
    pub claim: RecogniserClaim,
    /// Encoded frames for the recogniser.
    pub frames: mpsc::Sender<Bytes>,
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
    pub async fn run(self, audio: PcmReader, mut payload: Payload, connection: Option<Connection>) {
        let connected = self.api.captions.metrics.captions().connected();
        let (room, language) = (&self.room, self.language.as_str());
        tracing::info!(%room, language, "recogniser connected");
        let heard = Cell::new(None);
        let end = tokio::select! {
            end = self.send(audio, &heard) => end,
            end = self.receive(&mut payload, &heard) => end,
            () = self.claim.lost() => End::Close(CloseCode::Unavailable),
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
        hang_up(payload, connection).await;
    }

    /// Sends the audio until it ends or the connection fails. `heard`: range of the audio sent so far.
    async fn send(&self, mut audio: PcmReader, heard: &Cell<Option<Heard>>) -> End {
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
            heard.set(Some(Heard { from, to: chunk.end() }));
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
    async fn receive(&self, payload: &mut Payload, heard: &Cell<Option<Heard>>) -> End {
        let mut frames = FrameDecoder::new(MAX_MESSAGE);
        let began = Instant::now();
        let mut bucket = TokenBucket::full(MESSAGE_BURST, Duration::ZERO);
        loop {
            let Some(inbound) = frames.next_message() else {
                let Some(Ok(bytes)) = payload.next().await else { return End::Gone };
                frames.feed(bytes);
                continue;
            };
            while let Err(wait) = bucket.take(MESSAGE_RATE, MESSAGE_BURST, began.elapsed()) {
                // Sleep: the recogniser may send its next message only after this time.
                tokio::time::sleep(wait).await;
            }
            let answer = match inbound {
                Inbound::Text(text) => match self.show(&text, heard.get()).await {
                    Ok(()) => continue,
                    Err(error) => OutboundFrame::Text(error.to_string().into()),
                },
                Inbound::Ping(payload) => OutboundFrame::Pong(payload),
                Inbound::Pong | Inbound::Fragments => continue,
                Inbound::Close => return End::Close(CloseCode::Normal),
                Inbound::Bad(code) => return End::Close(code),
                Inbound::Gone => return End::Gone,
            };
            if let Err(end) = self.queue(answer).await {
                return end;
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

    /// Shows the caption in a message. Returns the message that says why it was not shown.
    async fn show(&self, message: &str, heard: Option<Heard>) -> Result<(), Value> {
        let captions = &self.api.captions;
        let shown = Caption::of_result(message, &self.language, heard);
        let caption = shown.map_err(|invalid| {
            captions.metrics.captions().result("invalid");
            invalid_result(&invalid)
        })?;
        let outcome = if caption.is_final { "final" } else { "partial" };
        let passed = self.api.stages.pass(&self.room, &Passing::Caption(caption.clone())).await;
        let passed = passed.map_err(|error| {
            tracing::debug!(room = %self.room, %error, "a caption was not shown");
            refusal("channel_unavailable", "the listener channel does not answer; the result was not shown")
        });
        let kept = if caption.is_final { self.keep(&caption).await } else { Ok(()) };
        let done = passed.and(kept);
        captions.metrics.captions().result(if done.is_ok() { outcome } else { "failed" });
        done
    }

    /// Stores a final caption in the recordings of the broadcast.
    async fn keep(&self, caption: &Caption) -> Result<(), Value> {
        let kept = self.api.recordings.keep_caption(&self.room, &self.nonce, caption).await;
        kept.map_err(|error| {
            tracing::debug!(room = %self.room, %error, "a caption was not stored");
            match error {
                NotKept::Full(full) => refusal("transcript_full", &full.to_string()),
                NotKept::Store(_) => {
                    refusal("store_unavailable", "the store does not answer; the result was not stored")
                }
            }
        })
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
