//! `/api/keys`: API keys that the store holds.

use std::collections::BTreeSet;

use actix_web::web::{Data, Json, ReqData};
use actix_web::{HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::auth::NewKey;
use crate::domain::api_key::{Caller, KeyName, KeyScope};
use crate::domain::audit::ApiAction;
use crate::domain::ids::UnixMs;
use crate::domain::quotas::{Quotas, Usage};
use crate::http::audit::Author;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{ApiKeyPath, JsonBody, integer};
use crate::rooms::{ApiKeyError, KnownApiKey, NewApiKey, RoomError, now};

use super::Api;

/// Longest lifetime of a key that expires: ten years, in seconds.
const LONGEST_LIFE: u64 = 10 * 365 * 24 * 3600;

/// API key to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    /// Name by which people recognise the key, such as that of the application: 1 to 64 visible characters.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// Parts of the API that the key may use. The caller must have all of these scopes.
    #[schema(min_items = 1, max_items = 4)]
    scopes: Vec<KeyScope>,
    /// Number of seconds after which the key expires. If absent or null, it does not.
    #[serde(default, deserialize_with = "integer")]
    #[schema(minimum = 1, maximum = 315_360_000)]
    ttl: Option<i64>,
    /// Limits of the key. If absent, it has none.
    #[serde(default)]
    #[schema(value_type = Quotas, required = false)]
    quotas: Map<String, Value>,
}

/// Changes of an API key. Scopes and expiry cannot change: create another key, and revoke this one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateKey {
    /// New name; absent or null: unchanged.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Quotas to change: null removes a limit, absent ones stay.
    #[serde(default)]
    #[schema(value_type = Quotas, required = false)]
    quotas: Map<String, Value>,
}

/// API key, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub(super) struct ApiKeyBody {
    /// Id of the key: the part of its text between the first two underscores.
    id: String,
    name: String,
    scopes: BTreeSet<KeyScope>,
    /// Time at which the key was created.
    created_at: u64,
    /// Time from which the key is refused; absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// Time at which the key was revoked; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<u64>,
    quotas: Quotas,
    usage: KeyUsage,
}

/// Rooms that count against the quotas of a key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyUsage {
    /// Number of existing rooms that the key has created.
    rooms: u32,
    /// Number of these rooms that are on air or backstage, or that their Janus and mixer have not released
    /// yet.
    rooms_on_air: u32,
}

/// Answer with a new API key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewKeyAnswer {
    /// Always true.
    success: bool,
    /// Text of the key, for `Authorization: Bearer`. It is shown only here and cannot be restored.
    secret: String,
    key: ApiKeyBody,
}

/// Answer with one API key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// Always true.
    success: bool,
    key: ApiKeyBody,
}

/// Answer with all API keys.
#[derive(Serialize, ToSchema)]
pub(super) struct KeysAnswer {
    /// Always true.
    success: bool,
    /// Keys in the order of their creation, including revoked and expired ones.
    keys: Vec<ApiKeyBody>,
}

/// Creates an API key.
///
/// It works on all nodes within moments. The answer contains the text of the key, which is not stored.
#[utoipa::path(
    post, path = "/api/keys", operation_id = "createKey", tag = "keys",
    request_body = CreateKey,
    responses(
        (status = 201, body = NewKeyAnswer, description = "the key, with its secret"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_name, \
            invalid_ttl"),
        (status = 409, body = ErrorBody, description = "too_many_api_keys"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn create(
    api: Data<Api>,
    caller: ReqData<Caller>,
    author: Author,
    body: JsonBody<CreateKey>,
) -> Result<impl Responder, ApiError> {
    let CreateKey { name, scopes, ttl, quotas } = body.0;
    let (name, scopes) = (KeyName::new(&name)?, BTreeSet::from_iter(scopes));
    if scopes.is_empty() {
        return Err(ApiError::new(Code::InvalidBody, "scopes must name at least one scope"));
    }
    let expires_at = ttl.map(expiry).transpose()?;
    let quotas = Quotas::default().merged(&quotas).map_err(ApiKeyError::from)?;
    caller.may_grant(&scopes)?;
    let NewKey { id, text, digest } = NewKey::random();
    let action =
        ApiAction::CreateKey { key: id.clone(), name: name.as_str().to_owned(), scopes: scopes.clone() };
    let new = NewApiKey { id, digest, name, scopes, expires_at, quotas };
    let known = api.audit.carry_out(author, action, api.rooms.api_keys().create(new)).await?;
    Ok(HttpResponse::Created().json(NewKeyAnswer { success: true, secret: text, key: shown(&api, &known) }))
}

/// Lists the API keys, without their secrets.
///
/// Keys of the configuration are not listed.
#[utoipa::path(
    get, path = "/api/keys", operation_id = "listKeys", tag = "keys",
    responses(
        (status = 200, body = KeysAnswer, description = "the keys"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>) -> impl Responder {
    let rooms = api.rooms.directory().rooms();
    let usage = Usage::by_key(rooms.values().map(|view| &**view));
    let all = api.rooms.api_keys().all();
    let keys = all.iter().map(|known| body(known, usage.get(&known.id).copied().unwrap_or_default()));
    Json(KeysAnswer { success: true, keys: keys.collect() })
}

/// Changes the name and the quotas of an API key.
///
/// If a quota is lower than the current usage, nothing that exists ends, but new requests are refused.
#[utoipa::path(
    patch, path = "/api/keys/{id}", operation_id = "updateKey", tag = "keys",
    params(("id" = String, Path, description = "id of the key", pattern = "^[a-z0-9]{12}$")),
    request_body(content = Option<UpdateKey>, description = "may be left out"),
    responses(
        (status = 200, body = KeyAnswer, description = "the key"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_name"),
        (status = 404, body = ErrorBody, description = "api_key_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn update(
    api: Data<Api>,
    id: ApiKeyPath,
    author: Author,
    body: JsonBody<UpdateKey>,
) -> Result<impl Responder, ApiError> {
    let UpdateKey { name, quotas } = body.0;
    let name = name.as_deref().map(KeyName::new).transpose()?;
    // Validate the quotas before the store is read, so that invalid quotas are refused even if the key does
    // not exist.
    Quotas::default().merged(&quotas).map_err(ApiKeyError::from)?;
    let change = api.rooms.api_keys().update(&id.0, name.as_ref(), &quotas);
    let known = api.audit.carry_out(author, ApiAction::UpdateKey { key: id.0.clone() }, change).await?;
    Ok(Json(KeyAnswer { success: true, key: shown(&api, &known) }))
}

/// Revokes an API key. May be repeated.
///
/// Every node that follows the store refuses the key within moments. Rooms and tokens that were created with
/// it stay. The key stays in the list until a new key needs its place.
#[utoipa::path(
    delete, path = "/api/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(("id" = String, Path, description = "id of the key", pattern = "^[a-z0-9]{12}$")),
    responses(
        (status = 200, body = KeyAnswer, description = "the revoked key"),
        (status = 404, body = ErrorBody, description = "api_key_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn revoke(
    api: Data<Api>,
    id: ApiKeyPath,
    author: Author,
) -> Result<impl Responder, ApiError> {
    let action = ApiAction::RevokeKey { key: id.0.clone() };
    let known = api.audit.carry_out(author, action, api.rooms.api_keys().revoke(&id.0)).await?;
    Ok(Json(KeyAnswer { success: true, key: shown(&api, &known) }))
}

fn expiry(seconds: i64) -> Result<UnixMs, ApiError> {
    match u64::try_from(seconds).ok().filter(|seconds| (1..=LONGEST_LIFE).contains(seconds)) {
        Some(seconds) => Ok(UnixMs(now().0 + seconds * 1000)),
        None => Err(ApiError::new(Code::InvalidTtl, format!("ttl must be 1 to {LONGEST_LIFE} seconds"))),
    }
}

fn shown(api: &Api, known: &KnownApiKey) -> ApiKeyBody {
    let rooms = api.rooms.directory().rooms();
    body(known, Usage::of(&known.id, rooms.values().map(|view| &**view)))
}

fn body(KnownApiKey { id, key }: &KnownApiKey, Usage { rooms, on_air }: Usage) -> ApiKeyBody {
    ApiKeyBody {
        id: id.to_string(),
        name: key.name.as_str().to_owned(),
        scopes: key.scopes.clone(),
        created_at: key.created_at.0,
        expires_at: key.expires_at.map(|at| at.0),
        revoked_at: key.revoked_at.map(|at| at.0),
        quotas: key.quotas,
        usage: KeyUsage { rooms, rooms_on_air: on_air },
    }
}

impl From<ApiKeyError> for ApiError {
    fn from(error: ApiKeyError) -> Self {
        let code = match error {
            ApiKeyError::Store(error) => return RoomError::from(error).into(),
            ApiKeyError::Corrupt { .. } => return Self::internal(error),
            ApiKeyError::NotFound => Code::ApiKeyNotFound,
            ApiKeyError::TooMany(_) => Code::TooManyApiKeys,
            ApiKeyError::InvalidQuota(_) => Code::InvalidBody,
            ApiKeyError::Busy => Code::Busy,
        };
        Self::new(code, error.to_string())
    }
}
