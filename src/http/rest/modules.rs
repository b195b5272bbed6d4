//! `/api/modules` and `/api/stats`: Janus instances and mixers, their cordon labels, and totals.

use std::time::Duration;

use actix_web::Responder;
use actix_web::web::{Data, Json};

use crate::domain::audit::OperatorAction;
use crate::domain::keys::ModuleKind;
use crate::http::audit::Author;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, ModulePath};

use super::Api;
use super::body::{DoneAnswer, ModuleBody, ModulesAnswer, SetMark, StatsAnswer};

const LONGEST_MARK: u64 = 7 * 24 * 3600;

/// Sets the cordon label (`mark`) of a module.
///
/// A module accepts new rooms only with the label `ready` or without a label. With `cordon`, its existing
/// rooms stay; with `draining`, `drained` or `unready`, they move to other modules.
#[utoipa::path(
    put, path = "/api/modules/{kind}/{id}/mark", operation_id = "setMark", tag = "modules",
    params(
        ("kind" = String, Path, description = "januses or mixers", pattern = "^(januses|mixers)$"),
        ("id" = String, Path, description = "module id", pattern = "^[A-Za-z0-9_.-]{1,64}$"),
    ),
    request_body = SetMark,
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_module_id, \
            invalid_ttl"),
        (status = 404, body = ErrorBody, description = "module_not_found, not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn set_mark(
    api: Data<Api>,
    module: ModulePath,
    author: Author,
    body: JsonBody<SetMark>,
) -> Result<impl Responder, ApiError> {
    let (ttl, ModulePath(kind, id)) = (body.0.ttl.map(checked_ttl).transpose()?, module);
    let action = OperatorAction::SetLabel { kind, id: id.clone(), label: body.0.label };
    api.audit.carry_out(author, action, api.rooms.set_mark(kind, &id, body.0.label, ttl)).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Removes the cordon label (`mark`) of a module.
///
/// The module then counts as `ready`. A module without a label stays as it is.
#[utoipa::path(
    delete, path = "/api/modules/{kind}/{id}/mark", operation_id = "clearMark", tag = "modules",
    params(
        ("kind" = String, Path, description = "januses or mixers", pattern = "^(januses|mixers)$"),
        ("id" = String, Path, description = "module id", pattern = "^[A-Za-z0-9_.-]{1,64}$"),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_module_id"),
        (status = 404, body = ErrorBody, description = "not_found, module_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn clear_mark(
    api: Data<Api>,
    module: ModulePath,
    author: Author,
) -> Result<impl Responder, ApiError> {
    let ModulePath(kind, id) = module;
    let action = OperatorAction::ClearLabel { kind, id: id.clone() };
    api.audit.carry_out(author, action, api.rooms.clear_mark(kind, &id)).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Lists all known Janus instances and mixers.
///
/// Each module has its load and, if it accepts no rooms, the reason.
#[utoipa::path(
    get, path = "/api/modules", operation_id = "listModules", tag = "modules",
    responses(
        (status = 200, body = ModulesAnswer, description = "the modules"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>) -> impl Responder {
    let modules = api.rooms.modules();
    let of = |kind| modules.iter().filter(|m| m.kind == kind).map(ModuleBody::from).collect();
    Json(ModulesAnswer { success: true, januses: of(ModuleKind::Janus), mixers: of(ModuleKind::Mixer) })
}

/// Returns totals of rooms, listeners and modules, as this node sees them.
#[utoipa::path(
    get, path = "/api/stats", operation_id = "stats", tag = "modules",
    responses(
        (status = 200, body = StatsAnswer, description = "the totals"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn stats(api: Data<Api>) -> impl Responder {
    Json(StatsAnswer::of(&api.rooms.stats(), api.listeners.total()))
}

fn checked_ttl(seconds: i64) -> Result<Duration, ApiError> {
    match u64::try_from(seconds).ok().filter(|seconds| (1..=LONGEST_MARK).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(ApiError::new(Code::InvalidTtl, format!("ttl must be 1 to {LONGEST_MARK} seconds"))),
    }
}
