//! Comparison of the live sound, the recording and its tracks.

use super::house::Fault;
use super::sound::{ANCHORS, SoundLevels, later, within};
use crate::support::report;

/// Goal for the distance of a track from the mix, and for its drift, in milliseconds.
const GOAL: f64 = 20.0;
/// Resolution of the measurement, in milliseconds.
const RESOLUTION: f64 = 4.0;
/// Uncertainty of a sum of gaps, in seconds: levels are measured in steps of 10 ms, and those of the mix and
/// of the live sound begin at different times within a step.
const GAP_RESOLUTION: f64 = 0.05;
/// Seconds that may be missing in a track in addition to the gaps that listeners heard. A killed Janus loses
/// the data that it has not written, 4 kB per anchor.
const TRACK_LOST: f64 = 1.5;
/// Seconds of sound that no anchor sent at that time, tolerated after each fault.
const STRANGE: f64 = 1.0;

/// Part of the run between two faults. Times are in seconds since the start of the clock.
pub struct Period {
    pub fault: Option<Fault>,
    pub from: f64,
    pub to: f64,
}

/// Everything that is compared.
pub struct Sound {
    pub live: SoundLevels,
    pub mix: SoundLevels,
    /// Tracks of the anchors, in the order of their tones.
    pub tracks: Vec<SoundLevels>,
}

/// Prints, for each fault and anchor, the missing seconds and the delay of the track behind the mix.
///
/// # Panics
/// If the mix or a track lacks more sound than listeners missed live, or a track drifts from the mix.
pub fn compare(users: [&str; ANCHORS], periods: &[Period], sound: &Sound) {
    let strange = sound.mix.strange();
    let anchors: Vec<_> = (0..ANCHORS).map(|anchor| SoundComparison::new(sound, anchor)).collect();
    let mut wrong = Vec::new();
    report(format!(
        "{:36}{:7}{:>8}{:>10}{:>9}{:>11}{:>9}   track later than mix by ms: least, median, most",
        "fault", "anchor", "at", "live gap", "mix gap", "track gap", "strange"
    ));
    let mut medians = Vec::new();
    for Period { fault, from, to } in periods {
        let (name, strange) = (fault.map_or("none", Fault::name), within(&strange, *from, *to));
        let mut median_of = [0.0; ANCHORS];
        for ((user, compared), median) in users.iter().zip(&anchors).zip(&mut median_of) {
            let [live, mix, track] = compared.gaps.each_ref().map(|gaps| within(gaps, *from, *to));
            let offsets = compared.offsets.iter().filter(|(at, _)| (*from..*to).contains(at));
            let [least, middle, most] = summary(offsets.map(|(_, offset)| *offset).collect());
            *median = middle;
            report(format!(
                "{name:36}{user:7}{from:8.1}{live:10.2}{mix:9.2}{track:11.2}{strange:9.2}   \
                 {least:.1}, {middle:.1}, {most:.1}"
            ));
            // The value is NaN if no pause was found.
            if middle.abs() > GOAL + RESOLUTION {
                wrong.push(format!("{name} at {from:.1} s, {user}: the track is {middle:.1} ms late"));
            }
            if mix > live + fault.map_or(GAP_RESOLUTION, Fault::tolerated) {
                wrong.push(format!("{name} at {from:.1} s, {user}: {mix:.2} s are missing in the mix"));
            }
            if track > live + TRACK_LOST {
                wrong.push(format!("{name} at {from:.1} s, {user}: {track:.2} s are missing in the track"));
            }
        }
        if strange > STRANGE {
            wrong.push(format!("{name} at {from:.1} s: {strange:.2} s of other sound"));
        }
        medians.push(median_of);
    }
    for (anchor, user) in users.into_iter().enumerate() {
        let [first, last] = [medians.first(), medians.last()].map(|median| median.map_or(0.0, |m| m[anchor]));
        report(format!(
            "{user}: the track is later than the mix by {first:.1} ms at first, and {last:.1} ms at the end; \
             the goal is a drift of at most {GOAL} ms"
        ));
        // The values are NaN if no pause was found.
        let drift = (first - last).abs();
        if drift.is_nan() || drift > GOAL + RESOLUTION {
            wrong.push(format!("{user}: the track drifts from the mix"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Sound of one anchor.
struct SoundComparison {
    /// Gaps in the live sound, the mix and the track.
    gaps: [Vec<std::ops::Range<usize>>; 3],
    /// For each pause: its time in the mix in seconds, and the delay of the track behind the mix in
    /// milliseconds. The delay is negative if the track is earlier.
    offsets: Vec<(f64, f64)>,
}

impl SoundComparison {
    fn new(Sound { live, mix, tracks }: &Sound, anchor: usize) -> Self {
        let track = &tracks[anchor];
        let offsets = later(&mix.pauses(anchor), &track.pauses(anchor));
        Self {
            gaps: [live, mix, track].map(|heard| heard.gaps(anchor)),
            offsets: offsets.into_iter().map(|(at, seconds)| (at, seconds * 1000.0)).collect(),
        }
    }
}

fn summary(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}
