//! The connection on which scripts run: made when needed, dropped when it fails, every call ends in time.
//!
//! The crate's own `ConnectionManager` would answer the first call after an outage with the failure of an
//! attempt made long before, and would keep a connection on which nothing comes back any more. Owns: one
//! connection, deadlines, the meaning of Redis's errors. Never does: repeat what may not be repeated; every
//! script may.

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

/// Counts its connections, so that nobody drops one that he did not see fail.
#[derive(Default)]
struct Slot {
    count: u64,
    connection: Option<MultiplexedConnection>,
}

/// A call that has no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: PresenceError,
    /// Whether the request may have reached Redis.
    pub sent: bool,
}

impl Link {
    /// Connects with the first call.
    pub fn new(client: Client, timeout: Duration) -> Self {
        let address = client.get_connection_info().addr().to_string();
        Self { client, address, timeout, slot: Mutex::default() }
    }

    /// A connection that broke while nobody used it is replaced without anybody noticing.
    pub async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut may_be_stale = true;
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
            if is_new || !may_be_stale {
                return Err(self.failure(&error, true));
            }
            may_be_stale = false;
        }
    }

    /// Its number, whether it was made just now, and a handle of it.
    async fn connection(&self) -> Result<(u64, bool, MultiplexedConnection), RedisError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.count, false, connection.clone()));
        }
        // The caller has a deadline for all of it.
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

/// Whether Redis itself said so, and goes on answering on this connection. A replica that was the master
/// does not count: the address may lead to another server by now.
fn is_answer(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => false,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => true,
        _ => false,
    }
}

/// Error codes of Redis that pass by themselves (redis.io, "Redis serialization protocol", and redis.conf).
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
