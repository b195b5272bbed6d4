//! Tests of the rules for every path: keys, origins, request ids, limits, and the OpenAPI document.

use std::io::{Read, Write};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use actix_web::{App, HttpServer};
use serde_json::{Value, json};

use super::house::{house, house_of, house_with, json_request};
use crate::domain::api_key::KeyScope;
use crate::http::rest::{configure, openapi};

#[actix::test]
async fn large_bodies_are_refused_announced_or_not() {
    let house = house().await;
    let large = format!(r#"{{"roomId": "{}"}}"#, "x".repeat(10 << 20));
    house.call(json_request(Method::POST, "/api/rooms", &large)).await.refused(413, "body_too_large");
    let announced =
        json_request(Method::POST, "/api/rooms", "{}").insert_header(("content-length", "10485760"));
    house.call(announced).await.refused(413, "body_too_large");
}

#[actix::test]
async fn oversized_upload_gets_413() {
    let api = house().await.api;
    let server = HttpServer::new(move || {
        let api = api.clone();
        App::new().configure(move |cfg| configure(cfg, api))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    let running = server.run();
    let handle = running.handle();
    actix::spawn(running);
    let answer = tokio::task::spawn_blocking(move || upload(address, 10 << 20)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
    handle.stop(false).await;
}

#[actix::test]
async fn other_content_types_are_refused() {
    let house = house().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request = TestRequest::post().uri("/api/rooms").insert_header(("content-type", kind));
        house.call(request.set_payload("{}")).await.refused(415, "unsupported_media_type");
    }
    let charset = TestRequest::post()
        .uri("/api/rooms")
        .insert_header(("content-type", "Application/JSON; charset=utf-8"))
        .set_payload("{}");
    assert_eq!(house.call(charset).await.status, 201);
}

#[actix::test]
async fn missing_api_key_changes_nothing() {
    let house = house_with(Some("the-key"), &[]).await;
    let before = house.store.revision();
    for (method, path) in operations() {
        for key in [None, Some("Bearer wrong"), Some("the-key"), Some("Basic dGhlLWtleQ==")] {
            let mut request = TestRequest::default().method(method.clone()).uri(&filled(&path));
            if let Some(key) = key {
                request = request.insert_header(("authorization", key));
            }
            let answer = house.call(request).await;
            answer.refused(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    house.send(Method::GET, "/api/nothing").await.refused(401, "unauthorized");
    assert_eq!(house.store.revision(), before);
    let request = TestRequest::get().uri("/api/stats").insert_header(("authorization", "Bearer the-key"));
    assert_eq!(house.call(request).await.status, 200);
}

#[actix::test]
async fn each_route_needs_its_scope() {
    let document = serde_json::to_value(openapi()).unwrap();
    let needs: Vec<_> = operations()
        .into_iter()
        .map(|(method, path)| {
            let operation = &document["paths"][&path][method.as_str().to_lowercase()];
            let needed = operation["security"][0]["apiKey"].as_array().unwrap();
            assert!(needed.len() <= 1, "{method} {path}");
            (method, path, needed.first().map(|scope| scope.as_str().unwrap().to_owned()))
        })
        .collect();
    for scope in KeyScope::ALL {
        let house = house_of(&[scope]).await;
        for (method, path, needed) in &needs {
            let answer = house.send(method.clone(), &filled(path)).await;
            match needed {
                Some(needed) if needed != scope.as_str() => {
                    answer.refused(403, "scope_missing");
                    assert_eq!(answer.json["details"]["scope"], **needed, "{method} {path}");
                }
                _ => assert_ne!(answer.json["code"], "scope_missing", "{method} {path} with {scope:?}"),
            }
        }
    }
    let house = house_of(&[]).await;
    let before = house.store.revision();
    for (method, path, needed) in &needs {
        let status = house.send(method.clone(), &filled(path)).await.status;
        assert_eq!(status, if needed.is_some() { 403 } else { 200 }, "{method} {path}");
        let reads = *method == Method::GET && !path.starts_with("/api/keys") && !path.ends_with("/captions");
        let fits = path == "/api/openapi.json" || reads == (needed.as_deref() == Some("read"));
        assert!(fits, "{method} {path} needs {needed:?}");
    }
    assert_eq!(house.store.revision(), before);
}

#[actix::test]
async fn api_allows_only_listed_origins() {
    let house = house_with(None, &["https://app.example.org".to_owned()]).await;
    let from = |method: Method, origin: &str| {
        TestRequest::default()
            .method(method)
            .uri("/api/rooms")
            .insert_header(("origin", origin))
            .insert_header(("host", "127.0.0.1:3000"))
    };
    let before = house.store.revision();
    for origin in
        ["https://evil.example", "null", "http://app.example.org", "https://app.example.org.evil.example"]
    {
        house.call(from(Method::POST, origin)).await.refused(403, "origin_not_allowed");
    }
    assert_eq!(house.store.revision(), before);
    let allowed = house.call(from(Method::GET, "https://app.example.org")).await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example.org");
    assert_eq!(house.call(from(Method::GET, "http://127.0.0.1:3000")).await.status, 200, "our own page");
    let preflight =
        |origin| from(Method::OPTIONS, origin).insert_header(("access-control-request-method", "POST"));
    let answer = house.call(preflight("https://app.example.org")).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-methods").contains("DELETE"));
    house.call(preflight("https://evil.example")).await.refused(403, "origin_not_allowed");
}

#[actix::test]
async fn every_answer_carries_its_request_id() {
    let house = house().await;
    let with = |id: &str| TestRequest::get().uri("/api/rooms/other").insert_header(("x-request-id", id));
    let kept = house.call(with("trace-7.a_b")).await;
    assert_eq!(
        (kept.header("x-request-id"), &kept.json["requestId"]),
        ("trace-7.a_b", &json!("trace-7.a_b"))
    );
    for forged in ["", "two words", &"x".repeat(65)] {
        let replaced = house.call(with(forged)).await;
        assert_eq!(replaced.header("x-request-id").len(), 32);
        assert_eq!(replaced.header("x-request-id"), replaced.json["requestId"].as_str().unwrap());
    }
    let fine = house.send(Method::GET, "/api/stats").await;
    assert_eq!((fine.header("x-request-id").len(), fine.header("cache-control")), (32, "no-store"));
}

#[actix::test]
async fn openapi_matches_routes() {
    let house = house().await;
    let document = house.send(Method::GET, "/api/openapi.json").await.json;
    let paths: serde_json::Map<_, _> = of_api(&document).collect();
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD];
    for (path, operations) in &paths {
        let mut allowed = Vec::new();
        for method in &methods {
            let answer = house.send(method.clone(), &filled(path)).await;
            assert_eq!(answer.pattern.as_deref(), Some(path.as_str()));
            if operations.get(method.as_str().to_lowercase()).is_some() {
                assert_ne!(answer.status, 405, "{method} {path} is documented and not there");
                allowed.push(method.as_str());
            } else {
                assert_eq!(answer.status, 405, "{method} {path} is there and not documented");
            }
        }
        let refused = house.send(Method::TRACE, &filled(path)).await;
        refused.refused(405, "method_not_allowed");
        let mut allow: Vec<_> = refused.header("allow").split(", ").collect();
        // Every GET path has HEAD, through the server's middleware, and every path has OPTIONS.
        assert_eq!(allow.contains(&"HEAD"), allow.contains(&"GET"), "{path}");
        assert_eq!(allow.last(), Some(&"OPTIONS"), "{path}");
        allow.retain(|method| !["HEAD", "OPTIONS"].contains(method));
        allow.sort_by_key(|m| methods.iter().position(|known| known == m));
        assert_eq!(allow, allowed, "{path}");
        let options = house.send(Method::OPTIONS, &filled(path)).await;
        assert_eq!((options.status, options.header("allow")), (204, refused.header("allow")));
    }
    assert_eq!(paths.len(), 37, "{:?}", paths.keys());
}

#[actix::test]
async fn openapi_references_resolve() {
    let document = serde_json::to_value(openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let text = document.to_string();
    let referred = text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in referred {
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
    let mut ids = Vec::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|p| p.as_object().unwrap().values())
    {
        ids.push(operation["operationId"].as_str().unwrap().to_owned());
        assert!(operation["security"].is_array());
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

/// Sends a body of this size and only then reads the answer, as simple clients do. Returns the answer.
fn upload(address: std::net::SocketAddr, bytes: usize) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may close the connection before it has received the whole body. The answer of the server has
    // arrived by then.
    let _ = stream.write_all(&vec![b'x'; bytes]);
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let methods = |(path, item): (String, Value)| {
        let names = item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        names.into_iter().map(move |m| (m.to_uppercase().parse().unwrap(), path.clone()))
    };
    of_api(&document).flat_map(methods).collect()
}

#[test]
fn sdk_document_matches_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/openapi.json");
    let wanted = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == wanted, "sdk/openapi.json differs from the code: run make sdk and commit sdk/");
}

#[test]
fn operations_have_one_tag() {
    let document = serde_json::to_value(openapi()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
        }
    }
}

/// Returns the paths that the API serves; those of the listener channel are served elsewhere.
fn of_api(document: &Value) -> impl Iterator<Item = (String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.filter(|(path, _)| path.starts_with("/api/")).map(|(path, item)| (path.clone(), item.clone()))
}

fn filled(path: &str) -> String {
    path.replace("{kind}", "mixers")
        .replace("{id}", "one")
        .replace("{userId}", "ann")
        .replace("{sourceId}", "ann")
        .replace("{name}", "app")
        .replace("{event}", "evt_000000000000000000000000000000010")
}
