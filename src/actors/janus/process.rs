//! Managed mode: the Janus child process. If the process ends, this actor fails, and the kernel restarts
//! it.

use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::JanusShared;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer};
use crate::janus::{ManagedError, ManagedJanus, ManagedOptions};

/// Time from INT to KILL, in which Janus closes its sessions. Anchors are notified before INT is sent.
const STOP_GRACE: Duration = Duration::from_millis(500);

pub struct JanusProcess {
    options: ManagedOptions,
    link: JanusShared,
    pid: Option<u32>,
    stop: Option<oneshot::Sender<()>>,
}

pub enum Msg {
    Started(Box<Result<ManagedJanus, ManagedError>>),
    Ended(String),
    Stopped,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Ended(_) => "ended",
            Self::Stopped => "stopped",
        }
    }
}

impl JanusProcess {
    pub fn new(options: ManagedOptions, link: JanusShared) -> Self {
        Self { options, link, pid: None, stop: None }
    }

    fn attend(&mut self, mut janus: ManagedJanus, cx: &mut Cx<Self>) {
        self.pid = janus.pid();
        self.link.set_url(Some(janus.url().to_owned()));
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        let link = self.link.clone();
        let attend = async move {
            tokio::select! {
                exit = janus.wait() => Msg::Ended(match exit {
                    Ok(status) => format!("janus ended: {status}"),
                    Err(error) => format!("cannot wait for janus: {error}"),
                }),
                () = link.restart_requested() => {
                    // The process may be frozen, so that INT would have no effect.
                    let _ = janus.stop(Duration::ZERO).await;
                    Msg::Ended("janus did not answer or sent no audio, and was killed".into())
                }
                _ = stopped => {
                    if let Err(error) = janus.stop(STOP_GRACE).await {
                        tracing::warn!(%error, "stopping Janus failed");
                    }
                    Msg::Stopped
                }
            }
        };
        cx.run(attend, |msg| msg);
    }
}

impl Behaviour for JanusProcess {
    const KIND: &'static str = "janus_process";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.link.set_url(None);
        let options = self.options.clone();
        cx.run(async move { ManagedJanus::start(&options).await }, |started| Msg::Started(Box::new(started)));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Started(started) => match *started {
                Ok(janus) => {
                    tracing::info!(pid = janus.pid(), url = janus.url(), "Janus started");
                    self.attend(janus, cx);
                }
                Err(error) => cx.fail(error.to_string()),
            },
            Msg::Ended(why) => {
                self.link.set_url(None);
                cx.fail(why);
            }
            Msg::Stopped => cx.exit(),
        }
    }

    fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
        match self.stop.take() {
            Some(stop) => match stop.send(()) {
                Ok(()) => StopAnswer::Wait,
                // The process has just ended by itself.
                Err(()) => StopAnswer::Now,
            },
            None => StopAnswer::Now,
        }
    }

    fn observe(&self) -> ActorState {
        let state = if self.pid.is_some() { "running" } else { "starting" };
        ActorState { observed: json!({ "pid": self.pid }), ..ActorState::state(state) }
    }
}
