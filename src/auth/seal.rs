//! Resume token of an anchor (`jtoken`): the identity of its media session, sealed for one user and Janus
//! room.
//!
//! The format is that of [`sealed`](super::sealed). The key is derived from the installation's secret, so
//! every node of a cluster can open the tokens of all other nodes. AAD: user, room, Janus instance, Janus
//! room. Does not interpret the content.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use super::sealed::SealError;
use super::sealed::Sealer;
use super::secrets::Secrets;
use crate::domain::ids::{ModuleId, RoomId, UnixMs};

const LABEL: &[u8] = b"stentor resume token";

/// Identities that a token is bound to: the user, the room, the Janus instance and the Janus room. The epoch
/// is not included: a move of the mixer raises it and leaves the media sessions unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealBinding {
    pub user: String,
    pub room: RoomId,
    pub janus: ModuleId,
    pub janus_room_id: u32,
}

/// Sealer and opener of resume tokens. Cheap to clone.
#[derive(Clone)]
pub struct Seal(Sealer);

impl Seal {
    pub fn new(secrets: &Secrets) -> Self {
        Self(Sealer::new(secrets, LABEL))
    }

    /// Seals `content` in a token that can be opened until `now + ttl`. Two tokens with the same content
    /// differ.
    pub fn seal<T: Serialize>(&self, content: T, bound: &SealBinding, now: UnixMs, ttl: Duration) -> String {
        self.0.seal(content, &bound.to_bytes(), now, ttl)
    }

    /// Opens a token and returns its content.
    ///
    /// # Errors
    /// The token is altered, forged, sealed for another binding, or expired.
    pub fn open<T: DeserializeOwned>(
        &self,
        token: &str,
        bound: &SealBinding,
        now: UnixMs,
    ) -> Result<T, SealError> {
        self.0.open(token, &bound.to_bytes(), now)
    }
}

impl SealBinding {
    /// Returns the binding as bytes. Each text is preceded by its length, so that no two bindings give the
    /// same bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in [self.user.as_str(), self.room.as_str(), self.janus.as_str()] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.janus_room_id.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_000_000);
    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn seal_opens_until_expiry() {
        let (seal, bound) = (seal(7), bound("anna", "room-1", 3));
        let token = seal.seal("content", &bound, NOW, TTL);
        let open = |at| seal.open::<String>(&token, &bound, UnixMs(at));
        assert_eq!(open(NOW.0 + 59_999), Ok("content".to_owned()));
        assert_eq!(open(NOW.0 + 60_000), Err(SealError::Expired));
    }

    #[test]
    fn seal_opens_only_under_its_secret() {
        let bound = bound("anna", "room-1", 3);
        let token = seal(7).seal(1, &bound, NOW, TTL);
        assert_eq!(seal(7).open(&token, &bound, NOW), Ok(1));
        assert_eq!(seal(8).open::<i32>(&token, &bound, NOW), Err(SealError::Refused));
    }

    #[test]
    fn sealed_content_is_unreadable() {
        let token = seal(7).seal("4811718052350005", &bound("anna", "room-1", 3), NOW, TTL);
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        assert!(!bytes.windows(4).any(|w| w == b"4811"));
    }

    proptest! {
        #[test]
        fn seal_is_bound_to_user_and_room(
            a in bounds(), b in bounds(), content: u64,
        ) {
            let seal = seal(7);
            let token = seal.seal(content, &a, NOW, TTL);
            let opened = seal.open::<u64>(&token, &b, NOW);
            prop_assert_eq!(opened, if a == b { Ok(content) } else { Err(SealError::Refused) });
        }

        #[test]
        fn altered_seal_is_refused(at: prop::sample::Index, bit in 0..8u8) {
            let (seal, bound) = (seal(7), bound("anna", "room-1", 3));
            let mut bytes = URL_SAFE_NO_PAD.decode(seal.seal(1u64, &bound, NOW, TTL)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let token = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(seal.open::<u64>(&token, &bound, NOW), Err(SealError::Refused));
        }

        #[test]
        fn any_text_is_refused_by_seal(text in ".{0,300}") {
            let opened = seal(7).open::<u64>(&text, &bound("anna", "room-1", 3), NOW);
            prop_assert_eq!(opened, Err(SealError::Refused));
        }
    }

    /// Generates bindings from a few similar parts, so that equal bindings and bindings with one different
    /// part are frequent.
    fn bounds() -> impl Strategy<Value = SealBinding> {
        let user = prop::sample::select(vec!["a", "aa", "aaa", "aaab"]);
        let room = prop::sample::select(vec!["aaa", "aaab", "baaa"]);
        (user, room, 0..3u32).prop_map(|(user, room, number)| bound(user, room, number))
    }

    fn bound(user: &str, room: &str, janus_room_id: u32) -> SealBinding {
        let (room, janus) = (RoomId::new(room).unwrap(), ModuleId::new("j1").unwrap());
        SealBinding { user: user.to_owned(), room, janus, janus_room_id }
    }

    fn seal(byte: u8) -> Seal {
        let secret = || Secret(vec![byte; 32]);
        Seal::new(&Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() })
    }
}
