//! Strict reading of the playlists that the packager writes.
//!
//! Players ignore lines that they do not know. This reader refuses every line that the packager would not
//! write at that position: unknown tags and attributes, duplicates, and lines in a wrong order. It also
//! refuses values that contradict each other. Owns: the forms and the order of the lines. Does not fetch.

use super::m3u8::{NotAPlaylist, Playlist};
use super::rules::Rules;

/// Rounding error of a duration in seconds: half a unit of the fifth decimal place.
const ROUNDING: f64 = 5e-6;

/// First lines of a playlist. A word in braces is a placeholder for a value.
const HEADER: [&str; 8] = [
    "#EXTM3U",
    "#EXT-X-VERSION:9",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-TARGETDURATION:{integer}",
    "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={seconds}",
    "#EXT-X-PART-INF:PART-TARGET={seconds}",
    "#EXT-X-MEDIA-SEQUENCE:{integer}",
    "#EXT-X-DISCONTINUITY-SEQUENCE:{integer}",
];

/// Forms of the lines of a segment, in the order of the lines. EXT-X-KEY has neither the method NONE nor an
/// explicit IV, because players differ in how they handle these.
const SEGMENT: [&str; 6] = [
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-KEY:METHOD=AES-128,URI={quoted}",
    "#EXT-X-PROGRAM-DATE-TIME:{date}",
    "#EXT-X-PART:DURATION={seconds},URI={quoted},INDEPENDENT=YES",
    "#EXTINF:{seconds},",
    "{name}",
];
const DATE: usize = 2;
const PART: usize = 3;
const EXTINF: usize = 4;
const URI: usize = 5;

/// Possible last lines of a playlist.
const END: [&str; 2] = ["#EXT-X-PRELOAD-HINT:TYPE=PART,URI={quoted}", "#EXT-X-ENDLIST"];

impl Playlist {
    /// Parses a playlist of the packager.
    ///
    /// # Errors
    /// The first line that the packager would not write at its position, or a contradiction between values.
    pub fn parse_strictly(text: &str) -> Result<Self, NotAPlaylist> {
        let mut place = Place::Header(0);
        for (line, content) in (1..).zip(text.lines()) {
            place = place.after(content).map_err(|problem| NotAPlaylist { line, problem })?;
        }
        let at_end = |problem: &str| NotAPlaylist { line: text.lines().count(), problem: problem.into() };
        if !text.ends_with('\n') {
            return Err(at_end("the last line has no end"));
        }
        if place != Place::End {
            return Err(at_end("EXT-X-PRELOAD-HINT or EXT-X-ENDLIST is missing"));
        }
        let playlist = Self::parse(text)?;
        match contradictions(&playlist).first() {
            None => Ok(playlist),
            Some(problem) => Err(at_end(problem)),
        }
    }
}

/// Place of the last line that was read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Number of header lines so far.
    Header(usize),
    /// Index in [`SEGMENT`].
    Segment(usize),
    End,
}

impl Place {
    fn after(self, line: &str) -> Result<Self, String> {
        let last = match self {
            Self::Header(count) => {
                if !fits(HEADER[count], line) {
                    return Err(format!("{line:?} is not {}", HEADER[count]));
                }
                return Ok(if count + 1 < HEADER.len() {
                    Self::Header(count + 1)
                } else {
                    Self::Segment(URI)
                });
            }
            Self::Segment(last) => last,
            Self::End => return Err("a line after the end".into()),
        };
        if END.iter().any(|form| fits(form, line)) {
            return match last {
                PART | URI => Ok(Self::End),
                _ => Err("the segment that its tags announce is missing".into()),
            };
        }
        let next = SEGMENT.iter().position(|form| fits(form, line));
        let next = next.ok_or_else(|| format!("{line:?} is not a line of the packager"))?;
        let is_allowed = match last {
            URI => next <= DATE,
            DATE | PART => next == PART || next == EXTINF,
            EXTINF => next == URI,
            _ => next > last && next <= DATE,
        };
        if is_allowed { Ok(Self::Segment(next)) } else { Err(format!("{line:?} is not allowed here")) }
    }
}

/// Returns a description of each value that is invalid or contradicts another one.
fn contradictions(playlist: &Playlist) -> Vec<String> {
    let mut broken = Rules::default().check(playlist);
    for segment in &playlist.segments {
        let id = segment.sequence;
        let mut durations = segment.parts.iter().map(|part| part.duration).chain([segment.duration]);
        if durations.any(|duration| duration <= 0.0) {
            broken.push(format!("a duration of segment {id} is zero"));
        }
        if segment.key.is_none() {
            broken.push(format!("segment {id} has no EXT-X-KEY"));
        }
        let sum: f64 = segment.parts.iter().map(|part| part.duration).sum();
        let tolerated = ROUNDING * (segment.parts.len() + 2) as f64;
        if !segment.parts.is_empty() && (sum - segment.duration).abs() > tolerated {
            broken.push(format!("the parts of segment {id} last {sum} s, the segment {}", segment.duration));
        }
    }
    if !playlist.segments.is_sorted_by(|a, b| a.date <= b.date) {
        broken.push("EXT-X-PROGRAM-DATE-TIME goes back".into());
    }
    broken
}

/// Returns true if the line matches the form, a text with placeholders such as `{integer}`.
fn fits(mut form: &str, mut line: &str) -> bool {
    while let Some((literal, rest)) = form.split_once('{') {
        let Some((kind, after)) = rest.split_once('}') else { return false };
        let Some(value) = line.strip_prefix(literal) else { return false };
        let length = length(kind, value);
        if length == 0 {
            return false;
        }
        (form, line) = (after, &value[length..]);
    }
    line == form
}

/// Returns the length of the value of this kind at the start of the text; 0 if there is none.
fn length(kind: &str, text: &str) -> usize {
    let run = |is_part: fn(char) -> bool| text.find(|c| !is_part(c)).unwrap_or(text.len());
    match kind {
        "integer" => run(|c| c.is_ascii_digit()),
        "seconds" => run(|c| c.is_ascii_digit() || c == '.'),
        "quoted" => text.strip_prefix('"').and_then(|rest| rest.find('"')).map_or(0, |end| end + 2),
        "name" if !text.starts_with('#') => run(|c| !c.is_whitespace()),
        "date" => {
            let form = "0000-00-00T00:00:00.000Z";
            let is_same = |(c, f): (u8, u8)| if f == b'0' { c.is_ascii_digit() } else { c == f };
            let is_date = text.len() >= form.len() && text.bytes().zip(form.bytes()).all(is_same);
            if is_date { form.len() } else { 0 }
        }
        _ => 0,
    }
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
    fn packager_playlists_are_read_whole() {
        let list = Playlist::parse_strictly(GOOD).unwrap();
        let first = list.complete().next().unwrap();
        assert_eq!((first.sequence, first.discontinuity, first.parts.len()), (7, 3, 2));
        assert_eq!(first.key.as_ref().unwrap().uri, "k?k=1");
        let open = list.open().unwrap();
        assert_eq!((open.sequence, open.discontinuity), (8, 4));
        assert_eq!(open.key.as_ref().unwrap().uri, "k?k=2");
        assert_eq!(list.hint.as_deref(), Some("8.1"));
        let ended = GOOD.replace("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.1\"", "#EXT-X-ENDLIST");
        assert!(Playlist::parse_strictly(&ended).unwrap().ended);
    }

    #[test]
    fn strict_reader_names_every_fault() {
        let version = "#EXT-X-VERSION:9\n";
        let hint = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.1\"\n";
        let second = "#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:00.300Z\n";
        for (from, to, expected) in [
            ("#EXTM3U\n", "", "is not #EXTM3U"),
            (version, "#EXT-X-NEW:1\n", "is not #EXT-X-VERSION"),
            (version, &version.repeat(2), "is not #EXT-X-INDEPENDENT"),
            ("VERSION:9", "VERSION:6", "is not #EXT-X-VERSION"),
            ("\n7\n", &format!("\n7\n{version}"), "not a line of the packager"),
            ("#EXT-X-DISCONTINUITY-SEQUENCE:3\n", "", "is not #EXT-X-DISCONTINUITY-SEQUENCE"),
            ("TARGETDURATION:1", "TARGETDURATION:x", "is not #EXT-X-TARGETDURATION"),
            ("CAN-BLOCK-RELOAD=YES,", "", "is not #EXT-X-SERVER-CONTROL"),
            ("HOLD-BACK=0.6", "HOLD-BACK=0.5", "below three parts"),
            ("#EXTINF:0.3,\n", "#EXTINF:1.6,\n", "above the target duration"),
            ("#EXTINF:0.3,\n", "#EXTINF:0.31,\n", "the parts of segment 7"),
            ("#EXTINF:0.3,\n", "#EXTINF:0.30003,\n", "the parts of segment 7"),
            ("#EXTINF:0.3,\n", "#EXTINF:0.3\n", "not a line of the packager"),
            ("#EXTINF:0.3,\n", "", "not allowed here"),
            ("#EXTINF:0.3,\n7\n", "#EXTINF:0.3,\n", "not allowed here"),
            ("#EXTINF:0.3,\n7\n", "#EXTINF:0.3,\n7 8\n", "not a line of the packager"),
            ("\n7\n", "\n\n7\n", "not a line of the packager"),
            ("DURATION=0.2", "DURATION=0.3", "above the part target"),
            ("DURATION=0.2", "DURATION=0.1", "85 %"),
            ("0.2,URI=\"8.0\"", "0.0,URI=\"8.0\"", "is zero"),
            (",INDEPENDENT=YES", "", "not a line of the packager"),
            ("METHOD=AES-128,URI=\"k?k=2\"", "METHOD=NONE", "not a line of the packager"),
            ("URI=\"k?k=2\"", "URI=\"k?k=2\",IV=0x01", "not a line of the packager"),
            ("#EXT-X-KEY:METHOD=AES-128,URI=\"k?k=1\"\n", "", "has no EXT-X-KEY"),
            ("#EXT-X-DISCONTINUITY\n", "#EXT-X-MAP:URI=\"b.mp4\"\n#EXT-X-DISCONTINUITY\n", "not a line of"),
            ("#EXT-X-DISCONTINUITY\n", "#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY\n", "not allowed here"),
            (second, "", "not allowed here"),
            (second, &second.repeat(2), "not allowed here"),
            ("00:00:00.300Z", "23:59:59Z", "not a line of the packager"),
            ("2024-01-01T00:00:00.300Z", "2024-02-30T00:00:00.300Z", "not an ISO 8601 date"),
            ("2024-01-01T00:00:00.300Z", "2023-12-31T00:00:00.000Z", "goes back"),
            ("7.1", "7.0", "listed twice"),
            (hint, "", "PRELOAD-HINT or EXT-X-ENDLIST is missing"),
            (hint, &format!("{hint}#EXT-X-ENDLIST\n"), "after the end"),
            (hint, hint.trim_end(), "the last line has no end"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let problem = Playlist::parse_strictly(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(problem.contains(expected), "{from:?} to {to:?}: {problem}");
        }
        let header_only = GOOD.lines().take(HEADER.len()).map(|line| format!("{line}\n")).collect::<String>();
        assert!(Playlist::parse_strictly(&format!("{header_only}{hint}")).is_err(), "no complete segment");
        let cut = GOOD.split("#EXT-X-PART:DURATION=0.2,URI=\"8.0\"").next().unwrap();
        assert!(
            Playlist::parse_strictly(&format!("{cut}{hint}")).is_err(),
            "an announced segment is missing"
        );
    }

    #[test]
    fn damaged_playlists_never_panic() {
        for at in 0..GOOD.len() {
            let _ = Playlist::parse_strictly(&GOOD[..at]);
            for with in ["\n", "\"", "0", ",", "é", ""] {
                let _ = Playlist::parse_strictly(&format!("{}{with}{}", &GOOD[..at], &GOOD[at + 1..]));
            }
        }
        let newest = GOOD.replace("SEQUENCE:7", &format!("SEQUENCE:{}", u64::MAX));
        let _ = Playlist::parse_strictly(&newest);
    }
}
