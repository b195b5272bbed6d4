//! Tokens of an identity provider: JWTs (RFC 7519) that a key of its JWK set (RFC 7517) has signed.
//!
//! Follows RFC 8725: the key decides which algorithms it verifies (section 3.1). All of them are asymmetric,
//! so no public key is ever used as an HMAC secret (2.1). Issuer and audience are checked (3.8, 3.9). Owns:
//! the keys in use, and the mapping of claims. Does not fetch the set, and does not verify tokens with HS256.

use std::fmt;

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::tokens::{Head, OneOrMany, Role, TokenError, signature_only};
use crate::config::JwksConfig;

/// Largest number of usable keys in a set; further ones are ignored.
const MOST_KEYS: usize = 100;
/// Shortest modulus of an RSA key, in Base64 digits: 2048 bits (RFC 7518 section 3.3).
const SHORTEST_MODULUS: usize = 342;
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Keys of the identity provider, and the rules for its tokens.
pub struct IdentityProvider {
    rules: JwksConfig,
    keys: ArcSwap<Vec<PublicKey>>,
    /// Signal that a token names a key that is not in the set.
    unknown: Notify,
}

/// Key that verifies signatures.
struct PublicKey {
    id: String,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Reason why a text contains no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("it is not a JWK set (RFC 7517): {{\"keys\": […]}}")]
    NotASet,
    #[error("it has no key with a kid for RS256, PS256, ES256, EdDSA or a longer variant of these")]
    NoKey,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl IdentityProvider {
    /// Creates a provider without keys: it accepts no token.
    pub fn new(rules: JwksConfig) -> Self {
        Self { rules, keys: ArcSwap::default(), unknown: Notify::new() }
    }

    /// Replaces the keys with those of a JWK set, and returns their number. Keys that cannot verify tokens
    /// are ignored.
    ///
    /// # Errors
    /// The text is not a JWK set, or none of its keys can be used. The provider then keeps its current keys.
    pub fn replace_keys(&self, set: &[u8]) -> Result<usize, JwksError> {
        let set: JwkSet = serde_json::from_slice(set).map_err(|_| JwksError::NotASet)?;
        let keys: Vec<_> = set.keys.into_iter().filter_map(PublicKey::read).take(MOST_KEYS).collect();
        if keys.is_empty() {
            return Err(JwksError::NoKey);
        }
        let count = keys.len();
        self.keys.store(keys.into());
        Ok(count)
    }

    /// Waits until a token names an unknown key. Returns immediately if a token has done so since the last
    /// call.
    pub async fn unknown_key(&self) {
        self.unknown.notified().await;
    }

    /// Verifies the signature, the issuer and the audience of a token, and returns its claims under the names
    /// that our own tokens use. `issuer` is the issuer of our own tokens.
    ///
    /// # Errors
    /// The first reason why the token is refused.
    pub(super) fn claims(&self, head: &Head, token: &str, issuer: &str) -> Result<Value, TokenError> {
        let algorithm: Algorithm = head.alg.parse().map_err(|_| TokenError::Algorithm)?;
        let id = head.kid.as_deref().ok_or(TokenError::UnknownKey)?;
        let keys = self.keys.load();
        let Some(key) = keys.iter().find(|key| key.id == id) else {
            self.unknown.notify_one();
            return Err(TokenError::UnknownKey);
        };
        if !key.algorithms.contains(&algorithm) {
            return Err(TokenError::Algorithm);
        }
        match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &signature_only(algorithm)) {
            Ok(data) => self.mapped(data.claims, issuer),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {
                Err(TokenError::BadSignature)
            }
            Err(_) => Err(TokenError::Malformed),
        }
    }

    fn mapped(&self, mut claims: Map<String, Value>, issuer: &str) -> Result<Value, TokenError> {
        let rules = &self.rules;
        if claims.get("iss").and_then(Value::as_str) != rules.issuer.as_deref() {
            return Err(TokenError::WrongIssuer);
        }
        let audience = claims.remove("aud").ok_or(TokenError::MissingClaim("aud".into()))?;
        let audience: OneOrMany = serde_json::from_value(audience).map_err(|_| TokenError::Malformed)?;
        if !rules.audience.as_deref().is_some_and(|wanted| audience.names(wanted)) {
            return Err(TokenError::WrongAudience);
        }
        let missing = |claim: &String| TokenError::MissingClaim(claim.clone().into());
        let role = claims.get(&rules.role_claim).ok_or_else(|| missing(&rules.role_claim))?;
        let role: Role = serde_json::from_value(role.clone()).map_err(|_| TokenError::Malformed)?;
        if role == Role::Replay {
            return Err(TokenError::WrongAudience);
        }
        let mut own = Map::new();
        for name in ["exp", "iat", "nbf", "name"] {
            own.extend(claims.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        for (name, claim) in [("sub", &rules.user_claim), ("roomId", &rules.room_claim)] {
            let value = claims.get(claim).ok_or_else(|| missing(claim))?;
            own.insert(name.to_owned(), value.clone());
        }
        let rest = [("role", json!(role)), ("aud", json!(role.audience().as_str())), ("iss", json!(issuer))];
        own.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        // `jti` is required in our own tokens, but it is not interpreted.
        own.insert("jti".to_owned(), json!(""));
        Ok(Value::Object(own))
    }
}

impl PublicKey {
    /// Reads a key of a set; `None` if the key cannot verify tokens.
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let id = jwk.common.key_id.clone().filter(|_| for_signatures)?;
        let possible = match &jwk.algorithm {
            AlgorithmParameters::RSA(key) if key.n.len() >= SHORTEST_MODULUS => RSA.to_vec(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                vec![Algorithm::EdDSA]
            }
            // This arm also excludes secrets (`oct`), which must not verify anything here.
            _ => return None,
        };
        let algorithms = match jwk.common.key_algorithm {
            None => possible,
            Some(only) => possible.into_iter().filter(|possible| is_same(*possible, only)).collect(),
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        (!algorithms.is_empty()).then_some(Self { id, algorithms, key })
    }
}

fn is_same(algorithm: Algorithm, key: KeyAlgorithm) -> bool {
    key.to_string().parse::<Algorithm>().is_ok_and(|key| key == algorithm)
}

impl fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityProvider({} keys)", self.keys.load().len())
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
