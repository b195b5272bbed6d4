//! Tests of `POST /api/feeds`.

use serde_json::json;

use super::house::house;

#[actix::test]
async fn feed_urls_have_expiring_tokens() {
    let house = house().await;
    let feed = json!({ "owner": "ann", "title": "Ann's radio", "ttl": 60 });
    let issued = house.post("/api/feeds", feed).await;
    let url = issued.json["feedUrl"].as_str().unwrap();
    assert_eq!(issued.status, 200);
    assert!(url.starts_with("https://live.example.org/hls/feed.xml?token=") && !url.contains("ann"), "{url}");
    assert!(issued.json["expiresAt"].is_u64());
    for (body, code) in [
        (json!({}), "invalid_body"),
        (json!({ "owner": "a", "tag": "b" }), "invalid_body"),
        (json!({ "tag": "b", "ttl": 0 }), "invalid_ttl"),
        (json!({ "tag": "b", "coverUrl": "http://a" }), "invalid_room_field"),
        (json!({ "tag": "b", "description": "x".repeat(2000) }), "invalid_body"),
    ] {
        house.post("/api/feeds", body).await.refused(400, code);
    }
}
