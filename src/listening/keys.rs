//! Content keys of the rooms on air, whoever mixes them.

use std::sync::Arc;

use async_trait::async_trait;

use super::knows_rooms;
use crate::auth::Secrets;
use crate::domain::ids::RoomId;
use crate::http::hls::{KeyRefusal, KeyService};
use crate::media::ContentKeys;
use crate::rooms::Directory;

pub struct NodeKeys {
    pub directory: Arc<Directory>,
    pub secrets: Arc<Secrets>,
}

#[async_trait]
impl KeyService for NodeKeys {
    /// Made anew each time: there is no cache that could outlive the room.
    async fn key(&self, room: &RoomId, hint: &str, index: u64) -> Result<[u8; 16], KeyRefusal> {
        if !knows_rooms(&self.directory).await {
            return Err(KeyRefusal::Unavailable);
        }
        let view = self.directory.room(room).ok_or(KeyRefusal::NotOnAir)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(KeyRefusal::NotOnAir)?;
        let keys = ContentKeys::new(&self.secrets.hls.0, room, &live.nonce);
        if keys.hint().to_string() == hint { Ok(keys.key(index)) } else { Err(KeyRefusal::NoSuchKey) }
    }
}
