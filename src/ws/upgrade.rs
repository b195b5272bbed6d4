//! `GET /ws`: admits a client, or answers with an [`ApiError`] instead of upgrading.
//!
//! A page from another origin is admitted only if `http.allowed_origins` lists this origin: browsers do not
//! restrict WebSockets to the origin of the page. The token comes from `?token=`, from `Authorization:
//! Bearer`, or, since browsers cannot set headers, from a subprotocol `bearer.<jwt>` offered together with
//! `stentor`. `stentor` is the only subprotocol that the response selects. A client that offers `stentor` is
//! treated as a page. It learns of a bad token from a close code (4401), because pages cannot see the HTTP
//! status.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::admission::{address, bearer, not_open, verify};
use super::writer::Writer;
use super::{WsSide, reader};
use crate::actors::gateway::outbound::OutboundQueue;
use crate::actors::gateway::{ConnectionInfo, Outbound};
use crate::domain::connection::ConnectionId;
use crate::domain::ids::ClientId;
use crate::domain::presence_entry::Source;
use crate::domain::signalling::CloseCode;
use crate::http::error::{ApiError, Code};
use crate::http::upgrade::{self, handshake, offered_token, offers_protocol};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Query {
    token: Option<String>,
    client_id: Option<ClientId>,
}

/// Handles `GET /ws`.
pub async fn upgrade(req: HttpRequest, side: web::Data<WsSide>) -> Result<HttpResponse, ApiError> {
    side.origins.check(req.headers())?;
    let query = web::Query::<Query>::from_query(req.query_string())
        .map_err(|_| ApiError::new(Code::InvalidQuery, "clientId must be 1 to 64 visible ASCII characters"))?
        .into_inner();
    let token = query.token.or_else(|| bearer(&req)).or_else(|| offered_token(&req).map(str::to_owned));
    let token = token.ok_or_else(|| {
        ApiError::new(Code::TokenMissing, "a token is needed: ?token=, Authorization, or a subprotocol")
    });
    let verified = token.and_then(|token| verify(&side, &token));
    if verified.is_err() && offers_protocol(&req) {
        return upgrade::refuse(&req, handshake(&req)?, CloseCode::TokenInvalid);
    }
    let (claims, user) = verified?;
    let response = handshake(&req)?;
    let limits = side.limits.load_full();
    let queue = OutboundQueue::new(limits.queue_limit);
    // From here on, dropping this future also drops the writer, which asks the actor to close the connection.
    let writer = Writer::new(queue.clone());
    let peer = ConnectionInfo {
        user,
        room: claims.room_id,
        role: claims.role,
        grant: claims.grant,
        connection: ConnectionId(uuid::Uuid::new_v4().simple().to_string()),
        client_id: query.client_id,
        source: Source::Signalling,
        address: address(&req),
        out: Outbound::new(queue.clone()),
    };
    let actor = side.acceptor.enter(peer, queue.clone()).await.map_err(not_open)?;
    upgrade::open(&req, response, writer, |bytes| reader::read(bytes, limits.frame_limit, queue, actor))
}
