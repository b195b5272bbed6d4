//! Audit log of operators and applications: each action with its author, its time and its outcome.
//!
//! An entry is written before the action, so every action has an entry. The outcome is added after the
//! action. If the outcome stays `begun`, the node stopped during the action, or the store did not answer
//! after the action.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api_key::{ApiKeyId, Caller, KeyScope};
use super::ids::{ModuleId, RoomId, UnixMs};
use super::keys::ModuleKind;
use super::model::MarkLabel;

/// Number of entries that the store keeps. Between two cleanups there can be more.
pub const MOST_ENTRIES: usize = 2000;

/// Action of an operator on the dashboard. A request to the room API with the same effect is logged as the
/// same action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum OperatorAction {
    /// Sets the cordon label of a module.
    SetLabel { kind: ModuleKind, id: ModuleId, label: MarkLabel },
    /// Removes the cordon label of a module.
    ClearLabel { kind: ModuleKind, id: ModuleId },
    /// Ends the broadcast or the backstage of a room.
    StopRoom { room: RoomId },
    /// Restarts an actor of the node that receives the request.
    RestartActor { path: String },
    /// Makes the node list the store again and check every room.
    Reconcile {},
}

/// Action that only the room API and the operations endpoints offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ApiAction {
    DeleteRoom {
        room: RoomId,
    },
    CreateKey {
        key: ApiKeyId,
        name: String,
        scopes: BTreeSet<KeyScope>,
    },
    /// Changes the name or the quotas of an API key.
    UpdateKey {
        key: ApiKeyId,
    },
    RevokeKey {
        key: ApiKeyId,
    },
    /// Delivers events again to the endpoint of a webhook.
    ReplayWebhook {
        webhook: String,
        after: String,
    },
    /// Delivers a dead letter again.
    RedeliverEvent {
        webhook: String,
        event: String,
    },
    /// Reads the configuration of a node again.
    Reload {},
}

/// Action of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AuditedAction {
    Operator(OperatorAction),
    Api(ApiAction),
}

impl AuditedAction {
    /// Returns the name of the action, such as `stop_room`, and its fields as `name=value` texts.
    pub fn described(&self) -> (String, String) {
        // Cannot fail: an action has only texts and lists of texts.
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else { return Default::default() };
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let name = fields.remove("action").as_ref().map(plain).unwrap_or_default();
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        (name, fields.join(" "))
    }
}

impl AuditOutcome {
    /// Returns the name of the outcome, and the error message if the action failed.
    pub fn described(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Begun => ("begun", None),
            Self::Done => ("done", None),
            Self::Failed { error } => ("failed", Some(error)),
        }
    }
}

impl From<OperatorAction> for AuditedAction {
    fn from(action: OperatorAction) -> Self {
        Self::Operator(action)
    }
}

impl From<ApiAction> for AuditedAction {
    fn from(action: ApiAction) -> Self {
        Self::Api(action)
    }
}

/// Author of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Id of the API key; `None` if the key is not in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ApiKeyId>,
    /// Name of the API key, or a description of the authorisation if the key is not in the store.
    pub name: String,
}

/// Outcome of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum AuditOutcome {
    /// The action has begun. It is unknown whether it was carried out.
    Begun,
    Done,
    Failed {
        /// Error message, as the operator saw it.
        error: String,
    },
}

/// Value of the store key `/audit/{time}-{random}`: the entry of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub at: UnixMs,
    /// Node that received the request.
    pub node: ModuleId,
    pub operator: Operator,
    /// Address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    pub action: AuditedAction,
    pub outcome: AuditOutcome,
}

impl Operator {
    /// Returns the author for requests to the operations endpoints on loopback. Such requests need no key.
    pub fn local() -> Self {
        Self { key: None, name: "local user, without a key".into() }
    }

    /// Returns the author to log for a caller. `with_key` is true if the caller has sent an API key.
    pub fn of(caller: &Caller, with_key: bool) -> Self {
        match caller {
            Caller::Key(id, key) => Self { key: Some(id.clone()), name: key.name.as_str().to_owned() },
            Caller::Administrator if with_key => Self { key: None, name: "key of the configuration".into() },
            Caller::Administrator => Self { key: None, name: "without a key (auth.mode: open)".into() },
        }
    }
}

/// Returns the keys of the oldest entries to delete, so that at most [`MOST_ENTRIES`] remain when one more
/// entry is written. `keys` must be sorted by time.
pub fn superfluous(keys: &[String]) -> &[String] {
    &keys[..(keys.len() + 1).saturating_sub(MOST_ENTRIES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn actions_have_a_strict_form() {
        let read = |value| serde_json::from_value::<OperatorAction>(value);
        let label = json!({ "action": "set_label", "kind": "mixer", "id": "m1", "label": "draining" });
        let (kind, id) = (ModuleKind::Mixer, ModuleId::new("m1").unwrap());
        let wanted = OperatorAction::SetLabel { kind, id, label: MarkLabel::Draining };
        assert_eq!(read(label.clone()).unwrap(), wanted);
        assert_eq!(serde_json::to_value(&wanted).unwrap(), label);
        assert_eq!(read(json!({ "action": "reconcile" })).unwrap(), OperatorAction::Reconcile {});
        for wrong in [
            json!({}),
            json!({ "action": "reboot" }),
            json!({ "action": "reconcile", "force": true }),
            json!({ "action": "stop_room", "room": "a/b" }),
            json!({ "action": "set_label", "kind": "mixers", "id": "m1", "label": "draining" }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn actions_and_outcomes_have_descriptions() {
        let described = |action: AuditedAction| action.described();
        let text = |name: &str, fields: &str| (name.to_owned(), fields.to_owned());
        let (kind, id) = (ModuleKind::Mixer, ModuleId::new("m1").unwrap());
        let label = OperatorAction::SetLabel { kind, id, label: MarkLabel::Draining };
        assert_eq!(described(label.into()), text("set_label", "id=m1 kind=mixer label=draining"));
        assert_eq!(described(OperatorAction::Reconcile {}.into()), text("reconcile", ""));
        let key = ApiAction::ReplayWebhook { webhook: "crm".into(), after: "7".into() };
        assert_eq!(described(key.into()), text("replay_webhook", "after=7 webhook=crm"));
        let failed = AuditOutcome::Failed { error: "no such room".into() };
        assert_eq!(failed.described(), ("failed", Some("no such room")));
        assert_eq!(AuditOutcome::Done.described(), ("done", None));
    }

    #[test]
    fn api_actions_are_not_for_operators() {
        let key = ApiKeyId::random([1; 12]);
        let revoked: AuditedAction = ApiAction::RevokeKey { key: key.clone() }.into();
        let text = json!({ "action": "revoke_key", "key": key });
        assert_eq!(serde_json::to_value(&revoked).unwrap(), text);
        assert_eq!(serde_json::from_value::<AuditedAction>(text.clone()).unwrap(), revoked);
        assert!(serde_json::from_value::<OperatorAction>(text).is_err());
        let reload = AuditedAction::from(ApiAction::Reload {});
        assert_eq!(serde_json::to_value(&reload).unwrap(), json!({ "action": "reload" }));
    }

    #[test]
    fn oldest_entries_make_room() {
        let keys: Vec<_> = (0..MOST_ENTRIES + 2).map(|n| n.to_string()).collect();
        assert!(superfluous(&keys[..MOST_ENTRIES - 1]).is_empty());
        assert_eq!(superfluous(&keys[..MOST_ENTRIES]), ["0"]);
        assert_eq!(superfluous(&keys), ["0", "1", "2"]);
    }

    #[test]
    fn operators_are_named_by_key() {
        let key = json!({ "name": "Ann", "digest": "00".repeat(32), "scopes": [], "createdAt": 1 });
        let key = std::sync::Arc::new(serde_json::from_value(key).unwrap());
        let caller = Caller::Key(ApiKeyId::random([1; 12]), key);
        assert_eq!(Operator::of(&caller, true).name, "Ann");
        assert_eq!(Operator::of(&Caller::Administrator, true).name, "key of the configuration");
        assert!(Operator::of(&Caller::Administrator, false).name.contains("auth.mode: open"));
    }
}
