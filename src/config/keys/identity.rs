//! Keys of `auth.jwks`: an identity provider whose tokens are accepted.

use crate::config::parse::*;
use crate::config::reader::Reader;
use crate::config::types::*;

pub(super) fn jwks(r: &mut Reader) -> JwksConfig {
    JwksConfig {
        file: r.optional(
            "auth.jwks.file",
            "File with the JWK set of an identity provider, to accept its tokens; alternative: url.",
            path,
        ),
        url: r.optional(
            "auth.jwks.url",
            "URL of that JWK set, like https://id.example.org/.well-known/jwks.json.",
            jwks_url,
        ),
        issuer: r.optional("auth.jwks.issuer", "Issuer (iss) of the provider's tokens.", text),
        audience: r.optional(
            "auth.jwks.audience",
            "Audience (aud) that the provider's tokens have for Stentor.",
            text,
        ),
        user_claim: r.read("auth.jwks.user_claim", "sub", "Claim with the user id.", text),
        room_claim: r.read("auth.jwks.room_claim", "roomId", "Claim with the room id.", text),
        role_claim: r.read(
            "auth.jwks.role_claim",
            "role",
            "Claim with the role: host, anchor or listener.",
            text,
        ),
    }
}
