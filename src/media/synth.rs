//! ADTS frames made of nothing: for tests and benches, which must not depend on FFmpeg.
//!
//! Headers are true, payloads are filler. Never plays.

/// A frame of 160 to 167 bytes whose payload is all `fill`.
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

/// As many frames, one after the other.
pub fn frames(count: usize, fill: u8) -> Vec<u8> {
    frame(fill).repeat(count)
}
