//! The Redis backend against the conformance cases on a real Redis, and under faults of that Redis.

use std::sync::Arc;
use std::time::Duration;

use stentor::domain::connection::{Duplicate, FencingToken, JoinOutcome, UpdateOutcome};
use stentor::presence::redis::{RedisOptions, RedisPresence};
use stentor::presence::{
    Acquisition, ConnectionLock, EventStream, HeartbeatOutcome, Lifetimes, MembersChanged, Presence,
    PresenceError, PresenceEvent, RenewOutcome,
};
use tokio::time::{Instant, timeout};

use super::conformance::{Instance, Subject, attentive, gateway, holder, lock_key, member, next, room};
use crate::support::redis::Redis;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{free_ports, pause_async};

crate::presence_conformance!(OnRedis::start);

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
/// Time by which a wait may exceed its limit on a busy machine.
const SLACK: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);

pub struct OnRedis {
    pub redis: Redis,
}

impl OnRedis {
    pub async fn start() -> Self {
        Self { redis: Redis::start() }
    }
}

impl Subject for OnRedis {
    fn instance(&self) -> Instance {
        let presence = open(&self.redis.url());
        Instance { lock: presence.clone(), presence }
    }

    fn pass(&self, time: Duration) {
        self.redis.pass(time);
    }
}

#[actix::test]
async fn fencing_token_rises_across_flush() {
    let on = OnRedis::start().await;
    let one = on.instance();
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let before = one.take(&ann, &held).await;
    one.presence.join(&room(), &member("ann", before), 3).await.unwrap();
    on.redis.flush();
    let after = one.take(&ann, &holder(2, "b")).await;
    assert!(after > before, "{after:?} after {before:?}");
    assert_eq!(one.lock.renew(&ann, &held, before).await.unwrap(), RenewOutcome::Lost);
    assert_eq!(one.presence.update(&room(), &member("ann", before)).await.unwrap(), UpdateOutcome::Fenced);
}

#[actix::test]
async fn gateway_detects_flushed_redis() {
    let on = OnRedis::start().await;
    let one = on.instance();
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let token = one.take(&ann, &held).await;
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), HeartbeatOutcome::Reregistered);
    one.lock.renew(&ann, &held, token).await.unwrap();
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), HeartbeatOutcome::Known);
    on.redis.flush();
    one.lock.renew(&ann, &held, token).await.unwrap();
    one.take(&lock_key("bob"), &holder(1, "b")).await;
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), HeartbeatOutcome::Reregistered);
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), HeartbeatOutcome::Known);
}

#[actix::test]
async fn connections_survive_redis_flush() {
    let mut on = OnRedis::start().await;
    let one = on.instance();
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let token = one.take(&ann, &held).await;
    one.presence.join(&room(), &member("ann", token), 3).await.unwrap();
    on.redis.stop();
    on.redis.run();
    assert_eq!(one.lock.renew(&ann, &held, token).await.unwrap(), RenewOutcome::StillOurs);
    assert_eq!(one.refused(&ann, &holder(2, "b")).await, held);
    assert_eq!(one.presence.update(&room(), &member("ann", token)).await.unwrap(), UpdateOutcome::Absent);
    assert_eq!(one.presence.join(&room(), &member("ann", token), 3).await.unwrap(), JoinOutcome::Ok);
}

#[actix::test]
async fn stopped_redis_is_retryable_and_heals() {
    let mut on = OnRedis::start().await;
    let (one, presence) = (on.instance(), open(&on.redis.url()));
    one.take(&lock_key("ann"), &holder(1, "a")).await;
    presence.list(&room()).await.unwrap();
    on.redis.stop();
    unavailable_in_time(&presence).await;
    unavailable_in_time(&presence).await;
    on.redis.run();
    // The first call after the restart already works; its answer does not come from an earlier attempt.
    one.take(&lock_key("ann"), &holder(2, "b")).await;
    assert_eq!(presence.list(&room()).await.unwrap(), []);
}

#[actix::test]
async fn redis_may_be_down_at_start() {
    let mut redis = Redis::start();
    redis.stop();
    let presence = open(&redis.url());
    let events = presence.subscribe();
    unavailable_in_time(&presence).await;
    redis.run();
    presence.gateway_alive(&gateway(1)).await.unwrap();
    hears_of_changes(&presence, attentive(events).await).await;
}

#[actix::test]
async fn frozen_redis_is_retryable_error() {
    let on = OnRedis::start().await;
    let presence = open(&on.redis.url());
    presence.list(&room()).await.unwrap();
    on.redis.freeze();
    unavailable_in_time(&presence).await;
    unavailable_in_time(&presence).await;
    on.redis.thaw();
    presence.list(&room()).await.unwrap();
}

#[actix::test]
async fn silent_redis_connection_is_replaced() {
    let on = OnRedis::start().await;
    let proxy = TcpProxy::start(on.redis.address()).await;
    let presence = open(&format!("redis://{}", proxy.address()));
    let events = attentive(presence.subscribe()).await;
    presence.list(&room()).await.unwrap();
    proxy.freeze();
    unavailable_in_time(&presence).await;
    let events = interrupted(events, || proxy.heal()).await;
    until_available(&presence).await;
    hears_of_changes(&presence, events).await;
}

#[actix::test]
async fn subscribers_resync_after_redis_restart() {
    let mut on = OnRedis::start().await;
    let presence = open(&on.redis.url());
    let changes = attentive(presence.subscribe()).await;
    let mut replacements = attentive(presence.replacements(&gateway(1))).await;
    on.redis.stop();
    on.redis.run();
    assert_eq!(next(&mut replacements).await, PresenceEvent::LookAgain);
    hears_of_changes(&presence, attentive(changes).await).await;
}

/// An acquisition that timed out may still be in the socket, and run when Redis resumes.
#[actix::test]
async fn unanswered_acquisition_blocks_nobody() {
    let on = OnRedis::start().await;
    let one = on.instance();
    let ann = lock_key("ann");
    // From now on Redis has the script cached, so it runs a call that it finds in the socket.
    one.take(&lock_key("bob"), &holder(1, "b")).await;
    on.redis.freeze();
    let lost = one.lock.acquire(&ann, &holder(1, "ghost"), Duplicate::Reject).await;
    assert!(lost.unwrap_err().is_retryable());
    on.redis.thaw();
    let deadline = Instant::now() + DEADLINE;
    loop {
        one.lock.gateway_alive(&gateway(1)).await.unwrap();
        let answer = one.lock.acquire(&ann, &holder(1, "real"), Duplicate::Reject).await;
        if matches!(answer, Ok(Acquisition::Acquired { .. })) {
            break;
        }
        assert!(Instant::now() < deadline, "locked out: {answer:?}");
        pause_async().await;
    }
}

#[actix::test]
async fn wrong_redis_password_is_permanent_error() {
    let redis = Redis::start_with_password("right-one");
    for login in ["", ":wrong-one@"] {
        let error = open(&format!("redis://{login}{}", redis.address())).list(&room()).await.unwrap_err();
        assert!(matches!(error, PresenceError::Rejected(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&redis.address().to_string()) && !text.contains("wrong-one"), "{text}");
    }
    open(&format!("redis://:right-one@{}", redis.address())).list(&room()).await.unwrap();
}

#[actix::test]
async fn redis_error_names_address_and_cause() {
    let [port] = free_ports();
    let error = open(&format!("redis://127.0.0.1:{port}")).list(&room()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("refused"), "{text}");
    let options = RedisOptions { url: "http://somewhere".into(), ..options("") };
    assert!(matches!(RedisPresence::new(options).err(), Some(PresenceError::Rejected(_))));
}

fn open(url: &str) -> Arc<RedisPresence> {
    RedisPresence::new(options(url)).unwrap()
}

fn options(url: &str) -> RedisOptions {
    let (request_timeout, lifetimes) = (REQUEST_TIMEOUT, Lifetimes::default());
    RedisOptions { url: url.into(), ca: None, request_timeout, lifetimes }
}

async fn unavailable_in_time(presence: &RedisPresence) {
    let start = Instant::now();
    let error = presence.list(&room()).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(start.elapsed() < REQUEST_TIMEOUT + SLACK, "it took {:?}", start.elapsed());
}

async fn until_available(presence: &RedisPresence) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = presence.list(&room()).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

/// Waits until the stream must have noticed the silence, heals the connection, and waits until the stream
/// reports the interruption.
async fn interrupted<T: std::fmt::Debug + PartialEq>(
    events: EventStream<T>,
    heal: impl FnOnce(),
) -> EventStream<T> {
    let mut events = events;
    let silence = timeout(Duration::from_secs(5), next(&mut events)).await;
    assert!(silence.is_err(), "nothing can come: {silence:?}");
    heal();
    attentive(events).await
}

async fn hears_of_changes(presence: &RedisPresence, mut events: EventStream<MembersChanged>) {
    presence.join(&room(), &member("ann", FencingToken(5)), 3).await.unwrap();
    assert_eq!(next(&mut events).await, PresenceEvent::Told(MembersChanged { room: room() }));
}
