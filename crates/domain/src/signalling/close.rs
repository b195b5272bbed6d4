//! WebSocket close codes: those of RFC 6455 section 7.4.1, and our own from the range for private use
//! (section 7.4.2).

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $reason:literal, $retryable:literal;)*) => {
        /// Code with which a connection is closed. A client reconnects only after a retryable code, with a
        /// growing delay.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseCode {
            $($(#[doc = $doc])+ $name,)*
        }

        impl CloseCode {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// Returns the reason text of the close frame, which is also the metric label.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }

            /// Returns true if the client may reconnect. After any other code it would meet the same
            /// condition again.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }
        }
    };
}

close_codes! {
    /// The client closed the connection.
    Normal = 1000, "normal", false;
    /// The connection broke. This code is never sent.
    Gone = 1006, "gone", true;
    /// The received data is not WebSocket.
    ProtocolError = 1002, "protocol_error", false;
    /// Only text messages are accepted.
    TextOnly = 1003, "text_only", false;
    /// A text message is not UTF-8.
    InvalidUtf8 = 1007, "invalid_utf8", false;
    /// A message is larger than `ws.frame_limit`.
    TooBig = 1009, "too_big", false;
    /// Internal error of the server.
    Internal = 1011, "internal", true;
    /// The token has expired or is not valid for this room; the client must get a new one.
    TokenInvalid = 4401, "token_invalid", false;
    /// The user was banned, kicked or made a listener; another connection is refused while the ban, kick
    /// or role applies.
    Removed = 4403, "removed", false;
    /// There is no such room.
    RoomGone = 4404, "room_gone", false;
    /// The client has not been joined to the room for `ws.join_within`.
    NotJoined = 4407, "not_joined", true;
    /// Nothing was received for `ws.dead_after`.
    PeerDead = 4408, "peer_dead", true;
    /// A newer connection of the same user took over.
    Replaced = 4409, "replaced", false;
    /// The room ended while the client was connected.
    RoomClosed = 4410, "room_closed", false;
    /// The user was given a different role; the client must reconnect. Sent only by the listener channel.
    RoleChanged = 4412, "role_changed", true;
    /// The client does not read: more than `ws.queue_limit` bytes were queued for it.
    TooSlow = 4413, "too_slow", true;
    /// The user is already connected, and `ws.duplicate` is `reject`.
    AlreadyConnected = 4423, "already_connected", true;
    /// The client continued to exceed `ws.rate` by far with calls, pings, pongs or fragments.
    Flooding = 4429, "flooding", false;
    /// This node shuts down or drains; another node takes over.
    Draining = 4503, "draining", true;
    /// A service that the connection needs does not answer.
    Unavailable = 4504, "unavailable", true;
}

impl CloseCode {
    /// Returns true if the client may come back to its session. `left`: the client called `leave` before.
    /// Closing the connection does not count as `leave`, and after `Replaced` a newer connection of the same
    /// user already has the session.
    pub fn keeps_session(self, left: bool) -> bool {
        !left && (self.is_retryable() || matches!(self, Self::Normal | Self::Replaced))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn close_code_decides_session_kept() {
        use CloseCode::*;
        assert!([Gone, PeerDead, Normal, Replaced, Draining].iter().all(|code| code.keeps_session(false)));
        assert!([Removed, RoomClosed, Flooding].iter().all(|code| !code.keeps_session(false)));
        assert!(CloseCode::ALL.iter().all(|code| !code.keeps_session(true)));
    }

    #[test]
    fn close_codes_are_unique_and_short() {
        let numbers: HashSet<_> = CloseCode::ALL.iter().map(|code| code.number()).collect();
        let reasons: HashSet<_> = CloseCode::ALL.iter().map(|code| code.reason()).collect();
        assert_eq!((numbers.len(), reasons.len()), (CloseCode::ALL.len(), CloseCode::ALL.len()));
        assert!(CloseCode::ALL.iter().all(|code| code.reason().len() <= 123));
    }
}
