//! Commands that arrive as messages of a WebSocket.
//!
//! Each message becomes a request for the same routes that serve HTTP, without a connection. So handlers,
//! checks and refusals exist once.
//!
//! Owns: the form of the messages. Does not interpret a command.

use std::net::SocketAddr;
use std::rc::Rc;

use actix_http::{BoxedPayloadStream, Payload, Request};
use actix_service::boxed::{self, BoxService};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::{self, BoxBody};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use actix_web::http::{Method, Uri};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes};
use actix_web::{App, Error, HttpResponse, ResponseError};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{ChannelSide, with_side};
use crate::domain::ids::RoomId;
use crate::http::error::{ApiError, Code, not_found};
use crate::http::extract::parse;
use crate::http::request_id;
use crate::http::rest::channel_command_resources;

/// Routes of the commands of one worker thread, built when its first WebSocket opens.
#[derive(Clone, Default)]
pub(super) struct LazyCommands(Rc<OnceCell<Rc<Commands>>>);

/// Routes of the commands.
pub(super) struct Commands(BoxService<Request, ServiceResponse<BoxBody>, Error>);

/// Client of a WebSocket, as the author of commands.
pub(super) struct Caller {
    pub room: RoomId,
    /// Value of `Authorization`.
    pub authorization: HeaderValue,
    pub address: Option<SocketAddr>,
}

/// Message of a client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandMessage {
    id: u64,
    method: String,
    /// Path below that of the room.
    path: String,
    #[serde(default)]
    body: Option<Value>,
}

impl LazyCommands {
    /// Returns the routes.
    ///
    /// # Errors
    /// The routes cannot be built, which is a defect.
    pub async fn get(&self, side: &web::Data<ChannelSide>) -> Result<Rc<Commands>, ApiError> {
        let built = self.0.get_or_try_init(async || Commands::new(side).await.map(Rc::new)).await;
        built.cloned()
    }
}

impl Commands {
    async fn new(side: &web::Data<ChannelSide>) -> Result<Self, ApiError> {
        let app = channel_command_resources().fold(App::new(), |app, resource| {
            app.service(with_side(resource, side).wrap(from_fn(request_id::middleware)))
        });
        let app = app.default_service(web::to(not_found));
        let service = IntoServiceFactory::<_, Request>::into_factory(app).new_service(AppConfig::default());
        let service = service.await.map_err(|()| ApiError::internal("the routes of the commands"))?;
        Ok(Self(boxed::service(service)))
    }

    /// Carries out the command in a message, and returns the text of the answer.
    pub async fn answer(&self, caller: &Caller, text: &str) -> String {
        match parse::<CommandMessage>(text.as_bytes()) {
            Err(refused) => encode(None, refused.error_response()).await,
            Ok(message) => {
                let id = message.id;
                let response = match request(caller, message) {
                    Err(refused) => refused.error_response(),
                    Ok(request) => match self.0.call(request).await {
                        Ok(response) => response.into_parts().1,
                        Err(error) => error.error_response(),
                    },
                };
                encode(Some(id), response).await
            }
        }
    }
}

fn request(caller: &Caller, message: CommandMessage) -> Result<Request, ApiError> {
    let method = Method::from_bytes(message.method.as_bytes())
        .map_err(|_| ApiError::new(Code::InvalidBody, "method is not an HTTP method"))?;
    let path = format!("/hls/rooms/{}/{}", caller.room, message.path);
    let uri = Uri::try_from(path).map_err(|_| ApiError::new(Code::NotFound, "there is no such path"))?;
    let body = message.body.map(|body| Bytes::from(body.to_string()));
    let body: BoxedPayloadStream = Box::pin(stream::iter(body.map(Ok)));
    let mut request = Request::with_payload(Payload::Stream { payload: body });
    let head = request.head_mut();
    (head.method, head.uri, head.peer_addr) = (method, uri, caller.address);
    head.headers_mut().insert(AUTHORIZATION, caller.authorization.clone());
    Ok(request)
}

/// Returns the text of an answer. `id` is that of the message, if the message had one.
async fn encode(id: Option<u64>, response: HttpResponse) -> String {
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let retry_after = retry_after.map(|seconds| format!(r#","retryAfter":{seconds}"#)).unwrap_or_default();
    // Answers of the channel are JSON in memory. The answer to a method such as OPTIONS has no body.
    let body = body::to_bytes(response.into_body()).await.unwrap_or_default();
    let body = if body.is_empty() { "null".into() } else { String::from_utf8_lossy(&body) };
    format!(r#"{{"id":{},"status":{status}{retry_after},"body":{body}}}"#, json!(id))
}
