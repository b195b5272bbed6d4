//! Endpoints for operators and monitoring: metrics, actors, liveness, readiness, reload, dashboard.
//!
//! Owns: the paths and formats, and who may use them. Does not collect data; that is the task of
//! [`OpsSource`].

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::api_keys::bearer_of_basic;
use crate::domain::api_key::KeyScope;

use super::api_keys::LiveApiKeys;
use super::cors::{self, Hosts};
use super::dashboard::{self, Dashboard};
use super::error::{ApiError, Code};
use super::extract::{BodyLimit, JsonBody};
use super::methods::{only_get, only_post};
use super::pages;
use super::server::large;

/// Maximum size of a request body, in bytes.
const MAX_BODY: usize = 1024;

/// Source of the answers. Must not block: a node whose actors are stuck must still answer.
///
/// The implementation needs the assembled node, which this module must not import. So it is in `app`.
pub trait OpsSource: Send + Sync {
    /// Returns the metrics in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Returns the supervision tree.
    fn actors(&self) -> Value;
    fn ready(&self) -> Readiness;
    /// Returns figures of the mix, such as silent and clipped seconds, of each room that this node mixes, by
    /// room id.
    fn mixes(&self) -> HashMap<String, Value>;
    /// Restarts the actor at this path.
    ///
    /// # Errors
    /// There is no such actor, or it must not be restarted now.
    fn restart(&self, path: &str) -> Result<(), RestartError>;
    /// Makes the node list the store again and check every room.
    fn reconcile(&self);
    /// Reads the configuration again and applies what can change while the node runs.
    fn reload(&self) -> BoxFuture<'static, Result<ReloadOutcome, ReloadError>>;
    /// Makes the actor at this path panic. Returns true if there is such an actor.
    #[cfg(debug_assertions)]
    fn panic(&self, path: &str) -> bool;
}

/// Readiness of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Each dependency of the node; an error says what is missing.
    pub checks: Vec<(String, Result<(), String>)>,
}

/// Changed settings, split by how they take effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadOutcome {
    pub applied: Vec<String>,
    pub need_restart: Vec<String>,
}

/// Reason why an actor was not restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartError {
    NotFound,
    /// The text says why, and what to do.
    Refused(&'static str),
}

/// Reason why nothing was reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadError {
    /// All errors of the configuration. Nothing was changed.
    Invalid(Vec<String>),
    /// The node is stopping, or was started without files and flags to read again.
    NotRead,
}

/// Rule for the callers of the operations endpoints.
#[derive(Clone)]
pub enum OpsAccess {
    /// The address is on loopback: callers need no key, and the node answers to these host names only.
    Local(Hosts),
    /// Callers need an API key with the scope `operations`. Without a key, `/livez` answers in full, and
    /// `/readyz` answers without reasons.
    Keys(Arc<LiveApiKeys>),
}

/// Marker of a request for `/readyz` without a key: the answer then gives no reasons.
#[derive(Clone, Copy)]
struct WithoutKey;

/// Registers `/metrics`, `/actors`, `/livez`, `/readyz`, `/reload`, `/audit` and the dashboard at `/`. Must
/// be registered last, because it takes every path. Without `dashboard`, there is no `/audit`, and the page
/// has no data. `base` is `http.base_path`.
pub fn configure(
    config: &mut web::ServiceConfig,
    source: Arc<dyn OpsSource>,
    access: OpsAccess,
    dashboard: Option<web::Data<Dashboard>>,
    base: &str,
) {
    let check = from_fn(move |req, next| {
        let access = access.clone();
        async move { admit(&access, req, next).await }
    });
    let routes = |scope: &mut web::ServiceConfig| {
        if let Some(dashboard) = dashboard {
            dashboard::configure(scope, dashboard);
        }
        routes(scope, source, base);
    };
    config.service(web::scope("").configure(routes).wrap(check));
}

async fn admit(
    access: &OpsAccess,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let auth = match access {
        OpsAccess::Local(hosts) => return cors::check_host(hosts, req, next).await,
        OpsAccess::Keys(auth) => auth,
    };
    let offered = req.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let from_browser = offered.and_then(bearer_of_basic);
    let caller = auth.admit(from_browser.as_deref().or(offered));
    let allowed = caller.and_then(|caller| Ok(caller.require(KeyScope::Operations)?));
    match (allowed, req.path()) {
        (Ok(()), _) | (Err(_), "/livez") => {}
        (Err(_), "/readyz") => drop(req.extensions_mut().insert(WithoutKey)),
        (Err(refused), _) => {
            let may_ask = refused.code == Code::Unauthorized;
            let mut response = req.error_response(refused);
            if may_ask {
                // This makes a browser ask for a password; the user enters the key there.
                let basic = HeaderValue::from_static("Basic realm=\"Stentor operations\", charset=\"UTF-8\"");
                response.headers_mut().append(header::WWW_AUTHENTICATE, basic);
            }
            return Ok(response);
        }
    }
    Ok(next.call(req).await?.map_into_boxed_body())
}

fn routes(config: &mut web::ServiceConfig, source: Arc<dyn OpsSource>, base: &str) {
    config
        .app_data(web::Data::from(source))
        .app_data(BodyLimit::Fixed(MAX_BODY))
        .service(only_get("/metrics", metrics))
        .service(only_get("/actors", actors).wrap(from_fn(large)))
        .service(only_get("/livez", live))
        .service(only_get("/readyz", ready))
        .service(only_post("/reload", reload));
    #[cfg(debug_assertions)]
    config.service(only_post("/actors/panic", panic));
    pages::configure_ops(config, base);
}

async fn metrics(source: web::Data<dyn OpsSource>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(source.metrics())
}

async fn actors(source: web::Data<dyn OpsSource>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(source.actors())
}

/// Makes the actor at a path panic: `{"path": "node/mixers/room:live"}`. For tests only: release builds do
/// not have it. Accepts only JSON, which a page from another origin cannot send.
#[cfg(debug_assertions)]
async fn panic(source: web::Data<dyn OpsSource>, asked: web::Json<Value>) -> HttpResponse {
    match asked["path"].as_str().is_some_and(|path| source.panic(path)) {
        true => HttpResponse::NoContent().finish(),
        false => HttpResponse::NotFound().finish(),
    }
}

/// Reloads the configuration. Works even if the store does not answer; then the audit log has no entry.
/// Accepts an empty JSON object. Refuses requests from pages: a foreign page must not control the node, and
/// Stentor's own pages do not use this endpoint.
async fn reload(
    source: web::Data<dyn OpsSource>,
    dashboard: Option<web::Data<Dashboard>>,
    request: HttpRequest,
    _: JsonBody<NoMembers>,
) -> Result<HttpResponse, ApiError> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::new(Code::OriginNotAllowed, "pages may not reload the configuration"));
    }
    let outcome = source.reload().await;
    if let Some(dashboard) = dashboard {
        dashboard.note_reload(&request, &outcome).await;
    }
    match outcome {
        Ok(outcome) => Ok(HttpResponse::Ok().json(outcome)),
        Err(ReloadError::Invalid(errors)) => {
            let message = "the configuration has errors; nothing was changed";
            let mut error = ApiError::new(Code::InvalidConfig, message);
            error.details = Some(json!({ "errors": errors }));
            Err(error)
        }
        Err(ReloadError::NotRead) => {
            Err(ApiError::new(Code::ReloadUnavailable, "this node cannot read its configuration again"))
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoMembers {}

/// Answers as long as the process and its HTTP workers run; reports nothing else.
async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "alive": true }))
}

async fn ready(source: web::Data<dyn OpsSource>, request: HttpRequest) -> HttpResponse {
    let readiness = source.ready();
    let mut answer = if readiness.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let mut body = json!({ "ready": readiness.ready });
    if request.extensions().get::<WithoutKey>().is_none() {
        body["checks"] = readiness.checks.iter().map(check).collect();
    }
    answer.insert_header((header::CACHE_CONTROL, "no-store")).json(body)
}

fn check((name, result): &(String, Result<(), String>)) -> Value {
    match result {
        Ok(()) => json!({ "name": name, "ok": true }),
        Err(reason) => json!({ "name": name, "ok": false, "reason": reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::rest::tests::house::house_of;
    use actix_web::{App, test};

    struct Fake(Readiness);

    impl OpsSource for Fake {
        fn metrics(&self) -> String {
            "# HELP stentor_rooms Rooms.\n# TYPE stentor_rooms gauge\nstentor_rooms 1\n".into()
        }
        fn actors(&self) -> Value {
            json!({ "name": "NodeActor" })
        }
        fn ready(&self) -> Readiness {
            self.0.clone()
        }
        fn mixes(&self) -> HashMap<String, Value> {
            HashMap::new()
        }
        fn restart(&self, _: &str) -> Result<(), RestartError> {
            Err(RestartError::NotFound)
        }
        fn reconcile(&self) {}
        fn reload(&self) -> BoxFuture<'static, Result<ReloadOutcome, ReloadError>> {
            Box::pin(async { Err(ReloadError::Invalid(vec!["log.filter: is no filter".into()])) })
        }
        #[cfg(debug_assertions)]
        fn panic(&self, _: &str) -> bool {
            false
        }
    }

    async fn ask(readiness: Readiness, path: &str) -> (u16, String) {
        ask_at("127.0.0.1:9464", readiness, path).await
    }

    async fn ask_at(host: &str, readiness: Readiness, path: &str) -> (u16, String) {
        let (source, access) = (Arc::new(Fake(readiness)), OpsAccess::Local(Hosts::default()));
        let app = test::init_service(App::new().configure(|c| configure(c, source, access, None, ""))).await;
        let request = test::TestRequest::get().uri(path).insert_header((header::HOST, host));
        let answer = test::call_service(&app, request.to_request()).await;
        let status = answer.status().as_u16();
        (status, String::from_utf8(test::read_body(answer).await.to_vec()).unwrap())
    }

    #[actix::test]
    async fn readyz_lists_failed_checks() {
        let checks = vec![("store".into(), Ok(())), ("janus".into(), Err("no connection".into()))];
        let (status, body) = ask(Readiness { ready: false, checks }, "/readyz").await;
        assert_eq!(status, 503);
        let json: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["checks"][1], json!({ "name": "janus", "ok": false, "reason": "no connection" }));
        assert_eq!(ask(Readiness { ready: true, checks: vec![] }, "/readyz").await.0, 200);
    }

    #[actix::test]
    async fn unready_node_serves_other_ops_paths() {
        for path in ["/livez", "/metrics", "/actors", "/", "/assets/dashboard.js"] {
            assert_eq!(ask(Readiness::default(), path).await.0, 200, "{path}");
        }
    }

    #[actix::test]
    async fn reload_lists_errors_and_refuses_pages() {
        let source = Arc::new(Fake(Readiness::default()));
        let app = test::init_service(
            App::new().configure(|c| configure(c, source, OpsAccess::Local(Hosts::default()), None, "")),
        )
        .await;
        let ask = async |request: test::TestRequest| {
            let answer = test::call_service(&app, request.uri("/reload").to_request()).await;
            (answer.status().as_u16(), test::read_body(answer).await)
        };
        let (status, body) = ask(test::TestRequest::post().set_json(json!({}))).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["code"]), (422, &json!("invalid_config")));
        assert_eq!(body["details"]["errors"], json!(["log.filter: is no filter"]));
        let page = test::TestRequest::post().insert_header((header::ORIGIN, "https://evil.example"));
        assert_eq!(ask(page).await.0, 403);
        assert_eq!(ask(test::TestRequest::post().set_json(json!({ "x": 1 }))).await.0, 400);
        assert_eq!(ask(test::TestRequest::get()).await.0, 405);
    }

    #[actix::test]
    async fn remote_callers_need_operations_scope() {
        let readiness = Readiness { ready: true, checks: vec![("store".into(), Ok(()))] };
        let keys = house_of(&[KeyScope::Read]).await;
        let reader = format!("Bearer {}", keys.key());
        let (source, access) = (Arc::new(Fake(readiness)), OpsAccess::Keys(keys.api.auth.clone()));
        let app = test::init_service(App::new().configure(|c| configure(c, source, access, None, ""))).await;
        let ask = async |path: &str, key: Option<&str>| {
            let mut request = test::TestRequest::get().uri(path).insert_header((header::HOST, "node-7:9464"));
            if let Some(key) = key {
                request = request.insert_header((header::AUTHORIZATION, key));
            }
            let answer = test::call_service(&app, request.to_request()).await;
            let asks = answer.headers().get_all(header::WWW_AUTHENTICATE).count();
            let (status, body) = (answer.status().as_u16(), test::read_body(answer).await);
            (status, asks, String::from_utf8(body.to_vec()).unwrap())
        };
        // `me:the-key` in Base64.
        let browser = "Basic bWU6dGhlLWtleQ==";
        for path in ["/metrics", "/actors", "/", "/assets/dashboard.js", "/nothing", "/reload"] {
            for (key, wanted) in [(None, 401), (Some("Bearer x"), 401), (Some(&*reader), 403)] {
                let (status, asks, body) = ask(path, key).await;
                assert_eq!(
                    (status, asks),
                    (wanted, if wanted == 401 { 2 } else { 0 }),
                    "{path} {key:?}: {body}"
                );
            }
            for key in ["Bearer the-key", browser] {
                let wanted = if path == "/nothing" {
                    404
                } else if path == "/reload" {
                    405
                } else {
                    200
                };
                assert_eq!(ask(path, Some(key)).await.0, wanted, "{path}");
            }
        }
        assert_eq!(ask("/livez", None).await.0, 200);
        assert_eq!(ask("/readyz", None).await, (200, 0, r#"{"ready":true}"#.to_owned()));
        assert!(ask("/readyz", Some("Bearer the-key")).await.2.contains("checks"));
    }

    #[actix::test]
    async fn ops_refuses_foreign_host_names() {
        for path in ["/metrics", "/actors", "/readyz", "/"] {
            let (status, body) = ask_at("evil.example:9464", Readiness::default(), path).await;
            assert!(status == 403 && body.contains("host_not_allowed"), "{path}: {status} {body}");
        }
        assert_eq!(ask(Readiness::default(), "/nothing").await.0, 404);
    }
}
