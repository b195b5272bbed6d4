//! Root actor: starts the watches and the node's registration. Once the node is registered, it starts one
//! supervisor per role.

use actix::ArbiterHandle;

use super::acme::CertificateActor;
use super::captions::CaptionSupervisor;
use super::context::Context;
use super::copy_watch::ApiKeyWatch;
use super::gateway::acceptor::Acceptor;
use super::gateway::media::supervisor::MediaSupervisor;
use super::gateway::media::{AnchorParts, MediaSessions};
use super::gateway::supervisor::GatewaySupervisor;
use super::gateway::{GatewayParts, PresenceSync, SessionManager};
use super::janus::supervisor::JanusSupervisor;
use super::kernel::{ActorState, Behaviour, ChildSpec, Cx, ExhaustedAction, Message};
use super::mixer::supervisor::{MixerParts, MixerSupervisor};
use super::on_demand::OnDemandParts;
use super::outputs::OutputParts;
use super::outputs::supervisor::OutputSupervisor;
use super::plain::{OpusParts, OpusSupervisor, PlainSupervisor};
use super::recording::RecordingParts;
use super::recording::supervisor::RecordingSupervisor;
use super::registration::{Registration, RegistrationState};
use super::relay::supervisor::RelaySupervisor;
use super::rewind::RewindParts;
use super::rewind::supervisor::RewindSupervisor;
use super::rooms::SharedAges;
use super::rooms::supervisor::RoomSupervisor;
use super::stage::StageFeed;
use super::store_watch::StoreWatch;
use crate::acme::Acme;
use crate::delivery::{EdgeCache, PcmFeed, PlainStream};
use crate::domain::registration::NodeRecord;
use crate::presence::PresenceParts;
use crate::rooms::recordings::Recordings;
use crate::rooms::{ApiKeyRegistry, RoomService, Scope};
use crate::stage::StageHub;
use crate::webhooks::Webhooks;
use std::sync::Arc;
use std::time::Duration;

/// Time for which the certificate actor is not started after it has failed too often.
const CERTIFICATE_PARKED: Duration = Duration::from_secs(300);

/// Root actor of a node. Contains the dependencies of the node's parts, each with its arbiter; `None`: the
/// node does not need the part. A blocked part blocks only the parts on the same arbiter.
#[derive(Clone)]
pub struct NodeActor {
    pub context: Context,
    pub api_keys: Arc<ApiKeyRegistry>,
    /// ACME client; `None` if ACME is not configured.
    pub acme: Option<Acme>,
    /// Record to register; `None` if the store is not shared.
    pub record: Option<Arc<NodeRecord>>,
    pub rooms: Option<(RoomsRole, ArbiterHandle)>,
    pub mixer: Option<(MixerParts, ArbiterHandle)>,
    pub janus: Option<(JanusSupervisor, ArbiterHandle)>,
    pub relays: Option<(Arc<EdgeCache>, ArbiterHandle)>,
    /// Plain streams of the roles `hls` and `mixer`.
    pub plain: Option<(OnDemandParts<PlainStream>, ArbiterHandle)>,
    /// The same streams in Opus.
    pub opus: Option<(OpusParts, ArbiterHandle)>,
    /// Listener channels; `None` without the role `hls`.
    pub channels: Option<(Arc<StageHub>, ArbiterHandle)>,
    pub gateway: Option<(GatewayRole, ArbiterHandle)>,
    pub recordings: Option<(RecordingParts, ArbiterHandle)>,
    /// Dependencies of the rewind windows; `None` without the role `mixer`.
    pub rewinds: Option<(RewindParts, ArbiterHandle)>,
    /// Dependencies of outputs; `None` without the role `mixer`.
    pub outputs: Option<(OutputParts, ArbiterHandle)>,
    /// Feeds for recognisers; `None` without the role `rooms`.
    pub captions: Option<(OnDemandParts<PcmFeed>, ArbiterHandle)>,
}

/// Dependencies of the role `rooms`.
#[derive(Clone)]
pub struct RoomsRole {
    pub service: Arc<RoomService>,
    /// `None` on a node without presence.
    pub presence: Option<PresenceParts>,
    pub webhooks: Arc<Webhooks>,
    pub recordings: Arc<Recordings>,
}

/// Dependencies of the role `gateway`: connections, presence and media sessions.
#[derive(Clone)]
pub struct GatewayRole {
    pub parts: Arc<GatewayParts>,
    pub acceptor: Arc<Acceptor>,
    pub sessions: SessionManager,
    pub anchors: (AnchorParts, MediaSessions),
}

impl NodeActor {
    fn spawn_watches(&self, cx: &mut Cx<Self>) {
        for scope in Scope::ALL {
            let context = self.context.clone();
            let name = format!("watch:{}", scope.prefix().trim_matches('/'));
            cx.spawn_child(name, ChildSpec::worker(), move || StoreWatch::new(context.clone(), scope));
        }
        let (context, registry) = (self.context.clone(), self.api_keys.clone());
        let watch = move || ApiKeyWatch::new(context.clone(), registry.clone());
        cx.spawn_child("watch:apikeys", ChildSpec::worker(), watch);
    }
}

/// Message: the node is registered, so no other process has its id.
pub struct NodeRegistered;

impl Message for NodeRegistered {
    fn kind(&self) -> &'static str {
        "registered"
    }
}

impl Behaviour for NodeActor {
    const KIND: &'static str = "node";
    type Msg = NodeRegistered;

    /// Starts the children in the order that startup needs. Shutdown runs in reverse: clients are notified
    /// first, mixers release their rooms while this node's Janus is still running, and the node's id is
    /// released after all roles have stopped.
    fn started(&mut self, cx: &mut Cx<Self>) {
        self.spawn_watches(cx);
        if let Some(acme) = self.acme.clone() {
            let context = self.context.clone();
            // A node without a new certificate still serves with the current one.
            let spec =
                ChildSpec { exhausted: ExhaustedAction::Park(CERTIFICATE_PARKED), ..ChildSpec::worker() };
            cx.spawn_child("certificate", spec, move || {
                CertificateActor::new(acme.clone(), context.clock, context.backoff())
            });
        }
        let Some(record) = self.record.clone() else { return self.spawn_roles(cx) };
        let context = self.context.clone();
        let spec = ChildSpec::worker();
        cx.spawn_child("registration", spec, move || Registration::new(context.clone(), record.clone()));
        let mut standing = self.context.standing.subscribe();
        let registered = async move {
            if standing.wait_for(|standing| *standing == RegistrationState::Registered).await.is_err() {
                // The sender was dropped, so the node has ended, and this actor ends with it.
                std::future::pending::<()>().await;
            }
        };
        cx.run(registered, |()| NodeRegistered);
    }

    fn handle(&mut self, NodeRegistered: NodeRegistered, cx: &mut Cx<Self>) {
        self.spawn_roles(cx);
    }

    fn observe(&self) -> ActorState {
        ActorState::state("supervising")
    }
}

impl NodeActor {
    fn spawn_roles(&self, cx: &mut Cx<Self>) {
        let spec =
            |arbiter: &ArbiterHandle| ChildSpec { arbiter: Some(arbiter.clone()), ..ChildSpec::supervisor() };
        let context = self.context.clone();
        if let Some((janus, arbiter)) = self.janus.clone() {
            cx.spawn_child("januses", spec(&arbiter), move || janus.clone());
        }
        // Start the recordings before the mixers, so that they are stopped after the mixers: at shutdown,
        // recorders still write the last segments of the mixers.
        if let Some((parts, arbiter)) = self.recordings.clone() {
            let context = context.clone();
            cx.spawn_child("recordings", spec(&arbiter), move || {
                RecordingSupervisor::new(context.clone(), parts.clone())
            });
        }
        if let Some((parts, arbiter)) = self.rewinds.clone() {
            let context = context.clone();
            cx.spawn_child("rewinds", spec(&arbiter), move || {
                RewindSupervisor::new(context.clone(), parts.clone())
            });
        }
        if let Some((parts, arbiter)) = self.mixer.clone() {
            let context = context.clone();
            cx.spawn_child("mixers", spec(&arbiter), move || {
                MixerSupervisor::new(context.clone(), parts.clone())
            });
        }
        if let Some((relays, arbiter)) = self.relays.clone() {
            let context = context.clone();
            cx.spawn_child("relays", spec(&arbiter), move || {
                RelaySupervisor::new(context.clone(), relays.clone())
            });
        }
        if let Some((OnDemandParts { source, streams }, arbiter)) = self.plain.clone() {
            let clock = context.clock;
            cx.spawn_child("plain", spec(&arbiter), move || {
                PlainSupervisor::new((clock, source.clone()), streams.clone())
            });
        }
        if let Some((OpusParts { aac, opus }, arbiter)) = self.opus.clone() {
            let context = context.clone();
            cx.spawn_child("opus", spec(&arbiter), move || {
                OpusSupervisor::new((context.clone(), aac.clone()), opus.clone())
            });
        }
        if let Some((parts, arbiter)) = self.outputs.clone() {
            let context = context.clone();
            cx.spawn_child("outputs", spec(&arbiter), move || {
                OutputSupervisor::new(context.clone(), parts.clone())
            });
        }
        if let Some((OnDemandParts { source, streams }, arbiter)) = self.captions.clone() {
            let context = context.clone();
            cx.spawn_child("captions", spec(&arbiter), move || {
                CaptionSupervisor::new((context.clone(), source.clone()), streams.clone())
            });
        }
        if let Some((hub, arbiter)) = self.channels.clone() {
            let worker = ChildSpec { arbiter: Some(arbiter), ..ChildSpec::worker() };
            cx.spawn_child("channels", worker, move || StageFeed::new(hub.clone()));
        }
        if let Some((role, arbiter)) = self.rooms.clone() {
            let ages = SharedAges::default();
            cx.spawn_child("rooms", spec(&arbiter), move || {
                let RoomsRole { service, presence, webhooks, recordings } = role.clone();
                RoomSupervisor::new(context.clone(), service, ages.clone(), presence, webhooks, recordings)
            });
        }
        if let Some((gateway, arbiter)) = self.gateway.clone() {
            spawn_gateway(gateway, spec(&arbiter), cx);
        }
    }
}

/// Starts the gateway role. Shutdown runs in reverse: connections close, then their connection locks are
/// released, then their media sessions end.
fn spawn_gateway(gateway: GatewayRole, spec: ChildSpec, cx: &mut Cx<NodeActor>) {
    let GatewayRole { parts, acceptor, sessions, anchors: (anchors, way) } = gateway;
    cx.spawn_child("anchors", spec.clone(), move || MediaSupervisor::new(anchors.clone(), way.clone()));
    let worker = ChildSpec { arbiter: spec.arbiter.clone(), ..ChildSpec::worker() };
    cx.spawn_child("presence", worker, move || PresenceSync::new(&sessions));
    cx.spawn_child("gateway", spec, move || GatewaySupervisor::new(parts.clone(), acceptor.clone()));
}
