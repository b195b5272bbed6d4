//! Anchors on a real Janus with real WebRTC: join, hear each other, resume, and every way a session ends.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stentor::actors::gateway::media::{CallError, Join, JoinError, ModerationError, SessionEvent};
use stentor::domain::ids::{Epoch, MediaAddr, Pin, RoomId};
use stentor::domain::media_session::{End, JoinUnavailable};
use stentor::domain::mix::MixShare;
use stentor::janus::{AnchorJoin, AudioBridge, Candidate, ManagedJanus, Quality};
use stentor::probe::hearing::level;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::anchor_rig::{JANUS_ROOM, MAX_ANCHORS, Rig, join, room};
use crate::support::janus::pin;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::webrtc::WebRtcClient;
use crate::support::{PATIENCE, opus, pause_async, until};

/// Grace period longer than any test.
const LONG: Duration = Duration::from_secs(60);
/// One second of audio, in frames.
const SECOND: u64 = 50;
/// A fifth of a second of audio, in frames.
const FEW: u64 = 10;

#[actix::test]
async fn anchors_hear_others_not_themselves() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let (mut anna, anna_media) = gateway.speak("anna", 440).await;
    let (_bert, bert_media) = gateway.speak("bert", 660).await;
    event(&mut anna.events, |e| *e == SessionEvent::Up).await;
    event(&mut anna.events, |e| *e == SessionEvent::Talking { user: "anna".into(), talking: true }).await;
    until("both have media", async || {
        let with_media = rig.participants().await.into_iter().filter(|p| p.setup).map(|p| p.display);
        with_media.collect::<BTreeSet<_>>() == ["anna", "bert"].map(String::from).into()
    })
    .await;

    anna_media.until_hears(&[660.0], &[440.0]).await;
    bert_media.until_hears(&[440.0], &[660.0]).await;
    let status = anna.line.status().await.unwrap();
    assert_eq!((status.state, status.muted, status.receiving), ("up", false, true));
}

#[actix::test]
async fn full_mix_refuses_anchor() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let share = MixShare::of(MAX_ANCHORS);
    let ours = MediaAddr { ip: [127, 0, 0, 1].into(), port: 9 };
    let mut participants = Vec::new();
    for _ in 0..share.participants() {
        participants.push(rig.eyes.join_rtp(JANUS_ROOM, &pin(), "someone", ours, share).await.unwrap());
    }
    let refused = gateway.join("anna", None).await.unwrap_err();
    assert!(matches!(&refused, JoinError::Unavailable(why) if why.contains("the limit is 6")), "{refused}");
    // The failed join leaves nothing behind.
    rig.until_participants(share.participants()).await;
    participants.pop().unwrap().leave().await.unwrap();
    rig.until_participants(share.participants() - 1).await;
    gateway.join("anna", None).await.unwrap();
}

#[actix::test]
async fn trickled_candidates_connect_media() {
    let rig = Rig::start(LONG).await;
    let joined = rig.gateway().await.join("anna", None).await.unwrap();
    let media = WebRtcClient::new(Vec::new()).await;
    let answer = joined.line.offer(media.offer_without_candidates()).await.unwrap();
    let candidate = Candidate { candidate: media.candidate(), sdp_mid: None, sdp_m_line_index: Some(0) };
    joined.line.candidate(Some(candidate)).await.unwrap();
    joined.line.candidate(None).await.unwrap();
    assert!(answer.contains("a=candidate"), "half-trickle: those of Janus are all in the answer");
    media.answer(&answer);
    media.until("the connection", |p| p.connected).await;
}

#[actix::test]
async fn refused_join_states_reason() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let refused = |join: Join| async { gateway.anchors.join(join).await.map(|_| ()).unwrap_err() };
    let wrong = Join { pin: Some(Pin::new("wrong1").unwrap()), ..join("anna", None) };
    assert_eq!(refused(wrong).await, JoinError::WrongPin);
    let elsewhere = Join { room: RoomId::new("elsewhere").unwrap(), ..join("anna", None) };
    assert_eq!(refused(elsewhere).await, JoinError::RoomUnavailable(JoinUnavailable::NoSuchRoom));
    rig.eyes.destroy_room(JANUS_ROOM, &rig.room_secret()).await.unwrap();
    assert_eq!(refused(join("anna", None)).await, JoinError::RoomUnavailable(JoinUnavailable::Preparing));

    rig.make_room(JANUS_ROOM, Epoch(1)).await;
    let right = Join { pin: Some(crate::support::janus::pin()), ..join("anna", None) };
    let joined = gateway.anchors.join(right).await.unwrap();
    assert_eq!(joined.line.offer("no SDP".into()).await, Err(CallError::Refused));
}

#[actix::test]
async fn disconnected_client_resumes_its_media() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let (_bert, _tone) = gateway.speak("bert", 660).await;
    let (anna, media) = gateway.speak("anna", 440).await;
    media.hear(SECOND).await;
    let token = anna.resume_token.clone();
    let before = media.progress();
    drop(anna);
    // Five seconds pass without a client. The media flow on, and their frames measure the time.
    let away = media.until("media flows on", |p| p.sent >= before.sent + 5 * SECOND).await;
    assert!(away.received > before.received + 4 * SECOND, "{} after {}", away.received, before.received);

    let mut back = gateway.join("anna", Some(token.clone())).await.unwrap();
    assert!(back.resume && back.line.status().await.unwrap().state == "up");
    assert_eq!(rig.participants().await.len(), 2, "nobody joined again");
    back.line.set_muted(true).await.unwrap();
    event(&mut back.events, |e| *e == SessionEvent::Muted { muted: true }).await;
    // The media continue on the same peer connection.
    media.until_hears(&[660.0], &[]).await;

    let stolen = gateway.join("bert", Some(token)).await.unwrap();
    assert!(!stolen.resume, "another user's token resumed the session");
}

#[actix::test]
async fn gateway_claims_session_of_dead_one() {
    let rig = Rig::start(LONG).await;
    let address = rig.janus.janus.url().strip_prefix("ws://").unwrap().parse().unwrap();
    let proxy = TcpProxy::start(address).await;
    let (first, second) = (rig.gateway_behind(&proxy).await, rig.gateway().await);
    let (_bert, _tone) = second.speak("bert", 660).await;
    let (anna, media) = first.speak("anna", 440).await;
    media.hear(SECOND).await;
    let token = anna.resume_token.clone();
    let before = media.progress();
    proxy.cut();
    drop(anna);

    let mut back = second.join("anna", Some(token)).await.unwrap();
    assert!(back.resume);
    let after = media.until("media flows on", |p| p.sent >= before.sent + 3 * SECOND).await;
    assert!(after.received > before.received + 2 * SECOND);
    rig.until_participants(2).await;
    // The claimed session works completely: events arrive here, and an offer is answered.
    second.anchors.set_muted(&room(), "anna", true).await.unwrap();
    event(&mut back.events, |e| *e == SessionEvent::Muted { muted: true }).await;
    media.until_hears(&[660.0], &[]).await;
    assert!(matches!(first.join("carl", None).await, Err(JoinError::Unavailable(_))));
}

#[actix::test]
async fn claim_sets_the_volume_again() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let (_bert, at_bert) = gateway.speak("bert", 0).await;
    let (first, _events) = rig.janus.client().await;
    let quality = Quality { expected_loss: Some(10), ..Quality::default() };
    let join = AnchorJoin {
        janus_room_id: JANUS_ROOM,
        pin: pin(),
        display: "anna".into(),
        muted: false,
        share: MixShare::of(1),
        quality,
        file: None,
    };
    let (anna, _anna_events) = first.join(&join).await.unwrap();
    let tone = opus::tone(440);
    let media = WebRtcClient::new(tone.clone()).await;
    media.answer(&anna.session.offer(media.offer()).await.unwrap());
    media.until("the connection", |p| p.connected).await;
    let own = level(&opus::decode(&tone.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>()), 440.0);
    let hears_at = async |share: MixShare| {
        // Bert's client always uses the gain for `MAX_ANCHORS`, although the share changes.
        let wanted = own * f64::from(share.volume()) / f64::from(MixShare::of(MAX_ANCHORS).volume());
        until(&format!("bert hears anna at {share:?}"), async || {
            let heard = level(&at_bert.hear(FEW).await, 440.0);
            (0.75 * wanted..1.25 * wanted).contains(&heard)
        })
        .await;
    };
    hears_at(MixShare::of(1)).await;
    let (second, _events) = rig.janus.client().await;
    second.claim(anna.session.ids(), JANUS_ROOM, MixShare::of(10)).await.unwrap();
    hears_at(MixShare::of(10)).await;
}

#[actix::test]
async fn client_returning_to_gateway_gets_events() {
    let rig = Rig::start(LONG).await;
    let (first, second) = (rig.gateway().await, rig.gateway().await);
    let (anna, media) = first.speak("anna", 440).await;
    media.hear(SECOND).await;
    let token = anna.resume_token.clone();
    drop(anna);
    let back = second.join("anna", Some(token.clone())).await.unwrap();
    assert!(back.resume, "claimed");
    drop(back);
    let mut back = first.join("anna", Some(token)).await.unwrap();
    assert!(back.resume);
    rig.until_participants(1).await;
    event(&mut back.events, |e| *e == SessionEvent::Talking { user: "anna".into(), talking: true }).await;
    second.anchors.set_muted(&room(), "anna", true).await.unwrap();
    event(&mut back.events, |e| *e == SessionEvent::Muted { muted: true }).await;
}

#[actix::test]
async fn user_removed_while_away_leaves_immediately() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let (anna, _media) = gateway.speak("anna", 440).await;
    let (mut bert, _tone) = gateway.speak("bert", 0).await;
    event(&mut bert.events, |e| *e == SessionEvent::Talking { user: "anna".into(), talking: true }).await;
    drop(anna);
    rig.remove_user("anna").await;
    event(&mut bert.events, |e| *e == SessionEvent::Talking { user: "anna".into(), talking: false }).await;
    rig.until_participants(1).await;
}

#[actix::test]
async fn absent_client_leaves_after_grace() {
    let rig = Rig::start(Duration::from_secs(6)).await;
    let gateway = rig.gateway().await;
    let mut anna = gateway.join("anna", None).await.unwrap();
    anna.line.leave();
    assert_eq!(ended(&mut anna.events).await, (End::Left, None));
    rig.until_participants(0).await;

    let (bert, media) = gateway.speak("bert", 440).await;
    let token = bert.resume_token.clone();
    drop(bert);
    rig.until_participants(0).await;
    assert!(media.progress().connected);
    let again = gateway.join("bert", Some(token)).await.unwrap();
    assert!(!again.resume, "a session that is over was resumed");
}

#[actix::test]
async fn connected_session_outlives_grace() {
    let rig = Rig::start(Duration::from_secs(3)).await;
    let gateway = rig.gateway().await;
    let (anna, media) = gateway.speak("anna", 440).await;
    let sent = media.progress().sent;
    media.until("ten seconds pass", |p| p.sent >= sent + 10 * SECOND).await;
    assert_eq!(anna.line.status().await.unwrap().state, "up");
    assert!(rig.participants().await[0].setup, "ten seconds of media have passed");
}

#[actix::test]
async fn recreated_room_reconnects_its_sessions() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let mut anna = gateway.join("anna", None).await.unwrap();
    rig.make_room(JANUS_ROOM + 1, Epoch(2)).await;
    rig.on_air(JANUS_ROOM + 1, Epoch(2)).await;
    let (end, reconnect_after) = ended(&mut anna.events).await;
    assert!(end == End::JanusMoved && reconnect_after.is_some());

    let token = anna.resume_token.clone();
    let mut anna = gateway.join("anna", Some(token)).await.unwrap();
    assert!(!anna.resume, "the token was for another epoch");
    rig.remove_room().await;
    assert_eq!(ended(&mut anna.events).await, (End::RoomClosed, None));
    let refused = gateway.join("anna", None).await.map(|_| ());
    assert_eq!(refused, Err(JoinError::RoomUnavailable(JoinUnavailable::NotOnAir)));
}

#[actix::test]
async fn restarted_janus_reconnects_sessions() {
    let mut rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let mut anna = gateway.join("anna", None).await.unwrap();
    let pid = Pid::from_raw(rig.janus.janus.pid().unwrap() as i32).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    rig.janus.janus.wait().await.unwrap();
    let unavailable = async {
        while anna.line.status().await != Err(CallError::Unavailable) {
            pause_async().await;
        }
    };
    timeout(PATIENCE, unavailable).await.expect("calls fail while it is away");
    rig.janus.janus = ManagedJanus::start(&rig.janus.options).await.unwrap();
    rig.announce_janus().await;
    let (end, reconnect_after) = ended(&mut anna.events).await;
    assert!(end == End::SessionLost && reconnect_after.is_some());
}

#[actix::test]
async fn short_janus_link_loss_is_reclaimed() {
    let rig = Rig::start(LONG).await;
    let address = rig.janus.janus.url().strip_prefix("ws://").unwrap().parse().unwrap();
    let proxy = TcpProxy::start(address).await;
    let gateway = rig.gateway_behind(&proxy).await;
    let (mut anna, media) = gateway.speak("anna", 440).await;
    proxy.cut();
    let lost = async {
        while anna.line.status().await.is_ok() {
            pause_async().await
        }
    };
    timeout(PATIENCE, lost).await.expect("the loss is noticed");
    // A change is made while no event can arrive here.
    let id = rig.participants().await[0].id;
    rig.eyes.set_muted(JANUS_ROOM, &rig.room_secret(), id, true).await.unwrap();
    proxy.heal();
    event(&mut anna.events, |e| *e == SessionEvent::Muted { muted: true }).await;
    assert_eq!(anna.line.status().await.unwrap().state, "up");
    let sent = media.progress().sent;
    media.until("media flows on", |p| p.sent > sent + SECOND).await;
}

#[actix::test]
async fn host_mutes_and_removes_across_gateways() {
    let rig = Rig::start(LONG).await;
    let (here, there) = (rig.gateway().await, rig.gateway().await);
    let mut anna = here.join("anna", None).await.unwrap();
    let room = room();
    let set_muted = async |muted| there.anchors.set_muted(&room, "anna", muted).await;
    set_muted(true).await.unwrap();
    event(&mut anna.events, |e| *e == SessionEvent::Muted { muted: true }).await;
    set_muted(false).await.unwrap();
    event(&mut anna.events, |e| *e == SessionEvent::Muted { muted: false }).await;
    let id = rig.participants().await[0].id;
    rig.eyes.kick(JANUS_ROOM, &rig.room_secret(), id).await.unwrap();
    assert_eq!(ended(&mut anna.events).await, (End::Removed, None));
    rig.until_participants(0).await;
    assert_eq!(set_muted(true).await, Err(ModerationError::NoSuchAnchor));
}

#[actix::test]
async fn second_join_replaces_first_session() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let mut old = gateway.join("anna", None).await.unwrap();
    let new = gateway.join("anna", None).await.unwrap();
    assert_eq!(ended(&mut old.events).await, (End::Replaced, None));
    drop(old);
    // The old participant is gone from the room.
    rig.until_participants(1).await;
    assert_eq!(new.line.status().await.unwrap().state, "joined");
}

/// AudioBridge removes a participant from the room when its peer connection ends.
#[actix::test]
async fn closed_media_requires_rejoin() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let (mut anna, media) = gateway.speak("anna", 440).await;
    media.close().await;
    let (end, reconnect_after) = ended(&mut anna.events).await;
    assert!(end == End::MediaOver && reconnect_after.is_some());
    let again = gateway.join("anna", Some(anna.resume_token.clone())).await.unwrap();
    assert!(!again.resume);
}

#[actix::test]
async fn closed_page_leaves_immediately() {
    let rig = Rig::start(20 * LONG).await;
    let gateway = rig.gateway().await;
    let (mut anna, media) = gateway.speak("anna", 440).await;
    event(&mut anna.events, |e| *e == SessionEvent::Up).await;
    drop(anna);
    media.close().await;
    rig.until_participants(0).await;
}

/// Janus 1.1.2 does not drop a peer that has fallen silent: the only sign is that no packets arrive.
#[actix::test]
async fn silent_media_is_not_receiving() {
    let rig = Rig::start(LONG).await;
    let gateway = rig.gateway().await;
    let (anna, media) = gateway.speak("anna", 440).await;
    let receiving = async |wanted: bool| {
        while anna.line.status().await.unwrap().receiving != wanted {
            pause_async().await;
        }
    };
    timeout(PATIENCE, receiving(true)).await.expect("the anchor's media arrive");
    drop(media);
    timeout(PATIENCE, receiving(false)).await.expect("the end of the media is noticed");
}

/// Waits for the first event that fits.
async fn event(events: &mut mpsc::Receiver<SessionEvent>, fits: impl Fn(&SessionEvent) -> bool) {
    let mut seen = Vec::new();
    let wait = async {
        while let Some(event) = events.recv().await {
            if fits(&event) {
                return;
            }
            seen.push(event);
        }
        std::future::pending().await
    };
    let found = timeout(PATIENCE, wait).await;
    assert!(found.is_ok(), "the event did not come; seen: {seen:?}");
}

async fn ended(events: &mut mpsc::Receiver<SessionEvent>) -> (End, Option<Duration>) {
    let wait = async {
        loop {
            if let SessionEvent::Ended { end, reconnect_after } = events.recv().await.expect("an end") {
                return (end, reconnect_after);
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the session ends")
}
