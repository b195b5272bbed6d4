//! Assembles WebSocket frames into whole messages. Janus sends a long reply as continuation frames (RFC 6455,
//! section 5.4).
//!
//! A message over the limit is dropped except for its beginning, which identifies the request. A single frame
//! over the limit ends the connection as soon as its header has arrived ([`SizedCodec`]).

use actix_codec::{Decoder, Encoder};
use actix_http::ws::{Codec, Frame, Item, Message, ProtocolError};
use bytes::{Bytes, BytesMut};

use crate::frames::announced_length;

/// Maximum size of a message from Janus, in bytes. A room in `list` takes about 250 bytes.
pub(super) const MAX_MESSAGE: usize = 1 << 20;
/// Length, in bytes, of the beginning that is kept of a longer message. Janus writes `janus`, `session_id`
/// and `transaction` first.
const BEGINNING: usize = 512;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum IncomingFrame {
    Message(Bytes),
    /// First bytes of a message longer than `MAX_MESSAGE`.
    TooLarge(Bytes),
    Ping(Bytes),
    /// The other side closes the connection.
    Close,
    /// The frame needs no action.
    Nothing,
}

/// Codec of the connection that refuses a frame by the length in its header. The codec of actix-http waits
/// for the whole frame first.
pub(super) struct SizedCodec(pub Codec);

impl Decoder for SizedCodec {
    type Item = Frame;
    type Error = ProtocolError;

    /// # Errors
    /// [`ProtocolError::Overflow`] if the frame is longer than [`MAX_MESSAGE`], and the errors of the codec.
    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if announced_length(bytes).is_some_and(|length| length > MAX_MESSAGE as u64) {
            return Err(ProtocolError::Overflow);
        }
        self.0.decode(bytes)
    }
}

impl Encoder<Message> for SizedCodec {
    type Error = ProtocolError;

    fn encode(&mut self, message: Message, bytes: &mut BytesMut) -> Result<(), ProtocolError> {
        self.0.encode(message, bytes)
    }
}

#[derive(Default)]
pub(super) struct Reassembler {
    parts: BytesMut,
    /// True if the current message is over the limit. Its further parts are dropped.
    overflown: bool,
}

impl Reassembler {
    pub(super) fn push(&mut self, frame: Frame) -> IncomingFrame {
        match frame {
            Frame::Text(whole) | Frame::Binary(whole) => self.last(whole),
            Frame::Continuation(Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part)) => {
                self.add(&part);
                IncomingFrame::Nothing
            }
            Frame::Continuation(Item::Last(part)) => self.last(part),
            Frame::Ping(payload) => IncomingFrame::Ping(payload),
            Frame::Pong(_) => IncomingFrame::Nothing,
            Frame::Close(_) => IncomingFrame::Close,
        }
    }

    fn last(&mut self, part: Bytes) -> IncomingFrame {
        if self.parts.is_empty() && !self.overflown && part.len() <= MAX_MESSAGE {
            return IncomingFrame::Message(part);
        }
        self.add(&part);
        let message = std::mem::take(&mut self.parts).freeze();
        if std::mem::take(&mut self.overflown) {
            IncomingFrame::TooLarge(message)
        } else {
            IncomingFrame::Message(message)
        }
    }

    fn add(&mut self, part: &[u8]) {
        if self.overflown {
            return;
        }
        self.overflown = self.parts.len() + part.len() > MAX_MESSAGE;
        let take = if self.overflown { part.len().min(BEGINNING) } else { part.len() };
        self.parts.extend_from_slice(&part[..take]);
        if self.overflown {
            self.parts.truncate(BEGINNING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![b'x'; len])
    }

    #[test]
    fn continuation_frames_become_one_message() {
        let mut frames = Reassembler::default();
        assert_eq!(frames.push(Frame::Continuation(Item::FirstText("ab".into()))), IncomingFrame::Nothing);
        assert_eq!(
            frames.push(Frame::Ping("p".into())),
            IncomingFrame::Ping("p".into()),
            "control frames interleave"
        );
        assert_eq!(frames.push(Frame::Continuation(Item::Continue("cd".into()))), IncomingFrame::Nothing);
        assert_eq!(
            frames.push(Frame::Continuation(Item::Last("e".into()))),
            IncomingFrame::Message("abcde".into())
        );
        assert_eq!(frames.push(Frame::Text("next".into())), IncomingFrame::Message("next".into()));
    }

    #[test]
    fn oversized_message_keeps_only_beginning() {
        let mut frames = Reassembler::default();
        let mut start = b"{\"transaction\":\"7\"".to_vec();
        start.resize(MAX_MESSAGE - 1, b' ');
        frames.push(Frame::Continuation(Item::FirstText(start.into())));
        for _ in 0..10 {
            frames.push(Frame::Continuation(Item::Continue(bytes(MAX_MESSAGE))));
            assert!(frames.parts.len() <= MAX_MESSAGE, "memory is bounded");
        }
        let IncomingFrame::TooLarge(beginning) = frames.push(Frame::Continuation(Item::Last(bytes(1))))
        else {
            panic!("must be refused")
        };
        assert!(beginning.starts_with(b"{\"transaction\":\"7\"") && beginning.len() <= BEGINNING);
        assert_eq!(frames.push(Frame::Text("next".into())), IncomingFrame::Message("next".into()));
    }

    #[test]
    fn oversized_frames_are_refused_at_header() {
        let decoded = |bytes: &[u8]| {
            SizedCodec(Codec::new().client_mode().max_size(MAX_MESSAGE)).decode(&mut bytes.into())
        };
        for length in [1 << 62, u64::MAX, MAX_MESSAGE as u64 + 1] {
            let header = [&[0x81, 127][..], &length.to_be_bytes()].concat();
            assert!(matches!(decoded(&header), Err(ProtocolError::Overflow)), "{length}");
            assert!(matches!(decoded(&header[..9]), Ok(None)), "the header is incomplete");
        }
        let largest = [&[0x81, 127][..], &(MAX_MESSAGE as u64).to_be_bytes()].concat();
        assert!(matches!(decoded(&largest), Ok(None)));
        assert!(matches!(decoded(b"\x81\x02ok"), Ok(Some(Frame::Text(text))) if text == "ok"));
    }

    #[test]
    fn message_of_limit_size_is_allowed() {
        let mut frames = Reassembler::default();
        assert_eq!(frames.push(Frame::Text(bytes(MAX_MESSAGE))), IncomingFrame::Message(bytes(MAX_MESSAGE)));
        assert!(matches!(frames.push(Frame::Text(bytes(MAX_MESSAGE + 1))), IncomingFrame::TooLarge(_)));
    }
}
