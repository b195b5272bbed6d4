//! Two gateways and their dependencies: one Janus, etcd and Redis, one full node, one gateway-only node.
//!
//! Owns: the processes and the secrets they share. Does not send audio.

use std::time::Duration;

use stentor::auth::{Role, Tokens};
use stentor::config::{JwtSecret, Secret};
use stentor::domain::ids::{RoomId, UnixMs};
use stentor::janus::AudioBridge;

use super::caller::Caller;
use super::etcd::Etcd;
use super::external::on_janus;
use super::janus::TestJanus;
use super::node::Node;
use super::redis::Redis;

pub const ROOM: &str = "talk";
const JWT_SECRET: &str = "a secret for the tokens of this test";
const HLS_SECRET: &str = "a secret for the content keys of it";

/// The nodes and services, in the order in which they are dropped.
pub struct Stage {
    pub one: Node,
    pub two: Option<Node>,
    pub redis: Redis,
    janus: TestJanus,
    _etcd: Etcd,
}

impl Stage {
    /// Starts everything with a Janus of its own. Returns with the room on air and both gateways running.
    pub async fn pair(settings: &[(&str, &str)]) -> Self {
        Self::on(TestJanus::start().await, settings).await
    }

    /// Starts everything with a Janus that the test started.
    pub async fn on(janus: TestJanus, settings: &[(&str, &str)]) -> Self {
        let (etcd, redis) = (Etcd::start(), Redis::start());
        let (etcd_url, redis_url) = (etcd.endpoint(), redis.url());
        let jwt = jwt_secrets();
        let shared = [
            ("store.kind", "etcd"),
            ("store.etcd.endpoints", etcd_url.as_str()),
            ("presence.kind", "redis"),
            ("presence.redis.url", redis_url.as_str()),
            ("auth.jwt_secrets", jwt.as_str()),
            ("hls.secret", HLS_SECRET),
        ];
        let all: Vec<_> = shared.iter().chain(settings).copied().collect();
        let mut one = on_janus(&janus, janus.janus.url(), &all);
        let gateway: Vec<_> = all.iter().copied().chain([("node.roles", "gateway")]).collect();
        let mut two = on_janus(&janus, janus.janus.url(), &gateway);
        one.run();
        two.run();
        one.ready().await;
        two.ready().await;
        one.room_on_air(ROOM).await;
        Self { one, two: Some(two), redis, janus, _etcd: etcd }
    }

    /// Returns the participants of the Janus room with their numbers in Janus, which change with every join.
    pub async fn participants(&self) -> Vec<(u64, String)> {
        let (eyes, _events) = self.janus.client().await;
        let rooms = eyes.list_rooms().await.expect("a list");
        let all = eyes.participants(rooms[0].id).await.expect("a list");
        let mut named: Vec<_> = all.into_iter().map(|p| (p.id, p.display)).collect();
        named.sort();
        named
    }

    pub fn gateways(&self) -> [String; 2] {
        [self.one.ws.clone(), self.two.as_ref().expect("it runs").ws.clone()]
    }

    pub async fn connect(&self, gateway: usize, user: &str, query: &str) -> Caller {
        Caller::connect(&self.gateways()[gateway], &token(user, Role::Anchor), query).await
    }

    pub async fn connect_host(&self, gateway: usize, user: &str) -> Caller {
        Caller::connect(&self.gateways()[gateway], &token(user, Role::Host), "").await
    }
}

/// Returns a value for `auth.jwt_secrets`.
pub fn jwt_secrets() -> String {
    format!("k1:{JWT_SECRET}")
}

/// Signs a token as an app's backend may do itself.
pub fn token(user: &str, role: Role) -> String {
    let secret = JwtSecret { kid: "k1".to_owned(), secret: Secret(JWT_SECRET.into()) };
    let tokens = Tokens::new(&[secret], "stentor", Duration::from_secs(60));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let room = RoomId::new(ROOM).expect("a room id");
    tokens.issue(role, user, &room, None, Duration::from_secs(600), UnixMs(now.as_millis() as u64)).token
}
