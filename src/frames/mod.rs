//! WebSocket frames (RFC 6455 section 5): bytes to messages, and messages to bytes.
//!
//! The transport of signalling (`ws`) and the listener channel share this code.
//!
//! Owns: the encoding and its limits. Does not read from a client or write to it.

mod decoder;

use actix_http::ws::{CloseCode as WireCode, CloseReason, OpCode, Parser};
use bytes::{Bytes, BytesMut};

use crate::domain::signalling::CloseCode;

pub use decoder::{FrameDecoder, announced_length};

/// Input from a client, as read by the transport.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    Text(String),
    Ping(Bytes),
    Pong,
    /// Several fragments of an incomplete text.
    Fragments,
    /// Close frame: the client's own, or its answer to ours.
    Close,
    /// Unreadable input; nothing follows.
    Bad(CloseCode),
    /// The connection was lost; nothing follows.
    Gone,
}

/// Outbound frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundFrame {
    Text(Bytes),
    Binary(Bytes),
    Ping,
    Pong(Bytes),
    Close(CloseCode),
}

impl OutboundFrame {
    /// Returns the number of bytes of the content. Pings and close frames count as empty.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Ping | Self::Close(_) => 0,
        }
    }

    /// Returns the encoded frame.
    pub fn encoded(self) -> Bytes {
        let mut bytes = BytesMut::new();
        self.write(&mut bytes);
        bytes.freeze()
    }

    /// Appends the encoded frame.
    pub fn write(self, to: &mut BytesMut) {
        let (payload, opcode) = match self {
            Self::Text(text) => (text, OpCode::Text),
            Self::Binary(bytes) => (bytes, OpCode::Binary),
            Self::Ping => (Bytes::new(), OpCode::Ping),
            Self::Pong(payload) => (payload, OpCode::Pong),
            Self::Close(code) => {
                let description = Some(code.reason().to_owned());
                let reason = CloseReason { code: WireCode::from(code.number()), description };
                return Parser::write_close(to, Some(reason), false);
            }
        };
        Parser::write_message(to, payload, opcode, true, false);
    }
}
