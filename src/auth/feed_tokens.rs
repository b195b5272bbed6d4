//! Tokens of podcast feeds. A token is the sealed description of its feed, so the feed's URL needs no other
//! credential.
//!
//! Owns: the form and the expiry. Does not check which recordings exist.

use std::time::Duration;

use super::sealed::{SealError, Sealer};
use super::secrets::Secrets;
use crate::domain::feed::{Feed, expiry};
use crate::domain::ids::UnixMs;

const LABEL: &[u8] = b"stentor feed token";
/// Binding of all feed tokens; they have no owner.
const BOUND: &[u8] = b"feed";
/// Maximum length of a token, which is part of each URL in the feed.
const MAX_LEN: usize = 2048;

/// Sealer and opener of feed tokens. The same on every node.
#[derive(Clone)]
pub struct FeedTokens(Sealer);

impl FeedTokens {
    pub fn new(secrets: &Secrets) -> Self {
        Self(Sealer::new(secrets, LABEL))
    }

    /// Issues the token of a feed, and returns it with its expiry. `None`: the feed is too large.
    pub fn issue(&self, feed: &Feed, now: UnixMs, ttl: Duration) -> Option<(String, UnixMs)> {
        let token = self.0.seal(feed, BOUND, now, ttl);
        (token.len() <= MAX_LEN).then(|| (token, expiry(now, ttl)))
    }

    /// Returns the feed of a token.
    ///
    /// # Errors
    /// The token was not issued by this installation, or has expired.
    pub fn open(&self, token: &str, now: UnixMs) -> Result<Feed, SealError> {
        self.0.open(token, BOUND, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::domain::feed::FeedSelector;
    use crate::domain::profile::{Description, Owner};

    fn tokens(byte: u8) -> FeedTokens {
        let secret = || Secret(vec![byte; 32]);
        FeedTokens::new(&Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() })
    }

    #[test]
    fn feed_tokens_open_until_they_expire() {
        let of = FeedSelector::Owner(Owner::new("ann-4711").unwrap());
        let feed = Feed { of, title: None, description: None, language: None, author: None, cover_url: None };
        let (token, expires) = tokens(7).issue(&feed, UnixMs(1_000), Duration::from_secs(60)).unwrap();
        assert!(!token.contains("ann") && expires == UnixMs(61_000));
        assert_eq!(tokens(7).open(&token, UnixMs(60_999)).as_ref(), Ok(&feed));
        assert_eq!(tokens(7).open(&token, expires), Err(SealError::Expired));
        assert_eq!(tokens(8).open(&token, UnixMs(1_000)), Err(SealError::Refused));
        let large = Feed { description: Description::new(&"x".repeat(2_000)).ok(), ..feed };
        assert_eq!(tokens(7).issue(&large, UnixMs(1), Duration::from_secs(60)), None);
    }
}
