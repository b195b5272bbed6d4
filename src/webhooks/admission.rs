//! Admission: the application decides whether a user may join a room as an anchor.
//!
//! Owns: the request, the limit on concurrent requests, and the parsing of the answer. Does not ask twice for
//! one `join`, or cache an answer.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::client::Client;
use crate::config::{AdmissionConfig, FailurePolicy, Secret};
use crate::domain::civil_time::Rfc3339;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::presence_entry::Source;
use crate::domain::roles::RoomRole;
use crate::domain::signalling::DisplayName;
use crate::rooms::now;
use crate::telemetry::Metrics;

/// Maximum number of concurrent requests of a gateway. Further ones wait; `timeout` includes the wait.
const AT_ONCE: usize = 32;
/// Maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 4096;
/// Maximum length of a reason, in characters.
const MAX_REASON: usize = 200;

/// HTTP client for the application that decides. Requests run on the thread that calls [`ask`](Self::ask).
pub struct Admission {
    url: String,
    secrets: Vec<Secret>,
    timeout: Duration,
    on_failure: FailurePolicy,
    client: Client,
    slots: Semaphore,
    metrics: Metrics,
}

/// User who wants to join.
#[derive(Debug)]
pub struct Applicant<'a> {
    pub room: &'a RoomId,
    pub user: &'a UserId,
    pub role: RoomRole,
    pub display_name: Option<&'a DisplayName>,
    pub source: Source,
}

/// Result of a request to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The user may join, with this role if the application names one.
    Allowed(Option<RoomRole>),
    /// The user may not join. The text is the reason to show to the user; empty if none was given.
    Refused(String),
    /// There was no valid answer, and `admission.on_failure` is `deny`.
    Unavailable,
}

#[derive(Deserialize)]
struct Reply {
    allow: bool,
    reason: Option<String>,
    role: Option<RoomRole>,
}

impl Admission {
    /// Creates the client; `None` if no URL is configured.
    ///
    /// # Errors
    /// The certificate authorities cannot be read; the text names the remedy.
    pub fn new(config: &AdmissionConfig, metrics: Metrics) -> Result<Option<Self>, String> {
        let Some(url) = config.url.clone() else { return Ok(None) };
        let client = Client::new([url.as_str()].into_iter())?;
        let secrets = config.secret.iter().cloned().collect();
        let AdmissionConfig { timeout, on_failure, .. } = *config;
        let slots = Semaphore::new(AT_ONCE);
        Ok(Some(Self { url, secrets, timeout, on_failure, client, slots, metrics }))
    }

    /// Asks the application once. Without a valid answer, `admission.on_failure` decides.
    pub async fn ask(&self, applicant: &Applicant<'_>) -> Verdict {
        let request = async {
            // Cannot fail: nobody closes the semaphore.
            let _slot = self.slots.acquire().await;
            self.request(applicant).await
        };
        let late = |_| Err(format!("no answer within {} ms", self.timeout.as_millis()));
        let verdict = timeout(self.timeout, request).await.unwrap_or_else(late);
        self.metrics.webhooks().asked(match &verdict {
            Ok(Verdict::Allowed(_)) => "allowed",
            Ok(_) => "refused",
            Err(_) => "failed",
        });
        verdict.unwrap_or_else(|error| {
            tracing::warn!(room = %applicant.room, error, "admission request failed");
            match self.on_failure {
                FailurePolicy::Allow => Verdict::Allowed(None),
                FailurePolicy::Deny => Verdict::Unavailable,
            }
        })
    }

    async fn request(&self, applicant: &Applicant<'_>) -> Result<Verdict, String> {
        let Applicant { room, user, role, display_name, source } = applicant;
        let id = format!("adm_{}", uuid::Uuid::new_v4().simple());
        let mut data = json!({ "userId": user, "role": role });
        if let Some(name) = display_name {
            data["displayName"] = json!(name.as_str());
        }
        if !source.is_signalling() {
            data["source"] = json!(source);
        }
        let time = Rfc3339(now()).to_string();
        let body = json!({ "id": id, "type": "join", "roomId": room, "time": time, "data": data });
        let body = Bytes::from(body.to_string());
        let answer = self.client.post(&self.url, &self.secrets, &id, body, self.timeout, MAX_ANSWER).await?;
        match answer.status.as_u16() {
            200..=299 => read(&answer.body),
            status => Err(format!("the application answered with {status}")),
        }
    }
}

/// Parses the body of an answer.
fn read(body: &[u8]) -> Result<Verdict, String> {
    let expected = |_| "the answer is not {allow: true|false, reason?, role?} in JSON".to_owned();
    let Reply { allow, reason, role } = serde_json::from_slice(body).map_err(expected)?;
    if role == Some(RoomRole::Listener) {
        return Err("the answer has the role listener; answer allow: false instead".to_owned());
    }
    if allow {
        return Ok(Verdict::Allowed(role));
    }
    let shown = reason.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
    Ok(Verdict::Refused(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_answers_are_read_strictly() {
        for (body, verdict) in [
            (r#"{"allow":true}"#, Verdict::Allowed(None)),
            (r#"{"allow":true,"role":"co_host","more":1}"#, Verdict::Allowed(Some(RoomRole::CoHost))),
            (r#"{"allow":false}"#, Verdict::Refused(String::new())),
            (r#"{"allow":false,"reason":"no\u0007 seat"}"#, Verdict::Refused("no seat".to_owned())),
        ] {
            assert_eq!(read(body.as_bytes()), Ok(verdict), "{body}");
        }
        for body in ["", "true", "{}", r#"{"allow":"yes"}"#, r#"{"allow":true,"role":"king"}"#, "[true]"] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read(br#"{"allow":true,"role":"listener"}"#).is_err());
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "x".repeat(1000));
        assert_eq!(read(long.as_bytes()), Ok(Verdict::Refused("x".repeat(MAX_REASON))));
    }
}
