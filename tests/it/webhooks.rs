//! Webhooks of real nodes: signature, refusals, replay, and the death of the leader.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::rooms::on_etcd;
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request};
use crate::support::receiver::{Receiver, Request};
use crate::support::until;

const OLD: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NEW: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

#[actix::test]
async fn receiver_gets_signed_events_in_order() {
    let (plain, secure) = (Receiver::start().await, Receiver::start_with_tls().await);
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("ca.pem");
    std::fs::write(&certificate, secure.certificate.as_deref().unwrap()).unwrap();
    let endpoints =
        format!("app=http://{}/hook,secure=https://localhost:{}/hook", plain.address, secure.address.port());
    let secrets = format!("app:{OLD},app:{NEW},secure:{NEW}");
    let mut node = Node::prepare(&[
        ("node.roles", "rooms"),
        ("webhooks.endpoints", &endpoints),
        ("webhooks.secrets", &secrets),
    ]);
    node.environment(vec![("SSL_CERT_FILE".into(), certificate.display().to_string())]);
    node.run();
    node.ready().await;
    begun(&node).await;

    plain.answer(503);
    for room in ["one", "two"] {
        create(&node, room).await;
    }
    assert_eq!(node.delete("/api/rooms/one").await.status, 200);
    until("the endpoint is not available", async || {
        webhook(&node, "app").await["unavailable"]["error"] == "the endpoint answered 503"
    })
    .await;
    until("the other endpoint has everything", async || secure.events().len() == 3).await;
    assert_eq!(plain.events(), Vec::<Value>::new());

    // The receiver refuses one room. The replay ends the backoff that the outage started.
    plain.answer(200);
    plain.refuse_room(Some("one"));
    replay(&node, &cursor(&node, "app").await).await;
    until("the other room goes on", async || plain.events().len() == 1).await;
    until("the refusal shows", async || {
        let waiting = webhook(&node, "app").await["waiting"].clone();
        waiting[0]["roomId"] == "one" && waiting[0]["error"] == "the endpoint answered 400"
    })
    .await;
    let actors = node.states_of("webhook").await;
    assert_eq!(actors.len(), 2, "{actors:?}");
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    for outcome in ["delivered", "refused", "unavailable"] {
        let line = format!("stentor_webhook_attempts_total{{endpoint=\"app\",outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&line), "{line}:\n{metrics}");
    }
    plain.refuse_room(None);
    replay(&node, &cursor(&node, "app").await).await;
    let ledger = node.get("/api/events").await.json()["events"].clone();
    let all = ledger.as_array().unwrap();
    until("everything has come", async || plain.events().len() == all.len()).await;
    in_order(&plain.events(), all);
    until("nothing waits", async || webhook(&node, "app").await["waiting"] == json!([])).await;

    let before = plain.requests().len();
    replay(&node, "0").await;
    until("everything comes again", async || plain.requests().len() >= before + all.len()).await;
    in_order(&plain.requests()[before..].iter().map(Request::event).collect::<Vec<_>>(), all);

    let listed = control(&node, &["webhooks", "list"]).await;
    assert!(listed.contains("delivering") && listed.contains("secure"), "{listed}");
    let dead = control(&node, &["webhooks", "dead", "app", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&dead).unwrap(), json!([]));
    let events = control(&node, &["events", "--type", "room_created", "--json"]).await;
    assert_eq!(events.lines().count(), 2, "{events}");

    verified_by_documentation(OLD, &plain.requests());
    verified_by_documentation(NEW, &plain.requests());
    verified_by_documentation(NEW, &secure.requests());
    let told = format!("{}{}{}", node.output(), node.actors().await, node.get("/api/webhooks").await.text());
    for secret in [OLD, NEW] {
        assert!(!told.contains(secret.trim_start_matches("whsec_")), "a secret is shown");
    }
}

#[actix::test]
async fn dead_leader_loses_no_event() {
    let etcd = Etcd::start();
    let receiver = Receiver::start().await;
    let (endpoint, endpoints) = (etcd.endpoint(), format!("app=http://{}/hook", receiver.address));
    let secrets = format!("app:{OLD}");
    let settings = |id: &'static str| {
        [
            ("node.id", id),
            ("node.roles", "rooms"),
            ("rooms.heartbeat_ttl", "3s"),
            ("webhooks.endpoints", &endpoints),
            ("webhooks.secrets", &secrets),
        ]
    };
    let mut first = Node::start(&on_etcd(&endpoint, &settings("first"))).await;
    begun(&first).await;
    let second = Node::start(&on_etcd(&endpoint, &settings("second"))).await;
    let names: Vec<String> = (0..20).map(|n| format!("room-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        create(&second, name).await;
        if n == 10 {
            first.kill();
        }
        if n % 2 == 0 {
            assert_eq!(second.delete(&format!("/api/rooms/{name}")).await.status, 200);
        }
    }
    until("the other node delivers the rest", async || receiver.events().len() == 30).await;
    let ledger = second.get("/api/events").await.json()["events"].clone();
    in_order(&receiver.events(), ledger.as_array().unwrap());
    verified_by_documentation(OLD, &receiver.requests());
}

#[actix::test]
async fn reload_replaces_endpoints() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let configure = |endpoints: &[(&str, &Receiver)]| {
        let endpoint = |(name, receiver): &(&str, &Receiver)| {
            format!("{{name: {name}, url: \"http://{}/hook\"}}", receiver.address)
        };
        let secret = |(name, _): &(&str, &Receiver)| format!("{{name: {name}, secret: \"{OLD}\"}}");
        let all = |lines: Vec<String>| lines.join(", ");
        let endpoints =
            (all(endpoints.iter().map(endpoint).collect()), all(endpoints.iter().map(secret).collect()));
        let text = format!("webhooks:\n  endpoints: [{}]\n  secrets: [{}]\n", endpoints.0, endpoints.1);
        std::fs::write(&config, text).unwrap();
    };
    configure(&[("app", &first)]);
    let mut node = Node::prepare(&[("node.roles", "rooms")]);
    node.configured_by(&config);
    node.run();
    node.ready().await;
    begun(&node).await;
    create(&node, "one").await;
    until("the event has come", async || first.events().len() == 1).await;
    until("its delivery is recorded", async || {
        cursor(&node, "app").await == node.get("/api/events").await.json()["next"]
    })
    .await;

    configure(&[("app", &second), ("billing", &first)]);
    let applied = control(&node, &["reload"]).await;
    assert!(["endpoints", "secrets"].iter().all(|key| applied.contains(&format!("webhooks.{key}"))));
    assert!(!applied.contains("restart"), "{applied}");
    begun(&node).await;
    until("both endpoints are served", async || node.states_of("webhook").await.len() == 2).await;
    create(&node, "two").await;
    until("the changed endpoint goes on", async || second.events().len() == 1).await;
    until("the new endpoint has it, too", async || first.events().len() == 2).await;
    for receiver in [&first, &second] {
        assert_eq!(receiver.events().last().unwrap()["roomId"], "two");
    }

    configure(&[]);
    control(&node, &["reload"]).await;
    assert_eq!(node.get("/api/webhooks").await.json()["webhooks"], json!([]));
    until("no endpoint is served", async || node.states_of("webhook").await.is_empty()).await;
    assert!(node.stop().success());
}

async fn begun(node: &Node) {
    until("the leader has begun", async || {
        let listed = node.get("/api/webhooks").await.json()["webhooks"].clone();
        listed.as_array().is_some_and(|all| all.iter().all(|webhook| webhook["cursor"].is_string()))
    })
    .await;
}

async fn create(node: &Node, room: &str) {
    assert_eq!(node.post("/api/rooms", json!({ "roomId": room })).await.status, 201, "{room}");
}

async fn webhook(node: &Node, name: &str) -> Value {
    let listed = node.get("/api/webhooks").await.json()["webhooks"].clone();
    let mut all = listed.as_array().unwrap().iter();
    all.find(|webhook| webhook["name"] == name).unwrap().clone()
}

async fn cursor(node: &Node, name: &str) -> String {
    webhook(node, name).await["cursor"].as_str().unwrap().to_owned()
}

async fn replay(node: &Node, after: &str) {
    until("the replay is accepted", async || {
        // The leader may keep writing at the same time.
        let answer = node.post("/api/webhooks/app/replay", json!({ "after": after })).await;
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        answer.status == 200
    })
    .await;
}

/// Asserts that each room's events have arrived in the order of the ledger.
fn in_order(received: &[Value], ledger: &[Value]) {
    let mut rooms: Vec<&Value> = ledger.iter().map(|event| &event["roomId"]).collect();
    rooms.dedup();
    for room in rooms {
        let of_room = |events: &[Value]| -> Vec<Value> {
            events.iter().filter(|event| event["roomId"] == *room).cloned().collect()
        };
        assert_eq!(of_room(received), of_room(ledger));
    }
    assert_eq!(received.len(), ledger.len());
}

/// Verifies every request with the function that docs/events.md has for receivers.
fn verified_by_documentation(secret: &str, requests: &[Request]) {
    let document = include_str!("../../docs/events.md");
    let function = document.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let program = format!(
        "{function}\nimport json, sys\nrequests = json.load(sys.stdin)\nfor request in requests:\n    \
         body = base64.b64decode(request['body'])\n    \
         assert verify({secret:?}, request['headers'], body), request\n    \
         assert not verify({secret:?}, request['headers'], body + b' '), request\nprint(len(requests))\n"
    );
    let requests: Vec<Value> = requests
        .iter()
        .map(|request| json!({ "headers": request.headers, "body": STANDARD.encode(&request.body) }))
        .collect();
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(&requests).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), requests.len().to_string());
}

/// Runs a command against the node and returns its output.
async fn control(node: &Node, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(args).env("STENTOR_API", &node.api).env("STENTOR_OPS", &node.ops).kill_on_drop(true);
    let output: Output = command.output().await.unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
