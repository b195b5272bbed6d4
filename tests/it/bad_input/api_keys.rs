//! Invalid requests for API keys.

use serde_json::json;

use super::{API_KEY, API_KEYS, House};

impl House {
    pub(super) async fn bad_api_keys(&self) {
        for (body, code) in [
            (r#"{"name":"x"}"#, "invalid_body"),
            (r#"{"name":"x","scopes":[]}"#, "invalid_body"),
            (r#"{"name":"x","scopes":["root"]}"#, "invalid_body"),
            (r#"{"name":"x","scopes":"read"}"#, "invalid_body"),
            (r#"{"name":"x","scopes":["read"],"id":"abcdefghijkl"}"#, "invalid_body"),
            (r#"{"name":"\n","scopes":["read"]}"#, "invalid_name"),
            (r#"{"name":"x","scopes":["read"],"ttl":-1}"#, "invalid_ttl"),
            (r#"{"name":"x","scopes":["read"],"quotas":{"rooms":1.5}}"#, "invalid_body"),
            (r#"{"name":"x","scopes":["read"],"quotas":{"tokensPerMinute":1000001}}"#, "invalid_body"),
        ] {
            self.refuses("POST", API_KEYS, body, (400, code)).await;
        }
        for name in ["abcdefghijkl", "a%2Fb", "%00", "%FF", "ABCDEFGHIJKL", &"x".repeat(300)] {
            let target = API_KEY.replace("{id}", name);
            let absent = (404, "api_key_not_found");
            self.refuses_at("PATCH", API_KEY, &target, b"{}".to_vec(), absent).await;
            self.refuses_at("DELETE", API_KEY, &target, Vec::new(), absent).await;
        }
        let listed = self.node.get(API_KEYS).await.json();
        assert_eq!(listed["keys"], json!([]), "none was created");
    }
}
