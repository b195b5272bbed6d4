//! Assembly of the media sources of the HTTP servers and the plain streams.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Semaphore;

use crate::actors::context::Context;
use crate::actors::on_demand::OnDemandParts;
use crate::actors::outputs::OutputParts;
use crate::actors::plain::OpusParts;
use crate::actors::recording::transcoder::TranscoderParts;
use crate::actors::recording::uploading::UploadParts;
use crate::actors::recording::{RecorderParts, RecordingParts};
use crate::actors::rewind::{RewindParts, SLOW_TAKEOVERS, TAKEOVERS};
use crate::auth::{SealedUrls, Secrets};
use crate::config::{Config, JanusMode};
use crate::delivery::{
    ContentKeyPolicy, EdgeCache, MediaRouter, MixerClient, OriginMedia, PcmFeed, PcmFeeds, PlainListening,
    PlainStream, PlainStreams, RecordingMedia, Rewinds, RoomParts, StoredCopies, Streams,
};
use crate::http::rest::{CaptionsSide, OutputsSide, SourcesSide};
use crate::janus::{OPEN, TRACKS};
use crate::rooms::captions::RecogniserClaims;
use crate::rooms::recordings::Recordings;
use crate::spool::Spool;
use crate::spool::tracks::TrackSpool;
use crate::storage::Storage;

#[derive(Clone)]
pub struct Delivery {
    /// Rooms that this node mixes.
    pub here: Arc<OriginMedia>,
    /// All rooms.
    pub media: Arc<MediaRouter>,
    pub plain: OnDemandParts<PlainStream>,
    /// Plain streams in Opus.
    pub opus: Arc<PlainStreams>,
    pub feeds: Arc<PcmFeeds>,
}

/// Creates the client of the object storage for copies of recordings.
pub fn storage(context: &Context) -> anyhow::Result<Option<Arc<Storage>>> {
    let storage = context.config.recording.storage.as_ref().map(Storage::new).transpose();
    let storage = storage.map_err(anyhow::Error::msg).context("recording.storage cannot be used")?;
    Ok(storage.map(Arc::new))
}

/// Creates the access to the recordings of all mixers.
pub fn replay(
    context: &Context,
    recordings: &Arc<Recordings>,
    fetcher: MixerClient,
    secrets: &Arc<Secrets>,
    storage: Option<Arc<Storage>>,
) -> Arc<RecordingMedia> {
    Arc::new(RecordingMedia {
        me: context.me.clone(),
        directory: context.directory.clone(),
        recordings: recordings.clone(),
        spool: Spool::new(context.config.recordings_dir()),
        tracks: track_spool(&context.config),
        fetcher,
        secrets: secrets.clone(),
        copies: storage.map(StoredCopies::new),
        lists: Default::default(),
        layouts: Default::default(),
        opus: Default::default(),
    })
}

/// Creates the dependencies of the actors that follow recordings and, on a mixer, record.
pub fn recording_parts(
    context: &Context,
    recordings: &Arc<Recordings>,
    streams: &Arc<Streams>,
    media: &Arc<RecordingMedia>,
    storage: Option<Arc<Storage>>,
) -> RecordingParts {
    let config = &context.config;
    let spool = Spool::new(config.recordings_dir());
    let parts = |storage| UploadParts {
        storage,
        spool: spool.clone(),
        media: media.clone(),
        turn: Default::default(),
    };
    let uploads = storage.map(parts);
    let (streams, all) = (streams.clone(), media.clone());
    let mixer = config.node.roles.mixer.then(|| RecorderParts { streams, spool, uploads, media: all });
    let tracks = media.tracks.is_recorded().then(|| media.clone());
    let opus = TranscoderParts { files: media.opus.clone(), media: media.clone() };
    RecordingParts { recordings: recordings.clone(), opus, mixer, tracks }
}

/// Creates the access to the tracks on this node's disk.
fn track_spool(config: &Config) -> TrackSpool {
    let managed = config.node.roles.janus && config.janus.mode == JanusMode::Managed;
    let recorded = managed.then(|| config.janus_dir().join(TRACKS));
    TrackSpool::new(recorded, &config.recordings_dir(), OPEN)
}

/// Creates the settings of outputs for the room API.
pub fn outputs_side(config: &Config, secrets: &Secrets) -> OutputsSide {
    let outputs = config.outputs.clone();
    let most = outputs.max_per_room;
    let allows = Box::new(move |ip| outputs.allows(ip));
    OutputsSide { targets: SealedUrls::of_outputs(secrets), most, allows }
}

/// Creates the settings of sources for the room API.
pub fn sources_side(config: &Config, secrets: &Secrets) -> SourcesSide {
    SourcesSide { policy: config.sources.policy(), urls: SealedUrls::of_sources(secrets) }
}

impl Delivery {
    pub fn new(
        context: &Context,
        secrets: Arc<Secrets>,
        streams: Arc<Streams>,
        relays: Arc<EdgeCache>,
    ) -> Self {
        let (me, directory) = (context.me.clone(), context.directory.clone());
        let config = &context.config;
        let rotation = config.hls.key_rotation;
        let keys = ContentKeyPolicy { directory: directory.clone(), secrets: secrets.clone(), rotation };
        let spool = Spool::for_rewind(config.rewind_dir());
        let rewinds = Arc::new(Rewinds::new(spool, relays.fetcher.clone()));
        let here = Arc::new(OriginMedia { me, directory, streams, rewinds, patience: config.hls.patience() });
        let default_rewind = config.hls.rewind;
        let media = MediaRouter { here: here.clone(), elsewhere: relays, keys, default_rewind };
        let media = Arc::new(media);
        let source = Arc::new(RoomParts { media: media.clone(), secrets });
        let plain = OnDemandParts { source, streams: Arc::default() };
        Self { here, media, plain, opus: Arc::default(), feeds: Arc::default() }
    }

    /// Returns this node's live streams and rewind windows, for the actors that write the windows.
    pub fn rewinds(&self) -> RewindParts {
        let (streams, rewinds) = (self.here.streams.clone(), self.here.rewinds.clone());
        let [turns, slow_turns] = [TAKEOVERS, SLOW_TAKEOVERS].map(|count| Arc::new(Semaphore::new(count)));
        RewindParts { streams, rewinds, turns, slow_turns }
    }

    /// Returns the dependencies of outputs, which read plain streams.
    pub fn outputs(&self, secrets: &Secrets) -> OutputParts {
        OutputParts { streams: self.plain.streams.clone(), targets: SealedUrls::of_outputs(secrets) }
    }

    /// Returns the dependencies of the feeds for recognisers.
    pub fn captions(&self) -> OnDemandParts<PcmFeed> {
        OnDemandParts { source: self.plain.source.clone(), streams: self.feeds.streams().clone() }
    }

    /// Returns the dependencies of recognisers' connections.
    pub fn captions_side(&self, context: &Context) -> CaptionsSide {
        CaptionsSide {
            feeds: self.feeds.clone(),
            claims: RecogniserClaims {
                store: context.store.clone(),
                me: context.me.clone(),
                ttl: context.config.rooms.heartbeat_ttl,
            },
            metrics: context.metrics.clone(),
        }
    }

    pub fn plain_listening(&self) -> PlainListening {
        PlainListening {
            media: self.media.clone(),
            directory: self.here.directory.clone(),
            streams: self.plain.streams.clone(),
            opus: self.opus.clone(),
        }
    }

    /// Returns the dependencies of the Opus streams, which read the plain streams.
    pub fn opus(&self) -> OpusParts {
        OpusParts { aac: self.plain.streams.clone(), opus: self.opus.clone() }
    }
}
