//! Captions of a live room as a subtitle rendition of HLS (RFC 8216 section 3.1.4): a multivariant playlist,
//! one playlist per language, and one WebVTT file per segment of the room.
//!
//! A file is listed only some time after the end of its segment, because a recogniser needs time. Results
//! that come later are not in the files that players already have. This module is pure.

use std::fmt::Write;
use std::time::Duration;

use stentor_domain::captions::{Caption, Cue, webvtt};
use stentor_domain::civil_time::Rfc3339;
use stentor_domain::ids::UnixMs;
use stentor_domain::profile::Language;
use stentor_domain::schedule::StartTime;

use super::names::MediaFile;
use super::playlist::seconds;

/// Time after the end of a segment at which its captions are listed.
pub const HOLD: Duration = Duration::from_secs(4);
/// Start of a segment in the local time of its WebVTT file. It is not zero, so that captions that begin
/// before the segment have positive times, too.
const LOCAL: Duration = Duration::from_secs(3600);
/// Bit rate of the audio that the multivariant playlist declares, in bit/s.
const BANDWIDTH: u32 = 96_000;

/// File of the rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubtitleFile {
    /// `captions.m3u8`
    Multivariant,
    /// `captions.{language}.m3u8`
    Playlist(Language),
    /// `captions.{language}.{number}.vtt`
    Segment(Language, u64),
}

/// Closed segment of a live playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSegment {
    pub file: MediaFile,
    pub msn: u64,
    pub key_index: u64,
    pub started: UnixMs,
    pub duration: Duration,
    discontinuity: bool,
}

/// Closed segments of a live playlist, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSegments {
    /// Lines of the header that are repeated in the subtitle playlists.
    header: String,
    pub segments: Vec<LiveSegment>,
    ended: bool,
}

impl SubtitleFile {
    /// Parses a file name; `None` if no file of the rendition has such a name.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("captions.")?;
        if name == "m3u8" {
            return Some(Self::Multivariant);
        }
        if let Some(language) = name.strip_suffix(".m3u8") {
            return Language::new(language).ok().map(Self::Playlist);
        }
        let (language, msn) = name.strip_suffix(".vtt")?.rsplit_once('.')?;
        Some(Self::Segment(Language::new(language).ok()?, msn.parse().ok()?))
    }
}

impl LiveSegment {
    fn end(&self) -> UnixMs {
        UnixMs(self.started.0 + self.duration.as_millis() as u64)
    }

    /// Returns the WebVTT file of the segment: all captions that are shown during it. `pts`: timestamp of the
    /// first sample, in ticks of 90 kHz.
    pub fn webvtt<'a>(&self, pts: u64, captions: impl IntoIterator<Item = &'a Caption>) -> String {
        let (hours, start) = (LOCAL.as_secs() / 3600, self.started.0);
        let header = format!("X-TIMESTAMP-MAP=MPEGTS:{pts},LOCAL:{hours:02}:00:00.000\n");
        let local =
            |at: UnixMs| (LOCAL + Duration::from_millis(at.0)).saturating_sub(Duration::from_millis(start));
        let shown = captions.into_iter().filter(|caption| caption.from < self.end() && caption.to.0 > start);
        let cue = |caption: &'a Caption| Cue {
            from: local(caption.from),
            to: local(caption.to),
            text: caption.text.as_str(),
        };
        webvtt(&header, shown.map(cue))
    }
}

impl LiveSegments {
    /// Reads a playlist in the form that [`playlist`](super::playlist) writes. `None`: it has another form,
    /// or no closed segment.
    pub fn read(playlist: &[u8]) -> Option<Self> {
        let text = str::from_utf8(playlist).ok()?;
        let (mut header, mut segments) = (String::new(), Vec::new());
        let (mut key_index, mut started, mut duration, mut discontinuity) = (None, None, None, false);
        for line in text.lines() {
            if ["#EXT-X-TARGETDURATION:", "#EXT-X-DISCONTINUITY-SEQUENCE:"]
                .iter()
                .any(|tag| line.starts_with(tag))
            {
                header.extend([line, "\n"]);
            } else if line == "#EXT-X-DISCONTINUITY" {
                discontinuity = true;
            } else if let Some(key) = line.strip_prefix("#EXT-X-KEY:") {
                let (_, index) = key.trim_end_matches('"').rsplit_once("k=")?;
                key_index = Some(index.parse().ok()?);
            } else if let Some(time) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
                started = Some(StartTime::parse(time).ok()?.0);
            } else if let Some(length) = line.strip_prefix("#EXTINF:") {
                let seconds: f64 = length.trim_end_matches(',').parse().ok()?;
                duration = Some(Duration::try_from_secs_f64(seconds).ok()?);
            } else if !line.is_empty() && !line.starts_with('#') {
                let file: MediaFile = line.parse().ok()?;
                let MediaFile::Segment { msn, .. } = file else { return None };
                let (key_index, started, duration) = (key_index?, started?, duration.take()?);
                segments.push(LiveSegment { file, msn, key_index, started, duration, discontinuity });
                discontinuity = false;
            }
        }
        let ended = text.ends_with("#EXT-X-ENDLIST\n");
        (!segments.is_empty()).then_some(Self { header, segments, ended })
    }

    /// Returns the segment `msn` if its captions are listed at `now`.
    pub fn listed(&self, msn: u64, now: UnixMs) -> Option<&LiveSegment> {
        self.due(now).iter().find(|segment| segment.msn == msn)
    }

    /// Returns the playlist of a language; `None` if no file is listed yet. `query`: appended to every URI.
    pub fn playlist(&self, language: &Language, query: &str, now: UnixMs) -> Option<String> {
        let due = self.due(now);
        let header = &self.header;
        let first = due.first()?.msn;
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:6\n{header}#EXT-X-MEDIA-SEQUENCE:{first}\n");
        for segment in due {
            if segment.discontinuity {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let (started, length) = (Rfc3339(segment.started), seconds(segment.duration));
            // Writing to a String does not fail.
            let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{started}\n#EXTINF:{length},");
            let _ = writeln!(text, "captions.{}.{}.vtt{query}", language.as_str(), segment.msn);
        }
        if self.ended && due.len() == self.segments.len() {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Some(text)
    }

    fn due(&self, now: UnixMs) -> &[LiveSegment] {
        let is_due = |segment: &LiveSegment| segment.end().0 + HOLD.as_millis() as u64 <= now.0;
        &self.segments[..self.segments.partition_point(is_due)]
    }
}

/// Returns the multivariant playlist: the room's own playlist with the captions in these languages. `query`:
/// appended to every URI.
pub fn multivariant(languages: &[Language], query: &str) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    for language in languages {
        let tag = language.as_str();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"captions\",LANGUAGE=\"{tag}\",NAME=\"{tag}\",\
             AUTOSELECT=YES,DEFAULT=NO,URI=\"captions.{tag}.m3u8{query}\""
        );
    }
    let group = if languages.is_empty() { "" } else { ",SUBTITLES=\"captions\"" };
    let _ = writeln!(
        text,
        "#EXT-X-STREAM-INF:BANDWIDTH={BANDWIDTH},CODECS=\"mp4a.40.2\"{group}\nindex.m3u8{query}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use stentor_domain::captions::CaptionText;

    const PLAYLIST: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0123456789ab&k=4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:40.000Z\n#EXTINF:2.00000,\n0123456789ab_7.ts\n\
        #EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:42.000Z\n\
        #EXTINF:1.92000,\n0123456789ab_8.ts\n\
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:43.920Z\n\
        #EXT-X-PART:DURATION=0.192,URI=\"0123456789ab_9.0.ts\",INDEPENDENT=YES\n";

    fn en() -> Language {
        Language::new("en").unwrap()
    }

    fn caption(from: u64, to: u64, text: &str) -> Caption {
        let text = CaptionText::new(text).unwrap();
        Caption { from: UnixMs(from), to: UnixMs(to), text, is_final: true, language: en() }
    }

    fn list() -> LiveSegments {
        let text = PLAYLIST.replace("0123456789ab_7.ts", &name(7)).replace("0123456789ab_8.ts", &name(8));
        LiveSegments::read(text.as_bytes()).unwrap()
    }

    fn name(msn: u64) -> String {
        MediaFile::Segment { hint: "0123456789ab".parse().unwrap(), msn }.to_string()
    }

    #[test]
    fn files_are_listed_after_the_hold() {
        let list = list();
        assert_eq!(list.segments.iter().map(|s| (s.msn, s.key_index)).collect::<Vec<_>>(), [(7, 4), (8, 4)]);
        assert_eq!(list.playlist(&en(), "", UnixMs(105_999)), None);
        assert!(list.listed(7, UnixMs(106_000)).is_some() && list.listed(8, UnixMs(106_000)).is_none());
        let both = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:40.000Z\n#EXTINF:2.00000,\n\
            captions.en.7.vtt?token=a\n#EXT-X-DISCONTINUITY\n\
            #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:42.000Z\n#EXTINF:1.92000,\ncaptions.en.8.vtt?token=a\n";
        assert_eq!(list.playlist(&en(), "?token=a", UnixMs(200_000)).unwrap(), both);
        let ended = LiveSegments { ended: true, ..list };
        assert!(!ended.playlist(&en(), "", UnixMs(106_000)).unwrap().contains("ENDLIST"));
        assert!(ended.playlist(&en(), "", UnixMs(200_000)).unwrap().ends_with("#EXT-X-ENDLIST\n"));
        assert_eq!(LiveSegments::read(b"#EXTM3U\n"), None);
    }

    #[test]
    fn captions_are_in_each_segment_they_overlap() {
        let captions = [
            caption(98_000, 100_000, "before"),
            caption(99_000, 103_000, "across"),
            caption(103_500, 104_500, "late"),
        ];
        let list = list();
        let [first, second] = [0, 1].map(|at| list.segments[at].webvtt(900_000, &captions));
        assert_eq!(
            first,
            "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:01:00:00.000\n\n\
             00:59:59.000 --> 01:00:03.000\nacross\n"
        );
        let times: Vec<_> = second.lines().filter(|line| line.contains("-->")).collect();
        assert_eq!(times, ["00:59:57.000 --> 01:00:01.000", "01:00:01.500 --> 01:00:02.500"]);
    }

    #[test]
    fn names_are_parsed() {
        assert_eq!(SubtitleFile::parse("captions.m3u8"), Some(SubtitleFile::Multivariant));
        let pt = Language::new("pt-BR").unwrap();
        assert_eq!(SubtitleFile::parse("captions.pt-BR.m3u8"), Some(SubtitleFile::Playlist(pt.clone())));
        assert_eq!(SubtitleFile::parse("captions.pt-BR.12.vtt"), Some(SubtitleFile::Segment(pt, 12)));
        for other in
            ["captions", "captions.", "captions..m3u8", "captions.en.vtt", "captions.en.x.vtt", "x.m3u8"]
        {
            assert_eq!(SubtitleFile::parse(other), None, "{other}");
        }
        let list = multivariant(&[en()], "?token=a");
        assert!(list.ends_with(",SUBTITLES=\"captions\"\nindex.m3u8?token=a\n"), "{list}");
        assert!(list.contains("URI=\"captions.en.m3u8?token=a\"\n"), "{list}");
        assert!(!multivariant(&[], "").contains("SUBTITLES"));
    }
}
