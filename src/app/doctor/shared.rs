//! Checks of what the nodes of a cluster share: etcd, Redis, and the secret of the content keys.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Finding;
use crate::app::secret_check::OTHER_SECRET;
use crate::app::{backends, gateway};
use crate::auth::Secrets;
use crate::config::Config;
use crate::domain::ids::RoomId;
use crate::domain::keys;
use crate::domain::view::Modules;
use crate::domain::vouched::nodes_with_other_secret;
use crate::store::Store;
use crate::telemetry::Metrics;

/// If a store request takes longer than this, rooms start slowly.
const SLOW_STORE: Duration = Duration::from_millis(50);

pub(super) async fn etcd(config: &Config) -> Finding {
    let subject = "etcd";
    let places = config.store.etcd_endpoints.join(", ");
    let failed = |error: &dyn std::fmt::Display| {
        Err(format!("{places}: {error}; check store.etcd.endpoints, user, password and CA"))
    };
    let store = match backends::store(config, &Metrics::new(SystemTime::now())).await {
        Ok(store) => store,
        Err(error) => return Finding::of(subject, failed(&error)),
    };
    let start = Instant::now();
    match store.get(keys::LEADER).await {
        Ok(_) if start.elapsed() > SLOW_STORE => {
            let text =
                format!("{places} takes {} ms for a read: room starts are slow", start.elapsed().as_millis());
            Finding::warning(subject, text)
        }
        Ok(_) => other_secrets(config, &*store)
            .await
            .unwrap_or_else(|| Finding::of(subject, Ok(format!("{places} answers")))),
        Err(error) => Finding::of(subject, failed(&error)),
    }
}

/// Returns a warning if running nodes of the cluster have another `hls.secret` than this configuration.
async fn other_secrets(config: &Config, store: &dyn Store) -> Option<Finding> {
    // Creates no file: a cluster needs all secrets in its configuration.
    let own = Secrets::load_or_create(config).ok()?.fingerprint();
    let mut modules = Modules::default();
    for prefix in [keys::JANUSES, keys::MIXERS] {
        for entry in store.list(prefix).await.ok()?.entries {
            let Some((kind, id, part)) = keys::parse_module(&entry.key) else { continue };
            let view = Arc::make_mut(modules.entry((kind, id)).or_default());
            // A value that cannot be read is no reason for this warning.
            let _ = view.apply(part, Some((&entry.value, entry.mod_revision)));
        }
    }
    let others: Vec<_> = nodes_with_other_secret(&own, &modules).iter().map(ToString::to_string).collect();
    (!others.is_empty())
        .then(|| Finding::warning("secrets", format!("on {}: {OTHER_SECRET}", others.join(", "))))
}

pub(super) async fn redis(config: &Config) -> Result<String, String> {
    // The texts leave out the URL, which may hold a password.
    let failed =
        |error: &dyn std::fmt::Display| format!("{error}; check presence.redis.url, user, password and CA");
    let backend =
        gateway::plain_backend(config, &Metrics::new(SystemTime::now())).map_err(|error| failed(&error))?;
    // The room need not exist: the check only needs an answer.
    let room = RoomId::new("doctor").map_err(|error| failed(&error))?;
    backend.presence.list(&room).await.map_err(|error| failed(&error))?;
    Ok("answers".into())
}
