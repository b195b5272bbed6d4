//! Decoder from bytes to messages (RFC 6455 section 5): actix-http's codec, with limits that the codec lacks.
//!
//! The codec buffers a whole frame before it checks the size, however large the frame claims to be; this
//! module checks the announced size first. The codec returns fragments; this module joins them, with the size
//! limit of a single frame.
//!
//! Owns: the buffered bytes of one client, at most one message. Does not read from the client or answer
//! it.

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};

use super::Inbound;
use crate::domain::signalling::CloseCode;

/// Number of fragments reported as one [`Inbound::Fragments`]. A well-behaved client needs few of them.
const REPORTED: usize = 16;

/// Decoder of one client.
pub struct FrameDecoder {
    limit: usize,
    codec: Codec,
    buffer: BytesMut,
    /// Message whose last fragment has not arrived yet.
    message: Option<BytesMut>,
    /// Fragments since the last report.
    fragments: usize,
}

impl FrameDecoder {
    pub fn new(limit: usize) -> Self {
        let codec = Codec::new().max_size(limit);
        Self { limit, codec, buffer: BytesMut::new(), message: None, fragments: 0 }
    }

    /// Appends received bytes.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes.into();
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// Returns the next complete message. [`Inbound::Bad`] is the last one.
    pub fn next_message(&mut self) -> Option<Inbound> {
        loop {
            if announced_length(&self.buffer).is_some_and(|length| length > self.limit as u64) {
                return Some(Inbound::Bad(CloseCode::TooBig));
            }
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => match self.message(frame) {
                    Ok(None) => {}
                    Ok(Some(inbound)) => return Some(inbound),
                    Err(code) => return Some(Inbound::Bad(code)),
                },
                Ok(None) if self.buffer.is_empty() => {
                    // An idle client holds no buffer.
                    self.buffer = BytesMut::new();
                    return None;
                }
                Ok(None) => return None,
                Err(ProtocolError::Overflow) => return Some(Inbound::Bad(CloseCode::TooBig)),
                Err(_) => return Some(Inbound::Bad(CloseCode::ProtocolError)),
            }
        }
    }

    fn message(&mut self, frame: Frame) -> Result<Option<Inbound>, CloseCode> {
        match frame {
            Frame::Text(bytes) => text(bytes.to_vec()).map(Some),
            Frame::Binary(_) | Frame::Continuation(Item::FirstBinary(_)) => Err(CloseCode::TextOnly),
            Frame::Continuation(Item::FirstText(bytes) | Item::Continue(bytes)) => {
                self.append(&bytes)?;
                self.fragments = (self.fragments + 1) % REPORTED;
                Ok((self.fragments == 0).then_some(Inbound::Fragments))
            }
            Frame::Continuation(Item::Last(bytes)) => {
                self.append(&bytes)?;
                text(self.message.take().unwrap_or_default().into()).map(Some)
            }
            Frame::Ping(payload) => Ok(Some(Inbound::Ping(payload))),
            Frame::Pong(_) => Ok(Some(Inbound::Pong)),
            Frame::Close(_) => Ok(Some(Inbound::Close)),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CloseCode> {
        let message = self.message.get_or_insert_default();
        if message.len() + bytes.len() > self.limit {
            return Err(CloseCode::TooBig);
        }
        message.extend_from_slice(bytes);
        Ok(())
    }
}

fn text(bytes: Vec<u8>) -> Result<Inbound, CloseCode> {
    String::from_utf8(bytes).map(Inbound::Text).map_err(|_| CloseCode::InvalidUtf8)
}

/// Returns the payload length from the header of the first frame, once it has arrived (RFC 6455 section 5.2).
pub fn announced_length(buffer: &[u8]) -> Option<u64> {
    match buffer.get(1)? & 0x7f {
        126 => Some(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?).into()),
        127 => Some(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)),
        short => Some(short.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1000;

    /// Builds a client's frame, masked with zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            n @ 0..126 => bytes.push(0x80 | n as u8),
            n @ 126..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend((n as u16).to_be_bytes());
            }
            n => {
                bytes.push(0x80 | 127);
                bytes.extend((n as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    fn all(bytes: &[u8]) -> Vec<Inbound> {
        let mut frames = FrameDecoder::new(LIMIT);
        frames.feed(bytes.to_vec().into());
        let mut found = Vec::new();
        while let Some(inbound) = frames.next_message() {
            let over = matches!(inbound, Inbound::Bad(_));
            found.push(inbound);
            if over {
                break;
            }
        }
        found
    }

    fn bad(code: CloseCode) -> Vec<Inbound> {
        vec![Inbound::Bad(code)]
    }

    #[test]
    fn frames_join_fragments_around_controls() {
        let text = |text: &str| Inbound::Text(text.to_owned());
        assert_eq!(all(&frame(0x81, b"hello")), [text("hello")]);
        let parts = [frame(0x01, b"he"), frame(0x89, b"p"), frame(0x00, b"l"), frame(0x80, b"lo")].concat();
        assert_eq!(all(&parts), [Inbound::Ping("p".into()), text("hello")]);
        let split = [frame(0x01, &"ü".as_bytes()[..1]), frame(0x80, &"ü".as_bytes()[1..])].concat();
        assert_eq!(all(&split), [text("ü")], "a character may be split between fragments");
        assert_eq!(all(&[frame(0x8a, b""), frame(0x88, b"")].concat()), [Inbound::Pong, Inbound::Close]);
        assert_eq!(all(&frame(0x81, b"")), [text("")]);
    }

    #[test]
    fn oversized_frames_are_refused_at_header() {
        assert_eq!(all(&frame(0x81, &[b'x'; LIMIT])).len(), 1);
        assert_eq!(all(&frame(0x81, &[b'x'; LIMIT + 1])), bad(CloseCode::TooBig));
        assert_eq!(all(&frame(0x81, &vec![b'x'; 10 << 20])[..10]), bad(CloseCode::TooBig));
        let huge = [&[0x81, 0xff][..], &u64::MAX.to_be_bytes()].concat();
        assert_eq!(all(&huge), bad(CloseCode::TooBig));
        let mut pieces = frame(0x01, &[b'x'; 600]);
        pieces.extend(frame(0x00, &[b'x'; 401]));
        assert_eq!(all(&pieces), bad(CloseCode::TooBig));
    }

    #[test]
    fn many_fragments_are_reported() {
        let pieces = [frame(0x01, b"")].into_iter().chain(vec![frame(0x00, b""); 2 * REPORTED]);
        let bytes: Vec<u8> = pieces.chain([frame(0x80, b"x")]).flatten().collect();
        assert_eq!(all(&bytes), [Inbound::Fragments, Inbound::Fragments, Inbound::Text("x".into())]);
    }

    #[test]
    fn binary_and_invalid_frames_are_refused() {
        assert_eq!(all(&frame(0x82, b"binary")), bad(CloseCode::TextOnly));
        assert_eq!(all(&frame(0x02, b"binary")), bad(CloseCode::TextOnly));
        assert_eq!(all(&frame(0x81, b"\xff\xfe")), bad(CloseCode::InvalidUtf8));
        for broken in [
            frame(0x80, b"a continuation of nothing"),
            frame(0xc1, b"reserved bit"),
            frame(0x83, b"reserved opcode"),
            frame(0x09, b"fragmented ping"),
            frame(0x89, &[0; 126]),
            frame(0x88, b"\x03"),
            frame(0x88, b"\x03\xed"),
            vec![0x81, 0x05, b'h', b'e', b'l', b'l', b'o'],
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        ] {
            assert_eq!(all(&broken), bad(CloseCode::ProtocolError), "{broken:02x?}");
        }
    }

    proptest! {
        /// Checks that the split of the bytes does not change the messages, and that at most one message is
        /// buffered.
        #[test]
        fn frame_decoder_ignores_chunking(
            payloads in prop::collection::vec("[a-z]{0,300}", 1..5),
            size in 1_usize..50,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|p| frame(0x81, p.as_bytes())).collect();
            let mut frames = FrameDecoder::new(LIMIT);
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                frames.feed(piece.to_vec().into());
                found.extend(std::iter::from_fn(|| frames.next_message()));
                prop_assert!(frames.buffer.len() <= LIMIT + 14);
            }
            let sent: Vec<_> = payloads.into_iter().map(Inbound::Text).collect();
            prop_assert_eq!(found, sent);
            prop_assert_eq!(frames.buffer.capacity(), 0);
        }

        #[test]
        fn frame_decoder_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            all(&bytes);
        }
    }
}
