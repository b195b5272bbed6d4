//! Rooms on a real node: created, started, heard, stopped, deleted.

use std::time::Duration;

use stentor::probe::{Listener, Mode};

use crate::support::node::Node;

#[actix::test]
async fn a_room_without_a_speaker_is_playable() {
    let node = Node::start(&[]).await;
    node.room_on_air("silent").await;
    let mut listener = Listener::open(&node.target("silent").await, Mode::Parts).await.unwrap();
    let heard = listener.hear(Duration::from_secs(3)).await.unwrap();
    assert_eq!(heard.violations, Vec::<String>::new());
    assert!(heard.seconds() >= 3.0, "{}", heard.seconds());
    assert_eq!(heard.strongest_hz(), None, "silence has no tone");
}
