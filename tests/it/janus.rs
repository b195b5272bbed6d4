//! The AudioBridge client and the managed child, on a real Janus.

use std::net::UdpSocket;
use std::time::Duration;

use stentor::domain::ids::MediaAddr;
use stentor::janus::{AudioBridge, JanusError, PluginError, RoomInfo, Secret};

use crate::support::janus::{MOMENT, TestJanus, connect, pin, room, secret};

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
    let mixer = UdpSocket::bind("127.0.0.1:0").unwrap();
    mixer.set_read_timeout(Some(MOMENT)).unwrap();
    let target = MediaAddr { ip: [127, 0, 0, 1].into(), port: mixer.local_addr().unwrap().port() };

    let stream_id = client.start_forwarder(100_002, &secret(), target).await.unwrap();
    let forwarders = client.list_forwarders(100_002, &secret()).await.unwrap();
    assert_eq!(forwarders.len(), 1);
    let forwarder = &forwarders[0];
    assert_eq!((forwarder.stream_id, forwarder.ip, forwarder.port), (stream_id, target.ip, target.port));
    assert!(forwarder.always_on);

    let mut packet = [0; 1500];
    let len = mixer.recv(&mut packet).unwrap();
    assert!(len > 12 && packet[0] == 0x80 && packet[1] & 0x7f == 100, "RTP, payload type 100");
    let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
    println!("stream id {stream_id}, SSRC {ssrc}, {forwarder:?}");

    client.stop_forwarder(100_002, &secret(), stream_id).await.unwrap();
    assert_eq!(client.list_forwarders(100_002, &secret()).await.unwrap(), []);
    client
        .stop_forwarder(100_002, &secret(), stream_id)
        .await
        .expect("an unknown stream is no error to Janus");
}
