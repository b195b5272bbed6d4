//! What a `moov` says of its track and a `moof` of its time (ISO/IEC 14496-12, section 8).
//!
//! Owns: nothing. Never does: trust a length that is not there.

use std::time::Duration;

use super::boxes::BoxError;

/// The one audio track of an init section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    /// Ticks per second of every time in the fragments.
    pub timescale: u32,
    /// Ticks of a sample whose fragment does not say otherwise (`trex`).
    pub default_sample_duration: u32,
}

/// When a fragment plays and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Decode time of the first sample, in ticks (`tfdt`).
    pub base: u64,
    /// Sum of its samples, in ticks.
    pub ticks: u64,
    /// The same in time, rounded down to a nanosecond.
    pub duration: Duration,
}

pub(super) fn read_moov(body: &[u8]) -> Result<Track, BoxError> {
    let trak = only(body, b"trak", "moov")?;
    let mdia = only(trak, b"mdia", "trak")?;
    let trex = only(only(body, b"mvex", "moov")?, b"trex", "mvex")?;
    let timescale = read_mdhd(only(mdia, b"mdhd", "mdia")?)?;
    // version and flags, track id, sample description index, then the default duration
    let default_sample_duration = Fields::new(trex, "trex").skip(12)?.u32()?;
    Ok(Track { timescale, default_sample_duration })
}

fn read_mdhd(body: &[u8]) -> Result<u32, BoxError> {
    let mut fields = Fields::new(body, "mdhd");
    let times = if fields.u32()? >> 24 == 1 { 16 } else { 8 };
    match fields.skip(times)?.u32()? {
        0 => Err(BoxError::Malformed { what: "mdhd" }),
        timescale => Ok(timescale),
    }
}

pub(super) fn read_moof(body: &[u8], track: Track) -> Result<Timing, BoxError> {
    let traf = only(body, b"traf", "moof")?;
    let default = read_tfhd(only(traf, b"tfhd", "traf")?)?.unwrap_or(track.default_sample_duration);
    let base = read_tfdt(only(traf, b"tfdt", "traf")?)?;
    let mut ticks = 0u64;
    for found in Boxes(traf) {
        let (kind, body) = found?;
        if &kind == b"trun" {
            ticks = ticks.saturating_add(read_trun(body, default)?);
        }
    }
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(track.timescale);
    let duration = u64::try_from(nanos).map_err(|_| BoxError::Malformed { what: "trun" })?;
    if duration == 0 || base.checked_add(ticks).is_none() {
        return Err(BoxError::Malformed { what: "trun" });
    }
    Ok(Timing { base, ticks, duration: Duration::from_nanos(duration) })
}

/// The default sample duration of this fragment, if it has one of its own.
fn read_tfhd(body: &[u8]) -> Result<Option<u32>, BoxError> {
    let mut fields = Fields::new(body, "tfhd");
    let flags = fields.u32()?;
    let before = 4 + if flags & 0x1 != 0 { 8 } else { 0 } + if flags & 0x2 != 0 { 4 } else { 0 };
    fields.skip(before)?;
    if flags & 0x8 != 0 { fields.u32().map(Some) } else { Ok(None) }
}

fn read_tfdt(body: &[u8]) -> Result<u64, BoxError> {
    let mut fields = Fields::new(body, "tfdt");
    if fields.u32()? >> 24 == 1 { fields.u64() } else { fields.u32().map(u64::from) }
}

/// Ticks of all samples of one run.
fn read_trun(body: &[u8], default: u32) -> Result<u64, BoxError> {
    let mut fields = Fields::new(body, "trun");
    let flags = fields.u32()?;
    let samples = fields.u32()?;
    fields.skip([0x1, 0x4].iter().filter(|f| flags & **f != 0).count() * 4)?;
    if flags & 0x100 == 0 {
        return Ok(u64::from(samples) * u64::from(default));
    }
    let after = [0x200, 0x400, 0x800].iter().filter(|f| flags & **f != 0).count() * 4;
    let mut ticks = 0u64;
    for _ in 0..samples {
        ticks += u64::from(fields.u32()?);
        fields.skip(after)?;
    }
    Ok(ticks)
}

/// Body of the only box of `kind` among `body`'s children.
fn only<'a>(body: &'a [u8], kind: &[u8; 4], what: &'static str) -> Result<&'a [u8], BoxError> {
    let mut found = None;
    for child in Boxes(body) {
        let (child, body) = child?;
        if &child == kind && found.replace(body).is_some() {
            return Err(BoxError::Malformed { what });
        }
    }
    found.ok_or(BoxError::Malformed { what })
}

/// The children of a box, in order; ends after the first that does not fit.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<([u8; 4], &'a [u8]), BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let child = self.split();
        if child.is_none() {
            self.0 = &[];
        }
        Some(child.ok_or(BoxError::Malformed { what: "a box inside moov or moof" }))
    }
}

impl<'a> Boxes<'a> {
    fn split(&mut self) -> Option<([u8; 4], &'a [u8])> {
        let (head, _) = self.0.split_first_chunk::<8>()?;
        let [a, b, c, d, kind @ ..] = *head;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        if size < 8 {
            return None;
        }
        let (child, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some((kind, &child[8..]))
    }
}

/// Big-endian fields of a box body, read in order.
struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    fn new(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BoxError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(BoxError::Malformed { what: self.what })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, BoxError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, BoxError> {
        self.take().map(u64::from_be_bytes)
    }

    fn skip(&mut self, bytes: usize) -> Result<&mut Self, BoxError> {
        self.rest = self.rest.get(bytes..).ok_or(BoxError::Malformed { what: self.what })?;
        Ok(self)
    }
}
