//! Nodes of the installation, as their records in the store show them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::domain::ids::ModuleId;
use crate::domain::keys;
use crate::domain::registration::NodeRecord;
use crate::store::{Store, StoreError};

/// Time for which a list is used again. A node that starts or stops is noticed this much later.
const FRESH: Duration = Duration::from_secs(5);

type NodeList = Vec<(ModuleId, NodeRecord)>;

/// The nodes of an installation with a shared store. Empty with the embedded store, because a node alone
/// writes no record.
pub struct Nodes {
    store: Arc<dyn Store>,
    known: Mutex<Option<(Instant, Arc<NodeList>)>>,
}

impl Nodes {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// Returns the registered nodes, at most `FRESH` old. Omits records that cannot be read.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self) -> Result<Arc<NodeList>, StoreError> {
        let mut known = self.known.lock().await;
        if let Some((_, listed)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(listed.clone());
        }
        let entries = self.store.list(keys::NODES).await?.entries;
        let record = |(key, value): (&str, &[u8])| {
            Some((ModuleId::new(key.strip_prefix(keys::NODES)?).ok()?, serde_json::from_slice(value).ok()?))
        };
        let listed: NodeList =
            entries.iter().filter_map(|entry| record((&entry.key, &entry.value))).collect();
        let listed = Arc::new(listed);
        *known = Some((Instant::now(), listed.clone()));
        Ok(listed)
    }
}
