//! Locks and presence entries in Redis, shared by all gateways.
//!
//! Each call is one script, so it is atomic. The scripts follow the tables of `domain::connection`. Redis
//! measures the lifetimes: a key that is not renewed expires. Owns: the keys named in `keys`. Does not treat
//! an error as a result.

mod keys;
mod link;
mod listener;
mod stages;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Client, Script, ScriptInvocation, TlsCertificates};
use tokio::time::{Instant, sleep};

use self::link::{Failure, Link};
use super::{
    Acquisition, ConnectionLock, EventStream, HeartbeatOutcome, Lifetimes, LockReplaced, MembersChanged,
    Presence, PresenceEntry, PresenceError, RenewOutcome,
};
use crate::domain::connection::{
    ConnectionId, Duplicate, FencingToken, GatewayIncarnation, Holder, JoinOutcome, LockKey, ReleaseOutcome,
    UpdateOutcome,
};
use crate::domain::ids::{ClientId, RoomId};

const WITHDRAW_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Connection settings of Redis, and lifetimes of the keys.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: String,
    /// CA certificates in PEM for TLS; `None`: the system's certificates.
    pub ca: Option<Vec<u8>>,
    /// Timeout of each call, including the time to open a new connection.
    pub request_timeout: Duration,
    pub lifetimes: Lifetimes,
}

/// Locks and presence entries in Redis.
pub struct RedisPresence {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    link: Link,
    options: RedisOptions,
    scripts: Scripts,
    stages: stages::Scripts,
}

struct Scripts {
    acquire: Script,
    renew: Script,
    release: Script,
    withdraw: Script,
    alive: Script,
    join: Script,
    update: Script,
    leave: Script,
    forget: Script,
    list: Script,
    remove_room: Script,
}

impl RedisPresence {
    /// Creates the client. Connects only with the first call, so Redis may be unavailable now.
    ///
    /// # Errors
    /// [`PresenceError::Rejected`] if the URL or the CA certificates cannot be used.
    pub fn new(options: RedisOptions) -> Result<Arc<Self>, PresenceError> {
        let unusable = |error| PresenceError::Rejected(format!("the Redis URL cannot be used: {error}"));
        let client = match options.ca.clone() {
            Some(ca) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(ca) };
                Client::build_with_tls(options.url.as_str(), certificates)
            }
            None => Client::open(options.url.as_str()),
        };
        let client = client.map_err(unusable)?;
        let link = Link::new(client.clone(), options.request_timeout);
        let inner = Arc::new(Inner {
            client,
            link,
            options,
            scripts: Scripts::new(),
            stages: stages::Scripts::new(),
        });
        Ok(Arc::new(Self { inner }))
    }
}

#[async_trait]
impl ConnectionLock for RedisPresence {
    async fn acquire(
        &self,
        key: &LockKey,
        holder: &Holder,
        policy: Duplicate,
    ) -> Result<Acquisition, PresenceError> {
        let attempt = format!("{:032x}", rand::random::<u128>());
        let answer = self.inner.acquire(key, holder, policy, &attempt).await;
        if answer.as_ref().is_err_and(|failure| failure.sent && failure.error.is_retryable()) {
            tokio::spawn(self.inner.clone().withdraw(key.clone(), attempt));
        }
        let (token, claim, gateway, connection, client) = answer?;
        let before = || stored_holder(&gateway, &connection, &client);
        match claim.as_str() {
            "refused" => Ok(Acquisition::Held { by: before()? }),
            "withdrawn" => Err(PresenceError::Unavailable("the request was withdrawn".into())),
            "replaces" => Ok(Acquisition::Acquired { token: FencingToken(token), replaced: Some(before()?) }),
            _ => Ok(Acquisition::Acquired { token: FencingToken(token), replaced: None }),
        }
    }

    async fn renew(
        &self,
        key: &LockKey,
        holder: &Holder,
        token: FencingToken,
    ) -> Result<RenewOutcome, PresenceError> {
        let Inner { link, options, scripts, .. } = &*self.inner;
        let mut call = scripts.renew.prepare_invoke();
        call.key(keys::lock(key)).key(keys::mark(key)).key(keys::gateway(&holder.gateway));
        call.arg(token.0).arg(holder.gateway.to_string()).arg(&holder.connection.0).arg(client_text(holder));
        let Lifetimes { lock, gateway, .. } = options.lifetimes;
        call.arg(ms(lock)).arg(ms(options.lifetimes.mark())).arg(ms(gateway));
        let ours: bool = link.run(&call).await?;
        Ok(if ours { RenewOutcome::StillOurs } else { RenewOutcome::Lost })
    }

    async fn release(&self, key: &LockKey, token: FencingToken) -> Result<ReleaseOutcome, PresenceError> {
        let Inner { link, options, scripts, .. } = &*self.inner;
        let mut call = scripts.release.prepare_invoke();
        call.key(keys::lock(key)).key(keys::mark(key));
        call.arg(token.0).arg(token.over().0).arg(ms(options.lifetimes.mark()));
        let freed: bool = link.run(&call).await?;
        Ok(if freed { ReleaseOutcome::Freed } else { ReleaseOutcome::NotOurs })
    }

    async fn gateway_alive(&self, gateway: &GatewayIncarnation) -> Result<HeartbeatOutcome, PresenceError> {
        let Inner { link, options, scripts, .. } = &*self.inner;
        let mut call = scripts.alive.prepare_invoke();
        call.key(keys::gateway(gateway)).arg(ms(options.lifetimes.gateway));
        let known: bool = link.run(&call).await?;
        Ok(if known { HeartbeatOutcome::Known } else { HeartbeatOutcome::Reregistered })
    }

    fn replacements(&self, gateway: &GatewayIncarnation) -> EventStream<LockReplaced> {
        self.inner.listen(keys::replaced_channel(gateway), |text| serde_json::from_str(text).ok())
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        let Inner { link, scripts, .. } = &*self.inner;
        let mut call = self.inner.write_call(&scripts.join, room, member)?;
        let answer: String = link.run(call.arg(max_anchors)).await?;
        match answer.as_str() {
            "ok" => Ok(JoinOutcome::Ok),
            "full" => Ok(JoinOutcome::Full),
            "fenced" => Ok(JoinOutcome::Fenced),
            other => Err(unreadable(other)),
        }
    }

    async fn update(&self, room: &RoomId, member: &PresenceEntry) -> Result<UpdateOutcome, PresenceError> {
        let Inner { link, scripts, .. } = &*self.inner;
        written(&link.run::<String>(&self.inner.write_call(&scripts.update, room, member)?).await?)
    }

    async fn leave(&self, key: &LockKey, token: FencingToken) -> Result<UpdateOutcome, PresenceError> {
        let Inner { link, scripts, .. } = &*self.inner;
        let mut call = lock_call(&scripts.leave, key);
        written(&link.run::<String>(call.arg(token.0)).await?)
    }

    async fn forget(&self, key: &LockKey) -> Result<(), PresenceError> {
        let Inner { link, scripts, .. } = &*self.inner;
        Ok(link.run(&lock_call(&scripts.forget, key)).await?)
    }

    async fn list(&self, room: &RoomId) -> Result<Vec<PresenceEntry>, PresenceError> {
        let Inner { link, scripts, .. } = &*self.inner;
        let values: Vec<String> = link.run(&room_call(&scripts.list, room)).await?;
        let read = |text: &String| serde_json::from_str(text).map_err(|_| unreadable("member"));
        let mut members = values.iter().map(read).collect::<Result<Vec<PresenceEntry>, _>>()?;
        members.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        Ok(members)
    }

    async fn remove_room(&self, room: &RoomId) -> Result<(), PresenceError> {
        let Inner { link, scripts, .. } = &*self.inner;
        Ok(link.run(&room_call(&scripts.remove_room, room)).await?)
    }

    fn subscribe(&self) -> EventStream<MembersChanged> {
        self.inner
            .listen(keys::CHANGED.to_owned(), |room| Some(MembersChanged { room: RoomId::new(room).ok()? }))
    }
}

/// Reply to an acquisition: fencing token, decision, and gateway, connection and client of the previous
/// holder.
type AcquireAnswer = (u64, String, String, String, String);

impl Inner {
    async fn acquire(
        &self,
        key: &LockKey,
        holder: &Holder,
        policy: Duplicate,
        attempt: &str,
    ) -> Result<AcquireAnswer, Failure> {
        let policy = match policy {
            Duplicate::Reject => "reject",
            Duplicate::Replace => "replace",
        };
        let lifetimes = &self.options.lifetimes;
        let mut call = self.scripts.acquire.prepare_invoke();
        call.key(keys::lock(key)).key(keys::mark(key)).key(keys::gateway(&holder.gateway));
        call.key(keys::withdrawn(attempt));
        call.arg(holder.gateway.to_string()).arg(&holder.connection.0).arg(client_text(holder));
        call.arg(attempt).arg(policy);
        call.arg(ms(lifetimes.lock)).arg(ms(lifetimes.mark())).arg(ms(lifetimes.gateway));
        call.arg(keys::GATEWAY_PREFIX).arg(keys::REPLACED_PREFIX);
        call.arg(key.room.as_str()).arg(key.user.as_str());
        self.link.run(&call).await
    }

    /// Withdraws an acquisition that got no response. Redis may have applied it, or may still apply it when
    /// Redis responds again. No connection would renew or release the acquired lock, so this lock would block
    /// the user for a whole lock lifetime.
    async fn withdraw(self: Arc<Self>, key: LockKey, attempt: String) {
        let Lifetimes { lock, .. } = self.options.lifetimes;
        let mut call = self.scripts.withdraw.prepare_invoke();
        call.key(keys::lock(&key)).key(keys::mark(&key)).key(keys::withdrawn(&attempt));
        call.arg(&attempt).arg(ms(lock)).arg(ms(self.options.lifetimes.mark()));
        let give_up = Instant::now() + lock;
        while Instant::now() < give_up {
            match self.link.run::<()>(&call).await {
                Err(failure) if failure.error.is_retryable() => sleep(WITHDRAW_AGAIN_AFTER).await,
                _ => return,
            }
        }
    }

    fn listen<T: Clone + Send + 'static>(
        &self,
        channel: String,
        read: fn(&str) -> Option<T>,
    ) -> EventStream<T> {
        listener::listen(self.client.clone(), channel, self.options.request_timeout, read)
    }

    fn write_call<'a>(
        &self,
        script: &'a Script,
        room: &RoomId,
        member: &PresenceEntry,
    ) -> Result<ScriptInvocation<'a>, PresenceError> {
        let key = LockKey { room: room.clone(), user: member.user_id.clone() };
        let value = serde_json::to_string(member).map_err(|_| unreadable("member"))?;
        let mut call = lock_call(script, &key);
        call.arg(member.token.0).arg(value).arg(ms(self.options.lifetimes.member));
        Ok(call)
    }
}

impl Scripts {
    fn new() -> Self {
        let in_room = |code: &str| Script::new(&format!("{}\n{code}", include_str!("lua/room.lua")));
        Self {
            acquire: Script::new(include_str!("lua/acquire.lua")),
            renew: Script::new(include_str!("lua/renew.lua")),
            release: Script::new(include_str!("lua/release.lua")),
            withdraw: Script::new(include_str!("lua/withdraw.lua")),
            alive: Script::new(include_str!("lua/alive.lua")),
            join: in_room(include_str!("lua/join.lua")),
            update: in_room(include_str!("lua/update.lua")),
            leave: in_room(include_str!("lua/leave.lua")),
            forget: in_room(include_str!("lua/forget.lua")),
            list: in_room(include_str!("lua/list.lua")),
            remove_room: in_room(include_str!("lua/remove_room.lua")),
        }
    }
}

fn room_call<'a>(script: &'a Script, room: &RoomId) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    call.key(keys::members(room)).arg(room.as_str()).arg(keys::member_prefix(room)).arg(keys::CHANGED);
    call
}

fn lock_call<'a>(script: &'a Script, key: &LockKey) -> ScriptInvocation<'a> {
    let mut call = room_call(script, &key.room);
    let member = format!("{}{}", keys::member_prefix(&key.room), key.user);
    call.key(member).key(keys::mark(key)).arg(key.user.as_str());
    call
}

fn written(answer: &str) -> Result<UpdateOutcome, PresenceError> {
    match answer {
        "ok" => Ok(UpdateOutcome::Ok),
        "absent" => Ok(UpdateOutcome::Absent),
        "fenced" => Ok(UpdateOutcome::Fenced),
        other => Err(unreadable(other)),
    }
}

fn stored_holder(gateway: &str, connection: &str, client: &str) -> Result<Holder, PresenceError> {
    let client = (!client.is_empty()).then(|| ClientId::new(client)).transpose();
    Ok(Holder {
        gateway: gateway.parse().map_err(|_| unreadable("gateway"))?,
        connection: ConnectionId(connection.to_owned()),
        client: client.map_err(|_| unreadable("client"))?,
    })
}

fn client_text(holder: &Holder) -> &str {
    holder.client.as_ref().map_or("", ClientId::as_str)
}

/// Returns the error for an unreadable value: another program, or a newer version of Stentor, wrote the key.
fn unreadable(what: &str) -> PresenceError {
    PresenceError::Rejected(format!("cannot parse a value in Redis: {what}; restore or delete the key"))
}

fn ms(lifetime: Duration) -> u64 {
    u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
}
