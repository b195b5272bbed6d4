//! Reader of media playlists (RFC 8216 and its second edition, draft-pantos-hls-rfc8216bis).
//!
//! Owns: parsing text into [`Playlist`]. A malformed tag and a missing required tag are errors. Unknown tags
//! are ignored, as section 6.3.1 requires. Does not compare two playlists (`rules` does).

use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Playlist {
    pub version: u32,
    /// Target duration in whole seconds, as written.
    pub target_duration: f64,
    pub media_sequence: u64,
    /// Discontinuity sequence; `None` if the tag is missing.
    pub discontinuity_sequence: Option<u64>,
    pub can_block_reload: bool,
    /// PART-HOLD-BACK in seconds.
    pub part_hold_back: Option<f64>,
    /// PART-TARGET in seconds.
    pub part_target: Option<f64>,
    /// Segments in order. Only the last one may be incomplete.
    pub segments: Vec<Segment>,
    /// URI of the part announced by `EXT-X-PRELOAD-HINT`.
    pub hint: Option<String>,
    pub ended: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub sequence: u64,
    /// Discontinuity sequence number: number of discontinuities since the stream began.
    pub discontinuity: u64,
    /// URI of the segment; `None` while only parts of it exist.
    pub uri: Option<String>,
    /// Duration in seconds; for an incomplete segment, the sum of its parts.
    pub duration: f64,
    pub parts: Vec<Part>,
    pub key: Option<Key>,
    /// Seconds since the Unix epoch at which the first sample was recorded; derived from earlier segments if
    /// not listed.
    pub date: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub uri: String,
    /// Duration in seconds.
    pub duration: f64,
    pub independent: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub uri: String,
    /// Initialization vector; `None`: the media sequence number serves as the vector.
    pub iv: Option<[u8; 16]>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("playlist line {line}: {problem}")]
pub struct NotAPlaylist {
    pub line: usize,
    pub problem: String,
}

impl Playlist {
    /// Parses a media playlist. A multivariant playlist is an error.
    pub fn parse(text: &str) -> Result<Self, NotAPlaylist> {
        let mut reader = Reader::default();
        for (i, line) in text.lines().enumerate() {
            reader.line(i, line).map_err(|problem| NotAPlaylist { line: i + 1, problem })?;
        }
        reader.finish().map_err(|problem| NotAPlaylist { line: text.lines().count(), problem })
    }

    /// Returns the complete segments.
    pub fn complete(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.uri.is_some())
    }

    /// Returns the last segment if it is incomplete, so that only parts of it exist.
    pub fn open(&self) -> Option<&Segment> {
        self.segments.last().filter(|segment| segment.uri.is_none())
    }

    /// Returns the media sequence number and part index of the first media that do not exist yet. A blocking
    /// reload requests them (section 6.2.5.2).
    pub fn edge(&self) -> (u64, u32) {
        match self.segments.last() {
            Some(s) if s.uri.is_none() => (s.sequence, s.parts.len() as u32),
            Some(s) => (s.sequence.saturating_add(1), 0),
            None => (self.media_sequence, 0),
        }
    }
}

/// State collected from the lines read so far.
#[derive(Default)]
struct Reader {
    version: Option<u32>,
    target_duration: Option<f64>,
    media_sequence: Option<u64>,
    discontinuity_sequence: Option<u64>,
    can_block_reload: bool,
    part_hold_back: Option<f64>,
    part_target: Option<f64>,
    segments: Vec<Segment>,
    hint: Option<String>,
    ended: bool,
    // Values that apply to the following segments.
    key: Option<Key>,
    date: Option<f64>,
    discontinuities: u64,
    // State of the segment being read.
    duration: Option<f64>,
    parts: Vec<Part>,
}

impl Reader {
    fn line(&mut self, index: usize, line: &str) -> Result<(), String> {
        if index == 0 {
            return if line == "#EXTM3U" { Ok(()) } else { Err("does not begin with #EXTM3U".into()) };
        }
        match line {
            "" => Ok(()),
            tag if tag.starts_with("#EXT") => {
                let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
                self.tag(name, value).map_err(|e| format!("{name}: {e}"))
            }
            comment if comment.starts_with('#') => Ok(()),
            uri => self.segment_ends(Some(uri.to_owned())),
        }
    }

    fn tag(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "#EXT-X-VERSION" => self.version = Some(number(value)?),
            "#EXT-X-TARGETDURATION" => self.target_duration = Some(number::<u32>(value)?.into()),
            "#EXT-X-MEDIA-SEQUENCE" => self.media_sequence = Some(number(value)?),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => self.discontinuity_sequence = Some(number(value)?),
            "#EXT-X-DISCONTINUITY" => self.discontinuities += 1,
            "#EXT-X-PROGRAM-DATE-TIME" => self.date = Some(date(value).ok_or("not an ISO 8601 date")?),
            "#EXT-X-ENDLIST" => self.ended = true,
            "#EXTINF" => self.duration = Some(seconds(value.split(',').next().unwrap_or(value))?),
            "#EXT-X-STREAM-INF" => return Err("belongs to a multivariant playlist".into()),
            "#EXT-X-SERVER-CONTROL" | "#EXT-X-PART-INF" => self.low_latency(&attributes(value)?)?,
            "#EXT-X-PART" => self.part(&attributes(value)?)?,
            "#EXT-X-PRELOAD-HINT" => self.preload(&attributes(value)?)?,
            "#EXT-X-MAP" => return Err("media with an init section are not read here".into()),
            "#EXT-X-KEY" => self.key = key(&attributes(value)?)?,
            _ => {}
        }
        Ok(())
    }

    fn low_latency(&mut self, attributes: &Attributes) -> Result<(), String> {
        let seconds_of = |name: &str| attributes.get(name).map(|v| seconds(v)).transpose();
        self.can_block_reload |= attributes.get("CAN-BLOCK-RELOAD").is_some_and(|v| v == "YES");
        self.part_hold_back = seconds_of("PART-HOLD-BACK")?.or(self.part_hold_back);
        self.part_target = seconds_of("PART-TARGET")?.or(self.part_target);
        Ok(())
    }

    fn part(&mut self, attributes: &Attributes) -> Result<(), String> {
        self.parts.push(Part {
            uri: required(attributes, "URI")?,
            duration: seconds(&required(attributes, "DURATION")?)?,
            independent: attributes.get("INDEPENDENT").is_some_and(|v| v == "YES"),
        });
        Ok(())
    }

    fn preload(&mut self, attributes: &Attributes) -> Result<(), String> {
        if required(attributes, "TYPE")? == "PART" {
            self.hint = Some(required(attributes, "URI")?);
        }
        Ok(())
    }

    fn segment_ends(&mut self, uri: Option<String>) -> Result<(), String> {
        let parts = std::mem::take(&mut self.parts);
        let duration = match self.duration.take() {
            Some(duration) => duration,
            None if uri.is_none() => parts.iter().map(|p| p.duration).sum(),
            None => return Err("a segment without #EXTINF".into()),
        };
        self.segments.push(Segment {
            sequence: self.media_sequence.unwrap_or(0).saturating_add(self.segments.len() as u64),
            discontinuity: self.discontinuity_sequence.unwrap_or(0).saturating_add(self.discontinuities),
            uri,
            duration,
            parts,
            key: self.key.clone(),
            date: self.date,
        });
        self.date = self.date.map(|d| d + duration);
        Ok(())
    }

    fn finish(mut self) -> Result<Playlist, String> {
        if !self.parts.is_empty() {
            self.segment_ends(None)?;
        }
        Ok(Playlist {
            version: self.version.ok_or("#EXT-X-VERSION is missing")?,
            target_duration: self.target_duration.ok_or("#EXT-X-TARGETDURATION is missing")?,
            media_sequence: self.media_sequence.ok_or("#EXT-X-MEDIA-SEQUENCE is missing")?,
            discontinuity_sequence: self.discontinuity_sequence,
            can_block_reload: self.can_block_reload,
            part_hold_back: self.part_hold_back,
            part_target: self.part_target,
            segments: self.segments,
            hint: self.hint,
            ended: self.ended,
        })
    }
}

type Attributes = HashMap<String, String>;

/// Parses `NAME=value,NAME="quoted, value"` (section 4.2).
fn attributes(list: &str) -> Result<Attributes, String> {
    let mut found = Attributes::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("an attribute without a value")?;
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("an open quote")?,
            None => after.find(',').map_or((after, ""), |comma| after.split_at(comma)),
        };
        if found.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{name} is given twice"));
        }
        rest = match tail.strip_prefix(',') {
            Some(more) => more,
            None if tail.is_empty() => "",
            None => return Err("unexpected text between a quote and the comma".into()),
        };
    }
    Ok(found)
}

fn required(attributes: &Attributes, name: &str) -> Result<String, String> {
    attributes.get(name).cloned().ok_or_else(|| format!("{name} is missing"))
}

fn key(attributes: &Attributes) -> Result<Option<Key>, String> {
    match required(attributes, "METHOD")?.as_str() {
        "NONE" => Ok(None),
        "AES-128" => {
            let iv = attributes.get("IV").map(|text| initialization_vector(text)).transpose()?;
            Ok(Some(Key { uri: required(attributes, "URI")?, iv }))
        }
        other => Err(format!("METHOD {other} is unknown here")),
    }
}

fn initialization_vector(text: &str) -> Result<[u8; 16], String> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X")).ok_or("IV does not begin with 0x")?;
    let value = u128::from_str_radix(digits, 16).map_err(|_| "IV is not 128 bits of hexadecimal")?;
    Ok(value.to_be_bytes())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(format!("{text:?} is out of range")) }
}

/// Converts a time such as `2026-03-01T12:00:00.250Z`, `…+0100` or `…+01:00` to seconds since the Unix epoch.
fn date(text: &str) -> Option<f64> {
    let (day, time) = text.split_once('T')?;
    let mut ymd = day.splitn(3, '-').map(|n| n.parse::<i64>().ok());
    let (year, month, day) = (ymd.next()??, ymd.next()??, ymd.next()??);
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let mut hms = clock.splitn(3, ':').map(|n| n.parse::<f64>().ok());
    let (h, m, s) = (hms.next()??, hms.next()??, hms.next()??);
    let next_month = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let days = days_since_epoch(next_month.0, next_month.1, 1) - days_since_epoch(year, month, 1);
    let is_date = (1..=12).contains(&month) && (1..=days).contains(&day);
    if !is_date || !(0.0..24.0).contains(&h) || !(0.0..60.0).contains(&m) || !(0.0..61.0).contains(&s) {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) as f64 * 86_400.0 + h * 3600.0 + m * 60.0 + s;
    Some(seconds - zone_offset(zone)?)
}

fn zone_offset(zone: &str) -> Option<f64> {
    if zone == "Z" {
        return Some(0.0);
    }
    let sign = if zone.starts_with('-') { -1.0 } else { 1.0 };
    let digits = zone[1..].replace(':', "");
    let (hours, minutes) = (digits.get(..2)?.parse::<f64>().ok()?, digits.get(2..4)?.parse::<f64>().ok()?);
    Some(sign * (hours * 3600.0 + minutes * 60.0))
}

/// Returns the days since the Unix epoch in the proleptic Gregorian calendar. Calculates in years that begin
/// in March, so that a leap day is the last day of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    let days_before_month = (153 * m + 2) / 5;
    // There are 719468 days between 0000-03-01 and 1970-01-01.
    365 * y + leap_days + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n#EXT-X-PART-INF:PART-TARGET=0.2\n\
        #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=a,b&k=0\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:00.250Z\n#EXTINF:2.0,\nseg7.ts\n\
        #EXT-X-DISCONTINUITY\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"k2\",IV=0x0000000000000000000000000000000A\n\
        #EXT-X-PART:DURATION=0.2,URI=\"p8.0.ts\",INDEPENDENT=YES\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p8.1.ts\"\n";

    #[test]
    fn a_low_latency_playlist_is_read_whole() {
        let p = Playlist::parse(LIVE).unwrap();
        assert!(p.can_block_reload && !p.ended);
        assert_eq!((p.part_hold_back, p.part_target), (Some(0.6), Some(0.2)));
        let [first, second] = &p.segments[..] else { panic!("{p:?}") };
        assert_eq!((first.sequence, first.discontinuity, first.uri.as_deref()), (7, 3, Some("seg7.ts")));
        assert_eq!(first.key.as_ref().unwrap().uri, "enc.key?n=a,b&k=0");
        assert_eq!((second.sequence, second.discontinuity, &second.uri), (8, 4, &None));
        assert_eq!(second.key.as_ref().unwrap().iv.unwrap()[15], 10);
        assert_eq!(second.date, Some(first.date.unwrap() + 2.0));
        assert_eq!((p.hint.as_deref(), p.edge()), (Some("p8.1.ts"), (8, 1)));
    }

    #[test]
    fn dates_are_read_in_every_zone() {
        assert_eq!(date("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(date("2024-02-29T12:00:00.500Z"), Some(1_709_208_000.5));
        assert_eq!(date("2024-02-29T13:00:00.500+0100"), Some(1_709_208_000.5));
        assert_eq!(date("2024-02-29T06:30:00.500-05:30"), Some(1_709_208_000.5));
        for bad in ["yesterday", "2023-02-29T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn probe_reports_line_of_invalid_playlist() {
        let cut = LIVE.replace("#EXT-X-TARGETDURATION:2\n", "");
        assert!(Playlist::parse(&cut).unwrap_err().problem.contains("TARGETDURATION is missing"));
        let open = LIVE.replace("\"k2\"", "\"k2");
        assert!(Playlist::parse(&open).is_err());
        assert_eq!(Playlist::parse("<html>").unwrap_err().line, 1);
        assert!(Playlist::parse("").is_err());
    }
}
