//! Tests of the token format: claims, rotation, forgeries.

use super::*;
use crate::config::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn listener_token_is_valid_until_expiry() {
    let tokens = tokens(&[("k1", 1)]);
    let issued = tokens.issue_listener(&room(), None, NOW);
    assert_eq!(issued.expires_at, UnixMs(NOW.0 + 3_600_000));
    let claims = tokens.verify_listener(&issued.token, &room(), NOW).unwrap();
    assert_eq!((claims.role, claims.grant.expires_at), (Role::Listener, issued.expires_at));
    let at = |ms| tokens.verify_listener(&issued.token, &room(), UnixMs(ms));
    assert!(at(issued.expires_at.0 - 1).is_ok());
    assert_eq!(at(issued.expires_at.0), Err(TokenError::Expired));
    assert!(!format!("{issued:?}").contains(&issued.token));
}

#[test]
fn token_is_bound_to_room_and_role() {
    let tokens = tokens(&[("k1", 1)]);
    let listener = tokens.issue_listener(&room(), None, NOW).token;
    let other = RoomId::new("other").unwrap();
    assert_eq!(tokens.verify_listener(&listener, &other, NOW), Err(TokenError::WrongRoom));
    assert_eq!(tokens.verify(Role::Anchor, &listener, &room(), NOW), Err(TokenError::WrongAudience));
    let anchor = tokens.issue(Role::Anchor, "ann", &room(), None, HOUR, NOW).token;
    assert_eq!(tokens.verify_listener(&anchor, &room(), NOW), Err(TokenError::WrongAudience));
    assert_eq!(tokens.verify(Role::Anchor, &anchor, &room(), NOW).unwrap().sub, "ann");
}

#[test]
fn verify_speaker_accepts_hosts_and_anchors() {
    let tokens = tokens(&[("k1", 1)]);
    for role in [Role::Host, Role::Anchor] {
        let token = tokens.issue(role, "ann", &room(), None, HOUR, NOW).token;
        let claims = tokens.verify_speaker(&token, NOW).unwrap();
        assert_eq!((claims.role, claims.room_id), (role, room()));
    }
    let listener = tokens.issue_listener(&room(), None, NOW).token;
    assert_eq!(tokens.verify_speaker(&listener, NOW), Err(TokenError::WrongAudience));
    let mut disguised = claims();
    disguised["aud"] = json!("stentor/anchor");
    assert_eq!(tokens.verify_speaker(&signed(disguised), NOW), Err(TokenError::WrongAudience));
}

#[test]
fn old_secret_verifies_until_rotated_out() {
    let old = tokens(&[("k1", 1)]).issue_listener(&room(), None, NOW).token;
    let both = tokens(&[("k2", 2), ("k1", 1)]);
    assert!(both.verify_listener(&old, &room(), NOW).is_ok());
    let new = both.issue_listener(&room(), None, NOW).token;
    assert_eq!(tokens(&[("k1", 1)]).verify_listener(&new, &room(), NOW), Err(TokenError::UnknownKey));
    assert_eq!(tokens(&[("k2", 2)]).verify_listener(&old, &room(), NOW), Err(TokenError::UnknownKey));
    assert_eq!(tokens(&[("k1", 9)]).verify_listener(&old, &room(), NOW), Err(TokenError::BadSignature));
}

#[test]
fn tokens_accept_only_one_algorithm() {
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
fn claims_follow_rfc_7519() {
    assert!(verify(&signed(claims())).is_ok());
    for name in REQUIRED {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(verify(&signed(without)), Err(TokenError::MissingClaim(name.into())));
    }
    let now = NOW.0 / 1000;
    let legal = [
        ("exp", json!(now as f64 + 0.5)),
        ("exp", json!(1e18)),
        ("iat", json!(now as f64 - 0.25)),
        ("iat", json!(-5)),
        ("iat", json!(now + 3600)),
        ("nbf", json!(now)),
        ("nbf", json!(now as f64 + 59.5)),
        ("nbf", json!(0)),
        ("aud", json!(["stentor/listener"])),
        ("aud", json!(["https://elsewhere.example", "stentor/listener", "stentor/anchor"])),
        ("sub", json!("auth0|1")),
        ("sub", json!("did:example:1")),
        ("jti", json!("")),
        ("roomCreatedAt", json!(1)),
        ("another", json!({"of": "somebody"})),
    ];
    for (name, value) in legal {
        let changed = verify(&changed(name, value.clone()));
        assert!(changed.is_ok(), "{name} = {value}: {changed:?}");
    }
    let illegal = [
        ("exp", json!("1900000000"), TokenError::Malformed),
        ("exp", json!(null), TokenError::Malformed),
        ("exp", json!(-1), TokenError::Expired),
        ("exp", json!(now), TokenError::Expired),
        ("exp", json!(now as f64 - 0.5), TokenError::Expired),
        ("iat", json!("now"), TokenError::Malformed),
        ("nbf", json!(now as f64 + 60.5), TokenError::NotYetValid),
        ("nbf", json!(null), TokenError::Malformed),
        ("nbf", json!("0"), TokenError::Malformed),
        ("aud", json!("elsewhere"), TokenError::WrongAudience),
        ("aud", json!("STENTOR/LISTENER"), TokenError::WrongAudience),
        ("aud", json!([]), TokenError::WrongAudience),
        ("aud", json!(["stentor/anchor"]), TokenError::WrongAudience),
        ("aud", json!(["stentor/listener", 7]), TokenError::Malformed),
        ("aud", json!({"stentor/listener": true}), TokenError::Malformed),
        ("iss", json!("mallory"), TokenError::WrongIssuer),
        ("iss", json!(["stentor"]), TokenError::Malformed),
        ("sub", json!(7), TokenError::Malformed),
        ("sub", json!("1:2"), TokenError::Malformed),
        ("jti", json!(1), TokenError::Malformed),
        ("role", json!("anchor"), TokenError::WrongAudience),
        ("role", json!("king"), TokenError::Malformed),
        ("roomId", json!("../etc"), TokenError::Malformed),
        ("roomId", json!("other"), TokenError::WrongRoom),
        ("roomCreatedAt", json!("then"), TokenError::Malformed),
    ];
    for (name, value, error) in illegal {
        assert_eq!(verify(&changed(name, value.clone())), Err(error), "{name} = {value}");
    }
    assert_eq!(verify(&signed(json!("text"))), Err(TokenError::Malformed));
}

/// RFC 7519 section 4 allows a parser to refuse a repeated claim or to use the last one. The library refuses
/// repetitions of the claims that it reads itself; of any other claim, it uses the last one.
#[test]
fn repeated_claims_never_widen_a_token() {
    let twice = |name: &str, last: Value| {
        let mut text = claims().to_string();
        text.truncate(text.len() - 1);
        verify(&signed_text(&format!(r#"{text},"{name}":{last}}}"#)))
    };
    assert_eq!(twice("exp", json!(NOW.0 / 1000 + 7200)), Err(TokenError::Malformed));
    assert_eq!(twice("roomId", json!("other")), Err(TokenError::WrongRoom));
    assert!(twice("roomId", json!("demo")).is_ok());
}

#[test]
fn verify_refuses_garbage_and_forgeries() {
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
    let secret = |(kid, byte): &(&str, u8)| JwtSecret { kid: (*kid).into(), secret: Secret(vec![*byte; 32]) };
    Tokens::new(&keys.iter().map(secret).collect::<Vec<_>>(), "stentor", HOUR)
}

fn claims() -> Value {
    json!({"exp": NOW.0 / 1000 + 60, "iat": NOW.0 / 1000, "aud": "stentor/listener", "iss": "stentor",
           "sub": "someone", "roomId": "demo", "role": "listener", "jti": "1"})
}

fn changed(name: &str, value: Value) -> String {
    let mut changed = claims();
    changed[name] = value;
    signed(changed)
}

fn signed_text(claims: &str) -> String {
    let message =
        format!("{}.{}", encoded(&json!({"alg": "HS256", "kid": "k1"})), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
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

#[test]
fn replay_tokens_open_one_recording() {
    let (tokens, room) = (tokens(&[("k1", 1)]), room());
    let (recording, other) = (RecordingId::random(1), RecordingId::random(2));
    let issued = tokens.issue_replay(&recording, &room, None, NOW);
    let grant = tokens.verify_replay(&issued.token, &recording, &room, NOW).unwrap();
    assert_eq!((grant.clip, grant.expires_at), (Clip::WHOLE, issued.expires_at));
    let refused = tokens.verify_replay(&issued.token, &other, &room, NOW);
    assert_eq!(refused, Err(TokenError::WrongRecording));
    let elsewhere = RoomId::new("other").unwrap();
    let refused = tokens.verify_replay(&issued.token, &recording, &elsewhere, NOW);
    assert_eq!(refused, Err(TokenError::WrongRoom));
    let live = tokens.verify_listener(&issued.token, &room, NOW);
    assert_eq!(live.unwrap_err(), TokenError::WrongAudience);
    assert_eq!(tokens.verify_speaker(&issued.token, NOW).unwrap_err(), TokenError::WrongAudience);
    let listener = tokens.issue_listener(&room, None, NOW).token;
    let refused = tokens.verify_replay(&listener, &recording, &room, NOW);
    assert_eq!(refused, Err(TokenError::WrongAudience));
}

#[test]
fn clip_tokens_keep_their_range() {
    let (tokens, room, recording) = (tokens(&[("k1", 1)]), room(), RecordingId::random(1));
    let clip = Clip::new(90.0, 92.5).unwrap();
    let issued = tokens.issue_replay(&recording, &room, Some(clip), NOW);
    assert_eq!(tokens.verify_replay(&issued.token, &recording, &room, NOW).unwrap().clip, clip);
    let mut claims = claims();
    claims["aud"] = json!("stentor/replay");
    claims["role"] = json!("replay");
    claims["recordingId"] = json!(recording);
    for wrong in [json!({ "from": 5 }), json!({ "from": 5, "to": 1 }), json!("all")] {
        claims["clip"] = wrong.clone();
        let refused = tokens.replay_grant(&signed(claims.clone()), &room, NOW);
        assert_eq!(refused, Err(TokenError::Malformed), "{wrong}");
    }
}
