//! The Redis backend against the conformance cases on a real Redis, and under faults of that Redis.

use std::sync::Arc;
use std::time::Duration;

use stentor::domain::connection::{Duplicate, Fence, Joined, Written};
use stentor::presence::redis::{RedisOptions, RedisPresence};
use stentor::presence::{
    Acquisition, Changed, ConnectionLock, Lifetimes, News, NewsStream, Presence, PresenceError, Renewed,
    SignOfLife,
};
use tokio::time::{Instant, timeout};

use super::conformance::{Instance, Subject, attentive, gateway, holder, member, next, room, seat};
use crate::support::redis::Redis;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{free_ports, pause_async};

crate::presence_conformance!(OnRedis::start);

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
/// Tolerance beyond the limit of a bounded wait on a busy machine.
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
async fn the_fence_rises_across_a_flush() {
    let on = OnRedis::start().await;
    let one = on.instance();
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let before = one.take(&ann, &held).await;
    one.presence.join(&room(), &member("ann", before), 3).await.unwrap();
    on.redis.flush();
    let after = one.take(&ann, &holder(2, "b")).await;
    assert!(after > before, "{after:?} after {before:?}");
    assert_eq!(one.lock.renew(&ann, &held, before).await.unwrap(), Renewed::Lost);
    assert_eq!(one.presence.update(&room(), &member("ann", before)).await.unwrap(), Written::Fenced);
}

#[actix::test]
async fn a_gateway_learns_that_redis_has_forgotten_it_whatever_it_asked_since() {
    let on = OnRedis::start().await;
    let one = on.instance();
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let fence = one.take(&ann, &held).await;
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), SignOfLife::Anew);
    one.lock.renew(&ann, &held, fence).await.unwrap();
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), SignOfLife::Known);
    on.redis.flush();
    one.lock.renew(&ann, &held, fence).await.unwrap();
    one.take(&seat("bob"), &holder(1, "b")).await;
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), SignOfLife::Anew);
    assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), SignOfLife::Known);
}

#[actix::test]
async fn those_who_are_connected_live_on_when_redis_forgets_everything() {
    let mut on = OnRedis::start().await;
    let one = on.instance();
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let fence = one.take(&ann, &held).await;
    one.presence.join(&room(), &member("ann", fence), 3).await.unwrap();
    on.redis.stop();
    on.redis.run();
    assert_eq!(one.lock.renew(&ann, &held, fence).await.unwrap(), Renewed::StillOurs);
    assert_eq!(one.refused(&ann, &holder(2, "b")).await, held);
    assert_eq!(one.presence.update(&room(), &member("ann", fence)).await.unwrap(), Written::Absent);
    assert_eq!(one.presence.join(&room(), &member("ann", fence), 3).await.unwrap(), Joined::Ok);
}

#[actix::test]
async fn a_stopped_redis_is_a_retryable_error_and_heals_without_a_new_object() {
    let mut on = OnRedis::start().await;
    let (one, presence) = (on.instance(), open(&on.redis.url()));
    one.take(&seat("ann"), &holder(1, "a")).await;
    presence.list(&room()).await.unwrap();
    on.redis.stop();
    unavailable_in_time(&presence).await;
    unavailable_in_time(&presence).await;
    on.redis.run();
    // The very first call works: the answer does not come from an earlier attempt.
    one.take(&seat("ann"), &holder(2, "b")).await;
    assert_eq!(presence.list(&room()).await.unwrap(), []);
}

#[actix::test]
async fn redis_may_be_away_when_the_node_starts() {
    let mut redis = Redis::start();
    redis.stop();
    let presence = open(&redis.url());
    let news = presence.subscribe();
    unavailable_in_time(&presence).await;
    redis.run();
    presence.gateway_alive(&gateway(1)).await.unwrap();
    hears_of_changes(&presence, attentive(news).await).await;
}

#[actix::test]
async fn a_frozen_redis_is_a_retryable_error_until_it_thaws() {
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
async fn a_connection_on_which_nothing_comes_any_more_is_replaced() {
    let on = OnRedis::start().await;
    let proxy = TcpProxy::start(on.redis.address()).await;
    let presence = open(&format!("redis://{}", proxy.address()));
    let news = attentive(presence.subscribe()).await;
    presence.list(&room()).await.unwrap();
    proxy.freeze();
    unavailable_in_time(&presence).await;
    let news = interrupted(news, || proxy.heal()).await;
    until_available(&presence).await;
    hears_of_changes(&presence, news).await;
}

#[actix::test]
async fn listeners_are_told_to_look_again_when_redis_is_back() {
    let mut on = OnRedis::start().await;
    let presence = open(&on.redis.url());
    let changes = attentive(presence.subscribe()).await;
    let mut replacements = attentive(presence.replacements(&gateway(1))).await;
    on.redis.stop();
    on.redis.run();
    assert_eq!(next(&mut replacements).await, News::LookAgain);
    hears_of_changes(&presence, attentive(changes).await).await;
}

/// An acquisition that timed out may still be in the socket, and run when Redis resumes.
#[actix::test]
async fn an_acquisition_without_an_answer_keeps_nobody_out() {
    let on = OnRedis::start().await;
    let one = on.instance();
    let ann = seat("ann");
    // From now on Redis has the script cached, so it runs a call that it finds in the socket.
    one.take(&seat("bob"), &holder(1, "b")).await;
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
async fn a_wrong_password_is_no_passing_trouble_and_stays_out_of_the_text() {
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
async fn the_error_names_where_and_why() {
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

/// Waits until the stream must have noticed the silence, heals, and waits for the stream's notice.
async fn interrupted<T: std::fmt::Debug + PartialEq>(
    news: NewsStream<T>,
    heal: impl FnOnce(),
) -> NewsStream<T> {
    let mut news = news;
    let silence = timeout(Duration::from_secs(5), next(&mut news)).await;
    assert!(silence.is_err(), "nothing can come: {silence:?}");
    heal();
    attentive(news).await
}

async fn hears_of_changes(presence: &RedisPresence, mut news: NewsStream<Changed>) {
    presence.join(&room(), &member("ann", Fence(5)), 3).await.unwrap();
    assert_eq!(next(&mut news).await, News::Told(Changed { room: room() }));
}
