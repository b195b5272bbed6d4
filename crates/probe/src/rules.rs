//! Rules for media playlists, within one playlist and across reloads.
//!
//! Owns: the record of the published segments. Does not fetch. Section numbers refer to
//! draft-pantos-hls-rfc8216bis; a rule without a section is our own.

use std::collections::{BTreeMap, HashSet};

use super::m3u8::{Playlist, Segment};

/// Tolerated difference in seconds between two sums of rounded durations.
const ROUNDING: f64 = 0.02;
/// Number of segments remembered for comparison; more than any window.
const REMEMBERED: usize = 256;

#[derive(Default)]
pub struct Rules {
    last: Option<Header>,
    published: BTreeMap<u64, Segment>,
}

struct Header {
    media_sequence: u64,
    discontinuity_sequence: Option<u64>,
    target_duration: f64,
    edge: (u64, u32),
}

impl Rules {
    /// Compares `playlist` with the rules and with the playlists of earlier calls, and remembers it. Returns
    /// a description of every violation.
    pub fn check(&mut self, playlist: &Playlist) -> Vec<String> {
        let mut broken = Vec::new();
        check_header(playlist, &mut broken);
        for segment in &playlist.segments {
            check_segment(playlist, segment, &mut broken);
        }
        check_duplicates(playlist, &mut broken);
        self.check_against_last(playlist, &mut broken);
        for segment in &playlist.segments {
            self.check_unchanged(segment, &mut broken);
        }
        broken
    }

    fn check_against_last(&mut self, p: &Playlist, broken: &mut Vec<String>) {
        let now = Header {
            media_sequence: p.media_sequence,
            discontinuity_sequence: p.discontinuity_sequence,
            target_duration: p.target_duration,
            edge: p.edge(),
        };
        let Some(last) = self.last.replace(now) else { return };
        if p.media_sequence < last.media_sequence {
            broken.push(format!(
                "media sequence went back from {} to {}",
                last.media_sequence, p.media_sequence
            ));
        }
        if p.discontinuity_sequence < last.discontinuity_sequence {
            let (from, to) = (last.discontinuity_sequence, p.discontinuity_sequence);
            broken.push(format!("discontinuity sequence went back from {from:?} to {to:?}"));
        }
        if p.target_duration != last.target_duration {
            broken.push(format!("4.4.3.1: target duration changed to {}", p.target_duration));
        }
        if p.edge() < last.edge {
            broken.push(format!("the live edge went back from {:?} to {:?}", last.edge, p.edge()));
        }
    }

    /// Checks that the URI, key, discontinuity number and parts listed for a segment have not changed
    /// (section 6.2.1).
    fn check_unchanged(&mut self, segment: &Segment, broken: &mut Vec<String>) {
        let id = segment.sequence;
        if let Some(old) = self.published.get(&id) {
            if old.uri.is_some() && old.uri != segment.uri {
                broken.push(format!("segment {id} changed its URI"));
            }
            if old.discontinuity != segment.discontinuity {
                broken.push(format!("segment {id} changed its discontinuity number"));
            }
            if old.key != segment.key {
                broken.push(format!("segment {id} changed its KEY"));
            }
            let same = |(a, b): (&super::m3u8::Part, _)| a == b;
            if !old.parts.iter().zip(&segment.parts).all(same) {
                broken.push(format!("segment {id} changed a part"));
            }
        }
        self.published.insert(id, segment.clone());
        while self.published.len() > REMEMBERED {
            self.published.pop_first();
        }
    }
}

fn check_header(p: &Playlist, broken: &mut Vec<String>) {
    if p.discontinuity_sequence.is_none() {
        broken.push("EXT-X-DISCONTINUITY-SEQUENCE is missing".into());
    }
    if p.segments.iter().all(|s| s.uri.is_none()) {
        broken.push("no complete segment".into());
    }
    if p.segments.first().is_some_and(|s| s.date.is_none()) {
        broken.push("EXT-X-PROGRAM-DATE-TIME is missing".into());
    }
    let Some(part_target) = p.part_target else {
        if p.segments.iter().any(|s| !s.parts.is_empty()) {
            broken.push("4.4.3.7: parts without EXT-X-PART-INF".into());
        }
        return;
    };
    if p.part_hold_back.is_none_or(|hold| hold + 1e-6 < 3.0 * part_target) {
        broken.push(format!("4.4.3.8: PART-HOLD-BACK {:?} is below three parts", p.part_hold_back));
    }
}

fn check_segment(p: &Playlist, segment: &Segment, broken: &mut Vec<String>) {
    let id = segment.sequence;
    if segment.uri.is_some() && segment.duration.round() > p.target_duration {
        broken.push(format!("4.4.3.1: segment {id} lasts {} s, above the target duration", segment.duration));
    }
    check_parts(p, segment, broken);
}

/// Checks the rules of sections 4.4.3.7 and 4.4.4.9.
fn check_parts(p: &Playlist, segment: &Segment, broken: &mut Vec<String>) {
    let (id, target) = (segment.sequence, p.part_target.unwrap_or(f64::INFINITY));
    let last_of_segment = segment.uri.as_ref().map(|_| segment.parts.len().saturating_sub(1));
    for (i, part) in segment.parts.iter().enumerate() {
        if part.duration > target + 1e-6 {
            broken.push(format!("part {id}.{i} lasts {} s, above the part target {target}", part.duration));
        }
        // The newest part of an open segment may turn out to be its last.
        let may_be_short =
            Some(i) == last_of_segment || (segment.uri.is_none() && i + 1 == segment.parts.len());
        if target.is_finite() && part.duration < 0.85 * target && !may_be_short {
            broken.push(format!("part {id}.{i} lasts {} s, below 85 % of the part target", part.duration));
        }
    }
    let sum: f64 = segment.parts.iter().map(|part| part.duration).sum();
    if !segment.parts.is_empty() && (sum - segment.duration).abs() > ROUNDING {
        broken.push(format!("the parts of segment {id} last {sum} s, the segment {}", segment.duration));
    }
}

fn check_duplicates(p: &Playlist, broken: &mut Vec<String>) {
    let parts = p.segments.iter().flat_map(|s| s.parts.iter().map(|part| part.uri.as_str()));
    let segments = p.segments.iter().filter_map(|s| s.uri.as_deref());
    let mut seen = HashSet::new();
    for uri in segments.chain(parts).chain(p.hint.as_deref()) {
        if !seen.insert(uri) {
            broken.push(format!("{uri} is listed twice"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playlist(sequence: u64, discontinuity: u64, tail: &str) -> Playlist {
        let text = format!(
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:1\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n\
             #EXT-X-MEDIA-SEQUENCE:{sequence}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity}\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:00Z\n{tail}"
        );
        Playlist::parse(&text).unwrap()
    }

    #[test]
    fn valid_playlists_break_no_rule() {
        let mut rules = Rules::default();
        let open = "#EXTINF:1,\ns5\n#EXT-X-PART:DURATION=0.5,URI=\"p6.0\"\n";
        let closed = "#EXTINF:1,\ns5\n#EXT-X-PART:DURATION=0.5,URI=\"p6.0\"\n\
            #EXT-X-PART:DURATION=0.4,URI=\"p6.1\"\n#EXTINF:0.9,\ns6\n";
        assert_eq!(rules.check(&playlist(5, 0, open)), Vec::<String>::new());
        assert_eq!(rules.check(&playlist(5, 0, closed)), Vec::<String>::new());
        assert_eq!(rules.check(&playlist(6, 0, "#EXTINF:0.9,\ns6\n#EXTINF:1,\ns7\n")), Vec::<String>::new());
    }

    #[test]
    fn rules_report_decreasing_numbers() {
        let mut rules = Rules::default();
        rules.check(&playlist(5, 2, "#EXTINF:1,\ns5\n"));
        let broken = rules.check(&playlist(4, 1, "#EXTINF:1,\ns4\n"));
        for expected in
            ["media sequence went back", "discontinuity sequence went back", "live edge went back"]
        {
            assert!(broken.iter().any(|b| b.contains(expected)), "{expected}: {broken:?}");
        }
    }

    #[test]
    fn each_malformed_playlist_is_named() {
        let cases = [
            ("#EXTINF:1.6,\ns5\n", "above the target duration"),
            ("#EXTINF:1,\ns5\n#EXT-X-PART:DURATION=0.6,URI=\"p\"\n", "above the part target"),
            (
                "#EXTINF:1,\ns5\n#EXT-X-PART:DURATION=0.1,URI=\"p\"\n#EXT-X-PART:DURATION=0.5,URI=\"q\"\n",
                "85 %",
            ),
            ("#EXTINF:1,\ns5\n#EXTINF:1,\ns5\n", "listed twice"),
            ("#EXT-X-PART:DURATION=0.5,URI=\"p\"\n#EXTINF:1,\ns5\n", "the parts of segment 5"),
            ("#EXT-X-PART:DURATION=0.5,URI=\"p\"\n", "no complete segment"),
        ];
        for (tail, expected) in cases {
            let broken = Rules::default().check(&playlist(5, 0, tail));
            assert!(broken.iter().any(|b| b.contains(expected)), "{expected}: {broken:?}");
        }
    }

    #[test]
    fn what_was_published_may_not_change() {
        let mut rules = Rules::default();
        rules.check(&playlist(5, 0, "#EXTINF:1,\ns5\n#EXTINF:1,\ns6\n"));
        let broken = rules.check(&playlist(6, 1, "#EXTINF:1,\nother\n"));
        assert!(broken.iter().any(|b| b.contains("changed its URI")), "{broken:?}");
        assert!(broken.iter().any(|b| b.contains("changed its discontinuity")), "{broken:?}");
    }
}
