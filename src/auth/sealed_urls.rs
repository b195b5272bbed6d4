//! URLs of outputs and sources in the store: sealed, because they may contain credentials of other services.
//!
//! Owns: the binding to the room and to the output or source. Does not parse a URL.

use std::fmt::Display;
use std::time::Duration;

use super::sealed::{SealError, Sealer};
use super::secrets::Secrets;
use crate::domain::ids::{RoomId, UnixMs};

const OUTPUTS: &[u8] = b"stentor output target";
const SOURCES: &[u8] = b"stentor source url";
/// Maximum length of a sealed URL, in bytes. A URL has at most 1,024 bytes, which JSON may double and base64
/// extends by a third.
const MAX_LEN: usize = 3072;

/// Sealer and opener of the URLs of outputs or of sources. The same on every node. Cheap to clone.
#[derive(Clone)]
pub struct SealedUrls(Sealer);

impl SealedUrls {
    pub fn of_outputs(secrets: &Secrets) -> Self {
        Self(Sealer::new(secrets, OUTPUTS).up_to(MAX_LEN))
    }

    pub fn of_sources(secrets: &Secrets) -> Self {
        Self(Sealer::new(secrets, SOURCES).up_to(MAX_LEN))
    }

    /// Seals the URL of the output or source with this id. The result does not expire.
    pub fn seal(&self, room: &RoomId, id: &impl Display, url: &str, now: UnixMs) -> String {
        self.0.seal(url, &bound(room, id), now, Duration::MAX)
    }

    /// Returns the URL of the output or source with this id.
    ///
    /// # Errors
    /// The URL was sealed under another secret, or for another id.
    pub fn open(&self, room: &RoomId, id: &impl Display, sealed: &str) -> Result<String, SealError> {
        // A sealed URL does not expire, so the time does not matter.
        self.0.open(sealed, &bound(room, id), UnixMs(0))
    }
}

/// Returns the binding. A room id has no slash, so no two ids have the same binding.
fn bound(room: &RoomId, id: &impl Display) -> Vec<u8> {
    format!("{room}/{id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::domain::output::OutputId;

    #[test]
    fn sealed_urls_are_bound_to_id() {
        let secrets = |byte| {
            let secret = || Secret(vec![byte; 32]);
            Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() }
        };
        let urls = |byte| SealedUrls::of_outputs(&secrets(byte));
        let (room, id, now) = (RoomId::new("demo").unwrap(), OutputId::random(1), UnixMs(1_000));
        let url = "icecast://source:hackme@radio.example.org:8000/live";
        let sealed = urls(7).seal(&room, &id, url, now);
        assert!(!sealed.contains("hackme"));
        assert_eq!(urls(7).open(&room, &id, &sealed).as_deref(), Ok(url));
        assert_eq!(urls(8).open(&room, &id, &sealed), Err(SealError::Refused));
        assert_eq!(urls(7).open(&room, &OutputId::random(2), &sealed), Err(SealError::Refused));
        let of_sources = SealedUrls::of_sources(&secrets(7));
        assert_eq!(of_sources.open(&room, &id, &sealed), Err(SealError::Refused));
        for longest in ["k", "\\"] {
            let longest = longest.repeat(1024);
            let sealed = urls(7).seal(&room, &id, &longest, now);
            assert_eq!(urls(7).open(&room, &id, &sealed), Ok(longest));
        }
    }
}
