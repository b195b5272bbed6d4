//! Copy of a mixer's rewind window. The copy is fetched when listeners request it.
//!
//! Only the changes since the last request are fetched, by one request at a time for all listeners. Owns: the
//! copy. Fetches only when a listener requests the window.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::mixer_client::{FetchError, MixerFiles};
use crate::domain::ids::{Epoch, RoomId};
use crate::domain::relay_room::Upstream;
use crate::packager::{MediaError, NonceHint, Rewind};

/// Age up to which the copy is served without a request to the mixer: half of a typical segment.
const FRESH: Duration = Duration::from_secs(1);
/// Longest time for which the copy is served while the room's new mixer has no window. The mixer requests the
/// earlier window for 3 s at most, then closes its first segment and writes it. If it cannot write, the
/// playlist would never end, and players would wait in vain.
const SERVED_WITHOUT_MIXER: Duration = Duration::from_secs(10);

pub struct EdgeRewind {
    rewind: Arc<Rewind>,
    requests: Mutex<RewindRequests>,
}

/// Times of the requests to the mixer.
#[derive(Default)]
struct RewindRequests {
    /// Time of the last successful request.
    fetched: Option<Duration>,
    /// Epoch of the room, and time of its mixer's first answer since then that it has no window yet.
    missing: Option<(Epoch, Duration)>,
}

impl EdgeRewind {
    pub fn new(hint: NonceHint) -> Self {
        Self { rewind: Arc::new(Rewind::new(hint, Duration::ZERO)), requests: Mutex::default() }
    }

    /// Returns the copy without a request to the mixer.
    pub fn known(&self) -> &Arc<Rewind> {
        &self.rewind
    }

    /// Fetches the changes if the copy is older than `FRESH`, and returns the copy.
    pub async fn fresh(
        &self,
        room: &RoomId,
        from: Upstream,
        mixers: &impl MixerFiles,
        now: Duration,
    ) -> Result<Arc<Rewind>, MediaError> {
        let mut requests = self.requests.lock().await;
        if requests.fetched.is_some_and(|at| now.saturating_sub(at) < FRESH) {
            return Ok(self.rewind.clone());
        }
        let (mixer, epoch) = (from.mixer.clone(), from.epoch);
        let update = mixers.clone().rewind(from, room.clone(), self.rewind.last()).await;
        if matches!(update, Err(FetchError::NotYet)) && self.rewind.last().is_some() {
            // The room has just moved, and its new mixer is taking the window over.
            let missing = requests.missing.filter(|(of, _)| *of == epoch);
            let (_, since) = *requests.missing.insert(missing.unwrap_or((epoch, now)));
            if now.saturating_sub(since) < SERVED_WITHOUT_MIXER {
                return Ok(self.rewind.clone());
            }
        }
        let update = update.map_err(|error| match error {
            FetchError::NotYet => MediaError::NotYet,
            FetchError::Gone => MediaError::Gone,
            FetchError::Failed(why) => {
                tracing::warn!(%room, %mixer, why, "rewind window request to the mixer node failed");
                MediaError::Unavailable
            }
        })?;
        self.rewind.apply(update).map_err(|error| {
            tracing::warn!(%room, %mixer, %error, "rewind window refused");
            MediaError::Unavailable
        })?;
        *requests = RewindRequests { fetched: Some(now), missing: None };
        Ok(self.rewind.clone())
    }
}
