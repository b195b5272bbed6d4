//! SIGHUP and `POST /reload`: reads the configuration again and applies the settings that can change while
//! the node runs.
//!
//! Owns: the list of these settings. Does not apply part of a configuration that has an error.

use std::rc::Rc;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use super::certificates::LiveCertificates;
use super::service_manager::ServiceManager;
use crate::actors::context::LiveLimits;
use crate::auth::ApiKeys;
use crate::config::{AuthMode, Config, ConfigErrors, EffectiveKey, changed};
use crate::http::api_keys::LiveApiKeys;
use crate::http::ops::{ReloadError, ReloadOutcome};
use crate::telemetry::logging;
use crate::webhooks::Webhooks;

/// Settings that are applied together.
struct Group {
    /// Keys of the settings; a key that ends with a dot stands for all keys of the section.
    keys: &'static [&'static str],
    /// Returns true if the settings of the second configuration can be applied to a node that was started
    /// with the first one.
    applies: fn(&Config, &Config) -> bool,
    /// Applies the settings. The error is a text for the log; these settings then need a restart.
    apply: fn(&LiveParts, &Config) -> Result<(), String>,
}

/// Settings that can change while the node runs. All other settings need a restart.
static GROUPS: [Group; 5] = [
    Group { keys: &["log.filter"], applies: |_, _| true, apply: |_, config| filter(config) },
    Group {
        keys: &["auth.api_keys", "auth.api_keys_file"],
        applies: |old, new| [old, new].iter().all(|config| config.auth.mode == AuthMode::Keys),
        apply: |parts, config| {
            parts.api_keys.replace(ApiKeys::new(&config.auth));
            Ok(())
        },
    },
    Group {
        keys: &["tls.certificate_file", "tls.key_file"],
        applies: |old, new| [old, new].iter().all(|config| config.tls.certificate.is_some()),
        // Applied by every reload, because the files may have changed.
        apply: |_, _| Ok(()),
    },
    Group {
        keys: &["webhooks.endpoints", "webhooks.secrets", "webhooks.secrets_file"],
        applies: |old, new| old.events.retention == new.events.retention,
        apply: |parts, config| parts.webhooks.reload(&config.webhooks),
    },
    Group {
        keys: &[
            "http.body_limit",
            "http.requests_per_address",
            "http.requests_per_key",
            "http.connections_per_address",
            "ws.",
        ],
        applies: |_, _| true,
        apply: |parts, config| {
            parts.limits.replace(config);
            Ok(())
        },
    },
];

impl Group {
    fn contains(&self, key: &str) -> bool {
        self.keys.iter().any(|own| *own == key || own.ends_with('.') && key.starts_with(own))
    }
}

/// Sets the log filter. Cannot fail: the configuration was validated.
fn filter(config: &Config) -> Result<(), String> {
    logging::set_filter(&config.log.filter).map_err(|error| error.to_string())
}

/// Function that reads the configuration again, from the sources that the node was started with.
pub type ReadConfig = dyn Fn() -> Result<(Config, Vec<EffectiveKey>), ConfigErrors> + Send + Sync;

/// Channel for the answer to one `POST /reload`.
pub type ReloadReply = oneshot::Sender<Result<ReloadOutcome, ReloadError>>;

/// Returns the settings that differ between two configurations: those that can be applied to a node running
/// with `old`, and those that need a restart.
pub fn changes(old: (&Config, &[EffectiveKey]), new: (&Config, &[EffectiveKey])) -> ReloadOutcome {
    let is_applied =
        |key: &str| GROUPS.iter().any(|group| group.contains(key) && (group.applies)(old.0, new.0));
    let changed = changed(old.1, new.1).map(str::to_owned);
    let (applied, need_restart) = changed.partition(|key| is_applied(key));
    ReloadOutcome { applied, need_restart }
}

/// Parts of a running node to which new settings can be applied.
#[derive(Clone)]
pub struct LiveParts {
    pub api_keys: Arc<LiveApiKeys>,
    /// `None`: the node was started without a certificate.
    pub certificates: Option<LiveCertificates>,
    pub webhooks: Arc<Webhooks>,
    pub limits: LiveLimits,
}

/// State that a running node needs to reload its configuration.
pub struct Reload {
    /// The configuration that the node was started with.
    started: Config,
    /// The active settings.
    running: Vec<EffectiveKey>,
    read: Arc<ReadConfig>,
    parts: LiveParts,
}

impl Reload {
    /// Creates the reloader. `running` are the settings that the node was started with.
    pub fn new(config: &Config, running: Vec<EffectiveKey>, read: Arc<ReadConfig>, parts: LiveParts) -> Self {
        Self { started: config.clone(), running, read, parts }
    }

    /// Reloads on each signal and request, for as long as the process runs.
    pub async fn at_each(
        mut self,
        mut hangups: Signal,
        mut requests: mpsc::Receiver<ReloadReply>,
        manager: Rc<ServiceManager>,
    ) {
        loop {
            let reply = tokio::select! {
                Some(()) = hangups.recv() => None,
                Some(reply) = requests.recv() => Some(reply),
                else => return,
            };
            manager.reloading().await;
            let outcome = self.reload(if reply.is_some() { "POST /reload" } else { "SIGHUP" }).await;
            manager.reloaded().await;
            if let Some(reply) = reply {
                // Fails only if the client has disconnected and needs no answer.
                let _ = reply.send(outcome);
            }
        }
    }

    async fn reload(&mut self, trigger: &str) -> Result<ReloadOutcome, ReloadError> {
        let read = self.read.clone();
        // Blocking: the files may be on a network file system.
        match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok((config, keys))) => Ok(self.apply(trigger, &config, keys)),
            Ok(Err(ConfigErrors(errors))) => {
                for error in &errors {
                    tracing::error!(
                        "{trigger}: the configuration has an error and nothing was changed: {error}"
                    );
                }
                Err(ReloadError::Invalid(errors.iter().map(ToString::to_string).collect()))
            }
            // This happens only while the process ends, or after a panic, which was logged.
            Err(error) => {
                tracing::error!(%error, "{trigger}: the configuration was not read");
                Err(ReloadError::NotRead)
            }
        }
    }

    fn apply(&mut self, trigger: &str, config: &Config, keys: Vec<EffectiveKey>) -> ReloadOutcome {
        let mut outcome = changes((&self.started, &self.running), (config, &keys));
        for group in &GROUPS {
            if outcome.applied.iter().any(|key| group.contains(key))
                && let Err(error) = (group.apply)(&self.parts, config)
            {
                let failed: Vec<_> = outcome.applied.extract_if(.., |key| group.contains(key)).collect();
                tracing::error!(keys = failed.join(", "), "{trigger}: settings were not applied: {error}");
                outcome.need_restart.extend(failed);
            }
        }
        let ReloadOutcome { applied, need_restart } = &outcome;
        if let Some(certificates) = &self.parts.certificates {
            certificates.reload(config);
        }
        match applied.is_empty() {
            true => tracing::info!("{trigger}: the configuration was read again; nothing was applied"),
            false => tracing::info!(keys = applied.join(", "), "{trigger}: changed settings were applied"),
        }
        if !need_restart.is_empty() {
            tracing::warn!(
                keys = need_restart.join(", "),
                "{trigger}: changed settings need a restart of the node"
            );
        }
        let is_applied = |key: &EffectiveKey| applied.contains(&key.key);
        for (running, fresh) in self.running.iter_mut().zip(keys).filter(|(_, fresh)| is_applied(fresh)) {
            *running = fresh;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadInput, explain};
    use crate::http::error::Code;
    use crate::rooms::{ApiKeyRegistry, FakeStore};
    use crate::telemetry::Metrics;

    const KEYED: [(&str, &str); 2] = [("auth.mode", "keys"), ("auth.api_keys", "0123456789abcdef")];

    fn read(flags: &[(&str, &str)]) -> (Config, Vec<EffectiveKey>) {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        explain(LoadInput { flags, ..LoadInput::default() }).unwrap()
    }

    fn reload(flags: &[(&str, &str)]) -> Reload {
        let (config, keys) = read(flags);
        let store = FakeStore::new();
        let stored = Arc::new(ApiKeyRegistry::new(store.clone()));
        let limits = LiveLimits::new(&config);
        let api_keys =
            Arc::new(LiveApiKeys::new(ApiKeys::new(&config.auth), stored, limits.requests.clone()));
        let metrics = Metrics::new(std::time::SystemTime::now());
        let webhooks = Arc::new(Webhooks::new(store, &config.webhooks, metrics).unwrap());
        let parts = LiveParts { api_keys, certificates: None, webhooks, limits };
        Reload::new(&config, keys, Arc::new(|| unreachable!()), parts)
    }

    fn changes(reload: &Reload, flags: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let (config, keys) = read(flags);
        let outcome = super::changes((&reload.started, &reload.running), (&config, &keys));
        (outcome.applied, outcome.need_restart)
    }

    #[test]
    fn filter_and_keys_are_applied() {
        let mut reload = reload(&KEYED);
        let fresh =
            [KEYED[0], ("auth.api_keys", "fedcba9876543210"), ("log.filter", "warn"), ("hls.window", "7")];
        let wanted =
            (vec!["auth.api_keys".to_owned(), "log.filter".to_owned()], vec!["hls.window".to_owned()]);
        assert_eq!(changes(&reload, &fresh), wanted);
        let (config, keys) = read(&fresh);
        reload.apply("SIGHUP", &config, keys);
        assert!(reload.parts.api_keys.check(Some(b"Bearer fedcba9876543210")).is_ok());
        assert!(reload.parts.api_keys.check(Some(b"Bearer 0123456789abcdef")).is_err());
        assert_eq!(changes(&reload, &fresh), (vec![], wanted.1), "a restart is still needed");
    }

    #[test]
    fn webhooks_are_applied() {
        let mut reload = reload(&[]);
        let secret = "a:whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let fresh = [("webhooks.endpoints", "a=http://127.0.0.1:1/"), ("webhooks.secrets", secret)];
        let keys = ["webhooks.endpoints", "webhooks.secrets"].map(str::to_owned).to_vec();
        assert_eq!(changes(&reload, &fresh), (keys, vec![]));
        let (config, effective) = read(&fresh);
        reload.apply("SIGHUP", &config, effective);
        assert!(reload.parts.webhooks.endpoint("a").is_some());
        assert_eq!(changes(&reload, &fresh), (vec![], vec![]));
        let longer = [fresh[0], fresh[1], ("events.retention", "200h")];
        assert_eq!(changes(&reload, &longer).0, Vec::<String>::new());
        assert_eq!(changes(&reload, &[("events.retention", "200h")]).0, Vec::<String>::new());
    }

    #[test]
    fn limits_are_applied() {
        let mut reload = reload(&KEYED);
        let fresh = [
            KEYED[0],
            KEYED[1],
            ("http.header_timeout", "9s"),
            ("http.requests_per_key", "10"),
            ("ws.rate", "7"),
        ];
        let applied = ["http.requests_per_key", "ws.rate"].map(str::to_owned).to_vec();
        let needs_restart = vec!["http.header_timeout".to_owned()];
        assert_eq!(changes(&reload, &fresh), (applied, needs_restart.clone()));
        let (config, keys) = read(&fresh);
        reload.apply("POST /reload", &config, keys);
        assert_eq!(reload.parts.limits.signalling.load().rate, 7);
        let admit = || reload.parts.api_keys.admit(Some(b"Bearer 0123456789abcdef"));
        assert_eq!((0..30).filter(|_| admit().is_ok()).count(), 20, "two seconds at once");
        assert_eq!(admit().unwrap_err().code, Code::TooManyRequests);
        assert_eq!(changes(&reload, &fresh), (vec![], needs_restart));
    }

    /// Returns another legal value of a setting that `LiveLimits` contains.
    fn other(key: &EffectiveKey) -> String {
        let bounds = ["ws.call_timeout", "ws.dead_after", "ws.frame_limit"];
        match (key.key.as_str(), key.value.parse::<u64>()) {
            ("ws.duplicate", _) => "replace".into(),
            ("ws.ping", _) => "4s".into(),
            (name, Err(_)) if bounds.contains(&name) => "40s".into(),
            (_, Err(_)) => "30s".into(),
            (_, Ok(number)) => (number + 1).to_string(),
        }
    }

    #[test]
    fn limits_equal_the_announced_keys() {
        let (before, keys) = read(&[]);
        let limits = LiveLimits::new(&before);
        for key in &keys {
            let section = key.key.starts_with("ws.") || key.key.starts_with("http.");
            let is_limit = GROUPS[4].contains(&key.key);
            if !section || !is_limit {
                continue;
            }
            let value = other(key);
            let (after, fresh) = read(&[(&key.key, &value)]);
            let outcome = super::changes((&before, &keys), (&after, &fresh));
            assert_eq!(outcome.applied, std::slice::from_ref(&key.key));
            limits.replace(&after);
            let live = (limits.requests.load_full(), limits.signalling.load_full());
            assert!(*live.0 != before.http.limits || *live.1 != before.ws, "{} is not applied", key.key);
        }
    }

    #[test]
    fn announced_keys_exist() {
        let (_, keys) = read(&[]);
        for own in GROUPS.iter().flat_map(|group| group.keys) {
            let exists =
                |key: &EffectiveKey| key.key == *own || own.ends_with('.') && key.key.starts_with(own);
            assert!(keys.iter().any(exists), "{own}");
        }
    }

    #[test]
    fn another_mode_needs_a_restart() {
        let reload = reload(&KEYED);
        let (applied, need_restart) = changes(&reload, &[("auth.mode", "open")]);
        assert_eq!((applied, need_restart), (vec![], vec!["auth.mode".into(), "auth.api_keys".into()]));
    }
}
