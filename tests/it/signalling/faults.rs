//! Faults of signalling: a client is cut off, a gateway is killed, Redis is stopped.

use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::hearing::level;

use crate::support::fault_table::recovered;
use crate::support::redis::Redis;
use crate::support::report;
use crate::support::stage::{ROOM, Stage};

/// One second of audio, in frames.
const SECOND: u64 = 50;

#[actix::test]
async fn client_resumes_media_after_five_seconds() {
    let stage = Stage::pair(&[]).await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, _tone) = bert.speak(660).await;
    let mut anna = stage.connect(0, "anna", "&clientId=a").await;
    let (joined, media) = anna.speak(440).await;
    let before = media.hear(SECOND).await.len();
    assert!(before > 0);
    let at = media.progress();
    anna.cut();
    // The sent frames measure five seconds.
    let away = media.until("media flows on", |p| p.sent >= at.sent + 5 * SECOND).await;
    assert!(away.received > at.received + 4 * SECOND, "{} after {}", away.received, at.received);
    let mut back = stage.connect(0, "anna", "&clientId=a").await;
    let again = back.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    assert_eq!(again["resume"], true);
    back.members(2).await;
    // The media continue on the same peer connection.
    media.until_hears(&[660.0], &[]).await;
}

#[actix::test]
async fn resumed_client_keeps_its_status() {
    let stage = Stage::pair(&[]).await;
    let mut watcher = stage.connect(1, "wanda", "").await;
    let mut anna = stage.connect(0, "anna", "&clientId=a").await;
    let joined = anna.call("join", json!({ "displayName": "Anna" })).await.unwrap();
    let media = anna.offer(440).await;
    media.hear(SECOND).await;
    anna.call("status", json!({ "status": "onair" })).await.unwrap();
    anna.call("mute", json!({})).await.unwrap();
    let present = watcher.members(1).await;
    let shown = |status: &str| {
        let (anna, name, person) = ("anna", "Anna", &present[0]["personId"]);
        json!([{
            "userId": anna, "personId": person, "role": "anchor", "status": status, "muted": true,
            "displayName": name
        }])
    };
    watcher.note("roomStatus", |p| p["members"] == shown("onair")).await;
    anna.cut();
    let mut back = stage.connect(0, "anna", "&clientId=a").await;
    let again = back.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    assert_eq!(again["resume"], true);
    // Notifications sent meanwhile arrive before those of this change.
    back.call("status", json!({ "status": "idle" })).await.unwrap();
    loop {
        let told = watcher.note("roomStatus", |_| true).await;
        if told["members"] != shown("onair") {
            assert_eq!(told["members"], shown("idle"));
            break;
        }
    }
}

#[actix::test]
async fn anchors_resume_through_other_gateway() {
    let mut stage = Stage::pair(&[]).await;
    let mut bert = stage.connect(0, "bert", "").await;
    let (_, _tone) = bert.speak(660).await;
    let mut anna = stage.connect(1, "anna", "&clientId=a").await;
    let (joined, media) = anna.speak(440).await;
    media.hear(SECOND).await;
    let mut carl = stage.connect(1, "carl", "&clientId=a").await;
    carl.call("join", json!({})).await.unwrap();
    let at = media.progress();
    stage.two.as_mut().unwrap().kill();
    assert_eq!(anna.closed().await, 1006);
    let mut back = stage.connect(0, "anna", "&clientId=a").await;
    let again = back.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    assert_eq!(again["resume"], true, "claimed, with its media");
    media.hear(SECOND).await;
    media.until_hears(&[660.0], &[]).await;
    let now = media.progress();
    assert!(now.received >= at.received + SECOND && now.sent > at.sent);
    // The lock of a dead gateway does not keep out another client of the user either.
    crate::support::until("the dead gateway's lock is taken over", async || {
        let mut other = stage.connect(0, "carl", "&clientId=b").await;
        other.call("join", json!({})).await.is_ok()
    })
    .await;
}

#[actix::test]
async fn removed_absent_user_frees_place() {
    // No user is removed by a timeout.
    let stage = Stage::pair(&[("presence.timeout", "10m")]).await;
    let mut anna = stage.connect(1, "anna", "").await;
    let (mut carl, mut dora) = (stage.connect(1, "carl", "").await, stage.connect(0, "dora", "").await);
    for caller in [&mut anna, &mut carl, &mut dora] {
        caller.call("join", json!({})).await.unwrap();
    }
    anna.cut();
    let mut bert = stage.connect(0, "bert", "").await;
    assert_eq!(bert.call("join", json!({})).await.unwrap_err()["data"]["code"], "room_full");
    assert_eq!(stage.one.delete(&format!("/api/rooms/{ROOM}/users/anna")).await.status, 200);
    bert.call("join", json!({})).await.expect("the place is free");
}

#[actix::test]
async fn removal_works_after_gateway_death() {
    // No user is removed by a timeout: neither from presence nor, within a minute, from Janus.
    let mut stage = Stage::pair(&[("presence.timeout", "10m")]).await;
    let mut bert = stage.connect(0, "bert", "").await;
    let (_, at_bert) = bert.speak(0).await;
    let mut anna = stage.connect(1, "anna", "").await;
    let (_, _media) = anna.speak(440).await;
    let mut carl = stage.connect(0, "carl", "").await;
    carl.call("join", json!({})).await.unwrap();
    at_bert.until_hears(&[440.0], &[]).await;
    stage.two.as_mut().unwrap().kill();
    // Her media session has not ended, so she is still heard.
    at_bert.until_hears(&[440.0], &[]).await;
    let mut dora = stage.connect(0, "dora", "").await;
    assert_eq!(dora.call("join", json!({})).await.unwrap_err()["data"]["code"], "room_full");

    let since = Instant::now();
    assert_eq!(stage.one.delete(&format!("/api/rooms/{ROOM}/users/anna")).await.status, 200);
    dora.call("join", json!({})).await.expect("the place is free");
    while level(&at_bert.hear(SECOND / 5).await, 440.0) > 0.01 {
        assert!(since.elapsed() < Duration::from_secs(20), "anna is still in the mix");
    }
    report(format!("removed, its gateway dead: out of the mix after {:?}", since.elapsed()));
}

#[actix::test]
async fn restarted_gateway_takes_anchors_back() {
    let mut stage = Stage::pair(&[]).await;
    let mut bert = stage.connect(0, "bert", "").await;
    let (_, at_bert) = bert.speak(0).await;
    let mut anna = stage.connect(1, "anna", "&clientId=a").await;
    let (joined, _media) = anna.speak(440).await;
    at_bert.hear(SECOND).await;
    let two = stage.two.as_mut().unwrap();
    two.kill();
    two.run();
    two.ready().await;
    let mut back = stage.connect(1, "anna", "&clientId=a").await;
    back.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    // Anna is heard again.
    at_bert.until_hears(&[440.0], &[]).await;
}

#[actix::test]
async fn redis_outage_keeps_connected_anchors() {
    let mut stage = Stage::pair(&[]).await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, _tone) = bert.speak(660).await;
    let mut anna = stage.connect(0, "anna", "").await;
    let (_, media) = anna.speak(440).await;
    media.hear(SECOND).await;
    stage.redis.stop();
    let refused = anna.call("keepalive", json!({ "status": "onair" })).await.unwrap_err();
    assert_eq!(
        (&refused["data"]["code"], &refused["data"]["retryable"]),
        (&json!("unavailable"), &json!(true))
    );
    assert_eq!(stage.connect(0, "carl", "").await.closed().await, 4504, "retryable");
    // The media flow on.
    media.until_hears(&[660.0], &[]).await;
    anna.call("mute", json!({})).await.expect("a call that needs no presence works");
    anna.call("unmute", json!({})).await.unwrap();
    // Locks and presence entries expire after 30 s. Count one minute of media.
    for _ in 0..60 {
        let sent = media.progress().sent;
        media.until("a second has passed", |p| p.sent >= sent + SECOND).await;
        assert!(anna.call("keepalive", json!({ "status": "onair" })).await.is_err());
        assert!(bert.call("keepalive", json!({ "status": "onair" })).await.is_err());
    }
    assert_eq!(stage.connect(1, "carl", "").await.closed().await, 4504, "still retryable");

    stage.redis.run();
    let since = Instant::now();
    // Redis has lost all data: connected users get their locks and places back.
    crate::support::until("carl gets in", async || {
        let mut carl = stage.connect(0, "carl", "").await;
        carl.call("join", json!({})).await.is_ok()
    })
    .await;
    let goal = Duration::from_secs(10);
    recovered("Redis stopped for 60 s: joins", "joins: a retryable refusal", since.elapsed(), goal);
    anna.call("keepalive", json!({ "status": "onair" })).await.unwrap();
    bert.call("keepalive", json!({ "status": "onair" })).await.unwrap();
    let names = |p: &serde_json::Value| {
        let members = p["members"].as_array().cloned().unwrap_or_default();
        ["anna", "bert"].iter().all(|user| members.iter().any(|m| m["userId"] == *user))
    };
    anna.note("roomStatus", names).await;
    // Wait ten seconds: by then both locks have been reacquired, and a second connection must be refused.
    let sent = media.progress().sent;
    media.until("ten seconds have passed", |p| p.sent >= sent + 10 * SECOND).await;
    for (gateway, user) in [(0, "bert"), (1, "anna")] {
        let mut twice = stage.connect(gateway, user, "&clientId=other").await;
        assert_eq!(twice.closed().await, 4423, "nobody is connected twice");
    }
}

#[actix::test]
async fn redis_flush_leaves_no_duplicate_connections() {
    let mut stage = Stage::pair(&[]).await;
    twice_at_most_for_a_while(&mut stage, "anna", |redis| redis.flush()).await;
    let restart = |redis: &mut Redis| {
        redis.stop();
        redis.run();
    };
    twice_at_most_for_a_while(&mut stage, "bert", restart).await;
}

/// Asserts that a second client of a user may join only until the connected client has its lock again.
async fn twice_at_most_for_a_while(stage: &mut Stage, user: &str, forget: impl FnOnce(&mut Redis)) {
    let mut first = stage.connect(0, user, "&clientId=tab-1").await;
    first.call("join", json!({})).await.unwrap();
    forget(&mut stage.redis);
    let mut second = stage.connect(1, user, "&clientId=tab-2").await;
    let got_in = second.call("join", json!({})).await.is_ok();
    let since = Instant::now();
    let (closed, left) = tokio::select! {
        code = first.closed() => (code, &mut second),
        code = second.closed() => (code, &mut first),
    };
    report(format!("{user}: the second got in: {got_in}; the other is closed ({closed})"));
    let goal = Duration::from_secs(10);
    recovered("Redis has forgotten all: one connection per user", "nothing", since.elapsed(), goal);
    left.call("keepalive", json!({ "status": "onair" })).await.unwrap();
    for gateway in 0..2 {
        let mut third = stage.connect(gateway, user, "&clientId=tab-3").await;
        assert_eq!(third.closed().await, 4423, "the one that is left has the lock");
    }
}
