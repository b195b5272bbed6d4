//! Questions to the other nodes of the installation: which figures their rooms have, and what their actors
//! wait for.
//!
//! A node answers at the address at which listener nodes fetch from it. Owns: the choice of the nodes and the
//! time limit. Does not interpret an answer.

use std::time::Duration;

use futures::future::join_all;
use ipnet::IpNet;
use serde_json::Value;

use super::MixerClient;
use crate::domain::ids::ModuleId;
use crate::domain::registration::NodeRecord;
use crate::domain::vouched::host_refusal;
use crate::rooms::nodes::Nodes;

/// Time limit of a question. An operator waits for the answers of all nodes.
const WITHIN: Duration = Duration::from_secs(2);
const NO_ADDRESS: &str = "it has no address for other nodes: set listen.relay there";

/// Client of the other nodes.
pub struct Peers {
    pub me: ModuleId,
    pub nodes: Nodes,
    /// Networks in which nodes may be; empty: no restriction.
    pub networks: Vec<IpNet>,
    pub client: MixerClient,
}

/// Answer of a node, or the reason why there is none.
pub type PeerAnswer = (ModuleId, Result<Value, String>);

impl Peers {
    /// Asks all other nodes for which `wanted` returns true at the same time.
    ///
    /// # Errors
    /// The store does not list the nodes; the text says why.
    pub async fn ask(
        &self,
        path: &str,
        wanted: impl Fn(&ModuleId) -> bool,
    ) -> Result<Vec<PeerAnswer>, String> {
        let nodes = self.nodes.list().await.map_err(|error| format!("cannot list the nodes: {error}"))?;
        let others = nodes.iter().filter(|(id, _)| *id != self.me && wanted(id));
        let answers = others.map(async |(id, node)| (id.clone(), self.answer(node, path).await));
        Ok(join_all(answers).await)
    }

    async fn answer(&self, node: &NodeRecord, path: &str) -> Result<Value, String> {
        if let Some(refusal) = host_refusal(&node.host, &self.networks) {
            return Err(refusal);
        }
        let base = node.base_url().ok_or(NO_ADDRESS)?;
        let asked = tokio::time::timeout(WITHIN, self.client.node(&base, path)).await;
        let body = asked.unwrap_or_else(|_| Err("it did not answer within two seconds".into()))?;
        serde_json::from_slice(&body).map_err(|error| format!("its answer cannot be read: {error}"))
    }
}
