//! Warning of nodes whose `hls.secret` differs from that of this node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::vouched::nodes_with_other_secret;
use crate::rooms::Directory;

/// Interval between two comparisons.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Text that follows the names of the nodes, for the log and for `stentor doctor`.
pub const OTHER_SECRET: &str = "another hls.secret than this node has: rooms on one side cannot be heard \
    from the other; give all nodes of the cluster the same hls.secret, and restart them";

/// Compares the heartbeats of the cluster with the fingerprint `own`, and logs each other node once, until
/// dropped.
pub async fn watch(directory: Arc<Directory>, own: String) {
    let mut known = BTreeSet::new();
    loop {
        let others = nodes_with_other_secret(&own, &directory.modules());
        for node in others.difference(&known) {
            tracing::warn!(%node, key = "hls.secret", "another node has {OTHER_SECRET}");
        }
        known = others;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
