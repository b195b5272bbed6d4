//! Fragmented MP4 made of nothing: for tests and benches, which must not depend on FFmpeg's mood.
//!
//! Writes only the boxes the splitter reads. Never plays.

/// One box of this kind around these contents.
fn mp4_box(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = ((body.len() + 8) as u32).to_be_bytes().to_vec();
    out.extend_from_slice(kind);
    out.extend(body);
    out
}

/// `ftyp` and `moov` with one track of this timescale.
pub fn init(timescale: u32) -> Vec<u8> {
    let mdhd = mp4_box(b"mdhd", &[&[0; 12], &timescale.to_be_bytes(), &[0; 8]]);
    let trak = mp4_box(b"trak", &[&mp4_box(b"mdia", &[&mdhd])]);
    let trex = mp4_box(b"trex", &[&[0; 12], &1024u32.to_be_bytes(), &[0; 8]]);
    let mvex = mp4_box(b"mvex", &[&trex]);
    let moov = mp4_box(b"moov", &[&trak, &mvex]);
    [mp4_box(b"ftyp", &[b"iso5\0\0\x02\0iso5iso6mp41"]), moov].concat()
}

/// `moof` and `mdat`: `samples` samples of `sample_duration` ticks, 200 bytes each, all equal to `fill`.
pub fn fragment(base: u64, samples: u32, sample_duration: u32, fill: u8) -> Vec<u8> {
    let tfhd =
        mp4_box(b"tfhd", &[&0x0002_0008u32.to_be_bytes(), &[0, 0, 0, 1], &sample_duration.to_be_bytes()]);
    let tfdt = mp4_box(b"tfdt", &[&[1, 0, 0, 0], &base.to_be_bytes()]);
    let sizes = 200u32.to_be_bytes().repeat(samples as usize);
    let trun = mp4_box(b"trun", &[&0x0200u32.to_be_bytes(), &samples.to_be_bytes(), &sizes]);
    let mfhd = mp4_box(b"mfhd", &[&[0; 8]]);
    let moof = mp4_box(b"moof", &[&mfhd, &mp4_box(b"traf", &[&tfhd, &tfdt, &trun])]);
    [moof, mp4_box(b"mdat", &[&vec![fill; samples as usize * 200]])].concat()
}
