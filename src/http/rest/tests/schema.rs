//! Tests of the OpenAPI document against the API: values it describes are accepted, values it excludes are
//! refused.
//!
//! Requests are derived from the document. `House` checks that every answer is documented for its operation.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::{Map, Value, json};

use super::house::{Answer, House, house, json_request};
use crate::domain::civil_time::Rfc3339;
use crate::domain::ids::UnixMs;
use crate::http::rest::openapi;

/// Pattern of a text that can also be a number.
const CURSOR: &str = "^[0-9]{1,18}([.][0-9]{1,2})?$";

/// Operation of the document.
struct Operation {
    method: Method,
    path: String,
    spec: Value,
}

/// Returns the document with every reference to a schema replaced by that schema.
fn document() -> Value {
    let document = serde_json::to_value(openapi()).unwrap();
    inlined(&document, &document)
}

fn inlined(value: &Value, document: &Value) -> Value {
    let all = |fields: &Map<String, Value>| {
        fields.iter().map(|(name, inner)| (name.clone(), inlined(inner, document))).collect()
    };
    match value {
        Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                inlined(document.pointer(reference.trim_start_matches('#')).unwrap(), document)
            }
            None => Value::Object(all(fields)),
        },
        Value::Array(items) => items.iter().map(|item| inlined(item, document)).collect(),
        other => other.clone(),
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let operations = item.as_object().unwrap().clone().into_iter();
        operations.map(move |(method, spec)| Operation {
            method: method.to_uppercase().parse().unwrap(),
            path: path.clone(),
            spec,
        })
    };
    // The paths of the listener channel are served elsewhere.
    paths.iter().filter(|(path, _)| path.starts_with("/api/")).flat_map(of_path).collect()
}

fn resolved(schema: &Value) -> &Value {
    // The schema of an optional body is a `oneOf` of null and the schema of the body.
    match schema["oneOf"].as_array() {
        Some(choices) => choices.iter().find(|choice| choice["type"] != "null").unwrap(),
        None => schema,
    }
}

impl Operation {
    fn body(&self) -> Option<&Value> {
        Some(resolved(self.spec.pointer("/requestBody/content/application~1json/schema")?))
    }

    fn parameters(&self, place: &str) -> Vec<Value> {
        let all = self.spec["parameters"].as_array().into_iter().flatten();
        all.filter(|parameter| parameter["in"] == place).cloned().collect()
    }

    /// Returns the path with legal values.
    fn filled(&self) -> String {
        let mut path = self.path.clone();
        for parameter in self.parameters("path") {
            let name = parameter["name"].as_str().unwrap();
            let value = legal(&parameter["schema"]).swap_remove(0);
            path = path.replace(&format!("{{{name}}}"), value.as_str().unwrap());
        }
        path
    }

    async fn send(&self, house: &House, body: &Value) -> Answer {
        house.call(json_request(self.method.clone(), &self.filled(), &body.to_string())).await
    }
}

fn has_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::Array(names) => names.iter().any(|known| known == name),
        known => known == name,
    }
}

/// Returns values that satisfy the schema, including its limits and alternative notations such as `3.0`.
fn legal(schema: &Value) -> Vec<Value> {
    let mut values = Vec::new();
    if let Some(choices) = schema["enum"].as_array() {
        values.extend(choices.iter().cloned());
    } else if has_type(schema, "string") {
        values.extend(match schema["pattern"].as_str() {
            _ if schema["format"] == "date-time" => vec![json!(in_an_hour())],
            Some("^[A-Za-z0-9_-]{3,32}$") => vec![json!("a-Z_9"), json!("abc"), json!("x".repeat(32))],
            Some("^[A-Za-z0-9_.-]{1,64}$") => vec![json!("one"), json!("x".repeat(64))],
            Some("^[A-Za-z0-9_-]{1,32}$") => vec![json!("app")],
            Some("^evt_[0-9a-f]{32}[0-9]$") => vec![json!("evt_000000000000000000000000000000010")],
            Some("^[a-z0-9]{12}$") => vec![json!("0123456789ab")],
            Some("^[a-z0-9]{16}$") => vec![json!("0123456789abcdef")],
            Some("^[A-Za-z0-9]{6}$") => vec![json!("abC123")],
            Some(CURSOR) => vec![json!("0"), json!("12.3")],
            Some(types) if types.starts_with("^(room_created|") => vec![json!("room_ended")],
            Some("^https://") => vec![json!("https://example.org/cover.png")],
            Some("^(created|backstage|starting|onair|degraded|removing)$") => {
                vec![json!("created"), json!("onair")]
            }
            Some("^[1-9][0-9]{0,8}$") => vec![json!("1")],
            Some("^(off|on_request|always)$") => vec![json!("off"), json!("always")],
            Some("^(januses|mixers)$") => vec![json!("januses"), json!("mixers")],
            None => vec![json!("ann"), json!("x".repeat(length(schema, "minLength", 1)))],
            Some(unknown) => panic!("no example of {unknown}"),
        });
    } else if has_type(schema, "integer") {
        let [least, most] = bounds(schema);
        values.extend([json!(least), json!(most), json!(least as f64)]);
    } else if has_type(schema, "array") {
        let [least, most] = [length(schema, "minItems", 0), length(schema, "maxItems", 1)];
        let items: Vec<_> = match schema["items"]["enum"].as_array() {
            Some(choices) => choices.clone(),
            None => (0..most).map(|n| json!(n.to_string())).collect(),
        };
        values.extend([json!(items[..least]), json!(items[..most])]);
    } else if let Some(properties) = schema["properties"].as_object() {
        values.push(json!({}));
        for (name, property) in properties {
            values.extend(legal(property).into_iter().map(|value| json!({ name: value })));
        }
    } else if has_type(schema, "object") {
        values.extend([json!({}), json!({ "a": { "b": [1, null] } })]);
    } else if has_type(schema, "boolean") {
        values.extend([json!(true), json!(false)]);
    }
    if has_type(schema, "null") {
        values.push(Value::Null);
    }
    assert!(!values.is_empty(), "no example of {schema}");
    values
}

/// Returns values that the schema excludes.
fn illegal(schema: &Value) -> Vec<Value> {
    let examples = [
        ("string", json!("7")),
        ("integer", json!(7)),
        ("number", json!(1.5)),
        ("boolean", json!(true)),
        ("null", Value::Null),
        ("object", json!({})),
        ("array", json!([])),
    ];
    let is_string = has_type(schema, "string") || schema["enum"].is_array();
    let other = |name: &str| !(has_type(schema, name) || is_string && name == "string");
    let mut values: Vec<_> =
        examples.into_iter().filter(|(name, _)| other(name)).map(|(_, value)| value).collect();
    let is_restricted = ["pattern", "format"].iter().any(|key| schema[key].is_string());
    if is_restricted || schema["enum"].is_array() {
        values.extend(["", "a b", "ä", "a/b", "a\nb", "\0"].map(Value::from));
        values.push("x".repeat(1000).into());
    } else if is_string {
        let longest = length(schema, "maxLength", usize::MAX);
        values.extend([json!(""), json!("x".repeat(longest + 1))]);
    }
    if has_type(schema, "array") {
        let items: Vec<_> = (0..=length(schema, "maxItems", 1)).map(|n| n.to_string()).collect();
        values.extend([json!(items), json!([1]), json!([[]])]);
        if length(schema, "minItems", 0) > 0 {
            values.push(json!([]));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        values.extend(illegal(property).into_iter().map(|value| json!({ name: value })));
    }
    if has_type(schema, "integer") {
        let [least, most] = bounds(schema);
        values.extend([json!(least - 1), json!(most + 1), json!(i64::MAX), json!(u64::MAX), json!(-1e300)]);
    }
    values
}

/// Returns a time of start that is accepted now.
fn in_an_hour() -> String {
    let at = UnixMs(crate::rooms::now().0 + 3_600_000);
    Rfc3339(at).to_string()
}

fn bounds(schema: &Value) -> [i64; 2] {
    ["minimum", "maximum"].map(|name| {
        let bound = schema[name].as_f64();
        bound.unwrap_or_else(|| panic!("{schema} has no {name}")) as i64
    })
}

fn length(schema: &Value, name: &str, default: usize) -> usize {
    schema[name].as_u64().map_or(default, |length| length as usize)
}

fn with(base: &Map<String, Value>, name: &str, value: Value) -> Value {
    let mut body = base.clone();
    body.insert(name.to_owned(), value);
    Value::Object(body)
}

/// Returns the required properties, with legal values.
fn least(schema: &Value) -> Map<String, Value> {
    let required = schema["required"].as_array().into_iter().flatten();
    required
        .map(|name| {
            let name = name.as_str().unwrap();
            let property = resolved(&schema["properties"][name]);
            (name.to_owned(), legal(property).swap_remove(0))
        })
        .collect()
}

fn is_refused(answer: &Answer) -> bool {
    answer.status == 400 && answer.json["code"].as_str().is_some_and(|code| code.starts_with("invalid_"))
}

#[actix::test]
async fn described_bodies_are_accepted() {
    let document = document();
    let mut tried = 0;
    for operation in operations(&document) {
        let Some(schema) = operation.body() else { continue };
        // These bodies have rules that a schema cannot express. A source has either a URL or a file, the URL
        // of an output has a special form, and a feed has either an owner or a tag.
        if ["/sources", "/outputs", "/feeds"].iter().any(|end| operation.path.ends_with(end)) {
            continue;
        }
        let base = least(schema);
        let mut bodies = vec![Value::Object(base.clone())];
        for (name, property) in schema["properties"].as_object().unwrap() {
            let values = legal(resolved(property)).into_iter();
            bodies.extend(values.map(|value| with(&base, name, value)));
        }
        for body in bodies {
            let answer = operation.send(&house().await, &body).await;
            let (method, path) = (&operation.method, &operation.path);
            assert!(!is_refused(&answer) && answer.status != 415, "{method} {path} {body}: {}", answer.text);
            tried += 1;
        }
        if operation.spec["requestBody"]["required"] != json!(true) {
            let answer = house().await.send(operation.method.clone(), &operation.filled()).await;
            assert!(!is_refused(&answer), "{} without a body: {}", operation.path, answer.text);
        }
    }
    assert!(tried > 20, "only {tried} bodies");
}

#[actix::test]
async fn excluded_bodies_are_refused() {
    let document = document();
    let house = house().await;
    let before = house.store.revision();
    let mut tried = 0;
    for operation in operations(&document) {
        let Some(schema) = operation.body() else { continue };
        assert_eq!(schema["additionalProperties"], json!(false), "{}", operation.path);
        let base = least(schema);
        let mut bodies = vec![json!([]), Value::Null, json!("x"), json!(7), json!(true)];
        bodies.push(with(&base, "unknown", json!(1)));
        for (name, property) in schema["properties"].as_object().unwrap() {
            let values = illegal(resolved(property)).into_iter();
            bodies.extend(values.map(|value| with(&base, name, value)));
        }
        for name in base.keys() {
            let mut body = base.clone();
            body.remove(name);
            bodies.push(Value::Object(body));
        }
        for body in bodies {
            let answer = operation.send(&house, &body).await;
            assert!(is_refused(&answer), "{} {body}: {} {}", operation.path, answer.status, answer.text);
            tried += 1;
        }
        if operation.spec["requestBody"]["required"] == json!(true) {
            let answer = house.send(operation.method.clone(), &operation.filled()).await;
            assert!(is_refused(&answer), "{} without a body: {}", operation.path, answer.text);
        }
    }
    assert!(tried > 60, "only {tried} bodies");
    assert_eq!(house.store.revision(), before, "nothing was written");
}

#[actix::test]
async fn parameters_follow_the_document() {
    let document = document();
    let house = house().await;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for operation in operations(&document) {
        // A plain request opens no WebSocket, whatever its parameters are.
        if operation.spec["responses"]["101"].is_object() {
            continue;
        }
        for parameter in operation.parameters("query") {
            let name = parameter["name"].as_str().unwrap();
            let schema = &parameter["schema"];
            let ask = async |value: &str| {
                let query =
                    url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
                house.send(operation.method.clone(), &format!("{}?{query}", operation.filled())).await
            };
            for value in legal(schema).iter().filter(|value| !value.is_null() && !value.is_f64()) {
                assert_eq!(ask(&text(value)).await.status, 200, "{name}={value}");
            }
            // A parameter without a pattern takes any text, including the digits of a number.
            let is_text = has_type(schema, "string") && schema["pattern"].is_null();
            let is_scalar = |value: &&Value| value.is_string() || (value.is_number() && !is_text);
            for value in illegal(schema).iter().filter(is_scalar).filter(|value| **value != json!("7")) {
                // In a query every scalar is text, so a value of the wrong type is legal if its text spells a
                // legal value.
                let is_number = has_type(schema, "integer") && *value == json!(7);
                if !(is_number || schema["pattern"] == CURSOR && value.is_number()) {
                    assert!(is_refused(&ask(&text(value)).await), "{name}={value}");
                }
            }
        }
        for parameter in operation.parameters("path") {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            for value in illegal(schema).iter().filter_map(Value::as_str).filter(|value| !value.is_empty()) {
                if value == "7" {
                    continue;
                }
                let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                let path = operation.path.replace(&format!("{{{name}}}"), &value.replace('+', "%20"));
                let path = path.replace("{kind}", "mixers").replace("{id}", "one").replace("{userId}", "ann");
                let body = operation.body().map(least);
                let body = body.map_or(String::new(), |body| Value::Object(body).to_string());
                let answer = house.call(json_request(operation.method.clone(), &path, &body)).await;
                assert!(is_refused(&answer) || answer.status == 404, "{path}: {}", answer.text);
            }
        }
    }
}

#[actix::test]
async fn harmless_forms_of_json_are_accepted() {
    let bodies = ["\u{feff}{}", " \r\n\t{ }\n", r#"{"maxAnchors":3.0}"#, r#"{"maxAnchors":30e-1}"#];
    for body in bodies.into_iter().chain([r#"{"roomId":"\u0061bc","pin":null}"#]) {
        let answer = house().await.call(json_request(Method::POST, "/api/rooms", body)).await;
        assert_eq!(answer.status, 201, "{body:?}: {}", answer.text);
    }
    for kind in
        ["application/json;charset=UTF-8", "Application/Json ; Charset=\"utf-8\"", "application/x+json"]
    {
        let request = TestRequest::post().uri("/api/rooms").insert_header(("content-type", kind));
        assert_eq!(house().await.call(request.set_payload("{}")).await.status, 201, "{kind}");
    }
    let untyped = TestRequest::post().uri("/api/rooms").set_payload("{}");
    assert_eq!(house().await.call(untyped).await.status, 201);
    let identity =
        json_request(Method::POST, "/api/rooms", "{}").insert_header(("content-encoding", "Identity"));
    assert_eq!(house().await.call(identity).await.status, 201);
    for query in ["", "limit=5&", "&&limit=5", "l%69mit=%35", "limit=005"] {
        assert_eq!(
            house().await.send(Method::GET, &format!("/api/rooms?{query}")).await.status,
            200,
            "{query}"
        );
    }
}

#[actix::test]
async fn unsupported_encodings_are_refused() {
    let house = house().await;
    for encoding in ["gzip", "br", "identity, gzip", "", "utf-8"] {
        let request =
            json_request(Method::POST, "/api/rooms", "{}").insert_header(("content-encoding", encoding));
        let answer = house.call(request).await;
        answer.refused(415, "unsupported_media_type");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    for kind in
        ["application/json; charset=utf-16", "application/json;charset=iso-8859-1", "application/+json"]
    {
        let request = TestRequest::post().uri("/api/rooms").insert_header(("content-type", kind));
        house.call(request.set_payload("{}")).await.refused(415, "unsupported_media_type");
    }
    for query in
        ["limit=%2B5", "limit=", "limit=5&limit=5", "limit=0x5", "limit=5.0", "limit= 5", "unknown=1"]
    {
        let path = format!("/api/rooms?{}", query.replace(' ', "%20"));
        house.send(Method::GET, &path).await.refused(400, "invalid_query");
    }
}
