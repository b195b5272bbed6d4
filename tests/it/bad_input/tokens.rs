//! Listener tokens that a node must refuse.

use std::time::Duration;

use stentor::auth::{Role, Tokens};
use stentor::domain::ids::{RoomId, UnixMs};

use super::House;
use crate::support::external::secrets;

impl House {
    /// Returns tokens that are expired, forged, or for another room, role or issuer, and texts that are not
    /// tokens; each with the status and code of its refusal.
    pub(super) async fn bad_tokens(&self) -> Vec<(String, u16, &'static str)> {
        let secrets = secrets(&self.node);
        let hour = Duration::from_secs(3600);
        let ours = Tokens::new(&secrets.jwt, "stentor", hour);
        let other_issuer = Tokens::new(&secrets.jwt, "another", hour);
        let mut forged = secrets.jwt.clone();
        forged[0].secret.0 = vec![7; 32];
        let forger = Tokens::new(&forged, "stentor", hour);
        let room = RoomId::new("live").unwrap();
        let now = stentor::rooms::now();
        let two_hours_ago = UnixMs(now.0 - 2 * 3_600_000);
        let good = ours.issue_listener(&room, None, now).token;
        let (head, rest) = good.split_once('.').unwrap();
        // {"alg":"none","typ":"JWT"}
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", rest.split('.').next().unwrap());
        vec![
            (ours.issue_listener(&room, None, two_hours_ago).token, 401, "token_expired"),
            (self.node.token("idle").await, 403, "token_wrong_room"),
            (ours.issue(Role::Anchor, "anna", &room, None, hour, now).token, 403, "token_wrong_audience"),
            (other_issuer.issue_listener(&room, None, now).token, 401, "token_invalid"),
            (forger.issue_listener(&room, None, now).token, 401, "token_invalid"),
            (format!("{head}.{rest}x"), 401, "token_invalid"),
            (unsigned, 401, "token_invalid"),
            ("nonsense".into(), 401, "token_invalid"),
            ("a.b.c".into(), 401, "token_invalid"),
            ("x".repeat(5000), 401, "token_invalid"),
        ]
    }
}
