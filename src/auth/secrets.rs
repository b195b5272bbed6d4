//! Secrets and id of the node: configured, or created at first start and stored in the data directory.
//!
//! Owns: the source of each secret and the derivations from it. Does not print a secret.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::data_files;
use crate::config::{Config, JwtSecret, Secret};
use crate::domain::ids::{Epoch, MediaAddr, ModuleId, Nonce, RoomId};
use crate::domain::srtp::SrtpKey;
use crate::domain::stage::PersonId;

pub use super::data_files::KeptError as SecretsError;

const SECRETS_FILE: &str = "secrets.json";
const NODE_ID_FILE: &str = "node-id";
const SECRET_LEN: usize = 32;

/// All secrets of this installation, for signing, encryption, and the protection of rooms.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// JWT secrets, never empty. The first secret signs tokens. All secrets verify tokens.
    pub jwt: Vec<JwtSecret>,
    /// Secret from which the content keys, the SRTP keys, the relay tokens, the person ids, the keys of all
    /// sealed texts and [`janus_room`](Self::janus_room) are derived.
    pub hls: Secret,
    /// Secret from which the secret of each Janus room is derived; see [`Self::of_janus_room`].
    pub janus_room: Secret,
}

/// Content of `secrets.json`; the secrets are in hex.
#[derive(Serialize, Deserialize)]
struct GeneratedSecrets {
    kid: String,
    jwt: String,
    hls: String,
}

impl Secrets {
    /// Returns the configured secrets; missing ones come from `{data_dir}/secrets.json`, which is created
    /// if needed.
    ///
    /// # Errors
    /// The file cannot be read or written, others can read it, or it is damaged.
    pub fn load_or_create(config: &Config) -> Result<Self, SecretsError> {
        let (mut jwt, mut hls) = (config.auth.jwt_secrets.clone(), config.hls.secret.clone());
        if jwt.is_empty() || hls.is_none() {
            let made = Self::made(config)?;
            if jwt.is_empty() {
                jwt = made.0;
            }
            hls.get_or_insert(made.1);
        }
        // Cannot fail: set above if it was missing.
        let hls = hls.expect("there is a secret by now");
        let janus_room = Secret(derive(&hls, b"stentor janus room secret").to_vec());
        Ok(Self { jwt, hls, janus_room })
    }

    /// Returns the `secret` with which Janus lets us edit or destroy one Janus room. It is the same on every
    /// node and after every restart, so that the node that takes over the room can remove the Janus room.
    pub fn of_janus_room(&self, room: &RoomId) -> String {
        hex::encode(derive(&self.janus_room, room.as_str().as_bytes()))
    }

    /// Returns a fingerprint of `hls.secret`, with which nodes notice that they have different ones. Nothing
    /// else is derived from the same label, so the fingerprint may be public.
    pub fn fingerprint(&self) -> String {
        hex::encode(&derive(&self.hls, b"stentor secret fingerprint")[..6])
    }

    /// Returns the SRTP key of the stream that Janus forwards to `target` in this epoch. It is the same on
    /// every node, so it need not be stored or sent.
    pub fn srtp_key(&self, room: &RoomId, nonce: &Nonce, epoch: Epoch, target: MediaAddr) -> SrtpKey {
        let srtp = Secret(derive(&self.hls, b"stentor srtp key").to_vec());
        // Neither a room id nor a nonce contains a NUL, so no two streams have the same label.
        let stream = format!("{room}\0{}\0{}\0{target}", nonce.0, epoch.0);
        let [key_and_salt @ .., _, _] = derive(&srtp, stream.as_bytes());
        SrtpKey::new(key_and_salt)
    }

    /// Returns the token that a listener node presents to the mixer node from which it fetches this room. It
    /// is the same on every node, and gives access to no content key.
    pub fn relay_token(&self, room: &RoomId) -> String {
        let relay = Secret(derive(&self.hls, b"stentor relay token").to_vec());
        hex::encode(derive(&relay, room.as_str().as_bytes()))
    }

    /// Returns the token with which nodes ask each other about all rooms. It equals no token of a room,
    /// because no room has an empty id.
    pub fn node_token(&self) -> String {
        let relay = Secret(derive(&self.hls, b"stentor relay token").to_vec());
        hex::encode(derive(&relay, b""))
    }

    /// Compares in constant time.
    pub fn is_node_token(&self, token: &[u8]) -> bool {
        self.node_token().as_bytes().ct_eq(token).into()
    }

    pub fn is_relay_token(&self, token: &[u8], room: &RoomId) -> bool {
        self.relay_token(room).as_bytes().ct_eq(token).into()
    }

    /// Returns the public id of a token subject in a room. It is the same on every node, and the subject
    /// cannot be found from it without the secret.
    pub fn person_id(&self, room: &RoomId, subject: &str) -> PersonId {
        let people = Secret(derive(&self.hls, b"stentor person id").to_vec());
        let digest = hex::encode(derive(&people, format!("{room}\0{subject}").as_bytes()));
        // Cannot fail: an id is 16 hexadecimal digits.
        PersonId::new(&digest[..16]).expect("hexadecimal digits")
    }

    fn made(config: &Config) -> Result<(Vec<JwtSecret>, Secret), SecretsError> {
        let dir = &config.node.data_dir;
        let text = data_files::read_or_make(dir, SECRETS_FILE, GeneratedSecrets::fresh_text)?;
        let read = serde_json::from_str::<GeneratedSecrets>(&text).ok().and_then(|m| m.decoded());
        read.ok_or_else(|| SecretsError::Damaged { path: dir.join(SECRETS_FILE) })
    }
}

impl GeneratedSecrets {
    fn fresh_text() -> String {
        let secret = || hex::encode(rand::random::<[u8; SECRET_LEN]>());
        let kid = hex::encode(rand::random::<[u8; 4]>());
        // Cannot fail: three strings always serialise to JSON.
        serde_json::to_string_pretty(&Self { kid, jwt: secret(), hls: secret() }).expect("texts are JSON")
    }

    fn decoded(self) -> Option<(Vec<JwtSecret>, Secret)> {
        let secret = |text| hex::decode(text).ok().filter(|s| s.len() == SECRET_LEN).map(Secret);
        Some((vec![JwtSecret { kid: self.kid, secret: secret(&self.jwt)? }], secret(&self.hls)?))
    }
}

/// Returns the configured id, or the id that was created at first start and stored in `{data_dir}/node-id`.
/// The id must not change: after a restart with another id, the node would abandon all its rooms.
///
/// # Errors
/// The file cannot be read or written, others can read it, or it is damaged.
pub fn node_id(config: &Config) -> Result<ModuleId, SecretsError> {
    if let Some(id) = &config.node.id {
        return Ok(id.clone());
    }
    let dir = &config.node.data_dir;
    let make = || format!("node-{}", hex::encode(rand::random::<[u8; 4]>()));
    let id = data_files::read_or_make(dir, NODE_ID_FILE, make)?;
    ModuleId::new(id.trim()).map_err(|_| SecretsError::Damaged { path: dir.join(NODE_ID_FILE) })
}

pub(super) fn derive(secret: &Secret, label: &[u8]) -> [u8; 32] {
    // Cannot fail: HMAC accepts a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes any key");
    mac.update(label);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn created_secrets_survive_restart() {
        let (_dir, config) = in_temporary_dir();
        let first = Secrets::load_or_create(&config).unwrap();
        let second = Secrets::load_or_create(&config).unwrap();
        assert_eq!(first.hls, second.hls);
        assert_eq!(first.jwt[0].kid, second.jwt[0].kid);
        assert_eq!(first.jwt[0].secret.0.len(), 32);
        assert_ne!(first.hls, first.jwt[0].secret);
        assert_eq!(node_id(&config).unwrap(), node_id(&config).unwrap());
    }

    #[test]
    fn configured_secrets_replace_secrets_file() {
        let (dir, mut config) = in_temporary_dir();
        config.hls.secret = Some(Secret(vec![1; 32]));
        config.auth.jwt_secrets = vec![JwtSecret { kid: "k".into(), secret: Secret(vec![2; 32]) }];
        config.node.id = Some(ModuleId::new("here").unwrap());
        let secrets = Secrets::load_or_create(&config).unwrap();
        assert_eq!((secrets.hls, secrets.jwt[0].kid.as_str()), (Secret(vec![1; 32]), "k"));
        assert_eq!(node_id(&config).unwrap().as_str(), "here");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn janus_secret_differs_per_room_and_installation() {
        let (_dir, mut config) = in_temporary_dir();
        let (a, b) = (RoomId::new("aaa").unwrap(), RoomId::new("bbb").unwrap());
        let here = Secrets::load_or_create(&config).unwrap();
        config.hls.secret = Some(Secret(vec![1; 32]));
        let there = Secrets::load_or_create(&config).unwrap();
        assert_ne!(here.of_janus_room(&a), here.of_janus_room(&b));
        assert_ne!(here.of_janus_room(&a), there.of_janus_room(&a));
        assert_eq!(here.of_janus_room(&a), here.of_janus_room(&a));
    }

    #[test]
    fn relay_token_is_bound_to_room() {
        let (_dir, mut config) = in_temporary_dir();
        let (a, b) = (RoomId::new("aaa").unwrap(), RoomId::new("bbb").unwrap());
        let here = Secrets::load_or_create(&config).unwrap();
        config.hls.secret = Some(Secret(vec![1; 32]));
        let there = Secrets::load_or_create(&config).unwrap();
        let token = here.relay_token(&a);
        assert!(here.is_relay_token(token.as_bytes(), &a));
        assert!(!here.is_relay_token(token.as_bytes(), &b) && !there.is_relay_token(token.as_bytes(), &a));
        let node = here.node_token();
        assert!(here.is_node_token(node.as_bytes()) && !there.is_node_token(node.as_bytes()));
        assert!(!here.is_node_token(token.as_bytes()) && !here.is_relay_token(node.as_bytes(), &a));
        assert!(!here.is_relay_token(b"", &a) && !here.is_relay_token(&token.as_bytes()[..63], &a));
    }

    #[test]
    fn srtp_key_differs_per_stream() {
        let (_dir, mut config) = in_temporary_dir();
        let here = Secrets::load_or_create(&config).unwrap();
        config.hls.secret = Some(Secret(vec![1; 32]));
        let there = Secrets::load_or_create(&config).unwrap();
        let key = |secrets: &Secrets, room: &str, nonce: &str, epoch, port| {
            let target = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port };
            secrets.srtp_key(&RoomId::new(room).unwrap(), &Nonce(nonce.into()), Epoch(epoch), target)
        };
        let all = [
            key(&here, "aaa", "n", 1, 27_000),
            key(&there, "aaa", "n", 1, 27_000),
            key(&here, "bbb", "n", 1, 27_000),
            key(&here, "aaa", "m", 1, 27_000),
            key(&here, "aaa", "n", 2, 27_000),
            key(&here, "aaa", "n", 1, 27_002),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
        assert_eq!(all[0], key(&here, "aaa", "n", 1, 27_000), "the same on every node");
    }

    #[test]
    fn damaged_secrets_file_is_reported() {
        let (dir, config) = in_temporary_dir();
        Secrets::load_or_create(&config).unwrap();
        std::fs::write(dir.path().join(SECRETS_FILE), "{}").unwrap();
        let error = Secrets::load_or_create(&config).unwrap_err().to_string();
        assert!(error.contains(SECRETS_FILE) && error.contains("damaged"), "{error}");
    }

    fn in_temporary_dir() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config::defaults();
        config.node.data_dir = dir.path().to_owned();
        (dir, config)
    }
}
