//! Keys of the section `webhooks`, and the parsers of their values.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::parse::{list, text, url};
use super::super::reader::{ParseResult, Reader};
use super::super::types::{Secret, WebhookEndpoint, WebhookSecret, WebhooksConfig};
use crate::domain::events::EventType;
use crate::domain::ids::RoomId;
use crate::domain::webhooks::WebhookFilter;

/// Maximum number of endpoints. It is limited because the leader runs an actor for each endpoint, and the
/// store has a key for each.
const MOST_ENDPOINTS: usize = 20;
/// Length of a decoded secret in bytes, as the Standard Webhooks specification requires.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) fn webhooks(r: &mut Reader) -> WebhooksConfig {
    WebhooksConfig {
        endpoints: r.read(
            "webhooks.endpoints",
            json!([]),
            "Receivers of events: {name, url, types, rooms}; types and rooms select events; team-*: prefix.",
            endpoints,
        ),
        secrets: r
            .secret(
                "webhooks.secrets",
                "Secrets that sign events: {name, secret}; one per endpoint, or two during a replacement.",
                "File with one name:whsec_... per line, instead of secrets.",
                list(secret),
            )
            .unwrap_or_default(),
    }
}

fn endpoints(value: &Value) -> ParseResult<Vec<WebhookEndpoint>> {
    let endpoints = list(endpoint)(value)?;
    let names: BTreeSet<_> = endpoints.iter().map(|endpoint| &endpoint.name).collect();
    if names.len() < endpoints.len() {
        return Err("each name must be unique".into());
    }
    match endpoints.len() <= MOST_ENDPOINTS {
        true => Ok(endpoints),
        false => Err(format!("must be {MOST_ENDPOINTS} endpoints at most")),
    }
}

/// Parses an endpoint: a YAML mapping, or the text `name=URL`.
fn endpoint(item: &Value) -> ParseResult<WebhookEndpoint> {
    let fields = match item {
        Value::Object(fields) => fields.clone(),
        Value::String(line) => {
            let (name, url) = line.split_once('=').unwrap_or(("", ""));
            Map::from_iter([("name".to_owned(), name.into()), ("url".to_owned(), url.into())])
        }
        _ => Map::new(),
    };
    let field = |name: &str| fields.get(name).unwrap_or(&Value::Null);
    let known = ["name", "url", "types", "rooms"];
    let name = text(field("name")).unwrap_or_default();
    if !is_name(&name) || fields.keys().any(|key| !known.contains(&key.as_str())) {
        return Err("each must have a name (1 to 32 characters of A-Z a-z 0-9 _ -) and a url, and may have \
                    types and rooms: {name, url, types, rooms}, or name=URL where it is one text; secrets \
                    belong to webhooks.secrets"
            .into());
    }
    let url =
        url(&["http", "https"])(field("url")).map_err(|problem| format!("the url of {name} {problem}"))?;
    let all = |name: &str| if field(name).is_null() { json!([]) } else { field(name).clone() };
    let filter =
        WebhookFilter { types: list(event_type)(&all("types"))?, rooms: list(rooms)(&all("rooms"))? };
    Ok(WebhookEndpoint { name, url, filter })
}

/// Decodes a secret of the Standard Webhooks specification.
pub(super) fn signing_key(secret: &str) -> Option<Secret> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    SECRET_LENGTH.contains(&key.len()).then_some(Secret(key))
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

fn event_type(item: &Value) -> ParseResult<String> {
    let kind = text(item)?;
    let known = || EventType::ALL.map(EventType::as_str).join(", ");
    EventType::parse(&kind).map(|_| kind).ok_or_else(|| format!("types must be any of {}", known()))
}

/// Parses the id of a room, or the beginning of room ids followed by a `*`.
fn rooms(item: &Value) -> ParseResult<String> {
    let pattern = text(item)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    let ok = match pattern.strip_suffix('*') {
        Some(start) => start.len() <= 32 && start.bytes().all(is_plain),
        None => RoomId::new(&pattern).is_ok(),
    };
    ok.then_some(pattern).ok_or_else(|| "rooms must be room ids, or beginnings of ids like team-*".into())
}

/// Parses a secret: `{name, secret}` in YAML, or the text `name:whsec_...`.
fn secret(item: &Value) -> ParseResult<WebhookSecret> {
    let (endpoint, secret) = match item {
        Value::String(line) => line.split_once(':').unwrap_or_default(),
        Value::Object(fields) if fields.len() == 2 => {
            let field = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
            (field("name"), field("secret"))
        }
        _ => ("", ""),
    };
    match signing_key(secret).filter(|_| is_name(endpoint)) {
        Some(key) => Ok(WebhookSecret { endpoint: endpoint.to_owned(), key }),
        None => {
            Err("each must have the name of an endpoint and a secret, whsec_ and the base64 of 24 to 64 \
                     random bytes (like echo whsec_$(openssl rand -base64 32)): {name, secret}, or \
                     name:whsec_... where it is one text"
                .into())
        }
    }
}
