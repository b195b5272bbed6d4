//! Audit of the changes that operators and applications make: author, action, outcome.
//!
//! Owns: the order of entry and change. A change begins only after its entry is in the store, except a reload
//! ([`Auditor::note`]). Does not check permissions.

use std::future::Future;
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures::future::{Ready, ready};

use crate::domain::api_key::Caller;
use crate::domain::audit::{AuditEntry, AuditOutcome, AuditedAction, Operator};
use crate::domain::ids::ModuleId;
use crate::rooms::{AuditLog, RoomError, now};

use super::error::ApiError;

/// Author of a change: the sender of a request.
#[derive(Debug, Clone)]
pub struct Author {
    pub operator: Operator,
    /// Address of the client; `None` in tests only.
    pub address: Option<IpAddr>,
}

/// Audit log of this node.
pub struct Auditor {
    log: AuditLog,
    me: ModuleId,
}

impl Author {
    pub fn of(request: &HttpRequest, operator: Operator) -> Self {
        Self { operator, address: request.peer_addr().map(|peer| peer.ip()) }
    }
}

/// Extracts the author of a request to the room API, after the authorization.
impl FromRequest for Author {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let with_key = request.headers().contains_key(AUTHORIZATION);
        let author = match request.extensions().get::<Caller>() {
            Some(caller) => Ok(Self::of(request, Operator::of(caller, with_key))),
            None => Err(ApiError::internal("the request has no authenticated caller")),
        };
        ready(author)
    }
}

impl Auditor {
    pub fn new(log: AuditLog, me: ModuleId) -> Self {
        Self { log, me }
    }

    pub fn log(&self) -> &AuditLog {
        &self.log
    }

    /// Writes an entry to the audit log, makes the change, and records the outcome in the entry.
    ///
    /// # Errors
    /// The entry cannot be written, in which case nothing was changed, or the change failed.
    pub async fn carry_out<T, E: Into<ApiError>>(
        &self,
        author: Author,
        action: impl Into<AuditedAction>,
        change: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        let action = action.into();
        let begun = self.entry(author, action.clone(), AuditOutcome::Begun);
        let operator = begun.operator.name.clone();
        let open = self.log.begin(begun).await.map_err(RoomError::from)?;
        let done = change.await.map_err(Into::into);
        let outcome = match &done {
            Ok(_) => AuditOutcome::Done,
            Err(error) => AuditOutcome::Failed { error: error.message.clone() },
        };
        let ((action, fields), (result, error)) = (action.described(), outcome.described());
        tracing::info!(operator, action, fields, outcome = result, error, "audited change");
        if let Err(error) = self.log.finish(open, outcome).await {
            tracing::warn!(%error, "the outcome of a change was not written to the audit log");
        }
        done
    }

    /// Writes the entry of a change that has already been made. Logs a store error.
    pub async fn note(&self, author: Author, action: impl Into<AuditedAction>, outcome: AuditOutcome) {
        if let Err(error) = self.log.begin(self.entry(author, action.into(), outcome)).await {
            tracing::warn!(%error, "a change was not written to the audit log");
        }
    }

    fn entry(&self, author: Author, action: AuditedAction, outcome: AuditOutcome) -> AuditEntry {
        let Author { operator, address } = author;
        AuditEntry { at: now(), node: self.me.clone(), operator, address, action, outcome }
    }
}
