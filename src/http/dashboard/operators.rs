//! Actions of operators on the dashboard: login, authorization, and the audit log.
//!
//! An action needs an API key with the scope `operations`: in the header `Authorization`, or in a session
//! that `POST /dashboard/login` opens. With `auth.mode: open`, no key is needed. Browsers attach session
//! cookies and HTTP passwords automatically, even to requests that other sites cause. Requests with such
//! credentials must therefore have an `Origin` header that names this server.
//!
//! Owns: the authorization of operators. Does not change a room or a module itself;
//! [`RoomService`](crate::rooms::RoomService) does.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, ORIGIN, SET_COOKIE};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};
use serde::Deserialize;
use serde_json::json;

use super::Dashboard;
use crate::auth::api_keys::bearer_of_basic;
use crate::auth::{OperatorSessions, SESSION_TTL};
use crate::domain::api_key::KeyScope;
use crate::domain::audit::{ApiAction, AuditOutcome, Operator, OperatorAction};
use crate::http::api_keys::LiveApiKeys;
use crate::http::audit::{Auditor, Author};
use crate::http::cors::Origins;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{JsonBody, cookie};
use crate::http::methods::{only_get, only_post};
use crate::http::ops::{ReloadError, ReloadOutcome, RestartError};
use crate::http::request_id;
use crate::http::server::is_secure;
use crate::rooms::{RoomError, now};

/// Authorization of operators, and the log of their actions.
pub struct Operators {
    pub auth: Arc<LiveApiKeys>,
    pub sessions: OperatorSessions,
    pub audit: Arc<Auditor>,
}

/// Credentials of a request.
struct Credentials {
    /// Value for the header `Authorization`, with the key; `None` if the request has no key.
    authorization: Option<Vec<u8>>,
    /// True if browsers attach these credentials automatically: a session cookie or HTTP Basic.
    ambient: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logout {}

pub(super) fn configure(config: &mut ServiceConfig) {
    let with = |resource: Resource| {
        let no_store = DefaultHeaders::new().add((CACHE_CONTROL, "no-store"));
        resource.wrap(no_store).wrap(from_fn(request_id::middleware))
    };
    config
        .service(with(only_get("/dashboard/session", session)))
        .service(with(only_post("/dashboard/login", login)))
        .service(with(only_post("/dashboard/logout", logout)))
        .service(with(only_post("/dashboard/actions", act)))
        .service(with(only_get("/audit", audit)));
}

impl Operators {
    /// Returns the operator who sends a request.
    ///
    /// # Errors
    /// The key is missing, is not valid or lacks the scope.
    fn admit(&self, credentials: &Credentials) -> Result<Operator, ApiError> {
        let caller = self.auth.check(credentials.authorization.as_deref())?;
        caller.require(KeyScope::Operations)?;
        Ok(Operator::of(&caller, credentials.authorization.is_some()))
    }

    fn credentials(&self, request: &HttpRequest) -> Credentials {
        if let Some(offered) = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes()) {
            let basic = bearer_of_basic(offered);
            let ambient = basic.is_some();
            return Credentials { authorization: basic.or_else(|| Some(offered.to_vec())), ambient };
        }
        let authorization = self.session(request);
        Credentials { ambient: authorization.is_some(), authorization }
    }

    /// Returns the value for `Authorization` with the key in the session cookie; `None` without a valid
    /// session.
    fn session(&self, request: &HttpRequest) -> Option<Vec<u8>> {
        let name = self.sessions.cookie(is_secure(request));
        let session = cookie(request.headers(), &name).and_then(|text| self.sessions.open(text, now()).ok());
        session.map(|key| format!("Bearer {key}").into_bytes())
    }

    /// Returns true if the session cookie is valid and its key is still accepted.
    fn has_session(&self, request: &HttpRequest) -> bool {
        let session = Credentials { authorization: self.session(request), ambient: true };
        session.authorization.is_some() && self.admit(&session).is_ok()
    }
}

impl Dashboard {
    /// Records the outcome of a request to reload the configuration in the audit log.
    pub(in crate::http) async fn note_reload(
        &self,
        request: &HttpRequest,
        outcome: &Result<ReloadOutcome, ReloadError>,
    ) {
        let operators = &self.operators;
        let has_key = request.headers().contains_key(AUTHORIZATION);
        let operator = has_key.then(|| operators.admit(&operators.credentials(request)).ok());
        let author = Author::of(request, operator.flatten().unwrap_or_else(Operator::local));
        let outcome = match outcome {
            Ok(_) => AuditOutcome::Done,
            Err(ReloadError::Invalid(errors)) => AuditOutcome::Failed { error: errors.join("; ") },
            Err(ReloadError::NotRead) => {
                AuditOutcome::Failed { error: "the configuration was not read".into() }
            }
        };
        operators.audit.note(author, ApiAction::Reload {}, outcome).await;
    }
}

/// Refuses requests from other origins and, if `ambient`, requests without an `Origin`.
fn check_origin(headers: &HeaderMap, ambient: bool) -> Result<(), ApiError> {
    Origins::default().check(headers)?;
    if ambient && !headers.contains_key(ORIGIN) {
        let message = "a request with a session or a password must have an Origin header";
        return Err(ApiError::new(Code::OriginNotAllowed, message));
    }
    Ok(())
}

/// Answers with two fields: `operator` is the operator who sent the request, or null; `session` is true if
/// the request has a valid session cookie.
async fn session(request: HttpRequest, dashboard: Data<Dashboard>) -> HttpResponse {
    let operators = &dashboard.operators;
    let operator = operators.admit(&operators.credentials(&request)).ok();
    let has_session = operators.has_session(&request);
    HttpResponse::Ok().json(json!({ "operator": operator, "session": has_session }))
}

async fn login(
    request: HttpRequest,
    dashboard: Data<Dashboard>,
    body: JsonBody<Login>,
) -> Result<HttpResponse, ApiError> {
    check_origin(request.headers(), false)?;
    let key = body.0.key.trim();
    let credentials =
        Credentials { authorization: Some(format!("Bearer {key}").into_bytes()), ambient: false };
    let operator = dashboard.operators.admit(&credentials).inspect_err(|error| {
        tracing::warn!(code = ?error.code, "operator login refused");
    })?;
    tracing::info!(operator = operator.name, "operator logged in");
    let session = dashboard.operators.sessions.seal(key, now());
    let cookie = set_cookie(&dashboard.operators.sessions, &session, SESSION_TTL.as_secs(), &request);
    Ok(HttpResponse::Ok().insert_header((SET_COOKIE, cookie)).json(json!({ "operator": operator })))
}

async fn logout(
    request: HttpRequest,
    dashboard: Data<Dashboard>,
    _: JsonBody<Logout>,
) -> Result<HttpResponse, ApiError> {
    check_origin(request.headers(), false)?;
    let cookie = set_cookie(&dashboard.operators.sessions, "", 0, &request);
    Ok(HttpResponse::Ok().insert_header((SET_COOKIE, cookie)).json(json!({ "success": true })))
}

/// Returns the header that sets the session cookie. If the request came over https, browsers send the cookie
/// over https only. The path is `/`, because a proxy may add `http.base_path` and `__Host-` needs it. The
/// name keeps the cookies of several nodes apart.
fn set_cookie(sessions: &OperatorSessions, value: &str, max_age: u64, request: &HttpRequest) -> String {
    let is_secure = is_secure(request);
    let (name, secure) = (sessions.cookie(is_secure), if is_secure { "; Secure" } else { "" });
    format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age}{secure}")
}

async fn act(
    request: HttpRequest,
    dashboard: Data<Dashboard>,
    body: JsonBody<OperatorAction>,
) -> Result<HttpResponse, ApiError> {
    let credentials = dashboard.operators.credentials(&request);
    check_origin(request.headers(), credentials.ambient)?;
    let (operator, action) = (dashboard.operators.admit(&credentials)?, body.0);
    let author = Author::of(&request, operator);
    let change = carry_out(&dashboard, &action);
    dashboard.operators.audit.carry_out(author, action.clone(), change).await?;
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}

async fn carry_out(dashboard: &Dashboard, action: &OperatorAction) -> Result<(), ApiError> {
    let rooms = &dashboard.sources.rooms;
    match action {
        OperatorAction::SetLabel { kind, id, label } => rooms.set_mark(*kind, id, *label, None).await?,
        OperatorAction::ClearLabel { kind, id } => rooms.clear_mark(*kind, id).await?,
        OperatorAction::StopRoom { room } => drop(rooms.stop(room).await?),
        OperatorAction::RestartActor { path } => dashboard.node.restart(path)?,
        OperatorAction::Reconcile {} => dashboard.node.reconcile(),
    }
    Ok(())
}

/// Returns the audit log, the oldest entry first.
async fn audit(dashboard: Data<Dashboard>) -> Result<HttpResponse, ApiError> {
    let entries = dashboard.operators.audit.log().list().await.map_err(RoomError::from)?;
    Ok(HttpResponse::Ok().json(json!({ "success": true, "entries": entries })))
}

impl From<RestartError> for ApiError {
    fn from(error: RestartError) -> Self {
        match error {
            RestartError::NotFound => Self::new(Code::ActorNotFound, "there is no such actor on this node"),
            RestartError::Refused(why) => Self::new(Code::ActorNotRestarted, why),
        }
    }
}
