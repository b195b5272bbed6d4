//! Tests of the tokens of an identity provider.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};

use super::*;
use crate::auth::Tokens;
use crate::config::{self, JwtSecret, Secret};
use crate::domain::ids::{RoomId, UnixMs};

const NOW: UnixMs = UnixMs(1_000_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn provider_tokens_have_mapped_claims() {
    let (tokens, signer) = tokens();
    let claims = tokens.verify_speaker(&signer.token(|_| ()), NOW).unwrap();
    assert_eq!((claims.sub.as_str(), claims.role, claims.room_id), ("ann", Role::Host, room()));
    assert_eq!(claims.grant.expires_at, UnixMs(1_000_060_000));
    let listener = signer.token(|claims| claims["https://app/role"] = json!("listener"));
    assert_eq!(tokens.verify_listener(&listener, &room(), NOW).unwrap().role, Role::Listener);
    assert_eq!(tokens.verify_speaker(&listener, NOW), Err(TokenError::WrongAudience));
    let many = signer.token(|claims| claims["aud"] = json!(["other", "stentor-api"]));
    assert!(tokens.verify_speaker(&many, NOW).is_ok());
    assert_eq!(tokens.verify_speaker(&many, UnixMs(1_000_060_000)), Err(TokenError::Expired));
}

#[test]
fn wrong_claims_of_providers_are_refused() {
    let (tokens, signer) = tokens();
    let check = |change: &dyn Fn(&mut Value)| tokens.verify_speaker(&signer.token(change), NOW).unwrap_err();
    let set = |name: &'static str, value: Value| move |claims: &mut Value| claims[name] = value.clone();
    let without =
        |name: &'static str| move |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(name));
    assert_eq!(check(&set("iss", json!("stentor"))), TokenError::WrongIssuer);
    assert_eq!(check(&without("iss")), TokenError::WrongIssuer);
    assert_eq!(check(&set("aud", json!("stentor/anchor"))), TokenError::WrongAudience);
    assert_eq!(check(&set("aud", json!(["x"]))), TokenError::WrongAudience);
    assert_eq!(check(&set("https://app/role", json!("replay"))), TokenError::WrongAudience);
    assert_eq!(check(&set("https://app/role", json!("admin"))), TokenError::Malformed);
    assert_eq!(check(&set("room", json!("a/b"))), TokenError::Malformed);
    assert_eq!(check(&set("nbf", json!(1_000_900))), TokenError::NotYetValid);
    for claim in ["exp", "iat", "aud", "email", "room", "https://app/role"] {
        assert_eq!(check(&without(claim)), TokenError::MissingClaim(claim.into()));
    }
    // A role under the name of our own claim has no effect.
    let role = signer.token(|claims| {
        claims["role"] = json!("host");
        claims["https://app/role"] = json!("anchor");
    });
    assert_eq!(tokens.verify_speaker(&role, NOW).unwrap().role, Role::Anchor);
}

#[test]
fn algorithms_cannot_be_confused() {
    let (tokens, signer) = tokens();
    // RFC 8725 section 2.1: an attacker uses the public key as the secret of an HMAC.
    for secret in [signer.public.clone(), URL_SAFE_NO_PAD.decode(&signer.x).unwrap()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some("a".into()), ..Header::new(algorithm) };
            let key = EncodingKey::from_secret(&secret);
            let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
            let refused = tokens.verify_speaker(&token, NOW).unwrap_err();
            assert!(matches!(refused, TokenError::UnknownKey | TokenError::Algorithm), "{refused}");
        }
    }
    // Our own secret does not verify tokens of the provider, because they have another issuer.
    let header = Header { kid: Some("own".into()), ..Header::new(Algorithm::HS256) };
    let own = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    assert!(tokens.verify_speaker(&own, NOW).is_err());
    let good = signer.token(|_| ());
    let (_, rest) = good.split_once('.').unwrap();
    for (alg, kid, wanted) in [
        ("none", "a", TokenError::Algorithm),
        ("RS256", "a", TokenError::Algorithm),
        ("EdDSA", "a", TokenError::Algorithm),
        ("ES384", "a", TokenError::Algorithm),
        ("ES256", "b", TokenError::Algorithm),
        ("ES256", "c", TokenError::UnknownKey),
    ] {
        let head = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "kid": kid }).to_string());
        assert_eq!(tokens.verify_speaker(&format!("{head}.{rest}"), NOW), Err(wanted), "{alg} {kid}");
    }
    let other = Signer::new("a", &PKCS_ECDSA_P256_SHA256, Algorithm::ES256);
    assert_eq!(tokens.verify_speaker(&other.token(|_| ()), NOW), Err(TokenError::BadSignature));
    let ours = tokens.issue(Role::Host, "ann", &room(), None, Duration::from_secs(60), NOW).token;
    assert!(tokens.verify_speaker(&ours, NOW).is_ok(), "our own tokens still work");
}

#[test]
fn only_signature_keys_are_read() {
    let provider = IdentityProvider::new(rules());
    let signer = Signer::new("a", &PKCS_ECDSA_P256_SHA256, Algorithm::ES256);
    let jwk = signer.jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let short = json!({ "kty": "RSA", "kid": "r", "n": "AQAB".repeat(43), "e": "AQAB" });
    let secret = json!({ "kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    for unusable in [
        with("use", json!("enc")),
        with("alg", json!("ES384")),
        with("alg", json!("HS256")),
        with("kid", Value::Null),
        with("crv", json!("P-521")),
        short,
        secret,
        json!(1),
    ] {
        let set = |keys: &[&Value]| json!({ "keys": keys }).to_string().into_bytes();
        assert_eq!(provider.replace_keys(&set(&[&unusable])), Err(JwksError::NoKey), "{unusable}");
        assert_eq!(provider.replace_keys(&set(&[&unusable, &jwk])), Ok(1), "{unusable}");
    }
    for text in ["", "[]", "{}", "{\"keys\":1}", "<html>"] {
        assert_eq!(provider.replace_keys(text.as_bytes()), Err(JwksError::NotASet), "{text}");
    }
    assert_eq!(format!("{provider:?}"), "IdentityProvider(1 keys)", "the keys stay");
    assert_eq!(
        provider.replace_keys(&json!({ "keys": [with("alg", json!("ES256"))] }).to_string().into_bytes()),
        Ok(1)
    );
    let rsa = json!({ "kty": "RSA", "kid": "r", "n": "AQAB".repeat(86), "e": "AQAB", "use": "sig" });
    assert_eq!(PublicKey::read(rsa).unwrap().algorithms, RSA);
}

#[actix::test]
async fn unknown_keys_ask_for_a_refresh() {
    let (tokens, _) = tokens();
    let provider = tokens.provider().unwrap().clone();
    let stranger = Signer::new("new", &PKCS_ED25519, Algorithm::EdDSA);
    let token = stranger.token(|_| ());
    assert_eq!(tokens.verify_speaker(&token, NOW), Err(TokenError::UnknownKey));
    provider.unknown_key().await;
    let set = json!({ "keys": [stranger.jwk()] }).to_string();
    provider.replace_keys(set.as_bytes()).unwrap();
    assert!(tokens.verify_speaker(&token, NOW).is_ok());
}

struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    /// Raw public key.
    public: Vec<u8>,
    x: String,
    y: String,
}

impl Signer {
    fn new(kid: &'static str, kind: &'static SignatureAlgorithm, algorithm: Algorithm) -> Self {
        let pair = KeyPair::generate_for(kind).unwrap();
        let der = pair.serialize_der();
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_ec_der(&der),
        };
        let public = pair.public_key_raw().to_vec();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // An uncompressed point begins with one extra byte, the marker of its format.
        let (x, y) = match algorithm {
            Algorithm::EdDSA => (encoded(&public), String::new()),
            _ => (encoded(&public[1..33]), encoded(&public[33..])),
        };
        Self { kid, algorithm, key, public, x, y }
    }

    fn jwk(&self) -> Value {
        match self.algorithm {
            Algorithm::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": self.x }),
            _ => json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": self.x, "y": self.y }),
        }
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        let header = Header { kid: Some(self.kid.into()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// Returns the verifier of tokens with the keys `a` (ES256) and `b` (EdDSA), and the signer with `a`.
fn tokens() -> (Tokens, Signer) {
    let signer = Signer::new("a", &PKCS_ECDSA_P256_SHA256, Algorithm::ES256);
    let other = Signer::new("b", &PKCS_ED25519, Algorithm::EdDSA);
    let provider = IdentityProvider::new(rules());
    let set = json!({ "keys": [signer.jwk(), other.jwk()] }).to_string();
    assert_eq!(provider.replace_keys(set.as_bytes()), Ok(2));
    let secret = JwtSecret { kid: "own".into(), secret: Secret(SECRET.as_bytes().to_vec()) };
    let tokens = Tokens::new(&[secret], "stentor", Duration::from_secs(60));
    (tokens.trusting(Some(provider.into())), signer)
}

fn rules() -> JwksConfig {
    JwksConfig {
        issuer: Some("https://id.example.org".into()),
        audience: Some("stentor-api".into()),
        user_claim: "email".into(),
        room_claim: "room".into(),
        role_claim: "https://app/role".into(),
        ..config::defaults().auth.jwks
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.org", "aud": "stentor-api", "iat": 1_000_000, "exp": 1_000_060,
        "sub": "7f3c", "email": "ann", "room": "tea-room", "https://app/role": "host",
    })
}

fn room() -> RoomId {
    RoomId::new("tea-room").unwrap()
}
