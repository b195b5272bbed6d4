//! The demo's configuration: the user's configuration, overlaid with the demo's own settings.
//!
//! Owns: those settings, and the fallback when a default port is in use. Does not override a setting of
//! the user without saying so.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::lan::Lan;
use crate::config::{self, Config, ConfigError, ConfigErrors, EffectiveKey, LoadInput, Source};

/// Longest duration that the configuration allows: a demo runs until its user ends it.
const FOR_EVER: &str = "720h";

/// Returns the validated configuration, and notes about it for the user. `data`: the data directory. `lan`:
/// the address and certificate for other machines.
///
/// # Errors
/// A flag sets a key that the demo sets itself, or the configuration is invalid.
pub fn of(
    mut input: LoadInput,
    data: &Path,
    lan: Option<&Lan>,
) -> Result<(Config, Vec<String>), ConfigErrors> {
    let mut own = vec![
        ("node.data_dir", data.display().to_string()),
        ("node.roles", "rooms,janus,mixer,gateway,hls".into()),
        ("store.kind", "embedded".into()),
        ("janus.mode", "managed".into()),
    ];
    if let Some(lan) = lan {
        // If a flag sets `listen.hls`, `lan.address` is already that address.
        input.flags.retain(|(key, _)| key != "listen.hls");
        own.extend([
            // The page and the WebSocket share one address: a browser that accepts the certificate for the
            // page then also accepts it for the WebSocket.
            ("listen.hls", lan.address.to_string()),
            ("listen.ws", lan.address.to_string()),
            ("tls.certificate_file", lan.certificate.display().to_string()),
            ("tls.key_file", lan.key.display().to_string()),
            ("tls.sockets", "ws,hls".into()),
            ("http.public_hls_url", String::new()),
            ("http.public_ws_url", String::new()),
            ("auth.mode", "keys".into()),
            ("auth.api_keys", lan.api_key.clone()),
        ]);
    }
    let taken: Vec<_> = input.flags.iter().filter(|(key, _)| own.iter().any(|(k, _)| k == key)).collect();
    if !taken.is_empty() {
        return Err(ConfigErrors(taken.into_iter().map(refusal).collect()));
    }
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    let lasting = ["rooms.max_age", "auth.listener_token_ttl", "auth.anchor_token_ttl"]
        .map(|key| (key.to_owned(), FOR_EVER.into()));
    // The demo's settings come before the user's flags, so the user's flags take precedence. Because the
    // demo's settings are flags too, they override file and environment.
    input.flags = lasting.into_iter().chain(own).chain(input.flags).collect();
    let (mut config, effective) = config::explain(input)?;
    let notes = evade(&mut config, &effective);
    Ok((config, notes))
}

fn refusal((key, value): &(String, String)) -> ConfigError {
    ConfigError {
        key: key.clone(),
        value: Some(value.clone()),
        source: Source::Flag,
        problem: "is set by the demo, which runs alone and keeps no data; use `stentor serve`".into(),
    }
}

/// Replaces occupied ports with free ones. Keeps ports that a flag or the environment sets: for them, the
/// node's error is more helpful.
fn evade(config: &mut Config, effective: &[EffectiveKey]) -> Vec<String> {
    let listen = &mut config.listen;
    let addresses = [
        ("listen.api", &mut listen.api),
        ("listen.ws", &mut listen.ws),
        ("listen.hls", &mut listen.hls),
        ("listen.ops", &mut listen.ops),
    ];
    let chosen = |key: &str| {
        let source = effective.iter().find(|e| e.key == key).map(|e| &e.source);
        matches!(source, Some(Source::Flag | Source::Env(_)))
    };
    let mut notes = Vec::new();
    for (key, address) in addresses {
        if !chosen(key) && is_taken(*address) {
            notes.push(format!("port {} is taken, so {key} is on a free one", address.port()));
            address.set_port(0);
        }
    }
    notes
}

fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|e| e.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, JanusMode, StoreKind};
    use std::time::Duration;

    fn file(text: &str) -> LoadInput {
        LoadInput {
            file: Some(ConfigFile { name: "config.yaml".into(), text: text.into() }),
            ..Default::default()
        }
    }

    fn prepared(input: LoadInput) -> Result<(Config, Vec<String>), ConfigErrors> {
        of(input, Path::new("/tmp/stentor-demo-x/data"), None)
    }

    #[test]
    fn demo_overrides_production_file() {
        let text = "node:\n  data_dir: ./stentor-data\n  roles: [hls]\nstore:\n  kind: etcd\n  etcd:\n    \
                    endpoints: [\"http://10.0.0.1:2379\"]\njanus:\n  mode: external\n  \
                    url: ws://10.0.0.5:8188\n";
        let (config, _) = prepared(file(text)).unwrap();
        assert_eq!(config.node.data_dir, Path::new("/tmp/stentor-demo-x/data"));
        assert!(config.node.roles.rooms && config.node.roles.mixer);
        assert_eq!((config.store.kind, config.janus.mode), (StoreKind::Embedded, JanusMode::Managed));
    }

    #[test]
    fn demo_refuses_its_own_keys() {
        let flags = vec![("node.data_dir".into(), "./mine".into()), ("hls.part_ms".into(), "192".into())];
        let errors = prepared(LoadInput { flags, ..Default::default() }).unwrap_err();
        assert_eq!(errors.0.len(), 1);
        assert!(errors.to_string().contains("node.data_dir = ./mine"), "{errors}");
    }

    #[test]
    fn demo_room_has_longest_max_age() {
        let (config, _) = prepared(LoadInput::default()).unwrap();
        assert_eq!(config.rooms.max_age, Duration::from_secs(720 * 3600));
        let flags = vec![("rooms.max_age".into(), "1h".into())];
        let (config, _) = prepared(LoadInput { flags, ..Default::default() }).unwrap();
        assert_eq!(config.rooms.max_age, Duration::from_secs(3600));
    }

    #[test]
    fn demo_moves_off_taken_default_port() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let (config, notes) = prepared(file(&format!("listen:\n  api: {taken}\n"))).unwrap();
        assert_eq!(config.listen.api.port(), 0);
        let told = format!("port {} is taken, so listen.api is on a free one", taken.port());
        assert!(notes.contains(&told), "{notes:?}");
        let flags = vec![("listen.api".into(), taken.to_string())];
        let (config, _) = prepared(LoadInput { flags, ..Default::default() }).unwrap();
        assert_eq!(config.listen.api, taken);
    }
}
