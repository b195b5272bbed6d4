//! Copy of a mixer's rewind window. The copy is fetched when listeners request it.
//!
//! Only the changes since the last request are fetched, by one request at a time for all listeners. Owns: the
//! copy. Fetches only when a listener requests the window.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::mixer_client::{FetchError, MixerFiles};
use crate::domain::ids::RoomId;
use crate::domain::relay_room::Upstream;
use crate::packager::{MediaError, NonceHint, Rewind};

/// Age up to which the copy is served without a request to the mixer: half of a typical segment.
const FRESH: Duration = Duration::from_secs(1);

pub struct EdgeRewind {
    rewind: Arc<Rewind>,
    /// Time of the last successful request.
    fetched: Mutex<Option<Duration>>,
}

impl EdgeRewind {
    pub fn new(hint: NonceHint) -> Self {
        Self { rewind: Arc::new(Rewind::new(hint, Duration::ZERO)), fetched: Mutex::default() }
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
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| now.saturating_sub(at) < FRESH) {
            return Ok(self.rewind.clone());
        }
        let mixer = from.mixer.clone();
        let update = mixers.clone().rewind(from, room.clone(), self.rewind.last()).await;
        if matches!(update, Err(FetchError::NotYet)) && self.rewind.last().is_some() {
            // The room has just moved, and its new mixer is taking the window over.
            return Ok(self.rewind.clone());
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
        *fetched = Some(now);
        Ok(self.rewind.clone())
    }
}
