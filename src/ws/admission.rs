//! Checks of the requests that open a connection. WebSocket and WHIP share them.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::WsSide;
use crate::actors::gateway::acceptor::GatewayClosed;
use crate::auth::{Claims, TokenError};
use crate::domain::ids::UserId;
use crate::http::error::{ApiError, Code};

/// Verifies the token of a user who may speak.
///
/// # Errors
/// `token_invalid` or `token_expired`.
pub(crate) fn verify(side: &WsSide, token: &str) -> Result<(Claims, UserId), ApiError> {
    let claims = side.tokens.verify_speaker(token, side.clock.wall()).map_err(|error| match error {
        TokenError::Expired => ApiError::new(Code::TokenExpired, "the token has expired"),
        other => ApiError::new(Code::TokenInvalid, other.to_string()),
    })?;
    let user = UserId::new(&claims.sub);
    let user =
        user.map_err(|_| ApiError::new(Code::TokenInvalid, "the token's sub is not a valid user id"))?;
    Ok((claims, user))
}

/// Returns the token in `Authorization: Bearer`.
pub(crate) fn bearer(req: &HttpRequest) -> Option<String> {
    let (scheme, token) = req.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Returns the address of the client.
pub(crate) fn address(req: &HttpRequest) -> IpAddr {
    // A connection without an address comes from a test without a network.
    req.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip())
}

pub(crate) fn not_open(_: GatewayClosed) -> ApiError {
    ApiError::new(Code::GatewayUnavailable, "this node is starting or stopping; connect again")
}
