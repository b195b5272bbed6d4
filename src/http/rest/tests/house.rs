//! Test setup: the room API over an in-memory store, with the check that every answer is a documented one.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;
use actix_web::{App, Error, test, web};
use arc_swap::ArcSwap;
use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth::{ApiKeys, NewKey, SealedUrls, Secrets};
use crate::config::{self, AuthConfig, AuthMode, Secret, WebhookEndpoint, WebhooksConfig};
use crate::delivery::listener_counter::Listeners;
use crate::delivery::samples::recording_media;
use crate::domain::api_key::{KeyName, KeyScope};
use crate::domain::connection::{FencingToken, Lifetimes};
use crate::domain::ids::{ModuleId, RoomId, UserId};
use crate::domain::model::UserRole;
use crate::domain::quotas::Quotas;
use crate::domain::recording::RecordingMode;
use crate::domain::signalling::methods::ActivityStatus;
use crate::domain::sources::{Scheme, SourcePolicy};
use crate::domain::webhooks::WebhookFilter;
use crate::http::BodyLimit;
use crate::http::anchors::PresentUsers;
use crate::http::api_keys::LiveApiKeys;
use crate::http::audit::Auditor;
use crate::http::cors::Origins;
use crate::http::rest::{Api, CaptionsSide, OutputsSide, SourcesSide, configure, openapi};
use crate::http::test_tokens::node_tokens;
use crate::presence::embedded::EmbeddedPresence;
use crate::presence::embedded_stages::EmbeddedStages;
use crate::presence::{Presence, PresenceEntry, Source};
use crate::rooms::captions::RecogniserClaims;
use crate::rooms::recordings::Recordings;
use crate::rooms::{AuditLog, Directory, FakeStore, NewApiKey, RoomService, StoreCopy};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::webhooks::Webhooks;

type AnsweringService =
    Box<dyn Fn(TestRequest) -> futures::future::LocalBoxFuture<'static, ServiceResponse<BoxBody>>>;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(openapi()).unwrap());

pub struct House {
    pub store: Arc<FakeStore>,
    pub rooms: Arc<RoomService>,
    pub api: web::Data<Api>,
    /// Folder of the recordings of the node.
    pub folder: TempDir,
    /// API key that is sent with every request.
    key: Option<String>,
    service: AnsweringService,
}

pub struct Answer {
    pub status: u16,
    headers: HeaderMap,
    pub json: Value,
    pub text: String,
    pub pattern: Option<String>,
}

/// Returns the recordings of a store, with one that is complete.
async fn recordings(store: &Arc<FakeStore>) -> Recordings {
    let recordings = Recordings::new(store.clone(), store.directory());
    recordings.begin_list();
    let recording = r#"{
        "room":"abc","nonce":"n","roomCreatedAt":1,"startedAt":2,
        "takes":{"one":{"endedAt":9,"segments":3,"durationMs":5760,"bytes":17008,"lost":1}},
        "tracks":[{"number":1,"userId":"ann","node":"one","bytes":300000},
            {"number":3,"userId":"bob","node":"gone","bytes":9}]
    }"#;
    store.put_now("/recordings/0123456789abcdef", recording);
    let kept = store.get("/recordings/0123456789abcdef").await.unwrap().unwrap();
    recordings.put(&kept);
    recordings.end_list(store.revision());
    recordings
}

/// Returns webhooks with one endpoint, whose port is closed. The events of one room wait for delivery, and
/// there is one dead letter.
fn webhooks(store: &Arc<FakeStore>, metrics: Metrics) -> Webhooks {
    let endpoint = WebhookEndpoint {
        name: "app".into(),
        url: "http://127.0.0.1:1/events".into(),
        filter: WebhookFilter { types: vec!["room_ended".into()], rooms: Vec::new() },
    };
    let config = WebhooksConfig { endpoints: vec![endpoint], secrets: Vec::new() };
    store.put_now(
        "/webhooks/app/state",
        r#"{
            "cursor":"99.0","dead":1,
            "waiting":{"abc":{"from":"7.1","attempts":2,"since":5,"next":6,"error":"no"}}
        }"#,
    );
    let event = r#"{"id":"evt_000000000000000000000000000000010","cursor":"3.0","type":"room_ended",
        "roomId":"abc","time":"2026-01-31T12:00:00.000Z","data":{}}"#;
    let letter = format!(r#"{{"number":0,"event":{event},"attempts":10,"error":"no","at":8}}"#);
    store.put_now("/webhooks/app/dead/000", &letter);
    Webhooks::new(store.clone(), &config, metrics).unwrap()
}

fn captions(store: &Arc<FakeStore>, metrics: Metrics) -> CaptionsSide {
    let me = ModuleId::new("api").unwrap();
    let claims = RecogniserClaims { store: store.clone(), me, ttl: Duration::from_secs(10) };
    CaptionsSide { feeds: Arc::default(), claims, metrics }
}

pub async fn house() -> House {
    house_with(None, &[]).await
}

/// Returns an API whose callers have a key with these scopes. It also accepts `the-key`.
pub async fn house_of(scopes: &[KeyScope]) -> House {
    let house = house_with(Some("the-key"), &[]).await;
    let NewKey { id, text, digest } = NewKey::random();
    let (name, scopes) = (KeyName::new("app").unwrap(), scopes.iter().copied().collect());
    let new = NewApiKey { id, digest, name, scopes, expires_at: None, quotas: Quotas::default() };
    house.rooms.api_keys().create(new).await.unwrap();
    House { key: Some(text), ..house }
}

/// Returns an API that accepts this key and the keys that are created through it. Without a key, the API
/// accepts every caller.
pub async fn house_with(key: Option<&'static str>, origins: &[String]) -> House {
    let store = FakeStore::new();
    store.add_module("one", 50);
    let grace = Duration::from_secs(60);
    let metrics = Metrics::new(std::time::SystemTime::now());
    let rooms = RoomService::new(store.clone(), store.directory(), grace, metrics.clone());
    let rooms = Arc::new(rooms);
    rooms.ledger().end_list(1);
    rooms.api_keys().begin_list();
    rooms.api_keys().end_list(1);
    let configured = ApiKeys::new(&AuthConfig {
        mode: if key.is_some() { AuthMode::Keys } else { AuthMode::Open },
        api_keys: key.iter().map(|key| Secret(key.as_bytes().to_vec())).collect(),
        ..config::defaults().auth
    });
    let folder = tempfile::tempdir().unwrap();
    let recordings = Arc::new(recordings(&store).await);
    let media = recording_media("one", store.directory(), recordings.clone(), metrics.clone(), folder.path());
    let limits = Arc::new(ArcSwap::from_pointee(config::defaults().http.limits));
    let api = web::Data::new(Api {
        rooms: rooms.clone(),
        auth: Arc::new(LiveApiKeys::new(configured, rooms.api_keys().clone(), limits)),
        tokens: Arc::new(node_tokens(store.directory())),
        anchors: Some(Arc::new(ann_in_demo(store.directory()).await)),
        listeners: Listeners {
            me: ModuleId::new("api").unwrap(),
            counter: Arc::default(),
            directory: store.directory(),
        },
        origins: Origins::new(origins),
        hls_base: "https://live.example.org".into(),
        ws_url: "wss://live.example.org/ws".into(),
        body_limit: BodyLimit::Fixed(64 * 1024),
        recordings,
        recording: RecordingMode::OnRequest,
        rewind: Duration::ZERO,
        webhooks: Arc::new(webhooks(&store, metrics.clone())),
        audit: Arc::new(Auditor::new(AuditLog::new(store.clone()), ModuleId::new("api").unwrap())),
        outputs: outputs(),
        captions: captions(&store, metrics.clone()),
        stages: EmbeddedStages::new(),
        sources: sources(),
        media: Arc::new(media),
    });
    let for_app = api.clone();
    let app = App::new().configure(move |cfg| configure(cfg, for_app));
    let service = answering(test::init_service(app).await, TestRequest::to_request);
    House { store, rooms, api, folder, key: None, service }
}

/// Wraps a service, because actix-web does not export its request type.
fn answering<R: 'static, S>(service: S, request: fn(TestRequest) -> R) -> AnsweringService
where
    S: Service<R, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
{
    let service = std::rc::Rc::new(service);
    Box::new(move |test_request| {
        let service = service.clone();
        Box::pin(async move { service.call(request(test_request)).await.unwrap() })
    })
}

impl House {
    /// Returns the key that is sent with every request.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap()
    }

    pub async fn call(&self, request: TestRequest) -> Answer {
        let request = match &self.key {
            Some(key) => request.insert_header(("authorization", format!("Bearer {key}"))),
            None => request,
        };
        let response = (self.service)(request).await;
        let pattern = response.request().match_pattern();
        let method = response.request().method().clone();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = test::read_body(response).await;
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let answer = Answer {
            status: status.as_u16(),
            headers,
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
            pattern,
        };
        answer.is_documented(&method);
        answer
    }

    pub async fn send(&self, method: Method, path: &str) -> Answer {
        self.call(TestRequest::default().method(method).uri(path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        match body {
            Value::Null => self.send(Method::POST, path).await,
            body => self.call(json_request(Method::POST, path, &body.to_string())).await,
        }
    }

    /// Sends a request with this API key.
    pub async fn with_key(&self, key: &str, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = json_request(method, path, &body);
        self.call(request.insert_header(("authorization", format!("Bearer {key}")))).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(json_request(Method::PUT, path, &body.to_string())).await
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.json["code"]), (status, &json!(code)), "{}", self.text);
        assert_eq!(self.json["success"], false);
        assert!(self.json["error"].is_string() && self.json["requestId"].is_string());
    }

    /// Panics if the answer is not documented. Ignores answers that belong to no operation: a 404 without a
    /// route, a 405, a preflight.
    fn is_documented(&self, method: &Method) {
        let Some(pattern) = self.pattern.as_deref() else { return };
        let operation = &DOCUMENT["paths"][pattern][method.as_str().to_lowercase()];
        if operation.is_object() {
            let documented = &operation["responses"][self.status.to_string()];
            assert!(documented.is_object(), "{method} {pattern} answered {}: {}", self.status, self.text);
            let described = documented["description"].as_str().unwrap_or_default();
            let code = self.json["code"].as_str().unwrap_or_default();
            assert!(described.contains(code), "{method} {pattern}: {code} is not among: {described}");
        }
    }
}

/// Returns the claims of an issued token.
pub fn claims(token: &Value) -> Value {
    let claims = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// Returns presence in which Ann is in the room `demo`, with a token that was not issued here.
pub async fn ann_in_demo(directory: Arc<Directory>) -> PresentUsers {
    let ann = PresenceEntry {
        user_id: UserId::new("ann").unwrap(),
        role: UserRole::Host,
        display_name: Some("Ann".into()),
        status: ActivityStatus::OnAir,
        muted: true,
        source: Source::Whip,
        joining: false,
        consent: false,
        token: FencingToken(1),
    };
    let hour = Duration::from_secs(3_600);
    let presence = EmbeddedPresence::new(Lifetimes { lock: hour, gateway: hour, member: hour });
    presence.join(&RoomId::new("demo").unwrap(), &ann, 1).await.unwrap();
    PresentUsers { presence, directory }
}

pub fn json_request(method: Method, path: &str, body: &str) -> TestRequest {
    TestRequest::default()
        .method(method)
        .uri(path)
        .insert_header(("content-type", "application/json"))
        .set_payload(body.to_owned())
}

fn secrets() -> Secrets {
    let secret = || Secret(vec![7; 32]);
    Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() }
}

/// Returns settings of outputs that allow two per room.
fn outputs() -> OutputsSide {
    let allows = Box::new(|ip| crate::domain::outbound::may_connect(ip, &[]));
    OutputsSide { targets: SealedUrls::of_outputs(&secrets()), most: 2, allows }
}

/// Returns settings of sources that permit files, HTTP and RTMP.
fn sources() -> SourcesSide {
    let schemes = vec![Scheme::Http, Scheme::Rtmp];
    let policy = SourcePolicy { schemes, networks: Vec::new(), files: true };
    SourcesSide { policy, urls: SealedUrls::of_sources(&secrets()) }
}
