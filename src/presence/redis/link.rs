//! The connection on which scripts run: opened on demand, dropped when it fails, with a deadline for every
//! call.
//!
//! The crate's own `ConnectionManager` would answer the first call after an outage with the failure of an
//! older attempt, and would keep a connection on which nothing arrives any more. Owns: one connection,
//! deadlines, the mapping of Redis's errors. Does not repeat a call more than once.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::presence::PresenceError;

pub(super) struct Link {
    client: Client,
    /// Host and port, without the password.
    address: String,
    timeout: Duration,
    slot: Mutex<Slot>,
}

/// Connection and its number. A caller drops a failed connection only if no newer connection has replaced it;
/// the number shows this.
#[derive(Default)]
struct Slot {
    count: u64,
    connection: Option<MultiplexedConnection>,
}

/// Failure of a call.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: PresenceError,
    /// True if the request may have reached Redis.
    pub sent: bool,
}

impl Link {
    /// Creates a link. It connects with the first call.
    pub fn new(client: Client, timeout: Duration) -> Self {
        let address = client.get_connection_info().addr().to_string();
        Self { client, address, timeout, slot: Mutex::default() }
    }

    /// Runs a script that may run twice. If an old connection fails, repeats the call once on a new one:
    /// callers do not see that a connection broke while it was idle.
    ///
    /// # Errors
    /// [`Failure`] if Redis cannot be reached, reports an error, or does not respond within the timeout.
    pub async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Failure> {
        self.run_within(call, true).await
    }

    /// Runs a script that must not run twice, and never repeats it.
    ///
    /// # Errors
    /// [`Failure`] if Redis cannot be reached, reports an error, or does not respond within the timeout, or
    /// if the connection fails.
    pub async fn run_once<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Failure> {
        self.run_within(call, false).await
    }

    async fn run_within<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        mut may_repeat: bool,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let connected = timeout_at(deadline, self.connection()).await;
            let (count, is_new, mut connection) = match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return Err(self.failure(&error, false)),
                Err(_) => return Err(self.silence(false)),
            };
            let error = match timeout_at(deadline, call.invoke_async(&mut connection)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => {
                    self.drop_connection(count).await;
                    return Err(self.silence(true));
                }
            };
            if is_answer(&error) {
                return Err(self.failure(&error, true));
            }
            self.drop_connection(count).await;
            if is_new || !may_repeat {
                return Err(self.failure(&error, true));
            }
            may_repeat = false;
        }
    }

    /// Returns the connection's number, true if it is new, and a handle. Connects if there is no connection.
    async fn connection(&self) -> Result<(u64, bool, MultiplexedConnection), RedisError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.count, false, connection.clone()));
        }
        // No timeouts here: the caller has a deadline for the whole call.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        slot.count += 1;
        slot.connection = Some(connection.clone());
        Ok((slot.count, true, connection))
    }

    async fn drop_connection(&self, count: u64) {
        let mut slot = self.slot.lock().await;
        if slot.count == count {
            slot.connection = None;
        }
    }

    fn failure(&self, error: &RedisError, sent: bool) -> Failure {
        Failure { error: meaning(&self.address, error), sent }
    }

    fn silence(&self, sent: bool) -> Failure {
        let (address, waited) = (&self.address, self.timeout);
        let text = format!("no answer from Redis at {address} within {waited:?}");
        Failure { error: PresenceError::Unavailable(text), sent }
    }
}

impl From<Failure> for PresenceError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Returns true if the error is a response of Redis, so that the connection still works. Returns false for
/// `READONLY`, from a server that is now a replica: the address may now lead to another server.
fn is_answer(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => false,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => true,
        _ => false,
    }
}

/// Error codes of Redis for temporary conditions (redis.io, "Redis serialization protocol", and redis.conf).
const PASSING: [&str; 6] = ["LOADING", "BUSY", "READONLY", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS"];

fn meaning(address: &str, error: &RedisError) -> PresenceError {
    let text = format!("Redis at {address}: {error}");
    let said = matches!(
        error.kind(),
        ErrorKind::Server(_)
            | ErrorKind::Extension
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
    );
    if said && !error.code().is_some_and(|code| PASSING.contains(&code)) {
        PresenceError::Rejected(text)
    } else {
        PresenceError::Unavailable(text)
    }
}
