//! HTTP/2 frames written by hand (RFC 9113 section 4), for clients that break the rules.

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// Number of the setting for the initial window of a stream (RFC 9113 section 6.5.2).
pub const INITIAL_WINDOW_SIZE: u8 = 4;
/// Code of `PROTOCOL_ERROR` (RFC 9113 section 7).
pub const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
/// Code of `REFUSED_STREAM`.
pub const REFUSED: [u8; 4] = [0, 0, 0, 7];
/// Code of `CANCEL`.
pub const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// Code of `ENHANCE_YOUR_CALM`.
pub const CALM: [u8; 4] = [0, 0, 0, 11];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Flag of an acknowledgement.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Returns the preface and empty settings, with which a client begins.
pub fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, &[])].concat()
}

/// Encodes a frame without flags.
pub fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    flagged(kind, 0, stream, payload)
}

/// Returns an acknowledgement.
pub fn acknowledgement(kind: u8, payload: &[u8]) -> Vec<u8> {
    flagged(kind, ACK, 0, payload)
}

fn flagged(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns a whole GET request for `https://127.0.0.1{path}`.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    flagged(HEADERS, END_STREAM | END_HEADERS, stream, &head(path))
}

/// Returns a whole GET request with these further headers, as [`header`] encodes them.
pub fn get_with(stream: u32, path: &str, headers: &[u8]) -> Vec<u8> {
    flagged(HEADERS, END_STREAM | END_HEADERS, stream, &[&head(path), headers].concat())
}

/// Returns the beginning of a GET request, whose head is not complete.
pub fn begin(stream: u32, path: &str) -> Vec<u8> {
    flagged(HEADERS, END_STREAM, stream, &head(path))
}

/// Encodes a head without compression (RFC 7541 section 6).
fn head(path: &str) -> Vec<u8> {
    const GET: u8 = 0x82;
    const HTTPS: u8 = 0x87;
    const AUTHORITY: u8 = 1;
    const PATH: u8 = 4;
    [&[GET, HTTPS, AUTHORITY], &literal("127.0.0.1")[..], &[PATH], &literal(path)].concat()
}

/// Encodes a header with a new name.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0], &literal(name)[..], &literal(value)].concat()
}

/// Encodes a text and its length (RFC 7541 sections 5.1 and 5.2).
fn literal(text: &str) -> Vec<u8> {
    const MOST: usize = 127;
    let mut bytes = vec![u8::try_from(text.len().min(MOST)).unwrap()];
    if let Some(mut rest) = text.len().checked_sub(MOST) {
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Splits what a server has sent. An incomplete frame at the end is ignored.
pub fn split(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push(Frame { kind: head[3], stream, payload: payload.to_vec() });
        bytes = rest;
    }
    frames
}
