//! `stentor demo`: a node of its own with one room on air, a test tone in it, heard by an independent listener.
//!
//! Owns: the order of the show and its end. Everything goes through the doors that users have: the REST API, a
//! participant in Janus, a listener of the HLS side. Never does: touch a data directory that was there before.

mod api;
mod folder;
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
use screen::Screen;

/// A demo that may run.
pub struct Demo {
    config: Config,
    folder: Folder,
    /// What was changed so that it can run, for the user to know.
    notes: Vec<String>,
}

impl Demo {
    /// The configuration of `input`, but on embedded stores in a folder of its own, with a managed Janus.
    pub fn prepare(input: LoadInput) -> Result<Self, ConfigErrors> {
        let folder = Folder::new();
        let (config, notes) = settings::of(input, &folder.data())?;
        Ok(Self { config, folder, notes })
    }

    /// Runs until Ctrl-C, SIGTERM or the end of its terminal; nothing is left then, neither process nor file.
    ///
    /// # Errors
    /// Says which step failed, and where the log is.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { config, folder, notes } = self;
        let mut asked = Asked::listen()?;
        let log = folder.make().with_context(|| format!("cannot make {folder}; set TMPDIR"))?;
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

/// Start, show, and whatever happened, the ordered end.
async fn perform(
    config: Config,
    folder: &Folder,
    asked: &mut Asked,
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

/// The ways in which the demo is asked to end. A terminal that is closed is one, unlike for a server.
struct Asked {
    signals: Signals,
    hangup: Signal,
}

impl Asked {
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
