//! Clients that vanish without closing the connection.

use std::time::Duration;

use serde_json::json;
use stentor::domain::signalling::CloseCode;

use super::client::Client;
use super::gateway::Gateway;
use crate::support::tcp_proxy::TcpProxy;

#[actix::test]
async fn half_open_connection_is_closed() {
    let gateway = Gateway::with(|ws| {
        (ws.ping, ws.dead_after) = (Duration::from_millis(100), Duration::from_millis(500));
    })
    .await;
    let proxy = TcpProxy::start(gateway.address).await;
    let mut client = Client::connect_to(proxy.address(), &gateway.token("ann")).await;
    client.call("join", json!({})).await;
    proxy.freeze();
    gateway.closed("ann", CloseCode::PeerDead).await;
    gateway.connections(0).await;
    proxy.heal();
    client.cut().await;
    gateway.stop().await;
}

#[actix::test]
async fn client_answering_pings_stays_connected() {
    let gateway = Gateway::with(|ws| {
        // Long enough for a busy machine to answer a ping.
        (ws.ping, ws.dead_after) = (Duration::from_millis(50), Duration::from_secs(4));
    })
    .await;
    let mut client = Client::connect(&gateway, "ann").await;
    let (answer, ()) = tokio::join!(client.next(), async {
        // Sleep: the silence under test, longer than the timeout of a dead client.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let peer = gateway.script.connected.lock().unwrap()[0].clone();
        peer.out.notify(&stentor::domain::signalling::Notification::Talking {
            user_id: peer.user.clone(),
            talking: true,
        });
    });
    assert_eq!(answer["params"], json!({"userId": "ann", "talking": true}));
    assert!(client.pings > 3);
    gateway.stop().await;
}

#[actix::test]
async fn broken_connection_is_noticed_immediately() {
    let gateway = Gateway::start().await;
    let client = Client::connect(&gateway, "ann").await;
    gateway.connections(1).await;
    drop(client);
    gateway.closed("ann", CloseCode::Gone).await;
    gateway.connections(0).await;
    gateway.stop().await;
}
