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
use crate::auth::ApiKeys;
use crate::config::{AuthMode, Config, ConfigErrors, EffectiveKey, changed};
use crate::http::api_keys::LiveApiKeys;
use crate::http::ops::{ReloadError, ReloadOutcome};
use crate::telemetry::logging;
use crate::webhooks::Webhooks;

/// Key of the log filter, which is always applied without a restart.
const FILTER: &str = "log.filter";
/// Keys of the certificate, which is applied without a restart if the node was started with one.
const CERTIFICATE: [&str; 2] = ["tls.certificate_file", "tls.key_file"];
/// Keys that are applied without a restart if `auth.mode` is `keys`.
const API_KEYS: [&str; 2] = ["auth.api_keys", "auth.api_keys_file"];
/// Keys of the webhooks, which are applied without a restart.
const WEBHOOKS: [&str; 3] = ["webhooks.endpoints", "webhooks.secrets", "webhooks.secrets_file"];

/// Function that reads the configuration again, from the sources that the node was started with.
pub type ReadConfig = dyn Fn() -> Result<(Config, Vec<EffectiveKey>), ConfigErrors> + Send + Sync;

/// Channel for the answer to one `POST /reload`.
pub type ReloadReply = oneshot::Sender<Result<ReloadOutcome, ReloadError>>;

/// Returns the settings that differ between two configurations: those that can be applied to a node running
/// with `old`, and those that need a restart. API keys can be applied only if both configurations have
/// `auth.mode: keys`. The certificate can be applied only if both have one, and webhooks only if both have
/// the same `events.retention`.
pub fn changes(old: (&Config, &[EffectiveKey]), new: (&Config, &[EffectiveKey])) -> ReloadOutcome {
    let both = |test: fn(&Config) -> bool| test(old.0) && test(new.0);
    let has_keys = both(|config| config.auth.mode == AuthMode::Keys);
    let has_tls = both(|config| config.tls.certificate.is_some());
    let has_retention = old.0.events.retention == new.0.events.retention;
    let is_applied = |key: &str| {
        key == FILTER
            || has_keys && API_KEYS.contains(&key)
            || has_tls && CERTIFICATE.contains(&key)
            || has_retention && WEBHOOKS.contains(&key)
    };
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
        let is_webhook = |key: &String| WEBHOOKS.contains(&key.as_str());
        if outcome.applied.iter().any(is_webhook)
            && let Err(error) = self.parts.webhooks.reload(&config.webhooks)
        {
            tracing::error!("{trigger}: the webhooks were not applied: {error}");
            outcome.need_restart.extend(outcome.applied.extract_if(.., |key| is_webhook(key)));
        }
        let ReloadOutcome { applied, need_restart } = &outcome;
        if applied.iter().any(|key| key == FILTER)
            && let Err(error) = logging::set_filter(&config.log.filter)
        {
            // Cannot fail: the configuration was validated.
            tracing::error!(%error, "{trigger}: log.filter was not applied");
        }
        if applied.iter().any(|key| API_KEYS.contains(&key.as_str())) {
            self.parts.api_keys.replace(ApiKeys::new(&config.auth));
        }
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
        let api_keys = Arc::new(LiveApiKeys::new(ApiKeys::new(&config.auth), stored));
        let metrics = Metrics::new(std::time::SystemTime::now());
        let webhooks = Arc::new(Webhooks::new(store, &config.webhooks, metrics).unwrap());
        let parts = LiveParts { api_keys, certificates: None, webhooks };
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
    fn another_mode_needs_a_restart() {
        let reload = reload(&KEYED);
        let (applied, need_restart) = changes(&reload, &[("auth.mode", "open")]);
        assert_eq!((applied, need_restart), (vec![], vec!["auth.mode".into(), "auth.api_keys".into()]));
    }
}
