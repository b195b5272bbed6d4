//! FFmpeg's audio filters for the level of a room's mix.
//!
//! Owns: the text of the filter chain. Never does: change a level by itself.

use crate::domain::mix::MixShare;

/// Highest sample after the filters, relative to full scale.
const LIMIT_DB: f64 = -1.0;
/// The limiter looks ahead by this long, and delays the sound by as much.
const ATTACK_MS: u32 = 10;
/// Slower than any beat between voices: a gain that follows those distorts.
const RELEASE_MS: u32 = 400;

/// How the level of the mix is restored for listeners.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loudness {
    /// Gain that undoes the headroom of the mix, in dB.
    makeup_db: f64,
}

impl Loudness {
    pub fn new(share: MixShare) -> Self {
        Self { makeup_db: share.makeup_db() }
    }

    /// The filters, as FFmpeg's `-af` reads them.
    pub fn filters(&self) -> String {
        let limit = 10f64.powf(LIMIT_DB / 20.0);
        format!(
            "volume={:.2}dB,alimiter=level=disabled:limit={limit:.3}:attack={ATTACK_MS}:release={RELEASE_MS}",
            self.makeup_db
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_amplify_then_limit() {
        assert_eq!(
            Loudness::new(MixShare::of(3)).filters(),
            "volume=15.92dB,alimiter=level=disabled:limit=0.891:attack=10:release=400"
        );
    }
}
