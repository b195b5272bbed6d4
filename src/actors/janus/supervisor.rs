//! Supervisor of the role `janus`: heartbeat, connection, sources, and the process in managed mode.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::JanusShared;
use super::connection::JanusConnection;
use super::process::JanusProcess;
use crate::actors::context::Context;
use crate::actors::heartbeat::HeartbeatActor;
use crate::actors::kernel::{ActorState, Behaviour, ChildSpec, Cx, ExhaustedAction};
use crate::actors::sources::SourceParts;
use crate::actors::sources::supervisor::SourceSupervisor;
use crate::domain::keys::ModuleKind;
use crate::domain::machine::LoadMeter;
use crate::domain::model::Heartbeat;
use crate::janus::{ConnectOptions, ManagedOptions};

#[derive(Clone)]
pub struct JanusSupervisor {
    pub context: Context,
    pub options: ConnectOptions,
    /// `Some` in managed mode.
    pub managed: Option<ManagedOptions>,
    pub link: JanusShared,
    pub heartbeats: Arc<watch::Sender<Heartbeat>>,
    pub sources: SourceParts,
}

impl Behaviour for JanusSupervisor {
    const KIND: &'static str = "janus_supervisor";
    type Msg = Infallible;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (context, heartbeats) = (self.context.clone(), self.heartbeats.clone());
        // An external Janus may run on another machine.
        let meter = self.managed.as_ref().map(|_| LoadMeter::default());
        let beat = move || {
            HeartbeatActor::new(
                ModuleKind::Janus,
                context.clone(),
                heartbeats.subscribe(),
                None,
                meter.clone(),
            )
        };
        cx.spawn_child("heartbeat", ChildSpec::worker(), beat);
        if let Some(managed) = self.managed.clone() {
            // Start the process before the connection, so that it is stopped after the connection: rooms are
            // released while their Janus is still running.
            let link = self.link.clone();
            let spec = ChildSpec {
                exhausted: ExhaustedAction::Park(Duration::from_secs(10)),
                ..ChildSpec::worker()
            };
            cx.spawn_child("process", spec, move || JanusProcess::new(managed.clone(), link.clone()));
        }
        let me = self.clone();
        let gateway = move || {
            let me = me.clone();
            JanusConnection::new(me.context, me.options, me.link, me.heartbeats)
        };
        cx.spawn_child("connection", ChildSpec::supervisor(), gateway);
        let (context, link, parts) = (self.context.clone(), self.link.clone(), self.sources.clone());
        cx.spawn_child("sources", ChildSpec::supervisor(), move || {
            SourceSupervisor::new(context.clone(), parts.clone(), link.clone())
        });
    }

    fn handle(&mut self, msg: Infallible, _: &mut Cx<Self>) {
        match msg {}
    }

    fn observe(&self) -> ActorState {
        ActorState::state("supervising")
    }
}
