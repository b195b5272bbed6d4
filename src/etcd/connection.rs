//! Client of etcd with a deadline for every call. When etcd no longer responds on its connection, the client
//! is replaced.
//!
//! Owns: deadlines, repeats, and the mapping of etcd's errors. If a request may have reached etcd, it is
//! repeated only if the repeat does no harm.

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use etcd_client::{Certificate, Client, ConnectOptions, Error, TlsOptions};
use tokio::time::{Instant, sleep, timeout_at};

use super::EtcdOptions;
use crate::store::StoreError;

/// Interval between HTTP/2 pings. etcd disconnects a client that pings more often than every 5 s
/// (`--grpc-keepalive-min-time`).
const PING_EVERY: Duration = Duration::from_secs(7);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
const REPEAT_AFTER: Duration = Duration::from_millis(50);

/// gRPC status codes (grpc.io, "Status codes and their use in gRPC").
mod code {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const NOT_FOUND: i32 = 5;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNAVAILABLE: i32 = 14;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// Rule for sending a failed request again, possibly to another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The request is idempotent.
    Safe,
    /// Repeat only if no endpoint can have received the request.
    UnlessSent,
}

pub(super) struct Connection {
    options: EtcdOptions,
    /// `None` until the next request opens a client: a login requires that etcd is available.
    client: ArcSwapOption<Client>,
}

impl Connection {
    pub async fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        // Opening a client without a login sends no request to etcd.
        let client = open(&options, None).await.map_err(|error| {
            let endpoints = &options.endpoints;
            StoreError::Rejected(format!("etcd endpoints {endpoints:?} cannot be used: {error}"))
        })?;
        let client = options.login.is_none().then(|| Arc::new(client));
        Ok(Self { options, client: ArcSwapOption::new(client) })
    }

    /// Sends `request`. Repeats it until there is a response, a repeat is not allowed, or the timeout has
    /// passed.
    ///
    /// # Errors
    /// etcd's error, or [`StoreError::Unavailable`] after `request_timeout`.
    pub async fn call<T, F>(&self, repeat: Repeat, request: impl Fn(&Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + self.options.request_timeout;
        let mut last = None;
        loop {
            let (error, repeat) = match timeout_at(deadline, self.client()).await {
                Ok(Ok(client)) => match timeout_at(deadline, request(&client)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => (error, repeat),
                    Err(_) => {
                        self.replace(Some(&client)).await;
                        return Err(self.no_answer(last));
                    }
                },
                // The request itself was not sent.
                Ok(Err(error)) => (error, Repeat::Safe),
                Err(_) => return Err(self.no_answer(last)),
            };
            if !may_repeat(repeat, &error) {
                return Err(meaning(error));
            }
            last = Some(error);
            if Instant::now() + REPEAT_AFTER >= deadline {
                return Err(self.no_answer(last));
            }
            sleep(REPEAT_AFTER).await;
        }
    }

    /// Returns the client in use. Opens one, with the login, if there is none.
    async fn client(&self) -> Result<Arc<Client>, Error> {
        if let Some(client) = self.client.load_full() {
            return Ok(client);
        }
        let client = Arc::new(open(&self.options, self.options.login.clone()).await?);
        self.client.store(Some(client.clone()));
        Ok(client)
    }

    /// Replaces the client in use. A dead connection can stay open for many minutes; a new connection shows
    /// at once whether etcd is available.
    pub async fn replace_current(&self) {
        self.replace(self.client.load_full().as_ref()).await;
    }

    async fn replace(&self, seen: Option<&Arc<Client>>) {
        let Some(seen) = seen else { return };
        let fresh = match self.options.login {
            // Cannot fail: the same options were valid in `new`.
            None => open(&self.options, None).await.ok().map(Arc::new),
            // The next request logs in.
            Some(_) => None,
        };
        self.client.compare_and_swap(seen, fresh);
    }

    fn no_answer(&self, last: Option<Error>) -> StoreError {
        let endpoints = self.options.endpoints.join(", ");
        let cause = last.map(|error| format!(": {}", root_cause(&error))).unwrap_or_default();
        let waited = self.options.request_timeout;
        StoreError::Unavailable(format!("no answer from etcd at {endpoints} within {waited:?}{cause}"))
    }
}

/// Creates a client. It connects with the first request, or at once if there is a login.
async fn open(options: &EtcdOptions, login: Option<(String, String)>) -> Result<Client, Error> {
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(options.request_timeout)
        .with_keep_alive(PING_EVERY, PING_TIMEOUT)
        .with_keep_alive_while_idle(false)
        .with_auto_token_refresh(true)
        .with_require_leader(true);
    if options.endpoints.iter().any(|url| url.starts_with("https:")) {
        connect = connect.with_tls(match &options.ca {
            Some(pem) => TlsOptions::new().ca_certificate(Certificate::from_pem(pem)),
            None => TlsOptions::new().with_native_roots(),
        });
    }
    if let Some((user, password)) = login {
        connect = connect.with_user(user, password);
    }
    Client::connect(&options.endpoints, Some(connect)).await
}

fn may_repeat(repeat: Repeat, error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    match repeat {
        Repeat::Safe => status.code() as i32 == code::UNAVAILABLE,
        Repeat::UnlessSent => never_sent(error),
    }
}

/// Returns true if no connection could be made, so that no byte of the request was sent.
fn never_sent(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(refused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns true if the error can only come from an attempt to connect. An unreachable host or network is also
/// reported for an established connection, after bytes were sent.
fn refused(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ConnectionRefused
}

pub(super) fn meaning(error: Error) -> StoreError {
    match &error {
        Error::GRpcStatus(status) => match status.code() as i32 {
            code::NOT_FOUND => StoreError::LeaseNotFound,
            code::INVALID_ARGUMENT
            | code::PERMISSION_DENIED
            | code::FAILED_PRECONDITION
            | code::OUT_OF_RANGE
            | code::UNAUTHENTICATED => StoreError::Rejected(status.message().to_owned()),
            _ => StoreError::Unavailable(root_cause(&error)),
        },
        // etcd answers a keep-alive of an unknown lease with a TTL of 0; the client maps it to this error.
        Error::LeaseKeepAliveError(_) => StoreError::LeaseNotFound,
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Returns the innermost cause as text: the errors around it only say "transport error".
fn root_cause(error: &Error) -> String {
    let Error::GRpcStatus(status) = error else { return error.to_string() };
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::refused;

    #[test]
    fn only_refused_connections_sent_nothing() {
        assert!(refused(&Error::from(ErrorKind::ConnectionRefused)));
        for sent in [
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkUnreachable,
            ErrorKind::ConnectionReset,
            ErrorKind::BrokenPipe,
            ErrorKind::TimedOut,
        ] {
            assert!(!refused(&Error::from(sent)), "{sent}");
        }
    }
}
