//! A watch that detects when etcd no longer responds.
//!
//! After a silence of [`ASK_AFTER`], it sends etcd a progress request. If nothing arrives for [`DEAD_AFTER`],
//! the stream ends with an error. Owns: the reading of etcd's watch responses. Does not reconnect; the
//! consumer lists again, because only a list shows which changes were missed.
//!
//! Two properties of etcd determine this design. The events of one revision arrive in one response unless
//! fragmentation is requested, which it is not. Before 3.4.25 a response to a progress request may overtake
//! events (etcd issue 15220), so its revision is not reliable. Progress is therefore reported with the last
//! revision whose events were delivered.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Event, EventType, WatchResponse};
use futures::stream;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, meaning};
use super::key_value;
use crate::store::{Revision, StoreError, WatchBatch, WatchEvent, WatchStream};

const ASK_AFTER: Duration = Duration::from_secs(3);
const DEAD_AFTER: Duration = Duration::from_secs(10);

struct Watcher {
    connection: Arc<Connection>,
    stream: etcd_client::WatchStream,
    delivered: Revision,
    heard: Instant,
}

pub(super) fn batches(
    connection: Arc<Connection>,
    stream: etcd_client::WatchStream,
    from: Revision,
) -> WatchStream {
    let watcher = Watcher { connection, stream, delivered: from - 1, heard: Instant::now() };
    Box::pin(stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        match watcher.next_batch().await {
            Ok(batch) => Some((Ok(batch), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl Watcher {
    async fn next_batch(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            let patience = ASK_AFTER.min(DEAD_AFTER.saturating_sub(self.heard.elapsed()));
            match timeout(patience, self.stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.heard = Instant::now();
                    if let Some(batch) = self.read(&response)? {
                        return Ok(batch);
                    }
                }
                Ok(Ok(None)) => return Err(StoreError::Unavailable("etcd closed the watch".into())),
                Ok(Err(error)) => return Err(meaning(error)),
                Err(_) => self.ask_or_give_up().await?,
            }
        }
    }

    async fn ask_or_give_up(&mut self) -> Result<(), StoreError> {
        if self.heard.elapsed() < DEAD_AFTER {
            return self.stream.request_progress().await.map_err(meaning);
        }
        self.connection.replace_current().await;
        Err(StoreError::Unavailable(format!("etcd has been silent on a watch for {DEAD_AFTER:?}")))
    }

    /// Reads one response. Returns `None` for the response that only confirms the watch.
    ///
    /// # Errors
    /// etcd has compacted the position, or has ended the watch.
    fn read(&mut self, response: &WatchResponse) -> Result<Option<WatchBatch>, StoreError> {
        if response.compact_revision() > 0 {
            return Err(StoreError::Compacted { from: self.delivered + 1 });
        }
        if response.canceled() {
            let reason = response.cancel_reason();
            return Err(StoreError::Unavailable(format!("etcd ended the watch: {reason}")));
        }
        if response.created() {
            return Ok(None);
        }
        let revisions = response.events().iter().filter_map(|event| Some(event.kv()?.mod_revision()));
        self.delivered = revisions.max().unwrap_or(self.delivered);
        let events = response.events().iter().filter_map(watch_event).collect();
        Ok(Some(WatchBatch { revision: self.delivered, events }))
    }
}

fn watch_event(event: &Event) -> Option<WatchEvent> {
    let kv = key_value(event.kv()?)?;
    Some(match event.event_type() {
        EventType::Put => WatchEvent::Put(kv),
        EventType::Delete => WatchEvent::Delete { key: kv.key },
    })
}
