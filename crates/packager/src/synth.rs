//! Synthetic ADTS frames, for tests and benches that must not depend on FFmpeg.
//!
//! Headers are valid, payloads are filler. The frames cannot be decoded.

/// Returns a frame of 160 to 167 bytes whose payload bytes all equal `fill`.
pub fn frame(fill: u8) -> Vec<u8> {
    let length = 160 + usize::from(fill % 8);
    let mut frame = vec![
        0xff,
        0xf1,
        0x4c,
        0x40 | (length >> 11) as u8,
        (length >> 3) as u8,
        (length << 5) as u8 | 0x1f,
        0xfc,
    ];
    frame.resize(length, fill);
    frame
}

/// Returns `count` consecutive frames.
pub fn frames(count: usize, fill: u8) -> Vec<u8> {
    frame(fill).repeat(count)
}
