//! `stentor demo`: a separate node with one room on air, a test tone in the room, and an independent listener
//! that hears it.
//!
//! Owns: the order of the steps and the shutdown. Uses only the interfaces that users have: the REST API,
//! a participant in Janus, an HLS listener. Does not touch a data directory that existed before.

mod api;
mod folder;
mod lan;
mod screen;
mod settings;
mod show;
mod source;

use std::convert::Infallible;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Node;
use crate::app::signals::Signals;
use crate::config::{Config, ConfigErrors, LoadInput};
use crate::telemetry::logging;
use folder::Folder;
use lan::Lan;
use screen::Screen;

/// A demo that is ready to run.
pub struct Demo {
    config: Config,
    folder: Folder,
    /// Necessary changes to the configuration, as text for the user.
    notes: Vec<String>,
}

impl Demo {
    /// Loads the configuration of `input`, but with embedded stores in a separate folder and a managed Janus.
    /// `tls`: pages and signalling are served over https on the network, with a newly created certificate.
    ///
    /// # Errors
    /// The configuration is invalid, a flag sets a key that the demo sets itself, or the machine has no
    /// network for `tls`.
    pub fn prepare(input: LoadInput, tls: bool) -> Result<Self, ConfigErrors> {
        let mut folder = Folder::new();
        let lan = tls.then(|| Lan::prepare(&input, &mut folder)).transpose();
        match lan.and_then(|lan| settings::of(input, &folder.data(), lan.as_ref())) {
            Ok((config, notes)) => Ok(Self { config, folder, notes }),
            Err(errors) => {
                folder.remove();
                Err(errors)
            }
        }
    }

    /// Runs until Ctrl-C, SIGTERM, or the closing of its terminal. Leaves no process behind, and no file
    /// except the log after a failure.
    ///
    /// # Errors
    /// The failed step, and the path of the log.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { config, mut folder, notes } = self;
        let mut asked = StopSignals::listen()?;
        let log = folder.make().with_context(|| format!("cannot create {folder}; set TMPDIR"))?;
        logging::init_to_file(&config.log, log)?;
        let mut screen = Screen::new();
        notes.iter().for_each(|note| screen.note(note));
        let outcome = perform(config, &folder, &mut asked, &mut screen).await;
        match outcome {
            Ok(()) => {
                folder.remove();
                screen.line("ended; no process and no file is left");
                Ok(())
            }
            Err(error) => Err(match folder.keep_log() {
                Some(log) => anyhow!("{error:#}\nThe log of the demo: {}", log.display()),
                None => error,
            }),
        }
    }
}

/// Starts the node and shows the demo. Shuts the node down in an orderly way in every case.
async fn perform(
    config: Config,
    folder: &Folder,
    asked: &mut StopSignals,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    screen.step("starting a node with its own Janus");
    let node = Node::start(config).await.inspect_err(|_| screen.cut())?;
    let outcome = tokio::select! {
        reason = asked.next() => Ok(reason),
        why = node.failed() => Err(why),
        failed = show::run(&node, folder, screen) => failed.map(|never: Infallible| match never {}),
    };
    screen.cut();
    screen.line("ending …");
    node.stop(outcome.as_ref().copied().unwrap_or("failed")).await;
    outcome.map(|_| ())
}

/// Signals that end the demo. Unlike for a server, a closed terminal is one of them.
struct StopSignals {
    signals: Signals,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { signals: Signals::listen()?, hangup: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            name = self.signals.next() => name,
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
