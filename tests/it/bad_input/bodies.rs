//! Request bodies that no operation of the room API accepts.

use super::{House, MARK, REPLAY, ROOM, ROOMS, TOKEN};

impl House {
    pub(super) async fn bad_bodies(&self) {
        for (method, path) in self.with_bodies() {
            let (method, path) = (method.as_str(), path.as_str());
            for text in ["{", "nonsense", "{\"roomId\": }", "{'roomId': 'x'}", "{}{}", "{\"a\":\"\n\"}"] {
                self.refuses(method, path, text, (400, "invalid_json")).await;
            }
            self.refuses(method, path, b"{\"roomId\":\"\xff\xfe\"}".to_vec(), (400, "invalid_json")).await;
            self.refuses(method, path, "[".repeat(50_000), (400, "invalid_json")).await;
            for text in ["null", "[]", "\"room\"", "1", "[\"room\"]", r#"{"nonsense":1}"#] {
                self.refuses(method, path, text, (400, "invalid_body")).await;
            }
        }
        for after in
            ["1", "null", "[]", "\"x\"", "\"-1\"", "\"1.2.3\"", "\"0\",\"b\":1", "\"0\",\"after\":\"0\""]
        {
            self.refuses("POST", REPLAY, format!("{{\"after\":{after}}}"), (400, "invalid_body")).await;
        }
        for path in [ROOMS, TOKEN] {
            for room in ["1", "true", "[]", "{}"] {
                let body = format!("{{\"roomId\": {room}}}");
                self.refuses("POST", path, body, (400, "invalid_body")).await;
            }
            self.refuses("POST", path, r#"{"roomId":"room","role":"admin"}"#, (400, "invalid_body")).await;
            self.refuses("POST", path, r#"{"roomId":"room","roomId":"moor"}"#, (400, "invalid_body")).await;
            for id in ["", "ab", "a/b", "../..", "a\\nb", "a\\u0000b", "a b c", "ümlaut", &"x".repeat(33)] {
                let body = format!("{{\"roomId\":\"{id}\"}}");
                self.refuses("POST", path, body, (400, "invalid_room_id")).await;
            }
        }
        for pin in ["", "12345", "1234567", "12 456", "12345!", "12345\\n", "１２３４５６", "ab\\u0000def"]
        {
            let body = format!("{{\"roomId\":\"other\",\"pin\":\"{pin}\"}}");
            self.refuses("POST", ROOMS, body, (400, "invalid_pin")).await;
        }
        for (field, value) in
            [("pin", "123456"), ("maxAnchors", "\"3\""), ("maxAnchors", "2.5"), ("start", "1")]
        {
            let body = format!("{{\"roomId\":\"other\",\"{field}\":{value}}}");
            self.refuses("POST", ROOMS, body, (400, "invalid_body")).await;
        }
        for anchors in ["0", "-1", "21", "257", "9223372036854775807"] {
            let body = format!("{{\"roomId\":\"other\",\"maxAnchors\":{anchors}}}");
            self.refuses("POST", ROOMS, body, (400, "invalid_max_anchors")).await;
        }
        for (field, value) in [
            ("title", "\"\\u202e\""),
            ("coverUrl", "\"javascript:alert(1)\""),
            ("startsAt", "\"tomorrow\""),
            ("listenerLimit", "0"),
            ("maxDuration", "604801"),
        ] {
            let body = format!("{{\"{field}\":{value}}}");
            self.refuses("PATCH", ROOM, body.clone(), (400, "invalid_room_field")).await;
            self.refuses("POST", ROOMS, body, (400, "invalid_room_field")).await;
        }
        for (body, code) in [
            (r#"{"title":1}"#, "invalid_body"),
            (r#"{"pin":"000000"}"#, "immutable_field"),
            (r#"{"maxAnchors":5}"#, "immutable_field"),
        ] {
            self.refuses("PATCH", ROOM, body, (400, code)).await;
        }
        for body in ["{}", r#"{"label":"away"}"#, r#"{"label":1}"#, r#"{"label":"ready","ttl":"1"}"#] {
            self.refuses("PUT", MARK, body, (400, "invalid_body")).await;
        }
        for ttl in ["0", "-1", "604801", "18446744073709551615"] {
            let body = format!("{{\"label\":\"cordon\",\"ttl\":{ttl}}}");
            self.refuses("PUT", MARK, body, (400, "invalid_ttl")).await;
        }
    }

    /// Returns the operations of the room API with a request body.
    pub(super) fn with_bodies(&self) -> Vec<(String, String)> {
        let has_body = |(method, path): &(String, String)| {
            let operation = &self.document["paths"][path][method.to_lowercase()];
            path.starts_with("/api/") && operation["requestBody"].is_object()
        };
        let all: Vec<_> = self.operations().into_iter().filter(has_body).collect();
        assert!(all.len() >= 13, "{all:?}");
        all
    }
}
