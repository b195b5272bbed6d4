//! One connection per user and room, across all gateways.

use serde_json::json;

use crate::support::abuse_table::withstood;
use crate::support::stage::Stage;

#[actix::test]
async fn second_client_of_user_is_refused() {
    let stage = Stage::pair(&[]).await;
    let mut first = stage.connect(0, "anna", "&clientId=tab-1").await;
    first.call("join", json!({})).await.unwrap();
    for gateway in 0..2 {
        let mut second = stage.connect(gateway, "anna", "&clientId=tab-2").await;
        assert_eq!(second.closed().await, 4423);
        let mut nameless = stage.connect(gateway, "anna", "").await;
        assert_eq!(nameless.closed().await, 4423);
    }
    first.call("keepalive", json!({ "status": "onair" })).await.unwrap();
    withstood("a second connection of one user", "refused", "the first stays");
}

#[actix::test]
async fn same_client_replaces_its_connection() {
    let stage = Stage::pair(&[]).await;
    let mut first = stage.connect(0, "anna", "&clientId=tab-1").await;
    first.call("join", json!({})).await.unwrap();
    let mut second = stage.connect(1, "anna", "&clientId=tab-1").await;
    assert_eq!(first.closed().await, 4409);
    second.call("join", json!({})).await.unwrap();
    // A client may send its client id with the join, for the next connection.
    second.call("leave", json!({})).await.unwrap();
    second.call("join", json!({ "clientId": "tab-2" })).await.unwrap();
    let mut third = stage.connect(0, "anna", "&clientId=tab-2").await;
    assert_eq!(second.closed().await, 4409);
    third.call("join", json!({})).await.unwrap();
    let members = third.members(1).await;
    assert_eq!(members[0]["userId"], "anna");
}

#[actix::test]
async fn replace_mode_keeps_newest_connection() {
    let stage = Stage::pair(&[("ws.duplicate", "replace")]).await;
    let mut last = stage.connect(0, "anna", "").await;
    last.call("join", json!({})).await.unwrap();
    for gateway in [1, 1, 0] {
        let mut next = stage.connect(gateway, "anna", "").await;
        next.call("join", json!({})).await.unwrap();
        assert_eq!(last.closed().await, 4409);
        last = next;
    }
}
