//! Parts of this node's modules, its Janus and its mixer, and their first heartbeats.

use std::sync::Arc;

use tokio::sync::watch;

use super::data_dir;
use super::janus_options::{external, managed};
use crate::actors::context::Context;
use crate::actors::janus::JanusShared;
use crate::actors::janus::supervisor::JanusSupervisor;
use crate::actors::mixer::MixerShared;
use crate::actors::mixer::supervisor::MixerParts;
use crate::actors::sources::SourceParts;
use crate::auth::Secrets;
use crate::config::JanusMode;
use crate::delivery::listener_counter::ListenerCounter;
use crate::delivery::{MixerClient, Streams};
use crate::domain::ids::UnixMs;
use crate::domain::model::{Health, Heartbeat, RtpRange};
use crate::domain::ports::PortPool;
use crate::janus::{ConnectOptions, Secret};

pub(super) fn mixer(
    context: &Context,
    secrets: &Arc<Secrets>,
    streams: &Arc<Streams>,
    counter: &Arc<ListenerCounter>,
    fetcher: MixerClient,
) -> MixerParts {
    let config = &context.config.mixer;
    let (first, last) = config.rtp_ports;
    let pool = PortPool::new(first, last, crate::clock::random_unit());
    let url = context.config.private_hls_url();
    let rtp = RtpRange { ip: context.config.listen.media, first, last };
    MixerParts {
        shared: MixerShared {
            ports: Arc::new(std::sync::Mutex::new(pool)),
            starts: Arc::new(tokio::sync::Semaphore::new(config.start_limit)),
            streams: streams.clone(),
            secrets: secrets.clone(),
            counter: counter.clone(),
            fetcher,
        },
        heartbeats: heartbeat_sender(context, secrets, url, config.capacity, Some(rtp)),
    }
}

pub(super) fn janus(context: &Context, link: &JanusShared) -> anyhow::Result<JanusSupervisor> {
    let config = &context.config.janus;
    let (managed, options) = match config.mode {
        JanusMode::External => (None, external(&context.config)),
        JanusMode::Managed => {
            let secret = || Secret(hex::encode(rand::random::<[u8; 16]>()));
            let (api_secret, admin_key) = (secret(), secret());
            let (folder, account) = (context.config.janus_dir(), context.account.clone());
            data_dir::let_pass(&context.config, account.as_ref())?;
            let options = managed(&context.config, folder, api_secret.clone(), admin_key.clone(), account);
            let connect = ConnectOptions {
                url: link.url().unwrap_or_default(),
                api_secret: Some(api_secret),
                admin_key: Some(admin_key),
                ..external(&context.config)
            };
            (Some(options), connect)
        }
    };
    // The address of a managed Janus instance matters only to this node.
    let shown = config.url.clone().unwrap_or_else(|| "managed".into());
    Ok(JanusSupervisor {
        heartbeats: heartbeat_sender(context, &link.secrets(), shown, config.capacity, None),
        context: context.clone(),
        options,
        managed,
        link: link.clone(),
        sources: SourceParts::new(&context.config.sources, &link.secrets()).map_err(anyhow::Error::msg)?,
    })
}

/// Creates the first heartbeat of a module. It is unhealthy until the module has checked its Janus or its
/// FFmpeg.
fn heartbeat_sender(
    context: &Context,
    secrets: &Secrets,
    url: String,
    capacity: u32,
    rtp: Option<RtpRange>,
) -> Arc<watch::Sender<Heartbeat>> {
    let UnixMs(started) = context.clock.wall();
    Arc::new(watch::Sender::new(Heartbeat {
        status: Health::Unhealthy,
        host: context.config.node.advertise.clone(),
        url,
        capacity,
        started_at: UnixMs(started),
        incarnation: context.incarnation.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rtp,
        machine_load: None,
        secret_fingerprint: Some(secrets.fingerprint()),
    }))
}
