//! Tokens of listeners and anchors: JWT (RFC 7519), HS256 with a `kid` for rotation, or the tokens of an
//! identity provider ([`jwks`](super::jwks)).
//!
//! Owns: the claims and their verification against a time given by the caller. Does not trust a header's
//! algorithm, read a clock, or accept a token for another audience, issuer or room.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jwks::IdentityProvider;
use crate::config::JwtSecret;
use crate::domain::clip::Clip;
use crate::domain::grant::Grant;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::model::UserRole;
use crate::domain::recording::RecordingId;
use crate::domain::signalling::DisplayName;
use crate::domain::text::is_string_or_uri;

/// Maximum length of a token, in bytes; a longer one is refused before anything is decoded.
const MAX_LEN: usize = 4096;
const REQUIRED: [&str; 8] = ["exp", "iat", "aud", "iss", "sub", "roomId", "role", "jti"];
/// Largest accepted difference between a signer's clock and ours for `nbf`, in milliseconds. A future `iat`
/// is accepted (RFC 7519 section 4.1.6): a clock that steps back must not invalidate tokens issued before the
/// step.
const CLOCK_DIFFERENCE_MS: u64 = 60_000;

/// Rights of the token subject in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An anchor who may also mute and ban others, and change roles.
    Host,
    Anchor,
    Listener,
    /// Listener of one recording.
    Replay,
}

/// Part of the platform that a token is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    Anchor,
    Listener,
    Replay,
}

/// Claims of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Token subject: the user's id, or a random one for a listener.
    pub sub: String,
    pub room_id: RoomId,
    pub role: Role,
    /// Name of the token subject (OpenID Connect Core 1.0 section 5.1), if the signer gave a valid one.
    pub name: Option<DisplayName>,
    pub grant: Grant,
    /// Id of the recording that a replay token is for.
    pub recording: Option<String>,
    /// Part of the recording that a replay token is for; `None`: all of it.
    pub clip: Option<Value>,
}

/// Token subject and its name.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub id: &'a str,
    pub name: Option<&'a DisplayName>,
}

/// Claims set of a token issued here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IssuedClaims<'a> {
    exp: u64,
    iat: u64,
    aud: &'static str,
    iss: &'a str,
    sub: &'a str,
    room_id: &'a RoomId,
    role: Role,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a DisplayName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_created_at: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording_id: Option<&'a RecordingId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clip: Option<Clip>,
}

/// Claims set of a token to verify. Unknown claims are ignored (RFC 7519 section 4). The presence of the
/// required claims is checked beforehand.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadClaims {
    exp: NumericDate,
    iat: NumericDate,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    aud: OneOrMany,
    iss: String,
    sub: String,
    room_id: RoomId,
    role: Role,
    /// Id of the token. It is not checked for repetition, because a token may be used more than once.
    #[serde(rename = "jti")]
    _jti: String,
    /// An invalid name is ignored, like an unknown claim.
    #[serde(default)]
    name: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    room_created_at: Option<UnixMs>,
    /// Recording of a replay token. Other tokens may have a claim of this name with another meaning.
    #[serde(default)]
    recording_id: Option<Value>,
    #[serde(default)]
    clip: Option<Value>,
}

/// Seconds since the Unix epoch, possibly with a fraction (RFC 7519 section 2). A date before 1970 counts
/// as 1970.
#[derive(Clone, Copy, Deserialize)]
struct NumericDate(f64);

/// Value of `aud`: one StringOrURI, or an array of them (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Newly issued token. The token itself must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    pub token: String,
    pub expires_at: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet: compare its nbf with the clocks of the signer and of this node")]
    NotYetValid,
    #[error("the token is meant for another audience")]
    WrongAudience,
    #[error("the token was issued by another installation")]
    WrongIssuer,
    #[error("the token is for another room")]
    WrongRoom,
    #[error("the token is for another recording")]
    WrongRecording,
    #[error("the token is for another part of the recording")]
    OutsideClip,
    #[error("the token is for an earlier room of this id: get a new one")]
    EarlierRoom,
    #[error(
        "the token's user is banned from the room, or was kicked and may come back after about ten seconds"
    )]
    Banned,
    #[error("the token's signature is wrong")]
    BadSignature,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token names no key in use")]
    UnknownKey,
    #[error("the token's algorithm is neither HS256 nor allowed for its key at the identity provider")]
    Algorithm,
    #[error("the token lacks the claim {0}")]
    MissingClaim(Cow<'static, str>),
}

/// Issuer and verifier of tokens: issues with the first secret, verifies with all.
#[derive(Clone)]
pub struct Tokens {
    issuer: String,
    pub(super) listener_ttl: Duration,
    signing: (String, EncodingKey),
    verifying: Vec<(String, DecodingKey)>,
    provider: Option<Arc<IdentityProvider>>,
}

/// Header of a token, not yet trusted.
#[derive(Deserialize)]
pub(super) struct Head {
    pub alg: String,
    pub kid: Option<String>,
    /// Extensions that a verifier must understand (RFC 7515, 4.1.11); none is supported.
    crit: Option<Value>,
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
    pub(super) fn audience(self) -> Audience {
        match self {
            Self::Host | Self::Anchor => Audience::Anchor,
            Self::Listener => Audience::Listener,
            Self::Replay => Audience::Replay,
        }
    }
}

impl Audience {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Anchor => "stentor/anchor",
            Self::Listener => "stentor/listener",
            Self::Replay => "stentor/replay",
        }
    }
}

impl Tokens {
    /// Creates an issuer and verifier. `secrets` must not be empty (`Secrets` never is): the first one
    /// signs.
    pub fn new(secrets: &[JwtSecret], issuer: &str, listener_ttl: Duration) -> Self {
        let first = &secrets[0];
        let verifying = secrets.iter().map(|s| (s.kid.clone(), DecodingKey::from_secret(&s.secret.0)));
        Self {
            issuer: issuer.to_owned(),
            listener_ttl,
            signing: (first.kid.clone(), EncodingKey::from_secret(&first.secret.0)),
            verifying: verifying.collect(),
            provider: None,
        }
    }

    /// Makes the verifier also accept the tokens of this identity provider.
    pub fn trusting(self, provider: Option<Arc<IdentityProvider>>) -> Self {
        Self { provider, ..self }
    }

    pub fn provider(&self) -> Option<&Arc<IdentityProvider>> {
        self.provider.as_ref()
    }

    /// Issues a token for one listener of `room`, which was created at `created_at`.
    pub fn issue_listener(&self, room: &RoomId, created_at: Option<UnixMs>, now: UnixMs) -> IssuedToken {
        self.issue_named_listener(None, None, room, created_at, now)
    }

    /// Issues a token with a name for one listener of `room`. Without an id, a random one is chosen.
    pub fn issue_named_listener(
        &self,
        id: Option<&str>,
        name: Option<&DisplayName>,
        room: &RoomId,
        created_at: Option<UnixMs>,
        now: UnixMs,
    ) -> IssuedToken {
        let random = uuid::Uuid::new_v4().to_string();
        let subject = Subject { id: id.unwrap_or(&random), name };
        self.issue_named(Role::Listener, subject, room, created_at, None, self.listener_ttl, now)
    }

    /// Verifies the token of a listener of `room`, like [`verify`](Self::verify).
    pub fn verify_listener(&self, token: &str, room: &RoomId, now: UnixMs) -> Result<Claims, TokenError> {
        self.verify(Role::Listener, token, room, now)
    }

    /// Issues a token for `subject` in `role`, valid for `ttl` in whole seconds. Without `created_at` the
    /// token is bound to the room by its `iat` only, as an application's own tokens are.
    pub fn issue(
        &self,
        role: Role,
        subject: &str,
        room: &RoomId,
        created_at: Option<UnixMs>,
        ttl: Duration,
        now: UnixMs,
    ) -> IssuedToken {
        self.issue_named(role, Subject { id: subject, name: None }, room, created_at, None, ttl, now)
    }

    #[expect(clippy::too_many_arguments, reason = "each is one claim of the token")]
    pub(super) fn issue_named(
        &self,
        role: Role,
        subject: Subject<'_>,
        room: &RoomId,
        created_at: Option<UnixMs>,
        replay: Option<(&RecordingId, Option<Clip>)>,
        ttl: Duration,
        now: UnixMs,
    ) -> IssuedToken {
        let iat = now.0 / 1000;
        let claims = IssuedClaims {
            exp: iat + ttl.as_secs(),
            iat,
            aud: role.audience().as_str(),
            iss: &self.issuer,
            sub: subject.id,
            room_id: room,
            role,
            jti: uuid::Uuid::new_v4().to_string(),
            name: subject.name,
            room_created_at: created_at,
            recording_id: replay.map(|(recording, _)| recording),
            clip: replay.and_then(|(_, clip)| clip),
        };
        let header = Header { kid: Some(self.signing.0.clone()), ..Header::new(Algorithm::HS256) };
        // Cannot fail: the claims are plain JSON and HMAC accepts a key of any length.
        let token = jsonwebtoken::encode(&header, &claims, &self.signing.1).expect("signing is infallible");
        IssuedToken { token, expires_at: UnixMs(claims.exp * 1000) }
    }

    /// Returns the claims of a token that is genuine, valid now, and for this role and room.
    ///
    /// # Errors
    /// The first reason why the token is refused.
    pub fn verify(&self, role: Role, token: &str, room: &RoomId, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.verify_role(role, token, now)?;
        if claims.room_id == *room { Ok(claims) } else { Err(TokenError::WrongRoom) }
    }

    /// Verifies like [`verify`](Self::verify), for callers that learn the room from the token.
    pub fn verify_role(&self, role: Role, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.in_force(role.audience(), token, now)?;
        if claims.role == role { Ok(claims) } else { Err(TokenError::WrongAudience) }
    }

    /// Verifies the token of a host or anchor, for the room that the token names.
    pub fn verify_speaker(&self, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.in_force(Audience::Anchor, token, now)?;
        let may_speak = matches!(claims.role, Role::Host | Role::Anchor);
        if may_speak { Ok(claims) } else { Err(TokenError::WrongAudience) }
    }

    fn in_force(&self, audience: Audience, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let claims = self.genuine(token)?;
        if let Some(missing) = REQUIRED.into_iter().find(|name| claims.get(name).is_none()) {
            return Err(TokenError::MissingClaim(missing.into()));
        }
        let claims: ReadClaims = serde_json::from_value(claims).map_err(|_| TokenError::Malformed)?;
        if !is_string_or_uri(&claims.sub) {
            return Err(TokenError::Malformed);
        }
        if !claims.aud.names(audience.as_str()) {
            return Err(TokenError::WrongAudience);
        }
        if claims.iss != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        let grant = Grant {
            issued_at: claims.iat.into(),
            expires_at: claims.exp.into(),
            room_created_at: claims.room_created_at,
        };
        if grant.is_expired(now) {
            return Err(TokenError::Expired);
        }
        let latest = now.0.saturating_add(CLOCK_DIFFERENCE_MS);
        if claims.nbf.is_some_and(|date| UnixMs::from(date).0 > latest) {
            return Err(TokenError::NotYetValid);
        }
        let name = claims.name.as_ref().and_then(Value::as_str).and_then(|name| DisplayName::new(name).ok());
        let recording = claims.recording_id.as_ref().and_then(Value::as_str).map(str::to_owned);
        let ReadClaims { sub, room_id, role, clip, .. } = claims;
        Ok(Claims { sub, room_id, role, name, grant, recording, clip })
    }

    /// Verifies the signature of a token and returns its claims, which are not checked yet. The claims of a
    /// token from the identity provider are returned under our names.
    fn genuine(&self, token: &str) -> Result<Value, TokenError> {
        let head = head(token)?;
        if head.alg != "HS256" {
            let provider = self.provider.as_ref().ok_or(TokenError::Algorithm)?;
            return provider.claims(&head, token, &self.issuer);
        }
        let kid = head.kid.ok_or(TokenError::UnknownKey)?;
        let (_, key) = self.verifying.iter().find(|(k, _)| *k == kid).ok_or(TokenError::UnknownKey)?;
        match jsonwebtoken::decode::<Value>(token, key, &signature_only(Algorithm::HS256)) {
            Ok(data) if data.claims.is_object() => Ok(data.claims),
            Err(e) if matches!(e.kind(), ErrorKind::InvalidSignature) => Err(TokenError::BadSignature),
            Ok(_) | Err(_) => Err(TokenError::Malformed),
        }
    }
}

impl OneOrMany {
    pub(super) fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(name) => name == audience,
            Self::Many(names) => names.iter().any(|name| name == audience),
        }
    }
}

impl From<NumericDate> for UnixMs {
    fn from(NumericDate(seconds): NumericDate) -> Self {
        // The conversion saturates at both ends.
        Self((seconds * 1000.0).round() as u64)
    }
}

/// Deserialises a claim that may be absent, but not null.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Returns a validation of the signature only. The claims are checked here, because the library would read
/// the clock itself.
pub(super) fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// Reads the header. It is decoded here, to distinguish a foreign algorithm from a malformed token.
fn head(token: &str) -> Result<Head, TokenError> {
    if token.len() > MAX_LEN || token.split('.').count() != 3 {
        return Err(TokenError::Malformed);
    }
    let (header, _) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let head: Head = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    if head.crit.is_some() {
        return Err(TokenError::Malformed);
    }
    Ok(head)
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued(until {})", self.expires_at.0)
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
