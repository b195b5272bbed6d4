//! Handlers of the WHIP requests. Each handler calls methods of the publisher's session.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LINK, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::sessions::Session;
use super::{FRAGMENT, SDP, WhipSide};
use crate::actors::gateway::outbound::OutboundQueue;
use crate::actors::gateway::{ConnectionInfo, Outbound};
use crate::auth::Claims;
use crate::auth::turn::{IceServer, ice_servers};
use crate::domain::client_session::Answer;
use crate::domain::connection::ConnectionId;
use crate::domain::ids::{ClientId, RoomId, UserId};
use crate::domain::presence_entry::Source;
use crate::domain::signalling::ice_sdp::{candidates, ufrag};
use crate::domain::signalling::methods::Join;
use crate::domain::signalling::{Method, offer};
use crate::http::error::{ApiError, Code};
use crate::http::read_body;
use crate::ws::admission::{address, bearer, not_open, verify};

/// Client id of all publishers. Because they share it, a publisher that lost its network can replace its own
/// earlier connection.
const CLIENT: &str = "whip";

/// Handles `POST /whip/{room}`: joins the room and answers the offer.
pub async fn publish(
    req: HttpRequest,
    side: web::Data<WhipSide>,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let (room, claims, user) = admitted(&req, &side)?;
    let recording_consent = consents(&req)?;
    let sdp = body(&req, &side, payload, SDP).await?;
    // Check the offer before the connection is opened, so that a bad offer does not replace a working
    // session.
    offer::check(&sdp).map_err(|refusal| ApiError::new(Code::OfferRefused, refusal.to_string()))?;
    let ufrag = ufrag(&sdp).map(str::to_owned);
    let params = json!({ "sdp": { "type": "offer", "sdp": sdp } });
    let offer = Method::parse("offer", Some(params))
        .map_err(|error| ApiError::new(Code::OfferRefused, error.message))?;
    let display_name = claims.name.clone();

    let queue = OutboundQueue::new(side.ws.limits.load().queue_limit);
    let id = uuid::Uuid::new_v4().simple().to_string();
    let peer = ConnectionInfo {
        user: user.clone(),
        room: room.clone(),
        role: claims.role,
        grant: claims.grant,
        connection: ConnectionId(id.clone()),
        client_id: ClientId::new(CLIENT).ok(),
        source: Source::Whip,
        address: address(&req),
        out: Outbound::new(queue.clone()),
    };
    let opened = side.sessions.open(peer, ufrag, queue, &side.ws.acceptor).await;
    let mut publishing = opened.map_err(not_open)?;
    publishing
        .session
        .call(Method::Join(Join { display_name, recording_consent, ..Join::default() }))
        .await?;
    let Answer::Sdp(answer) = publishing.session.call(offer).await? else {
        return Err(ApiError::internal("an offer was not answered with an SDP"));
    };
    let answer = publishing.complete(answer.sdp).await;
    publishing.keep();
    let mut created = HttpResponse::Created();
    created.insert_header((LOCATION, format!("{}/whip/{room}/{id}", side.base_path))).content_type(SDP);
    for server in ice_servers(&side.ice, &user, side.ws.clock.wall()) {
        for link in ice_links(&server) {
            created.append_header((LINK, link));
        }
    }
    Ok(created.body(answer))
}

/// Returns true if the URL states that the user agrees to being recorded. The URL is the only place for this,
/// because broadcast software is configured with a URL and a token only.
fn consents(req: &HttpRequest) -> Result<bool, ApiError> {
    let given: Vec<_> = url::form_urlencoded::parse(req.query_string().as_bytes())
        .filter(|(name, _)| name == "recordingConsent")
        .map(|(_, value)| value)
        .collect();
    match given.iter().map(|value| &**value).collect::<Vec<&str>>()[..] {
        [] | ["false"] => Ok(false),
        ["true"] => Ok(true),
        _ => Err(ApiError::new(Code::InvalidQuery, "recordingConsent must be true or false")),
    }
}

/// Returns one `Link` header value for each URL of an ICE server (RFC 9725 section 4.6).
fn ice_links(server: &IceServer) -> impl Iterator<Item = String> {
    let credentials = server.username.as_ref().zip(server.credential.as_ref());
    let credentials = credentials.map(|(username, credential)| {
        format!("; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"")
    });
    let credentials = credentials.unwrap_or_default();
    server.urls.iter().map(move |url| format!("<{url}>; rel=\"ice-server\"{credentials}"))
}

/// Handles `PATCH /whip/{room}/{session}`: adds candidates.
pub async fn trickle(
    req: HttpRequest,
    side: web::Data<WhipSide>,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let session = session(&req, &side)?;
    let text = body(&req, &side, payload, FRAGMENT).await?;
    // A fragment with new credentials asks for an ICE restart, and may lack candidates (RFC 9725, 4.3.3).
    let other = ufrag(&text).is_some_and(|ufrag| session.ufrag.as_deref() != Some(ufrag));
    if other {
        let message = "this server does not restart ICE over WHIP; publish again";
        return Err(ApiError::new(Code::IceRestartRefused, message));
    }
    let candidates =
        candidates(&text).map_err(|error| ApiError::new(Code::InvalidBody, error.to_string()))?;
    for candidate in candidates {
        session.call(Method::IceCandidate(candidate)).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Handles `DELETE /whip/{room}/{session}`: leaves the room.
pub async fn end(req: HttpRequest, side: web::Data<WhipSide>) -> Result<HttpResponse, ApiError> {
    session(&req, &side)?.call(Method::Leave).await?;
    Ok(HttpResponse::Ok().finish())
}

/// Returns the session that the path names, if the token belongs to the user of the session.
fn session(req: &HttpRequest, side: &WhipSide) -> Result<Session, ApiError> {
    let (room, _, user) = admitted(req, side)?;
    let session = side.sessions.get(req.match_info().query("session"));
    // The error is the same for sessions of other users, so it does not reveal that they exist.
    session.filter(|session| session.room == room && session.user == user).ok_or_else(|| {
        let message = "this user has no such session on this node, or it has ended; publish again";
        ApiError::new(Code::SessionNotFound, message)
    })
}

/// Returns the room in the path, and the claims and user of the token. The token must be for this room.
fn admitted(req: &HttpRequest, side: &WhipSide) -> Result<(RoomId, Claims, UserId), ApiError> {
    let room = RoomId::new(req.match_info().query("room"))?;
    let token = bearer(req).ok_or_else(|| {
        ApiError::new(Code::TokenMissing, "a token is needed, in the header Authorization: Bearer")
    })?;
    let (claims, user) = verify(&side.ws, &token)?;
    if claims.room_id != room {
        return Err(ApiError::new(Code::TokenWrongRoom, "the token is for another room"));
    }
    Ok((room, claims, user))
}

/// Reads the body of a request. Refuses a body that has another media type or is compressed.
async fn body(
    req: &HttpRequest,
    side: &WhipSide,
    payload: web::Payload,
    media_type: &str,
) -> Result<String, ApiError> {
    let header = |name| req.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let essence = header(CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
    let is_plain = header(CONTENT_ENCODING).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    if !is_plain || essence.is_none_or(|essence| !essence.eq_ignore_ascii_case(media_type)) {
        let message = format!("send the body as {media_type}, without Content-Encoding");
        return Err(ApiError::new(Code::UnsupportedMediaType, message));
    }
    let limit = side.ws.limits.load().sdp_limit;
    let bytes = read_body(req, payload, limit).await?;
    String::from_utf8(bytes).map_err(|_| ApiError::new(Code::InvalidBody, "the body must be UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_become_links() {
        let urls = vec!["turn:turn.example.org:3478".to_owned(), "turns:turn.example.org".to_owned()];
        let turn = IceServer { urls, username: Some("1:ann".into()), credential: Some("pX=".into()) };
        let links: Vec<_> = ice_links(&turn).collect();
        let first = r#"<turn:turn.example.org:3478>; rel="ice-server"; username="1:ann"; credential="pX="; "#;
        assert_eq!(
            (links.len(), links[0].as_str()),
            (2, &*(first.to_owned() + r#"credential-type="password""#))
        );
        let stun = IceServer { urls: vec!["stun:a.example".into()], username: None, credential: None };
        assert_eq!(ice_links(&stun).collect::<Vec<_>>(), [r#"<stun:a.example>; rel="ice-server""#]);
    }
}
