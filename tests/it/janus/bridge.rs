//! Rooms, forwarders and participants.

use stentor::domain::ids::{MediaAddr, Pin};
use stentor::domain::mix::MixShare;
use stentor::janus::{AudioBridge, ConnectOptions, JanusClient, JanusError, PluginError, RoomInfo, Secret};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::support::janus::{TestJanus, connect, pin, room, secret};
use crate::support::srtp;
use crate::support::{PATIENCE, until};

#[actix::test]
async fn a_room_lives_from_create_to_destroy() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;

    assert!(!client.exists(100_001).await.unwrap());
    client.create_room(&room(100_001)).await.unwrap();
    assert!(client.exists(100_001).await.unwrap());
    assert_eq!(client.create_room(&room(100_001)).await, Err(PluginError::RoomExists.into()));

    let listed =
        RoomInfo { id: 100_001, description: "stentor/test/room-100001/1".to_owned(), participants: 0 };
    assert_eq!(client.list_rooms().await.unwrap(), [listed], "private rooms are listed to the admin key");
    assert_eq!(client.participants(100_001).await.unwrap(), []);

    client.destroy_room(100_001, &secret()).await.unwrap();
    assert_eq!(client.destroy_room(100_001, &secret()).await, Err(PluginError::NoSuchRoom.into()));
    assert_eq!(client.participants(100_001).await, Err(PluginError::NoSuchRoom.into()));
    assert!(client.list_rooms().await.unwrap().is_empty());
}

#[actix::test]
async fn a_forwarder_sends_opus_while_nobody_speaks() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    client.create_room(&room(100_002)).await.unwrap();
    let (mixer, target) = listener().await;

    let stream_id = client.start_forwarder(100_002, &secret(), target, &srtp::key()).await.unwrap();
    let forwarders = client.list_forwarders(100_002, &secret()).await.unwrap();
    assert_eq!(forwarders.len(), 1);
    let forwarder = &forwarders[0];
    assert_eq!((forwarder.stream_id, forwarder.ip, forwarder.port), (stream_id, target.ip, target.port));
    assert!(forwarder.always_on);

    let mut packet = [0; 1500];
    let len = timeout(PATIENCE, mixer.recv(&mut packet)).await.unwrap().unwrap();
    assert!(len > 12 && packet[0] == 0x80 && packet[1] & 0x7f == 100, "RTP, payload type 100");
    let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
    assert_eq!(forwarder.ssrc, Some(ssrc));

    client.stop_forwarder(100_002, &secret(), stream_id).await.unwrap();
    assert_eq!(client.list_forwarders(100_002, &secret()).await.unwrap(), []);
    client
        .stop_forwarder(100_002, &secret(), stream_id)
        .await
        .expect("an unknown stream is not an error to Janus");
}

#[actix::test]
async fn silence_is_forwarded_in_small_packets() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    client.create_room(&room(100_009)).await.unwrap();
    let (mixer, target) = listener().await;
    client.start_forwarder(100_009, &secret(), target, &srtp::key()).await.unwrap();
    let mut small = 0;
    for _ in 0..100 {
        let mut packet = [0; 1500];
        let length = timeout(PATIENCE, mixer.recv(&mut packet)).await.unwrap().unwrap();
        // RTP header, Opus, SRTP tag. CELT encodes digital silence in three bytes; SILK needs about 60.
        small += u32::from(length <= 12 + 8 + 10);
    }
    assert!(small > 80, "{small} of 100 packets");
}

#[actix::test]
async fn repeated_rtp_forward_is_listed_twice() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    client.create_room(&room(100_003)).await.unwrap();
    let (_mixer, target) = listener().await;
    let first = client.start_forwarder(100_003, &secret(), target, &srtp::key()).await.unwrap();
    let second = client.start_forwarder(100_003, &secret(), target, &srtp::key()).await.unwrap();
    let listed = client.list_forwarders(100_003, &secret()).await.unwrap();
    let mut ids: Vec<u64> = listed.iter().map(|forwarder| forwarder.stream_id).collect();
    ids.sort_unstable();
    let mut expected = [first, second];
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[actix::test]
async fn admin_key_is_required() {
    let janus = TestJanus::start().await;
    let (owner, _events) = janus.client().await;
    owner.create_room(&room(100_004)).await.unwrap();
    let (_mixer, target) = listener().await;

    let wrong = stranger(&janus, Some("not the key")).await;
    assert_eq!(wrong.create_room(&room(100_005)).await, Err(PluginError::Unauthorized.into()));
    assert_eq!(
        wrong.start_forwarder(100_004, &secret(), target, &srtp::key()).await,
        Err(PluginError::Unauthorized.into())
    );
    let none = stranger(&janus, None).await;
    let refusal = none.create_room(&room(100_005)).await;
    assert!(matches!(refusal, Err(JanusError::Plugin(PluginError::MissingElement(_)))), "{refusal:?}");
    assert_eq!(none.list_rooms().await.unwrap(), [], "our rooms are private");
    assert!(!owner.exists(100_005).await.unwrap());
}

#[actix::test]
async fn a_wrong_room_secret_changes_nothing() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    client.create_room(&room(100_006)).await.unwrap();
    let (_mixer, target) = listener().await;
    let wrong = Secret("not the secret".to_owned());
    let refused = || PluginError::Unauthorized.into();
    assert_eq!(client.destroy_room(100_006, &wrong).await, Err(refused()));
    assert_eq!(client.start_forwarder(100_006, &wrong, target, &srtp::key()).await, Err(refused()));
    assert_eq!(client.list_forwarders(100_006, &wrong).await, Err(refused()));
    assert!(client.exists(100_006).await.unwrap());
    assert_eq!(client.list_forwarders(100_006, &secret()).await.unwrap(), []);
}

#[actix::test]
async fn an_unknown_room_has_no_forwarders() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    let (_mixer, target) = listener().await;
    let unknown = || PluginError::NoSuchRoom.into();
    assert_eq!(client.start_forwarder(100_007, &secret(), target, &srtp::key()).await, Err(unknown()));
    assert_eq!(client.stop_forwarder(100_007, &secret(), 1).await, Err(unknown()));
    assert_eq!(client.list_forwarders(100_007, &secret()).await, Err(unknown()));
}

#[actix::test]
async fn plain_rtp_participant_joins_and_leaves() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    client.create_room(&room(100_008)).await.unwrap();
    let (_socket, ours) = listener().await;

    let wrong = Pin::new("zzz999").unwrap();
    let refused = client.join_rtp(100_008, &wrong, "stranger", ours, MixShare::of(3)).await;
    assert_eq!(refused.err(), Some(PluginError::Unauthorized.into()));

    let mut first = client.join_rtp(100_008, &pin(), "first", ours, MixShare::of(3)).await.unwrap();
    assert!(first.ip.is_loopback() && (25_000..27_000).contains(&first.port), "{first:?}");
    assert_eq!(first.payload_type, 100);
    let second = client.join_rtp(100_008, &pin(), "second", ours, MixShare::of(3)).await.unwrap();
    let event = timeout(PATIENCE, first.next_event()).await.unwrap().unwrap();
    assert_eq!((event.kind.as_str(), &event.data["participants"][0]["display"]), ("event", &"second".into()));

    let mut displays: Vec<_> =
        client.participants(100_008).await.unwrap().into_iter().map(|p| p.display).collect();
    displays.sort();
    assert_eq!(displays, ["first", "second"]);
    let second_id = second.id;
    second.leave().await.unwrap();
    // Janus 1.4 first sends another event about the participant, with `setup`.
    let leaving = async {
        loop {
            let event = first.next_event().await.unwrap();
            if !event.data["leaving"].is_null() {
                return event.data["leaving"].clone();
            }
        }
    };
    assert_eq!(timeout(PATIENCE, leaving).await.unwrap(), second_id);
    until("one is left", async || client.participants(100_008).await.unwrap().len() == 1).await;

    client.destroy_room(100_008, &secret()).await.unwrap();
    let event = timeout(PATIENCE, first.next_event()).await.unwrap().unwrap();
    assert_eq!(event.data["audiobridge"], "destroyed");
}

#[actix::test]
async fn janus_has_only_audiobridge_plugin() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    let info = client.info().await.unwrap();
    assert!(info.version.starts_with("1."), "{info:?}");
    let packages: Vec<_> = info.plugins.iter().map(|plugin| plugin.package.as_str()).collect();
    assert_eq!(packages, ["janus.plugin.audiobridge"]);
}

async fn listener() -> (UdpSocket, MediaAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, MediaAddr { ip: address.ip(), port: address.port() })
}

async fn stranger(janus: &TestJanus, admin_key: Option<&str>) -> JanusClient {
    let admin_key = admin_key.map(|key| Secret(key.to_owned()));
    connect(&ConnectOptions { admin_key, ..janus.connect_options() }).await.0
}
