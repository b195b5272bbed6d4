//! Media of all rooms for listeners and listener nodes, as the HTTP side and the plain streams get them.

use std::sync::Arc;

use crate::actors::context::Context;
use crate::actors::mixer::streams::Streams;
use crate::actors::node::PlainParts;
use crate::actors::plain::PlainStreams;
use crate::actors::relay::EdgeCache;
use crate::auth::Secrets;
use crate::listening::{MediaRouter, OriginMedia, PlainListening, RoomParts};

#[derive(Clone)]
pub struct Listening {
    /// Rooms that this node mixes.
    pub here: Arc<OriginMedia>,
    /// All rooms.
    pub media: Arc<MediaRouter>,
    pub plain: PlainParts,
}

impl Listening {
    pub fn new(
        context: &Context,
        secrets: Arc<Secrets>,
        streams: Arc<Streams>,
        relays: Arc<EdgeCache>,
    ) -> Self {
        let (me, directory) = (context.me.clone(), context.directory.clone());
        let here = Arc::new(OriginMedia { me, directory, streams, patience: context.config.hls.patience() });
        let media = Arc::new(MediaRouter { here: here.clone(), elsewhere: relays });
        let source = Arc::new(RoomParts { media: media.clone(), secrets });
        Self { here, media, plain: PlainParts { source, streams: Arc::<PlainStreams>::default() } }
    }

    pub fn plain_listening(&self) -> PlainListening {
        PlainListening {
            media: self.media.clone(),
            directory: self.here.directory.clone(),
            streams: self.plain.streams.clone(),
        }
    }
}
