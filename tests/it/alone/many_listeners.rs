//! Many listeners of one room on server-sent events, who chat and react at the same time: every listener gets
//! every message, in the same order, and every reaction.

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use serde_json::{Value, json};

use crate::channel::{Events, ROOM, done, listener, pace, send};
use crate::support::node::{Node, request};
use crate::support::report;

const LISTENERS: usize = 300;
/// Number of listeners who send a message.
const SPEAKERS: usize = 40;
/// Number of listeners who connect or react at the same time.
const AT_ONCE: usize = 25;

#[actix::test]
async fn all_listeners_get_every_message() {
    let node = Node::start(&[("node.roles", "rooms,hls")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let opened = stream::iter(0..LISTENERS).map(async |n| {
        let token = listener(&node, &format!("user-{n}"), Some(&format!("User {n}"))).await;
        let mut events = Events::open(&node.hls, &token, None).await;
        events.next("snapshot").await;
        (token, events)
    });
    let (tokens, events): (Vec<_>, Vec<_>) = opened.buffered(AT_ONCE).unzip().await;
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    assert!(metrics.contains(&format!("stentor_channel_clients {LISTENERS}\n")), "{metrics}");

    let reading: Vec<_> = events.into_iter().map(|events| actix::spawn(received(events))).collect();
    let chat = async {
        for (n, token) in tokens.iter().take(SPEAKERS).enumerate() {
            let text = format!("message of {n}");
            done(&send(&node.hls, token, "POST", "chat", json!({ "text": text })).await);
            pace().await;
        }
    };
    let react = stream::iter(tokens.iter().enumerate()).for_each_concurrent(AT_ONCE, async |(n, token)| {
        let reaction = json!({ "reaction": (["clap", "heart", "laugh"][n % 3]) });
        // All listeners have one address, whose requests are limited.
        while send(&node.hls, token, "POST", "reactions", reaction.clone()).await.status == 429 {
            pace().await;
        }
    });
    let (received, (), ()) = futures::join!(join_all(reading), chat, react);
    let received: Vec<_> = received.into_iter().map(Result::unwrap).collect();
    let order = &received[0];
    let mut texts: Vec<_> = order.iter().filter_map(|message| message["text"].as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), SPEAKERS, "each message once");
    assert!(received.iter().all(|messages| messages == order), "all in the same order");
    report(format!("{LISTENERS} listeners got {SPEAKERS} messages and {LISTENERS} reactions each"));
}

/// Reads until all messages and reactions have arrived. Returns the messages.
async fn received(mut events: Events) -> Vec<Value> {
    let (mut messages, mut reactions) = (Vec::new(), 0);
    while messages.len() < SPEAKERS || reactions < LISTENERS as u64 {
        let event = events.any("a message or a reaction").await;
        match event["event"].as_str() {
            Some("message_sent") => messages.push(event["data"].clone()),
            Some("reactions") => {
                let counts = event["data"]["counts"].as_object().unwrap();
                reactions += counts.values().map(|count| count.as_u64().unwrap()).sum::<u64>();
            }
            _ => {}
        }
    }
    assert_eq!((messages.len(), reactions), (SPEAKERS, LISTENERS as u64));
    messages
}
