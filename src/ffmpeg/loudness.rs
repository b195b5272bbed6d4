//! FFmpeg audio filters for the level of a room's mix: gain, meter, leveller, limiter.
//!
//! Owns: the text of the filter chain, and the parsing of the meter's output. Does not change a level
//! itself.

use crate::domain::mix::MixShare;

/// Look-ahead of the limiter, which delays the audio by the same time. It is the only delay of the chain.
const ATTACK_MS: u32 = 10;
/// Release time of the limiter. It is longer than the period of any beat between voices, because a gain that
/// follows beats distorts the sound.
const RELEASE_MS: u32 = 400;
/// Margin in dB for peaks that AAC adds (1.3 dB, measured with loud speech) and for peaks between samples
/// (0.9 dB).
const TRUE_PEAK_MARGIN_DB: f64 = 2.0;
/// Target for which [`CURVE`] is defined, in LUFS.
const CURVE_TARGET: i32 = -18;
/// Curve of the leveller above its fixed part: input and output level, in dB. It amplifies by at most
/// 15.5 dB, and by less below -40 dB, where there is more noise than voice.
const CURVE: [(f64, f64); 5] =
    [(-50.0, -42.0), (-40.0, -25.0), (-32.0, -16.5), (-20.0, -15.0), (20.0, -12.0)];
/// Gain in dB if there is no leveller. It equals the gain of a downmix of the two equal channels that
/// FFmpeg's Opus decoder makes from the mono mix. So the volume for listeners is the same as in earlier
/// versions.
const UNLEVELLED_DB: f64 = 3.01;
/// Keys of the peak level and of the mean level in the meter's output.
const PEAK: &str = "lavfi.astats.Overall.Peak_level";
const MEAN: &str = "lavfi.astats.Overall.RMS_level";

/// Level settings of a mix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loudness {
    /// Gain in dB that undoes the headroom of the mix.
    makeup_db: f64,
    /// Target loudness of speech, in LUFS.
    target: Option<i32>,
    /// Highest true peak, in dBTP; without a target, the highest sample.
    limit: i32,
}

/// Line printed by the meter to FFmpeg's stderr once per second of audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MeterLine {
    Frame,
    /// Highest sample of the second, in dB relative to full scale.
    Peak(f64),
    /// Root mean square of the second, in dB relative to full scale.
    Mean(f64),
}

impl Loudness {
    /// Creates the settings. `target`: loudness of speech in LUFS; `None`: a fixed gain instead of the
    /// leveller. `limit`: highest true peak in dBTP; without a target, highest sample in dBFS.
    pub fn new(share: MixShare, target: Option<i32>, limit: i32) -> Self {
        Self { makeup_db: share.makeup_db(), target, limit }
    }

    /// Returns the filters for FFmpeg's `-af`.
    pub fn filters(&self) -> String {
        let (leveller, margin) = match self.target {
            Some(target) => (leveller(target), TRUE_PEAK_MARGIN_DB),
            None => (format!("volume={UNLEVELLED_DB}dB,"), 0.0),
        };
        let limit = 10f64.powf((f64::from(self.limit) - margin) / 20.0);
        format!(
            "pan=mono|c0=c0,volume={:.2}dB,asplit[mix][meter];\
             [meter]asetnsamples=48000,\
             astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=Peak_level+RMS_level,\
             ametadata=print:file=pipe\\\\:2:direct=1,anullsink;\
             [mix]{leveller}alimiter=level=disabled:limit={limit:.3}:attack={ATTACK_MS}:release={RELEASE_MS}",
            self.makeup_db
        )
    }
}

/// Returns a compressor that follows the level of speech within 0.2 s upwards and 1.5 s downwards. Audio
/// below -60 dB is left unchanged, so that silence stays silent. It adds no delay, unlike `loudnorm` and
/// `dynaudnorm`.
fn leveller(target: i32) -> String {
    let shift = f64::from(target - CURVE_TARGET);
    let curve: Vec<_> = CURVE.iter().map(|(from, to)| format!("{from}/{}", to + shift)).collect();
    format!(
        "compand=attacks=0.2:decays=1.5:points=-90/-90|-60/-60|{}:volume=-90:soft-knee=6,",
        curve.join("|")
    )
}

impl MeterLine {
    /// Parses a line; `None` for a line that is not the meter's.
    pub fn parse(line: &str) -> Option<Self> {
        let value = |key| line.strip_prefix(key)?.strip_prefix('=')?.parse().ok();
        let level = value(PEAK).map(Self::Peak).or_else(|| value(MEAN).map(Self::Mean));
        level.or_else(|| line.starts_with("frame:").then_some(Self::Frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_amplify_level_and_limit() {
        let filters = Loudness::new(MixShare::of(3), Some(-18), -1).filters();
        assert!(filters.starts_with("pan=mono|c0=c0,volume=15.92dB,asplit[mix][meter];"), "{filters}");
        let end = "[mix]compand=attacks=0.2:decays=1.5\
                   :points=-90/-90|-60/-60|-50/-42|-40/-25|-32/-16.5|-20/-15|20/-12\
                   :volume=-90:soft-knee=6,alimiter=level=disabled:limit=0.708:attack=10:release=400";
        assert!(filters.ends_with(end), "{filters}");
    }

    #[test]
    fn filters_without_target_only_limit() {
        let filters = Loudness::new(MixShare::of(3), None, -1).filters();
        assert!(filters.contains("[mix]volume=3.01dB,alimiter=level=disabled:limit=0.891:"), "{filters}");
    }

    #[test]
    fn curve_rises_at_every_target() {
        for target in -30..=-14 {
            let text = leveller(target);
            let points = text.split("points=").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
            let outs: Vec<f64> =
                points.split('|').map(|point| point.split('/').nth(1).unwrap().parse().unwrap()).collect();
            assert!(outs.is_sorted(), "{target}: {outs:?}");
        }
    }

    #[test]
    fn metered_lines_are_parsed() {
        assert_eq!(MeterLine::parse("frame:0    pts:0       pts_time:0"), Some(MeterLine::Frame));
        assert_eq!(
            MeterLine::parse("lavfi.astats.Overall.Peak_level=-8.862063"),
            Some(MeterLine::Peak(-8.862063))
        );
        assert_eq!(
            MeterLine::parse("lavfi.astats.Overall.Peak_level=-inf"),
            Some(MeterLine::Peak(f64::NEG_INFINITY))
        );
        let mean = MeterLine::parse("lavfi.astats.Overall.RMS_level=-31.073368");
        assert_eq!(mean, Some(MeterLine::Mean(-31.073368)));
        assert_eq!(MeterLine::parse("RTP: missed 2 packets"), None);
    }
}
