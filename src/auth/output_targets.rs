//! Output URLs in the store: sealed, because they contain the credentials of other services.
//!
//! Owns: the binding to the room and the output. Does not parse a URL.

use std::time::Duration;

use super::sealed::{SealError, Sealer};
use super::secrets::Secrets;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::output::OutputId;

const LABEL: &[u8] = b"stentor output target";

/// Sealer and opener of the URLs of outputs. The same on every node. Cheap to clone.
#[derive(Clone)]
pub struct OutputTargets(Sealer);

impl OutputTargets {
    pub fn new(secrets: &Secrets) -> Self {
        Self(Sealer::new(secrets, LABEL))
    }

    /// Seals the URL of an output. The result does not expire.
    pub fn seal(&self, room: &RoomId, id: &OutputId, url: &str, now: UnixMs) -> String {
        self.0.seal(url, &bound(room, id), now, Duration::MAX)
    }

    /// Returns the URL of an output.
    ///
    /// # Errors
    /// The URL was sealed under another secret, or for another output.
    pub fn open(&self, room: &RoomId, id: &OutputId, sealed: &str, now: UnixMs) -> Result<String, SealError> {
        self.0.open(sealed, &bound(room, id), now)
    }
}

/// Returns the binding. A room id has no slash, so no two outputs have the same binding.
fn bound(room: &RoomId, id: &OutputId) -> Vec<u8> {
    format!("{room}/{id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn targets_are_bound_to_their_output() {
        let targets = |byte| {
            let secret = || Secret(vec![byte; 32]);
            OutputTargets::new(&Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() })
        };
        let (room, id, now) = (RoomId::new("demo").unwrap(), OutputId::random(1), UnixMs(1_000));
        let url = "icecast://source:hackme@radio.example.org:8000/live";
        let sealed = targets(7).seal(&room, &id, url, now);
        assert!(!sealed.contains("hackme"));
        assert_eq!(targets(7).open(&room, &id, &sealed, UnixMs(u64::MAX - 1)).as_deref(), Ok(url));
        assert_eq!(targets(8).open(&room, &id, &sealed, now), Err(SealError::Refused));
        assert_eq!(targets(7).open(&room, &OutputId::random(2), &sealed, now), Err(SealError::Refused));
        let longest = format!("rtmp://a.example.org/app/{}", "k".repeat(975));
        let sealed = targets(7).seal(&room, &id, &longest, now);
        assert_eq!(targets(7).open(&room, &id, &sealed, now), Ok(longest));
    }
}
