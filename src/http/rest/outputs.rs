//! `/api/rooms/{id}/outputs`: pushes of a room's broadcast to Icecast, RTMP and SRT targets.

use std::net::IpAddr;

use actix_web::Responder;
use actix_web::web::{Data, Json};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::SealedUrls;
use crate::domain::output::{
    InvalidTarget, Output, OutputFormat, OutputId, OutputKind, OutputState, Outputs, Target, status,
};
use crate::domain::srt_passphrase::check_passphrase;
use crate::domain::view::RoomView;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, OutputPath, RoomPath};
use crate::rooms::now;

use super::Api;
use super::body::DoneAnswer;

/// Settings of outputs.
pub struct OutputsSide {
    pub targets: SealedUrls,
    /// `outputs.max_per_room`.
    pub most: usize,
    /// Tests whether a target may have this address.
    pub allows: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// Output to add to a room.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOutput {
    /// URL of the target with its credentials: `icecast://user:password@host:port/mount` (with TLS
    /// `icecasts://…`), `rtmp://host/app/key`, `rtmps://host/app/key` or
    /// `srt://host:port?streamid=…&passphrase=…` with a passphrase of 10 to 79 bytes. It is stored encrypted
    /// and never returned.
    #[schema(max_length = 1000)]
    url: String,
    /// Audio codec; `aac` if absent. Only Icecast targets take `mp3` and `opus`.
    #[serde(default)]
    format: OutputFormat,
}

/// Output of a room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Output)]
pub(super) struct OutputBody {
    /// Id of the output.
    output_id: String,
    kind: OutputKind,
    format: OutputFormat,
    /// Target without its credentials.
    target: String,
    state: OutputState,
    /// Time since which the output has this state.
    since: u64,
    /// Reason for the last failure; absent unless the state is `failing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Number of failures in a row.
    failures: u32,
    /// Time at which the output was added.
    created_at: u64,
}

/// Answer with one output.
#[derive(Serialize, ToSchema)]
pub(super) struct OutputAnswer {
    /// Always true.
    success: bool,
    output: OutputBody,
}

/// Answer with the outputs of a room.
#[derive(Serialize, ToSchema)]
pub(super) struct OutputsAnswer {
    /// Always true.
    success: bool,
    /// Outputs, ordered by id.
    outputs: Vec<OutputBody>,
}

/// Adds an output to a room.
///
/// While the room is on air, its mixer pushes the broadcast to the target, and tries again without limit if
/// the target fails. The output stays until it is removed or the room is deleted. A target may have a
/// public address, or one of `outputs.networks`.
#[utoipa::path(
    post, path = "/api/rooms/{id}/outputs", operation_id = "addOutput", tag = "outputs",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = NewOutput,
    responses(
        (status = 200, body = OutputAnswer, description = "the output"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_json, invalid_body, \
            invalid_output"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "too_many_outputs, outputs_off"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn add(
    api: Data<Api>,
    room: RoomPath,
    body: JsonBody<NewOutput>,
) -> Result<impl Responder, ApiError> {
    let target = Target::parse(&body.0.url, body.0.format)?;
    check_passphrase(target.url()).map_err(|error| ApiError::new(Code::InvalidOutput, error.to_string()))?;
    if let Some(ip) = target.address().filter(|ip| !(api.outputs.allows)(*ip)) {
        let message = format!("{ip} is not a public address; list its network in outputs.networks");
        return Err(ApiError::new(Code::InvalidOutput, message));
    }
    let id = OutputId::random(rand::rng().random());
    let output = Output {
        kind: target.kind(),
        format: target.format(),
        shown: target.shown(),
        sealed: api.outputs.targets.seal(&room.0, &id, target.reveal(), now()),
        created_at: now(),
    };
    let view = api.rooms.add_output(&room.0, &id, &output, api.outputs.most).await?;
    Ok(Json(OutputAnswer { success: true, output: shown(&view, &id, &output) }))
}

/// Lists the outputs of a room with their states.
#[utoipa::path(
    get, path = "/api/rooms/{id}/outputs", operation_id = "listOutputs", tag = "outputs",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = OutputsAnswer, description = "the outputs"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>, room: RoomPath) -> Result<impl Responder, ApiError> {
    let view = api.rooms.get(&room.0).await?.view;
    let none = Outputs::default();
    let wanted = view.outputs.as_ref().map_or(&none, |outputs| &outputs.value);
    let outputs = wanted.0.iter().map(|(id, output)| shown(&view, id, output)).collect();
    Ok(Json(OutputsAnswer { success: true, outputs }))
}

/// Removes an output from a room. The connection to its target ends.
#[utoipa::path(
    delete, path = "/api/rooms/{id}/outputs/{outputId}", operation_id = "removeOutput", tag = "outputs",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("outputId" = String, Path, description = "output id", pattern = "^[a-z0-9]{16}$"),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "removed"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found, output_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn remove(api: Data<Api>, path: OutputPath) -> Result<impl Responder, ApiError> {
    api.rooms.remove_output(&path.0, &path.1).await?;
    Ok(Json(DoneAnswer::YES))
}

fn shown(view: &RoomView, id: &OutputId, output: &Output) -> OutputBody {
    let status = status(view, id, output);
    OutputBody {
        output_id: id.to_string(),
        kind: output.kind,
        format: output.format,
        target: output.shown.clone(),
        state: status.state,
        since: status.since.0,
        reason: status.reason,
        failures: status.failures,
        created_at: output.created_at.0,
    }
}

impl From<InvalidTarget> for ApiError {
    fn from(invalid: InvalidTarget) -> Self {
        Self::new(Code::InvalidOutput, invalid.to_string())
    }
}
