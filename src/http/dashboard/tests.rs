//! Tests of the endpoints of the dashboard with a store in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use actix_web::http::header;
use actix_web::{App, HttpMessage, test};
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use serde_json::Value;

use super::*;
use crate::auth::{ApiKeys, NewKey, OperatorSessions, Secrets};
use crate::config::{Secret, defaults};
use crate::delivery::listener_counter::Listeners;
use crate::domain::api_key::{KeyName, KeyScope};
use crate::domain::ids::{ModuleId, RoomId, UserId};
use crate::domain::keys::ModuleKind;
use crate::http::api_keys::LiveApiKeys;
use crate::http::audit::Auditor;
use crate::http::extract::BodyLimit;
use crate::http::ops::{Readiness, ReloadError, ReloadOutcome, RestartError};
use crate::http::server::OverTls;
use crate::rooms::{AuditLog, FakeStore, InitialState, NewApiKey, NewRoom, RoomService, StoreCopy};

const HOST: &str = "127.0.0.1:9464";
const ORIGIN: &str = "http://127.0.0.1:9464";

#[actix::test]
async fn actions_need_an_operator() {
    let house = House::new().await;
    let stop = json!({ "action": "stop_room", "room": "demo" });
    let reader = format!("Bearer {}", house.reader);
    for (key, status) in [(None, 401), (Some("Bearer x"), 401), (Some(&*reader), 403)] {
        let key: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
        let refused = house.post("/dashboard/actions", &key, &stop).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    let malformed = json!({ "action": "stop_room", "room": "demo", "now": true });
    let operator = format!("Bearer {}", house.operator);
    let key = ("authorization", &*operator);
    assert_eq!(house.post("/dashboard/actions", &[key], &malformed).await.status, 400);
    assert_eq!(house.audit().await, Vec::<Value>::new(), "nothing was done");
    let done = house.post("/dashboard/actions", &[key], &stop).await;
    assert_eq!(done.status, 200, "{done:?}");
    let audit = house.audit().await;
    assert_eq!((audit.len(), &audit[0]["operator"]["name"]), (1, &"Ann".into()));
    assert_eq!((&audit[0]["action"], &audit[0]["outcome"]["result"]), (&stop, &"done".into()));
}

#[actix::test]
async fn sessions_act_for_their_own_page_only() {
    let house = House::new().await;
    let refused = house.post("/dashboard/login", &[], &json!({ "key": house.reader })).await;
    assert_eq!((refused.status, refused.cookie), (403, None));
    let login = json!({ "key": format!(" {}\n", house.operator) });
    let foreign = house.post("/dashboard/login", &[("origin", "http://127.0.0.1:8080")], &login).await;
    assert_eq!(foreign.status, 403, "another port is another origin");
    let session = house.post("/dashboard/login", &[("origin", ORIGIN)], &login).await;
    let cookie = session.cookie.unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Path=/; Max-Age=3600"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert!(!cookie.contains(&house.operator), "the key is sealed");
    let forged = format!("{}=forged", cookie.split('=').next().unwrap());
    let act = async |headers: &[(&str, &str)]| {
        house.post("/dashboard/actions", headers, &json!({ "action": "reconcile" })).await.status
    };
    assert_eq!(act(&[("cookie", cookie)]).await, 403, "no origin");
    assert_eq!(act(&[("cookie", cookie), ("origin", "https://evil.example")]).await, 403);
    assert_eq!(act(&[("cookie", &forged), ("origin", ORIGIN)]).await, 401);
    assert_eq!(act(&[("cookie", cookie), ("origin", ORIGIN)]).await, 200);
    assert_eq!(house.node.reconciled.load(Relaxed), 1);
    // Browsers also attach HTTP Basic credentials automatically. These are `me:key` in Base64.
    assert_eq!(act(&[("authorization", "Basic bWU6a2V5")]).await, 403);
    let status = async |cookie: &str| {
        let request = test::TestRequest::get().uri("/dashboard/session");
        house.send(request, &[("cookie", cookie)]).await.body
    };
    assert_eq!(status(cookie).await["session"], true);
    let forged = status(&forged).await;
    assert_eq!((&forged["session"], &forged["operator"]), (&false.into(), &Value::Null));
    let ended = house.post("/dashboard/logout", &[("cookie", cookie), ("origin", ORIGIN)], &json!({})).await;
    assert!(ended.cookie.unwrap().contains("Max-Age=0"));
}

#[actix::test]
async fn secure_session_needs_host_cookie() {
    let house = House { is_secure: true, ..House::new().await };
    let login = json!({ "key": house.operator });
    let origin = ("origin", "https://127.0.0.1:9464");
    let cookie = house.post("/dashboard/login", &[origin], &login).await.cookie.unwrap();
    assert!(cookie.starts_with("__Host-stentor_operator_") && cookie.contains("; Path=/;"), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let status = async |cookie: &str| {
        let request = test::TestRequest::get().uri("/dashboard/session");
        house.send(request, &[("cookie", cookie)]).await.body["session"].clone()
    };
    assert_eq!(status(cookie).await, true);
    // Without the prefix, another port of the host could have set the cookie over http.
    assert_eq!(status(cookie.trim_start_matches("__Host-")).await, false);
}

#[actix::test]
async fn failed_actions_are_audited() {
    let house = House::new().await;
    let operator = format!("Bearer {}", house.operator);
    let key = ("authorization", &*operator);
    let act = async |action: Value| house.post("/dashboard/actions", &[key], &action).await.status;
    assert_eq!(act(json!({ "action": "stop_room", "room": "nowhere" })).await, 404);
    assert_eq!(act(json!({ "action": "restart_actor", "path": "node/none" })).await, 404);
    assert_eq!(act(json!({ "action": "restart_actor", "path": "node" })).await, 409);
    let label = json!({ "action": "set_label", "kind": "mixer", "id": "one", "label": "draining" });
    assert_eq!(act(label).await, 200);
    let module = house.rooms.directory().module(ModuleKind::Mixer, &ModuleId::new("one").unwrap()).unwrap();
    assert!(module.mark.is_some());
    let outcomes: Vec<_> = house.audit().await.iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes[0], json!({ "result": "failed", "error": "there is no such room" }));
    assert_eq!(outcomes[3], json!({ "result": "done" }));
    house.store.set_down(true);
    assert_eq!(act(json!({ "action": "reconcile" })).await, 503);
    assert_eq!(house.node.reconciled.load(Relaxed), 0, "no action without an entry");
}

#[actix::test]
async fn overview_shows_rooms_and_modules() {
    let house = House::new().await;
    house.dashboard.sample();
    let text = house.dashboard.render_overview();
    let data = std::str::from_utf8(&text).unwrap().strip_prefix("event: overview\ndata: ").unwrap();
    let overview: Value = serde_json::from_str(data.trim_end()).unwrap();
    let room = &overview["rooms"][0];
    assert_eq!((&room["id"], &room["status"]), (&"demo".into(), &"starting".into()));
    let reason = room["reason"].as_str().unwrap();
    assert!(reason.contains("Janus one has not created the room"), "{reason}");
    assert_eq!(overview["modules"].as_array().unwrap().len(), 2);
    assert_eq!((&overview["node"]["ready"], &overview["sample"]["rooms"]), (&true.into(), &1.into()));
    assert!(!data.contains("pin"), "{data}");
    assert_eq!(house.get("/dashboard/nodes").await.body, json!({ "nodes": ["n1"] }));
    assert_eq!(house.get("/dashboard/nodes/n1/actors").await.body, json!({ "actors": null }));
    assert!(house.get("/dashboard/nodes/n2/actors").await.body["error"].is_string());
    let waits = house.get("/dashboard/rooms/demo/actors").await.body;
    assert!(waits["waitsFor"].as_str().unwrap().contains("Janus one has not created the room"), "{waits}");
    assert_eq!(waits["nodes"], json!([{ "node": "n1", "actors": [] }]));
    let detail = house.get("/dashboard/rooms/demo").await;
    assert_eq!((detail.status, &detail.body["anchors"]), (200, &Value::Null));
    assert_eq!(house.get("/dashboard/rooms/nowhere").await.status, 404);
}

/// Dashboard of an installation with one started room, one Janus and one mixer.
struct House {
    store: Arc<FakeStore>,
    rooms: Arc<RoomService>,
    node: Arc<FakeNode>,
    dashboard: Data<Dashboard>,
    /// Ann's API key, with the scope `operations`.
    operator: String,
    /// API key with the scope `read`.
    reader: String,
    /// True if requests arrive over TLS.
    is_secure: bool,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    cookie: Option<String>,
    body: Value,
}

#[derive(Default)]
struct FakeNode {
    reconciled: AtomicUsize,
}

impl House {
    async fn new() -> Self {
        let (store, metrics) = (FakeStore::new(), Metrics::new(SystemTime::now()));
        store.add_module("one", 10);
        let directory = store.directory();
        let never = Duration::from_secs(1 << 30);
        let rooms = Arc::new(RoomService::new(store.clone(), directory.clone(), never, metrics.clone()));
        rooms.api_keys().begin_list();
        rooms.api_keys().end_list(1);
        let room_id = Some(RoomId::new("demo").unwrap());
        rooms.create(NewRoom { room_id, opening: InitialState::OnAir, ..NewRoom::default() }).await.unwrap();
        let me = ModuleId::new("n1").unwrap();
        let sources = OverviewSources {
            me: me.clone(),
            started_at: UnixMs(1),
            rooms: rooms.clone(),
            listeners: Listeners { me: me.clone(), counter: Arc::default(), directory },
            streams: Arc::default(),
            anchors: None,
            talking: Box::new(|_: &RoomId, _: &[UserId]| BTreeSet::new()),
            heartbeats: <_>::default(),
            peers: None,
            remote: <_>::default(),
        };
        let secrets = Secrets { jwt: vec![], hls: Secret(vec![7; 32]), janus_room: Secret(vec![]) };
        let (operator, reader) =
            (key(&rooms, "Ann", KeyScope::Operations).await, key(&rooms, "Ben", KeyScope::Read).await);
        let limits = Arc::new(ArcSwap::from_pointee(defaults().http.limits));
        let auth = Arc::new(LiveApiKeys::new(ApiKeys::Keys(vec![]), rooms.api_keys().clone(), limits));
        let audit = Arc::new(Auditor::new(AuditLog::new(store.clone()), me.clone()));
        let operators = Operators { auth, sessions: OperatorSessions::new(&secrets, me), audit };
        let node = Arc::new(FakeNode::default());
        let dashboard = Data::new(Dashboard::new(sources, node.clone(), operators, metrics));
        Self { store, rooms, node, dashboard, operator, reader, is_secure: false }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        self.send(test::TestRequest::post().uri(path).set_json(body), headers).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(test::TestRequest::get().uri(path), &[]).await
    }

    async fn send(&self, mut request: test::TestRequest, headers: &[(&str, &str)]) -> Reply {
        let dashboard = self.dashboard.clone();
        let app =
            App::new().app_data(BodyLimit::Fixed(1024)).configure(|config| configure(config, dashboard));
        let app = test::init_service(app).await;
        request = request.insert_header((header::HOST, HOST));
        for header in headers {
            request = request.insert_header(*header);
        }
        let request = request.to_request();
        if self.is_secure {
            request.extensions_mut().insert(OverTls);
        }
        let answer = test::call_service(&app, request).await;
        let cookie = answer.headers().get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        let (status, body) = (answer.status().as_u16(), test::read_body(answer).await);
        Reply { status, cookie, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    async fn audit(&self) -> Vec<Value> {
        self.get("/audit").await.body["entries"].as_array().unwrap().clone()
    }
}

/// Creates an API key with one scope and returns its text.
async fn key(rooms: &RoomService, name: &str, scope: KeyScope) -> String {
    let NewKey { id, text, digest } = NewKey::random();
    let (name, scopes) = (KeyName::new(name).unwrap(), [scope].into());
    let new = NewApiKey { id, digest, name, scopes, expires_at: None, quotas: <_>::default() };
    rooms.api_keys().create(new).await.unwrap();
    text
}

impl OpsSource for FakeNode {
    fn metrics(&self) -> String {
        String::new()
    }
    fn actors(&self) -> Value {
        Value::Null
    }
    fn ready(&self) -> Readiness {
        Readiness { ready: true, checks: vec![] }
    }
    fn mixes(&self) -> HashMap<String, Value> {
        HashMap::new()
    }
    fn restart(&self, path: &str) -> Result<(), RestartError> {
        Err(if path == "node" { RestartError::Refused("it is the root") } else { RestartError::NotFound })
    }
    fn reconcile(&self) {
        self.reconciled.fetch_add(1, Relaxed);
    }
    fn reload(&self) -> BoxFuture<'static, Result<ReloadOutcome, ReloadError>> {
        Box::pin(async { Err(ReloadError::NotRead) })
    }
    #[cfg(debug_assertions)]
    fn panic(&self, _: &str) -> bool {
        false
    }
}
