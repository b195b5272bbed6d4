//! Tokens of listeners and anchors: JWT (RFC 7519), HS256 and nothing else, with a `kid` for rotation.
//!
//! Owns: the claims and their verification, against a time that comes in. Never does: trust a header's
//! algorithm, read a clock, or take a token of one audience, issuer or room for another's.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::JwtSecret;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::model::UserRole;

/// Longer is no token of ours; refused before anything is decoded.
const MAX_LEN: usize = 4096;
const REQUIRED: [&str; 8] = ["exp", "iat", "aud", "iss", "sub", "roomId", "role", "jti"];

/// What the holder may do in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An anchor who may also mute and remove others.
    Host,
    Anchor,
    Listener,
}

/// Which part of the platform a token is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    #[serde(rename = "stentor/anchor")]
    Anchor,
    #[serde(rename = "stentor/listener")]
    Listener,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Seconds since the Unix epoch; from then on the token is expired.
    pub exp: u64,
    pub iat: u64,
    pub aud: Audience,
    pub iss: String,
    /// Who holds it: the user's id, or a random one for a listener.
    pub sub: String,
    pub room_id: RoomId,
    pub role: Role,
    pub jti: String,
}

/// A fresh token. The token itself must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    pub token: String,
    pub expires_at: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is meant for another audience")]
    WrongAudience,
    #[error("the token was issued by another installation")]
    WrongIssuer,
    #[error("the token is for another room")]
    WrongRoom,
    #[error("the token's signature is wrong")]
    BadSignature,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token names no key in use")]
    UnknownKey,
    #[error("the token's algorithm is not HS256")]
    Algorithm,
    #[error("the token lacks the claim {0}")]
    MissingClaim(&'static str),
}

/// Issues tokens with the first secret and verifies with all.
#[derive(Clone)]
pub struct Tokens {
    issuer: String,
    listener_ttl: Duration,
    signing: (String, EncodingKey),
    verifying: Vec<(String, DecodingKey)>,
}

impl From<UserRole> for Role {
    fn from(role: UserRole) -> Self {
        match role {
            UserRole::Host => Self::Host,
            UserRole::Anchor => Self::Anchor,
        }
    }
}

impl Role {
    fn audience(self) -> Audience {
        match self {
            Self::Host | Self::Anchor => Audience::Anchor,
            Self::Listener => Audience::Listener,
        }
    }
}

impl Tokens {
    /// `secrets` must not be empty (`Secrets` never is): the first one signs.
    pub fn new(secrets: &[JwtSecret], issuer: &str, listener_ttl: Duration) -> Self {
        let first = &secrets[0];
        let verifying = secrets.iter().map(|s| (s.kid.clone(), DecodingKey::from_secret(&s.secret.0)));
        Self {
            issuer: issuer.to_owned(),
            listener_ttl,
            signing: (first.kid.clone(), EncodingKey::from_secret(&first.secret.0)),
            verifying: verifying.collect(),
        }
    }

    /// A token for anyone who may listen to `room`.
    pub fn issue_listener(&self, room: &RoomId, now: UnixMs) -> Issued {
        self.issue(Role::Listener, &uuid::Uuid::new_v4().to_string(), room, self.listener_ttl, now)
    }

    pub fn verify_listener(&self, token: &str, room: &RoomId, now: UnixMs) -> Result<Claims, TokenError> {
        self.verify(Role::Listener, token, room, now)
    }

    /// A token for `subject` in `role`; it lives for `ttl`, in whole seconds.
    pub fn issue(&self, role: Role, subject: &str, room: &RoomId, ttl: Duration, now: UnixMs) -> Issued {
        let iat = now.0 / 1000;
        let claims = Claims {
            exp: iat + ttl.as_secs(),
            iat,
            aud: role.audience(),
            iss: self.issuer.clone(),
            sub: subject.to_owned(),
            room_id: room.clone(),
            role,
            jti: uuid::Uuid::new_v4().to_string(),
        };
        let header = Header { kid: Some(self.signing.0.clone()), ..Header::new(Algorithm::HS256) };
        // Cannot fail: the claims are plain JSON and HMAC takes a key of any length.
        let token = jsonwebtoken::encode(&header, &claims, &self.signing.1).expect("signing is infallible");
        Issued { token, expires_at: UnixMs(claims.exp * 1000) }
    }

    /// The claims, if the token is genuine, in force, and for this role and room.
    pub fn verify(&self, role: Role, token: &str, room: &RoomId, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.verify_role(role, token, now)?;
        if claims.room_id == *room { Ok(claims) } else { Err(TokenError::WrongRoom) }
    }

    /// Like [`verify`](Self::verify), for those who learn the room from the token.
    pub fn verify_role(&self, role: Role, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.in_force(role.audience(), token, now)?;
        if claims.role == role { Ok(claims) } else { Err(TokenError::WrongAudience) }
    }

    /// Of somebody who may speak: a host or an anchor, of the room that the token names.
    pub fn verify_speaker(&self, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.in_force(Audience::Anchor, token, now)?;
        if claims.role == Role::Listener { Err(TokenError::WrongAudience) } else { Ok(claims) }
    }

    fn in_force(&self, audience: Audience, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.genuine(token)?;
        if let Some(missing) = REQUIRED.into_iter().find(|name| claims.get(name).is_none()) {
            return Err(TokenError::MissingClaim(missing));
        }
        // An audience that is not even one of ours is still a wrong one, not a malformed token.
        if claims["aud"] != serde_json::json!(audience) {
            return Err(TokenError::WrongAudience);
        }
        let claims: Claims = serde_json::from_value(claims).map_err(|_| TokenError::Malformed)?;
        if claims.iss != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if now.0 / 1000 >= claims.exp { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// The claims of a token that one of our secrets has signed, whatever they say.
    fn genuine(&self, token: &str) -> Result<Value, TokenError> {
        let kid = key_id(token)?;
        let (_, key) = self.verifying.iter().find(|(k, _)| *k == kid).ok_or(TokenError::UnknownKey)?;
        match jsonwebtoken::decode::<Value>(token, key, &signature_only()) {
            Ok(data) if data.claims.is_object() => Ok(data.claims),
            Err(e) if matches!(e.kind(), ErrorKind::InvalidSignature) => Err(TokenError::BadSignature),
            Ok(_) | Err(_) => Err(TokenError::Malformed),
        }
    }
}

/// The library checks the signature; we check the claims, because its clock cannot be given to it.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// Reads the header ourselves, so that a foreign algorithm is told from garbage.
fn key_id(token: &str) -> Result<String, TokenError> {
    #[derive(Deserialize)]
    struct Head {
        alg: String,
        kid: Option<String>,
        /// Extensions a verifier must know (RFC 7515, 4.1.11); we know none.
        crit: Option<Value>,
    }
    if token.len() > MAX_LEN || token.split('.').count() != 3 {
        return Err(TokenError::Malformed);
    }
    let (header, _) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let head: Head = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    if head.alg != "HS256" {
        return Err(TokenError::Algorithm);
    }
    if head.crit.is_some() {
        return Err(TokenError::Malformed);
    }
    head.kid.ok_or(TokenError::UnknownKey)
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued(until {})", self.expires_at.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use serde_json::json;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_listener_token_opens_its_room_until_it_expires() {
        let tokens = tokens(&[("k1", 1)]);
        let issued = tokens.issue_listener(&room(), NOW);
        assert_eq!(issued.expires_at, UnixMs(NOW.0 + 3_600_000));
        let claims = tokens.verify_listener(&issued.token, &room(), NOW).unwrap();
        assert_eq!((claims.role, claims.aud), (Role::Listener, Audience::Listener));
        let at = |ms| tokens.verify_listener(&issued.token, &room(), UnixMs(ms));
        assert!(at(issued.expires_at.0 - 1).is_ok());
        assert_eq!(at(issued.expires_at.0), Err(TokenError::Expired));
        assert!(!format!("{issued:?}").contains(&issued.token));
    }

    #[test]
    fn a_token_opens_no_other_room_and_no_other_role() {
        let tokens = tokens(&[("k1", 1)]);
        let listener = tokens.issue_listener(&room(), NOW).token;
        let other = RoomId::new("other").unwrap();
        assert_eq!(tokens.verify_listener(&listener, &other, NOW), Err(TokenError::WrongRoom));
        assert_eq!(tokens.verify(Role::Anchor, &listener, &room(), NOW), Err(TokenError::WrongAudience));
        let anchor = tokens.issue(Role::Anchor, "ann", &room(), HOUR, NOW).token;
        assert_eq!(tokens.verify_listener(&anchor, &room(), NOW), Err(TokenError::WrongAudience));
        assert_eq!(tokens.verify(Role::Anchor, &anchor, &room(), NOW).unwrap().sub, "ann");
    }

    #[test]
    fn hosts_and_anchors_may_speak_in_the_room_of_their_token() {
        let tokens = tokens(&[("k1", 1)]);
        for role in [Role::Host, Role::Anchor] {
            let token = tokens.issue(role, "ann", &room(), HOUR, NOW).token;
            let claims = tokens.verify_speaker(&token, NOW).unwrap();
            assert_eq!((claims.role, claims.aud, claims.room_id), (role, Audience::Anchor, room()));
        }
        let listener = tokens.issue_listener(&room(), NOW).token;
        assert_eq!(tokens.verify_speaker(&listener, NOW), Err(TokenError::WrongAudience));
        let mut disguised = claims();
        disguised["aud"] = json!("stentor/anchor");
        assert_eq!(tokens.verify_speaker(&signed(disguised), NOW), Err(TokenError::WrongAudience));
    }

    #[test]
    fn an_old_secret_verifies_until_it_is_rotated_out() {
        let old = tokens(&[("k1", 1)]).issue_listener(&room(), NOW).token;
        let both = tokens(&[("k2", 2), ("k1", 1)]);
        assert!(both.verify_listener(&old, &room(), NOW).is_ok());
        let new = both.issue_listener(&room(), NOW).token;
        assert_eq!(tokens(&[("k1", 1)]).verify_listener(&new, &room(), NOW), Err(TokenError::UnknownKey));
        assert_eq!(tokens(&[("k2", 2)]).verify_listener(&old, &room(), NOW), Err(TokenError::UnknownKey));
        assert_eq!(tokens(&[("k1", 9)]).verify_listener(&old, &room(), NOW), Err(TokenError::BadSignature));
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        for alg in ["none", "None", "HS384", "HS512", "RS256", "ES256", "hs256", "x"] {
            let token = forged(json!({"alg": alg, "kid": "k1"}), claims(), b"");
            assert_eq!(verify(&token), Err(TokenError::Algorithm), "{alg}");
        }
        let unsigned = forged(json!({"alg": "HS256", "kid": "k1"}), claims(), b"");
        assert_eq!(verify(&unsigned), Err(TokenError::BadSignature));
        let nameless = forged(json!({"alg": "HS256"}), claims(), b"");
        assert_eq!(verify(&nameless), Err(TokenError::UnknownKey));
        let extended = forged(json!({"alg": "HS256", "kid": "k1", "crit": ["b64"]}), claims(), b"");
        assert_eq!(verify(&extended), Err(TokenError::Malformed));
    }

    #[test]
    fn every_claim_must_be_there_and_be_right() {
        assert!(verify(&signed(claims())).is_ok());
        for name in REQUIRED {
            let mut without = claims();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(verify(&signed(without)), Err(TokenError::MissingClaim(name)));
        }
        let wrong = [
            ("exp", json!("soon"), TokenError::Malformed),
            ("exp", json!(-1), TokenError::Malformed),
            ("exp", json!(1), TokenError::Expired),
            ("aud", json!("elsewhere"), TokenError::WrongAudience),
            ("aud", json!(["stentor/listener"]), TokenError::WrongAudience),
            ("iss", json!("mallory"), TokenError::WrongIssuer),
            ("role", json!("anchor"), TokenError::WrongAudience),
            ("role", json!("king"), TokenError::Malformed),
            ("roomId", json!("../etc"), TokenError::Malformed),
            ("roomId", json!("other"), TokenError::WrongRoom),
        ];
        for (name, value, error) in wrong {
            let mut changed = claims();
            changed[name] = value.clone();
            assert_eq!(verify(&signed(changed)), Err(error), "{name} = {value}");
        }
        assert_eq!(verify(&signed(json!("text"))), Err(TokenError::Malformed));
    }

    #[test]
    fn garbage_is_malformed_and_a_changed_token_is_not_genuine() {
        for garbage in ["", ".", "..", "a.b.c", "a.b.c.d", "é.é.é", &"x".repeat(100_000)] {
            assert_eq!(verify(garbage), Err(TokenError::Malformed));
        }
        let token = signed(claims());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let mut better = claims();
        better["exp"] = json!(u32::MAX);
        let swapped = format!("{header}.{}.{signature}", encoded(&better));
        assert_eq!(verify(&swapped), Err(TokenError::BadSignature));
        assert_eq!(verify(&format!("{message}.")), Err(TokenError::BadSignature));
    }

    fn verify(token: &str) -> Result<Claims, TokenError> {
        tokens(&[("k1", 1)]).verify_listener(token, &room(), NOW)
    }

    fn room() -> RoomId {
        RoomId::new("demo").unwrap()
    }

    fn tokens(keys: &[(&str, u8)]) -> Tokens {
        let secret =
            |(kid, byte): &(&str, u8)| JwtSecret { kid: (*kid).into(), secret: Secret(vec![*byte; 32]) };
        Tokens::new(&keys.iter().map(secret).collect::<Vec<_>>(), "stentor", HOUR)
    }

    fn claims() -> Value {
        json!({"exp": NOW.0 / 1000 + 60, "iat": NOW.0 / 1000, "aud": "stentor/listener", "iss": "stentor",
               "sub": "someone", "roomId": "demo", "role": "listener", "jti": "1"})
    }

    fn signed(claims: Value) -> String {
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&[1; 32])).unwrap()
    }

    fn forged(header: Value, claims: Value, signature: &[u8]) -> String {
        format!("{}.{}.{}", encoded(&header), encoded(&claims), URL_SAFE_NO_PAD.encode(signature))
    }

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }
}
