//! One process per node id.

use super::{TTL, leader_of, member};
use crate::rooms::on_etcd;
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::node::Node;
use crate::support::until;

#[actix::test]
async fn a_node_id_has_one_process() {
    let etcd = Etcd::start();
    let mut first = member(&etcd, "desk", "rooms", &[]).await;
    leader_of(&[&first]).await;

    let (code, said) = refused(&etcd, &[("node.advertise", "127.0.0.2")]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("another node with the id desk is registered (host 127.0.0.1, started at"),
        "{said}"
    );
    assert!(said.contains("give this node another node.id"), "{said}");
    let data_dir = first.data_dir().display().to_string();
    let (code, said) = refused(&etcd, &[("node.data_dir", &data_dir)]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is in use by another node"), "{said}");
    assert_eq!(first.state_of("elector").await["state"], "leading", "the first goes on");
    assert_eq!(first.state_of("registration").await["state"], "registered");

    // A killed node restarts without waiting for the lease of its last run.
    first.kill();
    first.run();
    first.ready().await;
    assert!(!first.output().contains("waiting to see if it still runs"), "{}", first.output());

    // A node with another data directory must wait until the lease of the killed node has expired.
    first.kill();
    let elsewhere = member(&etcd, "desk", "rooms", &[("node.advertise", "127.0.0.2")]).await;
    assert!(elsewhere.output().contains("waiting to see if it still runs"), "{}", elsewhere.output());
    withstood("a second node with the same id", "does not start, names the first", "the first goes on");
}

/// Starts a second `desk`; returns its exit code and output.
async fn refused(etcd: &Etcd, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut all = vec![("node.id", "desk"), ("node.roles", "rooms"), ("rooms.heartbeat_ttl", TTL)];
    all.extend_from_slice(settings);
    let mut second = Node::prepare(&on_etcd(&etcd.endpoint(), &all));
    second.run();
    let code = second.ended().code();
    (code, second.output())
}

#[actix::test]
async fn other_content_secrets_are_named() {
    let etcd = Etcd::start();
    let secret = "a-secret-that-no-other-node-has-1234";
    let mixer = member(&etcd, "odd", "mixer", &[("hls.secret", secret)]).await;
    let desk = member(&etcd, "desk", "rooms", &[]).await;
    until("the other node is named", async || {
        desk.log().iter().any(|line| line["node"] == "odd" && line["key"] == "hls.secret")
    })
    .await;
    assert!(!mixer.output().contains("another hls.secret"), "it sees no other module");
    let config = desk.config();
    let findings = stentor::app::doctor::examine(&config).await;
    let found = findings.iter().find(|finding| finding.subject == "secrets").expect("a finding");
    assert!(found.text.starts_with("on odd: another hls.secret"), "{found:?}");
}
