//! List of the endpoints, from which the routes and the OpenAPI document are made.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage, HttpResponse, Resource, Route, Scope, web};
use utoipa::__dev::{SchemaReferences, Tags};
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Response,
    ResponseBuilder, Schema,
};

use crate::domain::api_key::{Caller, KeyScope};
use crate::http::error::{ApiError, ErrorBody};
use crate::http::methods::other;
use crate::http::server::large;

use super::{
    bans, captions, events, feeds, keys, modules, outputs, recordings, rooms, sources, token, tracks, users,
    webhooks,
};
use crate::http::channel::{bans as channel_bans, handlers as channel, host as channel_host};

const PREFIX: &str = "/api";
const BEARER: &str = "apiKey";
const TOKEN: &str = "roomToken";

/// One operation, as its handler's annotation describes it.
struct Endpoint {
    /// Full path, with `/api`.
    path: String,
    method: Method,
    documented_as: HttpMethod,
    operation: Operation,
    schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
    handle: fn(Route) -> Route,
    /// Scope that an API key needs for the operation; `None`: every key is sufficient, or the operation uses
    /// no API keys.
    scope: Option<KeyScope>,
}

macro_rules! endpoints {
    ($($module:ident::$handler:ident as $doc:ident),* $(,)?) => {
        vec![$(Endpoint::of::<$module::$doc>(|route| route.to($module::$handler))),*]
    };
}

/// Returns all endpoints of the REST API, with the scope that each needs. The second name of each entry is
/// the type that `utoipa::path` generates for the handler.
fn all() -> Vec<Endpoint> {
    let needs = |scope, endpoints: Vec<Endpoint>| {
        endpoints.into_iter().map(move |endpoint| Endpoint { scope: Some(scope), ..endpoint })
    };
    let rooms = endpoints![
        rooms::create as __path_create,
        rooms::update as __path_update,
        rooms::start as __path_start,
        rooms::backstage as __path_backstage,
        rooms::stop as __path_stop,
        rooms::mute as __path_mute,
        rooms::delete as __path_delete,
        sources::add as __path_add,
        sources::remove as __path_remove,
        recordings::start as __path_start,
        recordings::stop as __path_stop,
        recordings::delete as __path_delete,
        outputs::add as __path_add,
        outputs::remove as __path_remove,
        captions::open as __path_open,
    ];
    let users = endpoints![
        recordings::token as __path_token,
        feeds::issue as __path_issue,
        users::create as __path_create,
        users::remove as __path_remove,
        users::set_role as __path_set_role,
        bans::ban as __path_ban,
        bans::unban as __path_unban,
        bans::kick as __path_kick,
        token::issue as __path_issue,
    ];
    let operations = endpoints![
        modules::set_mark as __path_set_mark,
        modules::clear_mark as __path_clear_mark,
        webhooks::replay as __path_replay,
        webhooks::redeliver as __path_redeliver,
        keys::create as __path_create,
        keys::list as __path_list,
        keys::update as __path_update,
        keys::revoke as __path_revoke,
    ];
    let read = endpoints![
        rooms::list as __path_list,
        rooms::get as __path_get,
        recordings::list as __path_list,
        recordings::get as __path_get,
        recordings::transcript as __path_transcript,
        tracks::download as __path_download,
        outputs::list as __path_list,
        users::list as __path_list,
        users::person as __path_person,
        bans::list as __path_list,
        sources::list as __path_list,
        modules::list as __path_list,
        modules::stats as __path_stats,
        events::list as __path_list,
        webhooks::list as __path_list,
        webhooks::dead as __path_dead,
    ];
    needs(KeyScope::Rooms, rooms)
        .chain(needs(KeyScope::Users, users))
        .chain(needs(KeyScope::Operations, operations))
        .chain(needs(KeyScope::Read, read))
        .chain(endpoints![this::document as __path_document])
        .collect()
}

/// Returns the endpoint of the events of the listener channel, which listener nodes serve.
fn channel_events() -> Vec<Endpoint> {
    endpoints![channel::events as __path_events]
}

/// Returns the endpoints of the listener channel that carry out a command.
fn channel_commands() -> Vec<Endpoint> {
    endpoints![
        channel::raise as __path_raise,
        channel::lower as __path_lower,
        channel::lower_other as __path_lower_other,
        channel::invite as __path_invite,
        channel::revoke as __path_revoke,
        channel::enter as __path_enter,
        channel::react as __path_react,
        channel::say as __path_say,
        channel::delete as __path_delete,
        channel::pin as __path_pin,
        channel::unpin as __path_unpin,
        channel::announce as __path_announce,
        channel::retract as __path_retract,
        channel_host::give_floor as __path_give_floor,
        channel_host::end_floor as __path_end_floor,
        channel_host::mute_all as __path_mute_all,
        channel_host::lock as __path_lock,
        channel_host::unlock as __path_unlock,
        channel::set as __path_set,
        channel_bans::ban as __path_ban,
        channel_bans::unban as __path_unban,
        channel_bans::kick as __path_kick,
    ]
}

impl Endpoint {
    fn of<P: utoipa::Path + SchemaReferences + Tags<'static>>(handle: fn(Route) -> Route) -> Self {
        let documented_as = P::methods().swap_remove(0);
        let method = match documented_as {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
            _ => Method::GET,
        };
        let (path, mut operation) = (P::path(), P::operation());
        operation.tags = Some(P::tags().into_iter().map(str::to_owned).collect());
        Self { path, method, documented_as, operation, schemas: P::schemas, handle, scope: None }
    }

    fn route(self) -> Route {
        let id = self.operation.operation_id.as_deref().unwrap_or_default();
        let is_large = id.starts_with("list") || id == "getTranscript";
        let route = (self.handle)(web::method(self.method));
        let route = if is_large { route.wrap(from_fn(large)) } else { route };
        match self.scope {
            Some(scope) => route.wrap(from_fn(move |req, next| require(scope, req, next))),
            None => route,
        }
    }
}

/// Middleware that refuses a caller without the scope. Also refuses a request that was not authenticated.
async fn require(
    scope: KeyScope,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let allowed = match req.extensions().get::<Caller>() {
        Some(caller) => caller.require(scope).map_err(ApiError::from),
        None => Err(ApiError::internal("the request was not authenticated")),
    };
    match allowed {
        Ok(()) => Ok(next.call(req).await?.map_into_boxed_body()),
        Err(refused) => Ok(req.error_response(refused)),
    }
}

/// Registers the routes. A known path with an unknown method gets 405 with `Allow`.
pub(super) fn register(scope: Scope) -> Scope {
    resources(all()).fold(scope, Scope::service)
}

/// Returns the route of the events of the listener channel.
pub fn channel_events_resources() -> impl Iterator<Item = Resource> {
    resources(channel_events())
}

/// Returns the routes of the commands of the listener channel.
pub fn channel_command_resources() -> impl Iterator<Item = Resource> {
    resources(channel_commands())
}

fn resources(endpoints: Vec<Endpoint>) -> impl Iterator<Item = Resource> {
    let mut by_path: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        by_path.entry(endpoint.path.clone()).or_default().push(endpoint);
    }
    by_path.into_iter().map(|(path, endpoints)| resource(&path, endpoints))
}

fn resource(path: &str, endpoints: Vec<Endpoint>) -> Resource {
    let methods: Vec<_> = endpoints.iter().map(|e| e.method.clone()).collect();
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    let resource = web::resource(path.to_owned()).default_service(other(&methods));
    endpoints.into_iter().fold(resource, |resource, endpoint| resource.route(endpoint.route()))
}

/// Returns the OpenAPI 3.1 document of the API.
pub fn openapi() -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = Vec::new();
    let of_api = all().into_iter().map(|endpoint| (endpoint, BEARER));
    let of_channel = channel_events().into_iter().chain(channel_commands()).map(|endpoint| (endpoint, TOKEN));
    for (endpoint, scheme) in of_api.chain(of_channel) {
        (endpoint.schemas)(&mut schemas);
        let mut operation = endpoint.operation;
        add_common_refusals(&mut operation, scheme);
        // The scope is a role of the security requirement (OpenAPI 3.1 section 4.8.30).
        let scopes = endpoint.scope.iter().map(|scope| scope.as_str());
        operation.security = Some(vec![SecurityRequirement::new(scheme, scopes)]);
        paths.add_path_operation(endpoint.path, vec![endpoint.documented_as], operation);
    }
    let info =
        InfoBuilder::new().title("Stentor room API").version(env!("CARGO_PKG_VERSION")).description(Some(
            "Rooms, their anchors and listeners, and modules. The security of an operation names the \
             scope that an API key needs for it; without one, any key will do. Times are milliseconds \
             since the Unix epoch unless their description names another format. Paths below /api are \
             served at listen.api; paths below /hls, the listener channel, at the address of hlsUrl.",
        ));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .security_scheme(TOKEN, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components.build())).build()
}

/// Adds the refusals that operations of one kind have in common. A handler's annotation lists its other
/// refusals. If one of them has a status of the common refusals, the annotation must list all codes of that
/// status.
fn add_common_refusals(operation: &mut Operation, scheme: &str) {
    let mut common = vec![("500", "internal")];
    if scheme == BEARER {
        common.push(("401", "unauthorized"));
        common.push(("403", "origin_not_allowed, host_not_allowed, scope_missing"));
    }
    if operation.request_body.is_some() {
        common.push(("408", "request_timeout"));
        common.push(("413", "body_too_large"));
        common.push(("415", "unsupported_media_type"));
    }
    for (status, codes) in common {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| refusal(codes).into());
    }
    match operation.responses.responses.entry("429".to_owned()).or_insert_with(|| refusal("").into()) {
        RefOr::T(response) if response.description.is_empty() => {
            response.description = "too_many_requests (retryable)".to_owned();
        }
        RefOr::T(response) => response.description.push_str(", too_many_requests (retryable)"),
        RefOr::Ref(_) => {}
    }
}

fn refusal(codes: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    ResponseBuilder::new().description(codes).content("application/json", content).build()
}

static DOCUMENT: LazyLock<serde_json::Result<String>> = LazyLock::new(|| serde_json::to_string(&openapi()));

/// Returns the OpenAPI document as JSON.
///
/// # Errors
/// The document cannot be serialized, which is a defect.
pub fn document() -> Result<&'static str, ApiError> {
    DOCUMENT.as_deref().map_err(ApiError::internal)
}

mod this {
    use super::*;

    /// Returns this document.
    #[utoipa::path(
        get, path = "/api/openapi.json", operation_id = "openapi", tag = "meta",
        responses(
            (status = 200, description = "OpenAPI 3.1"),
            (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed"),
            (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
        )
    )]
    pub async fn document() -> Result<HttpResponse, ApiError> {
        Ok(HttpResponse::Ok().content_type("application/json").body(super::document()?))
    }
}
