//! Keys of the section `admission`, and their values.

use std::time::Duration;

use serde_json::Value;

use super::super::parse::{duration, one_of, text, url};
use super::super::reader::{ParseResult, Reader};
use super::super::types::Secret;
use super::webhooks;

/// Settings of the request that asks an application whether a user may join a room as an anchor.
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// URL of the application; `None` if no application is asked.
    pub url: Option<String>,
    pub secret: Option<Secret>,
    /// Time limit of a request, from its start to the end of the answer.
    pub timeout: Duration,
    pub on_failure: FailurePolicy,
}

/// Decision if the application gives no valid answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    Allow,
    Deny,
}

pub(super) fn admission(r: &mut Reader) -> AdmissionConfig {
    AdmissionConfig {
        url: r.optional(
            "admission.url",
            "URL that is requested before a user joins as an anchor; null: a valid token is sufficient.",
            url(&["http", "https"]),
        ),
        secret: r.secret(
            "admission.secret",
            "Secret that signs the requests, whsec_...",
            "File with the secret that signs the requests, instead of secret.",
            secret,
        ),
        timeout: r.read(
            "admission.timeout",
            "2s",
            "How long the application may take to answer.",
            duration("100ms", "10s"),
        ),
        on_failure: r.read(
            "admission.on_failure",
            "deny",
            "Decision if no answer arrives in time: deny or allow.",
            one_of(&[("deny", FailurePolicy::Deny), ("allow", FailurePolicy::Allow)]),
        ),
    }
}

fn secret(value: &Value) -> ParseResult<Secret> {
    webhooks::signing_key(&text(value)?).ok_or_else(|| {
        "must be whsec_ and the base64 of 24 to 64 random bytes, like echo whsec_$(openssl rand -base64 32)"
            .into()
    })
}
