//! Line-by-line parser. Earlier lines determine which lines may follow.

use std::time::Duration;

use super::attributes::{Attributes, date_time, integer, seconds};
use super::{Context, Fault, MediaPart, MediaPlaylist, MediaSegment, OpenSegment, PlaylistError};
use stentor_domain::ids::UnixMs;

/// Rounding error of a duration: half a unit of the fifth decimal place.
const ROUNDING: Duration = Duration::from_micros(5);

/// Parses a media playlist of the kind that this project writes.
pub fn parse(text: &str) -> Result<MediaPlaylist, PlaylistError> {
    let mut reader = Reader::default();
    let mut last = 0;
    for (line, content) in (1..).zip(text.lines()) {
        last = line;
        reader.line(line, content).map_err(|fault| PlaylistError { line, fault })?;
    }
    if !text.ends_with('\n') {
        return Err(PlaylistError { line: last, fault: Fault::Missing("the last line's end") });
    }
    reader.finish().map_err(|fault| PlaylistError { line: last, fault })
}

/// Tags that appear once, before the first segment.
#[derive(Default)]
struct HeaderTags {
    version: Option<u64>,
    independent: Option<()>,
    target_duration: Option<u64>,
    hold_back: Option<Duration>,
    part_target: Option<Duration>,
    media_sequence: Option<u64>,
    discontinuity_sequence: Option<u64>,
}

#[derive(Default)]
struct Reader {
    header: HeaderTags,
    /// True once a segment has begun, after which header tags are errors.
    body: bool,
    discontinuities: u64,
    key: Option<String>,
    // State of the segment in progress:
    discontinuity: bool,
    time: Option<UnixMs>,
    parts: Vec<MediaPart>,
    duration: Option<Duration>,
    // Results:
    segments: Vec<MediaSegment>,
    last_time: Option<UnixMs>,
    hint: Option<String>,
    ended: bool,
}

/// Sets a value that may be set only once.
fn once<T>(slot: &mut Option<T>, tag: &'static str, value: T) -> Result<(), Fault> {
    if slot.replace(value).is_some() { Err(Fault::Duplicate(tag)) } else { Ok(()) }
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), Fault> {
        if number == 1 {
            return if line == "#EXTM3U" { Ok(()) } else { Err(Fault::NotAPlaylist) };
        }
        if self.ended || self.hint.is_some() {
            return Err(Fault::Misplaced("a line after the end"));
        }
        let Some(tag) = line.strip_prefix('#') else { return self.uri(line) };
        if self.duration.is_some() {
            return Err(Fault::Misplaced("a tag between EXTINF and its URI"));
        }
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        if self.header_tag(name, value)? || self.segment_tag(name, value)? {
            return Ok(());
        }
        Err(Fault::UnknownTag(name.to_owned()))
    }

    /// Returns true if `name` is a header tag; its value is then stored.
    fn header_tag(&mut self, name: &str, value: &str) -> Result<bool, Fault> {
        let h = &mut self.header;
        match name {
            "EXT-X-VERSION" => once(&mut h.version, "EXT-X-VERSION", integer("EXT-X-VERSION", value)?)?,
            "EXT-X-INDEPENDENT-SEGMENTS" => once(&mut h.independent, "EXT-X-INDEPENDENT-SEGMENTS", ())?,
            "EXT-X-TARGETDURATION" => {
                let seconds = integer("EXT-X-TARGETDURATION", value)?;
                once(&mut h.target_duration, "EXT-X-TARGETDURATION", seconds)?;
            }
            "EXT-X-SERVER-CONTROL" => once(&mut h.hold_back, "EXT-X-SERVER-CONTROL", server_control(value)?)?,
            "EXT-X-PART-INF" => once(&mut h.part_target, "EXT-X-PART-INF", part_inf(value)?)?,
            "EXT-X-MEDIA-SEQUENCE" => {
                let first = integer("EXT-X-MEDIA-SEQUENCE", value)?;
                once(&mut h.media_sequence, "EXT-X-MEDIA-SEQUENCE", first)?;
            }
            "EXT-X-DISCONTINUITY-SEQUENCE" => {
                let first = integer("EXT-X-DISCONTINUITY-SEQUENCE", value)?;
                once(&mut h.discontinuity_sequence, "EXT-X-DISCONTINUITY-SEQUENCE", first)?;
            }
            _ => return Ok(false),
        }
        if self.body { Err(Fault::Misplaced("a header tag")) } else { Ok(true) }
    }

    /// Returns true if `name` is a segment tag; its value is then stored.
    fn segment_tag(&mut self, name: &str, value: &str) -> Result<bool, Fault> {
        match name {
            "EXT-X-DISCONTINUITY" => self.discontinuity()?,
            "EXT-X-KEY" => self.key(value)?,
            "EXT-X-PROGRAM-DATE-TIME" => {
                self.before_parts("EXT-X-PROGRAM-DATE-TIME")?;
                once(&mut self.time, "EXT-X-PROGRAM-DATE-TIME", date_time(value)?)?;
            }
            "EXT-X-PART" => self.part(value)?,
            "EXTINF" => {
                let text = value.strip_suffix(',').ok_or(Fault::BadValue("EXTINF"))?;
                self.duration = Some(seconds("EXTINF", text)?);
            }
            "EXT-X-PRELOAD-HINT" => {
                let mut list = Attributes::parse("EXT-X-PRELOAD-HINT", value)?;
                list.expect("TYPE", "PART")?;
                self.hint = Some(list.quoted("URI")?.to_owned());
                list.end()?;
            }
            "EXT-X-ENDLIST" if value.is_empty() => self.ended = true,
            _ => return Ok(false),
        }
        self.body = true;
        Ok(true)
    }

    fn before_parts(&self, tag: &'static str) -> Result<(), Fault> {
        if self.parts.is_empty() { Ok(()) } else { Err(Fault::Misplaced(tag)) }
    }

    fn discontinuity(&mut self) -> Result<(), Fault> {
        self.before_parts("EXT-X-DISCONTINUITY")?;
        if std::mem::replace(&mut self.discontinuity, true) {
            return Err(Fault::Duplicate("EXT-X-DISCONTINUITY"));
        }
        self.discontinuities += 1;
        Ok(())
    }

    fn key(&mut self, value: &str) -> Result<(), Fault> {
        self.before_parts("EXT-X-KEY")?;
        let mut list = Attributes::parse("EXT-X-KEY", value)?;
        // The writer uses neither NONE nor an explicit IV, because players handle them differently.
        list.expect("METHOD", "AES-128")?;
        self.key = Some(list.quoted("URI")?.to_owned());
        list.end()
    }

    fn part(&mut self, value: &str) -> Result<(), Fault> {
        let mut list = Attributes::parse("EXT-X-PART", value)?;
        let duration = seconds("EXT-X-PART", list.bare("DURATION")?)?;
        let uri = list.quoted("URI")?.to_owned();
        list.expect("INDEPENDENT", "YES")?;
        list.end()?;
        let target = self.header.part_target.ok_or(Fault::Missing("EXT-X-PART-INF"))?;
        if duration > target {
            return Err(Fault::TooLong("EXT-X-PART"));
        }
        if self.parts.last().is_some_and(|p| p.duration < target.mul_f64(0.85)) {
            return Err(Fault::PartTooShort);
        }
        self.parts.push(MediaPart { uri, duration });
        Ok(())
    }

    fn uri(&mut self, line: &str) -> Result<(), Fault> {
        let duration = self.duration.take().ok_or(Fault::Misplaced("a URI without EXTINF"))?;
        let target = self.header.target_duration.ok_or(Fault::Missing("EXT-X-TARGETDURATION"))?;
        if line.is_empty() || line.contains(char::is_whitespace) {
            return Err(Fault::BadValue("a segment's URI"));
        }
        if duration.as_secs_f64().round() > target as f64 {
            return Err(Fault::TooLong("EXTINF"));
        }
        let (context, parts) = self.close()?;
        let sum: Duration = parts.iter().map(|p| p.duration).sum();
        if !parts.is_empty() && sum.abs_diff(duration) > ROUNDING * (parts.len() as u32 + 1) {
            return Err(Fault::PartsDisagree);
        }
        self.segments.push(MediaSegment { context, uri: line.to_owned(), duration, parts });
        Ok(())
    }

    /// Returns the data collected for the segment and resets it.
    fn close(&mut self) -> Result<(Context, Vec<MediaPart>), Fault> {
        let first = self.header.media_sequence.ok_or(Fault::Missing("EXT-X-MEDIA-SEQUENCE"))?;
        let before =
            self.header.discontinuity_sequence.ok_or(Fault::Missing("EXT-X-DISCONTINUITY-SEQUENCE"))?;
        let time = self.time.take().ok_or(Fault::Missing("EXT-X-PROGRAM-DATE-TIME"))?;
        if self.last_time.replace(time).is_some_and(|last| last > time) {
            return Err(Fault::TimeGoesBack);
        }
        let key = self.key.clone().ok_or(Fault::Missing("EXT-X-KEY"))?;
        self.discontinuity = false;
        let context = Context {
            msn: first
                .checked_add(self.segments.len() as u64)
                .ok_or(Fault::BadValue("EXT-X-MEDIA-SEQUENCE"))?,
            discontinuity_sequence: before.saturating_add(self.discontinuities),
            key,
            program_date_time: time,
        };
        Ok((context, std::mem::take(&mut self.parts)))
    }

    fn finish(mut self) -> Result<MediaPlaylist, Fault> {
        if self.duration.is_some() {
            return Err(Fault::Missing("a segment's URI"));
        }
        let open = match self.parts.is_empty() {
            false => Some(self.close().map(|(context, parts)| OpenSegment { context, parts })?),
            true if self.time.is_some() || self.discontinuity => {
                return Err(Fault::Missing("the segment its tags announce"));
            }
            true => None,
        };
        let h = self.header;
        let part_target = h.part_target.ok_or(Fault::Missing("EXT-X-PART-INF"))?;
        let part_hold_back = h.hold_back.ok_or(Fault::Missing("EXT-X-SERVER-CONTROL"))?;
        h.independent.ok_or(Fault::Missing("EXT-X-INDEPENDENT-SEGMENTS"))?;
        if h.version != Some(9) {
            return Err(Fault::BadValue("EXT-X-VERSION"));
        }
        if part_hold_back < 3 * part_target {
            return Err(Fault::BadValue("PART-HOLD-BACK"));
        }
        if self.hint.is_none() && !self.ended {
            return Err(Fault::Missing("EXT-X-PRELOAD-HINT or EXT-X-ENDLIST"));
        }
        if self.segments.is_empty() {
            return Err(Fault::Missing("a complete segment"));
        }
        Ok(MediaPlaylist {
            target_duration: h.target_duration.ok_or(Fault::Missing("EXT-X-TARGETDURATION"))?,
            part_target,
            part_hold_back,
            media_sequence: h.media_sequence.ok_or(Fault::Missing("EXT-X-MEDIA-SEQUENCE"))?,
            discontinuity_sequence: h
                .discontinuity_sequence
                .ok_or(Fault::Missing("EXT-X-DISCONTINUITY-SEQUENCE"))?,
            segments: self.segments,
            open,
            preload_hint: self.hint,
            ended: self.ended,
        })
    }
}

fn server_control(value: &str) -> Result<Duration, Fault> {
    let mut list = Attributes::parse("EXT-X-SERVER-CONTROL", value)?;
    list.expect("CAN-BLOCK-RELOAD", "YES")?;
    let hold_back = seconds("PART-HOLD-BACK", list.bare("PART-HOLD-BACK")?)?;
    list.end()?;
    Ok(hold_back)
}

fn part_inf(value: &str) -> Result<Duration, Fault> {
    let mut list = Attributes::parse("EXT-X-PART-INF", value)?;
    let target = seconds("PART-TARGET", list.bare("PART-TARGET")?)?;
    list.end()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:1\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n#EXT-X-PART-INF:PART-TARGET=0.2\n\
        #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"k?k=1\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:00.000Z\n\
        #EXT-X-PART:DURATION=0.2,URI=\"7.0\",INDEPENDENT=YES\n\
        #EXT-X-PART:DURATION=0.1,URI=\"7.1\",INDEPENDENT=YES\n#EXTINF:0.3,\n7\n\
        #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=AES-128,URI=\"k?k=2\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:00.300Z\n\
        #EXT-X-PART:DURATION=0.2,URI=\"8.0\",INDEPENDENT=YES\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.1\"\n";

    #[test]
    fn reader_attaches_context_to_segments() {
        let list = parse(GOOD).unwrap();
        let first = &list.segments[0];
        assert_eq!((first.context.msn, first.context.discontinuity_sequence), (7, 3));
        assert_eq!(first.context.key, "k?k=1");
        assert_eq!(first.parts.len(), 2);
        let open = list.open.unwrap();
        assert_eq!((open.context.msn, open.context.discontinuity_sequence), (8, 4));
        assert_eq!(open.context.key, "k?k=2");
        assert_eq!(list.preload_hint.as_deref(), Some("8.1"));
    }

    #[test]
    fn reader_refuses_inconsistent_playlists() {
        let broken = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            parse(&GOOD.replacen(from, to, 1)).map(|_| (from.to_owned(), to.to_owned())).unwrap_err().fault
        };
        let version = "#EXT-X-VERSION:9\n";
        assert_eq!(broken("#EXTM3U\n", ""), Fault::NotAPlaylist);
        assert_eq!(broken(version, "#EXT-X-NEW:1\n"), Fault::UnknownTag("EXT-X-NEW".into()));
        assert_eq!(broken(version, &version.repeat(2)), Fault::Duplicate("EXT-X-VERSION"));
        assert_eq!(broken("VERSION:9", "VERSION:6"), Fault::BadValue("EXT-X-VERSION"));
        assert_eq!(broken("\n7\n", &format!("\n7\n{version}")), Fault::Duplicate("EXT-X-VERSION"));
        assert_eq!(broken("#EXTINF:0.3,\n", "#EXTINF:1.6,\n"), Fault::TooLong("EXTINF"));
        assert_eq!(broken("#EXTINF:0.3,\n", "#EXTINF:0.4,\n"), Fault::PartsDisagree);
        assert_eq!(broken("DURATION=0.2", "DURATION=0.3"), Fault::TooLong("EXT-X-PART"));
        assert_eq!(broken("DURATION=0.2", "DURATION=0.1"), Fault::PartTooShort);
        assert_eq!(broken("HOLD-BACK=0.6", "HOLD-BACK=0.5"), Fault::BadValue("PART-HOLD-BACK"));
        assert_eq!(broken("CAN-BLOCK-RELOAD=YES,", ""), Fault::Missing("CAN-BLOCK-RELOAD"));
        assert_eq!(broken("METHOD=AES-128,URI=\"k?k=2\"", "METHOD=NONE"), Fault::BadValue("EXT-X-KEY"));
        let map = "#EXT-X-MAP:URI=\"b.mp4\"\n#EXT-X-DISCONTINUITY\n";
        assert_eq!(broken("#EXT-X-DISCONTINUITY\n", map), Fault::UnknownTag("EXT-X-MAP".into()));
        assert_eq!(broken("00:00:00.300Z", "23:59:59Z"), Fault::BadValue("EXT-X-PROGRAM-DATE-TIME"));
        assert_eq!(broken("2024-01-01T00:00:00.300Z", "2023-12-31T00:00:00.000Z"), Fault::TimeGoesBack);
        assert_eq!(broken("#EXT-X-KEY:METHOD=AES-128,URI=\"k?k=1\"\n", ""), Fault::Missing("EXT-X-KEY"));
        assert_eq!(
            broken("#EXT-X-DISCONTINUITY-SEQUENCE:3\n", ""),
            Fault::Missing("EXT-X-DISCONTINUITY-SEQUENCE")
        );
        assert!(matches!(broken("#EXTINF:0.3,\n7\n", "7\n"), Fault::Misplaced(_)));
        assert!(matches!(broken("#EXTINF:0.3,\n", ""), Fault::Misplaced(_)));
        let hint = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.1\"\n";
        assert!(matches!(broken(hint, ""), Fault::Missing(_)));
        assert!(matches!(broken(hint, &format!("{hint}#EXT-X-ENDLIST\n")), Fault::Misplaced(_)));
    }

    #[test]
    fn damaged_playlists_never_panic() {
        for at in 0..GOOD.len() {
            let _ = parse(&GOOD[..at]);
            for with in ["\n", "\"", "0", ",", "é", ""] {
                let _ = parse(&format!("{}{with}{}", &GOOD[..at], &GOOD[at + 1..]));
            }
        }
    }
}
