//! Clients of the gateways: users with several devices, which connect, join, leave, and lose connections. At
//! the end of a history, checks the locks and presence entries of the connections.
//!
//! Owns the choices of the clients. Never changes a session except through its inputs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::gateways::{Connection, LIFETIMES, done};
use super::world::World;
use crate::domain::client_session::{CallId, ClientIdentity, ClientSession, Input, MediaEvent, Rules};
use crate::domain::connection::{ConnectionId, Duplicate, GatewayIncarnation, Holder, LockKey};
use crate::domain::grant::Grant;
use crate::domain::ids::{ClientId, ModuleId, RoomId, UnixMs, UserId};
use crate::domain::media_session::AssignmentChange;
use crate::domain::model::UserRole;
use crate::domain::signalling::{CloseCode, Method};
use crate::presence::{Acquisition, ConnectionLock, Presence, Source};

pub const USERS: [&str; 2] = ["anna", "bert"];
/// Maximum number of connections of one user in one room.
const MOST_CONNECTIONS: usize = 3;
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:ab12\r\na=ice-pwd:01\r\n\
    a=fingerprint:sha-256 AB:CD\r\na=rtpmap:111 opus/48000/2\r\n";

fn rules() -> Rules {
    Rules {
        call_timeout: CALL_TIMEOUT,
        join_within: Duration::from_secs(15),
        renew_every: LIFETIMES.lock / 3,
        silence: LIFETIMES.member,
        admission: false,
        consent: false,
        check_every: LIFETIMES.gateway / 3,
    }
}

impl World {
    fn lock_keys(&self) -> Vec<LockKey> {
        let key = |room: &RoomId, user| LockKey { room: room.clone(), user: UserId::new(user).unwrap() };
        self.rooms.iter().flat_map(|room| USERS.map(|user| key(room, user))).collect()
    }

    /// Returns the connections on running nodes, each with the index of its node and its number.
    fn connections(&self) -> impl Iterator<Item = (usize, u64, &Connection)> {
        let up = self.nodes.iter().enumerate().filter(|(_, node)| node.is_up());
        let sides = up.filter_map(|(n, node)| Some((n, node.gateway.as_ref()?)));
        sides.flat_map(|(n, side)| side.connections.iter().map(move |(number, of)| (n, *number, of)))
    }

    /// Lets one client, chosen at random, connect, call a method, lose its media or disconnect.
    pub fn client_acts(&mut self) {
        let keys = self.lock_keys();
        let key = keys[self.random.below(keys.len())].clone();
        let open = self.connections().filter(|(.., of)| of.key == key && !of.is_closed);
        let open: Vec<_> = open.map(|(n, number, _)| (n, number)).collect();
        let action = self.random.below(10);
        let Some((n, number)) = self.random.pick(&open).filter(|_| action > 1) else {
            return if open.len() < MOST_CONNECTIONS {
                self.connect(key)
            };
        };
        let (name, params) = match action {
            2 => ("join", json!({})),
            3 => ("join", json!({ "jtoken": "sealed" })),
            4 => ("join", json!({ "clientId": "other" })),
            5 => ("leave", json!({})),
            6 => ("offer", json!({ "sdp": { "type": "offer", "sdp": OFFER } })),
            7 => ("keepalive", json!({ "status": "idle" })),
            8 => return self.lose_media(n, number),
            _ => {
                let code = self.random.pick(&[CloseCode::Gone, CloseCode::Normal]).unwrap();
                return self.close_connection(n, number, code);
            }
        };
        self.call(n, number, name, params);
    }

    /// Connects a client to a random gateway that accepts connections.
    fn connect(&mut self, key: LockKey) {
        let open = |n: &usize| {
            let node = &self.nodes[*n];
            node.is_up() && node.gateway.as_ref().is_some_and(|side| !side.is_draining)
        };
        let gateways: Vec<usize> = (0..self.nodes.len()).filter(open).collect();
        let client = self.random.pick(&["tab", "tab", "other"]).unwrap();
        if let Some(n) = self.random.pick(&gateways) {
            self.connect_to(n, key, client);
        }
    }

    /// Connects a client whose token was issued just now. Returns the number of the connection.
    fn connect_to(&mut self, n: usize, key: LockKey, client: &str) -> u64 {
        let (now, wall) = (self.now, self.wall());
        let room_created_at = self.store.view(&key.room).meta.map(|meta| meta.created_at);
        let grant = Grant { issued_at: wall, expires_at: UnixMs(wall.0 + 3_600_000), room_created_at };
        let identity = ClientIdentity {
            room: key.room.clone(),
            user: key.user.clone(),
            claimed: UserRole::Anchor,
            grant,
            client_id: ClientId::new(client).ok(),
            source: Source::Signalling,
        };
        self.laws.connections += 1;
        let number = self.number();
        self.note(|w| format!("{} connects to {} as {number}", key.user, w.nodes[n].id));
        let connection = Connection {
            key,
            grant,
            session: ClientSession::new(identity, Arc::new(rules()), now),
            calls: 0,
            waiting: Default::default(),
            has_left: false,
            is_closed: false,
            token: None,
            joined: None,
            media: None,
        };
        if let Some(side) = &mut self.nodes[n].gateway {
            side.connections.insert(number, connection);
        }
        self.session_input(n, number, Input::Opened);
        number
    }

    /// Lets all users join their rooms through one gateway.
    pub fn join_all(&mut self, n: usize, client: &str) {
        for key in self.lock_keys() {
            let number = self.connect_to(n, key, client);
            self.call(n, number, "join", json!({}));
        }
    }

    /// Returns the number of open connections that have their lock, and the number of open connections that
    /// follow a media session.
    pub fn connected(&self) -> (usize, usize) {
        let open = || self.connections().filter(|(.., of)| !of.is_closed);
        let has_lock = open().filter(|(.., of)| of.token.is_some());
        (has_lock.count(), open().filter(|(.., of)| of.media.is_some()).count())
    }

    /// Lets a client sometimes send `keepalive` if it has joined, or `join` if it has not.
    pub fn client_continues(&mut self, n: usize, number: u64) {
        let chance = self.random.unit();
        let Some(connection) = self.connection(n, number).filter(|of| !of.is_closed) else { return };
        match connection.media.is_some() {
            true if chance < 0.3 => self.call(n, number, "keepalive", json!({ "status": "onair" })),
            false if chance < 0.1 && connection.waiting.is_empty() => {
                self.call(n, number, "join", json!({}));
            }
            _ => {}
        }
    }

    fn call(&mut self, n: usize, number: u64, name: &str, params: Value) {
        let now = self.now;
        let Some(connection) = self.connection(n, number) else { return };
        connection.calls += 1;
        let id = CallId(connection.calls);
        connection.waiting.insert(id, now);
        match name {
            "join" => connection.has_left = false,
            "leave" => connection.has_left = true,
            _ => {}
        }
        let method = Method::parse(name, Some(params)).unwrap();
        self.session_input(n, number, Input::Call(id, method));
    }

    fn lose_media(&mut self, n: usize, number: u64) {
        let media = self.connection(n, number).and_then(|connection| connection.media.as_ref());
        if let Some(join) = media.map(|(join, _)| *join) {
            self.session_input(n, number, Input::Media { join, event: MediaEvent::Lost });
        }
    }

    /// Checks that every session is in the state that room and presence require.
    ///
    /// # Errors
    /// Description of the difference.
    pub fn sessions_at_rest(&self) -> Result<(), String> {
        let mut keys = BTreeSet::new();
        for (n, number, connection) in self.connections() {
            let it = format!("connection {number} of {:?} on {}", connection.key, self.nodes[n].id);
            let Connection { key, grant, waiting, token, media, .. } = connection;
            if connection.is_closed {
                return Err(format!("{it} is closed and not over"));
            }
            if waiting.values().any(|asked| self.now > *asked + CALL_TIMEOUT + Duration::from_secs(1)) {
                return Err(format!("{it} has calls without an answer"));
            }
            if !keys.insert(key) {
                return Err(format!("{it} is not the only one"));
            }
            let view = self.store.view(&key.room);
            if let Err(code) = grant.admit(&key.user, &view, self.wall()) {
                return Err(format!("{it} should be closed: {}", code.reason()));
            }
            if token.is_none() || self.presence.newest.get(key) != token.as_ref() {
                return Err(format!("{it} has no lock"));
            }
            let Some((_, place)) = media else { continue };
            if place.fate(Some(&view)) != AssignmentChange::Stays {
                return Err(format!("{it} is in a Janus room that is over"));
            }
            let entries = done(self.presence.at(self.now).list(&key.room));
            let entry = entries.iter().find(|entry| entry.user_id == key.user);
            if entry.map(|entry| entry.token) != *token {
                return Err(format!("{it} has {entry:?} in presence"));
            }
        }
        Ok(())
    }

    /// Closes all connections. Checks that the locks are then free at once, and that no presence entry
    /// outlives its lifetime.
    ///
    /// # Errors
    /// Description of the first connection, lock or entry that is left.
    pub fn disconnect_all(&mut self) -> Result<(), String> {
        // Within this time, the locks of dead gateways expire.
        self.run_until(self.now + LIFETIMES.lock);
        let open: Vec<_> = self.connections().map(|(n, number, _)| (n, number)).collect();
        for (n, number) in open {
            let code = self.random.pick(&[CloseCode::Gone, CloseCode::Normal, CloseCode::Removed]).unwrap();
            self.close_connection(n, number, code);
        }
        self.run_until(self.now + Duration::from_secs(1));
        if let Some((_, number, of)) = self.connections().next() {
            return Err(format!("connection {number} of {:?} is not over", of.key));
        }
        let gateway = GatewayIncarnation { node: ModuleId::new("probe").unwrap(), incarnation: 0 };
        let probe = Holder { gateway, connection: ConnectionId("probe".into()), client: None };
        for key in self.lock_keys() {
            let acquired = done(self.presence.at(self.now).acquire(&key, &probe, Duplicate::Reject));
            if !matches!(acquired, Acquisition::Acquired { replaced: None, .. }) {
                return Err(format!("the lock of {key:?} is not free: {acquired:?}"));
            }
        }
        self.run_until(self.now + LIFETIMES.member);
        for room in &self.rooms {
            let left = done(self.presence.at(self.now).list(room));
            if !left.is_empty() {
                return Err(format!("presence entries of {room} are left: {left:?}"));
            }
        }
        Ok(())
    }
}
