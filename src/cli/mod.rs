//! The command line: its subcommands, and the sources of the configuration.
//!
//! `serve`, `demo`, `check-config` and `doctor` read the configuration. The other commands control a running
//! node through its room API and operations endpoints. Owns: reading the arguments and the environment of the
//! process, which no other module reads. Does not interpret a configuration key.

mod actors;
mod audit;
mod client;
mod events;
mod keys;
mod load;
mod modules;
mod output;
mod progress;
mod rooms;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use stentor::app::doctor::{self, Finding, Verdict};
use stentor::app::reload;
use stentor::app::service_manager::Environment;
use stentor::config::{self, Config, ConfigErrors, ConfigFile, EffectiveKey, LoadInput};
use stentor::demo::Demo;
use stentor::http::ops::ReloadOutcome;
use stentor::telemetry::logging;

use actors::ActorsArgs;
use client::{Client, NodeArgs};
use events::{EventsArgs, WebhookCommand};
use keys::KeyCommand;
use load::LoadArgs;
use modules::ModuleCommand;
use rooms::{RoomCommand, UserCommand};

/// Configuration file that is read if `--config` is not given and the file exists.
const DEFAULT_FILE: &str = "config.yaml";
const EXIT_BAD_CONFIG: u8 = 2;

/// Live-audio rooms: anchors talk over WebRTC, everyone else listens to encrypted low-latency HLS.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node until SIGTERM or SIGINT.
    Serve(ConfigArgs),
    /// Run a demo node with a room on air and a test tone in it, until Ctrl-C. Its data is deleted at the
    /// end.
    Demo(DemoArgs),
    /// Print the effective configuration and the source of each value, or all its errors.
    CheckConfig(CheckArgs),
    /// Check this machine: Janus, FFmpeg, backends, addresses, ports, firewall, limits. Each line has the
    /// result or a remedy.
    Doctor(DoctorArgs),
    /// Print the OpenAPI document of the room API and of the listener channel.
    Openapi,
    /// Print a completion script for a shell.
    Completions { shell: Shell },
    /// Write the manual pages of all commands to a folder.
    Man { folder: PathBuf },
    #[command(flatten)]
    Control(Box<Control>),
}

/// Commands that control a running node.
#[derive(Debug, Subcommand)]
enum Control {
    /// Create, start, stop, list and watch rooms.
    Room {
        #[command(flatten)]
        node: NodeArgs,
        #[command(subcommand)]
        command: RoomCommand,
    },
    /// Invite, list and remove the users who may speak in a room.
    User {
        #[command(flatten)]
        node: NodeArgs,
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Issue a listener token, and print the URLs that contain it.
    Token {
        #[command(flatten)]
        node: NodeArgs,
        room: String,
    },
    /// List, cordon and drain Janus instances and mixers.
    Module {
        #[command(flatten)]
        node: NodeArgs,
        #[command(subcommand)]
        command: ModuleCommand,
    },
    /// Print the event ledger.
    Events {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: EventsArgs,
    },
    /// List webhooks, deliver events again, and handle those that were given up.
    Webhooks {
        #[command(flatten)]
        node: NodeArgs,
        #[command(subcommand)]
        command: WebhookCommand,
    },
    /// Create, list and revoke API keys.
    Key {
        #[command(flatten)]
        node: NodeArgs,
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// List the actors of a node with their state and the reason for each wait.
    Actors {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: ActorsArgs,
    },
    /// Print the log of the changes that operators and applications have made.
    Audit {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Create rooms, anchors and listeners on an installation, and report how well they are served.
    ///
    /// Creates and starts rooms, lets anchors speak and listeners listen, and deletes the rooms. Without
    /// --anchors, the rooms are silent. All anchors and listeners share one processor core. If the core is
    /// busy, the measured times are too long; in that case, use several machines. The ages of parts are
    /// correct only if the clocks of this machine and of the mixers agree.
    Load {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: LoadArgs,
    },
    /// Make a node read its configuration again; print the settings it applied and those that need a restart.
    Reload {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Show why a room is placed where it is, what its actors on all nodes wait for, and where it would be
    /// placed now.
    Explain {
        #[command(flatten)]
        node: NodeArgs,
        room: String,
    },
}

#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// YAML file. Default: ./config.yaml, if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, such as --set listen.api=127.0.0.1:3001; overrides the environment and the file.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print only the differences from this file, and for each whether a reload applies it or a restart is
    /// needed.
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Serve https on the network, with a certificate made for this demo, to speak from a phone.
    #[arg(long)]
    tls: bool,
}

impl Cli {
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::CheckConfig(CheckArgs { config, diff: None }) => config.input().and_then(check_config),
            Command::CheckConfig(CheckArgs { config, diff: Some(old) }) => config.differences(&old),
            Command::Demo(DemoArgs { config, tls }) => {
                config.input().and_then(|input| Demo::prepare(input, tls)).map(demo)
            }
            Command::Serve(args) => args.read().map(|read| serve(read, args)),
            Command::Doctor(DoctorArgs { config, json }) => {
                config.read().map(|(config, _)| doctor(&config, json))
            }
            Command::Openapi => Ok(ended(openapi(), print_error)),
            Command::Completions { shell } => Ok(ended(completions(shell), print_error)),
            Command::Man { folder } => Ok(ended(man(&folder), print_error)),
            Command::Control(control) => Ok(ended(actix::System::new().block_on(control.run()), print_error)),
        };
        done.unwrap_or_else(|errors| {
            eprintln!("{errors}");
            ExitCode::from(EXIT_BAD_CONFIG)
        })
    }
}

impl Control {
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Room { node, command } => rooms::room(&Client::new(&node)?, node.json, command).await,
            Self::User { node, command } => rooms::user(&Client::new(&node)?, node.json, command).await,
            Self::Token { node, room } => rooms::token(&Client::new(&node)?, node.json, &room).await,
            Self::Module { node, command } => modules::module(&Client::new(&node)?, node.json, command).await,
            Self::Events { node, args } => events::events(&Client::new(&node)?, node.json, args).await,
            Self::Webhooks { node, command } => {
                events::webhooks(&Client::new(&node)?, node.json, command).await
            }
            Self::Key { node, command } => keys::key(&Client::new(&node)?, node.json, command).await,
            Self::Actors { node, args } => actors::actors(&Client::new(&node)?, node.json, args).await,
            Self::Audit { node } => audit::audit(&Client::new(&node)?, node.json).await,
            Self::Load { node, args } => load::load(&Client::new(&node)?, node.json, args).await,
            Self::Reload { node } => modules::reload(&Client::new(&node)?, node.json).await,
            Self::Explain { node, room } => actors::explain(&Client::new(&node)?, node.json, &room).await,
        }
    }
}

impl ConfigArgs {
    /// Reads the configuration and the source of each value.
    fn read(&self) -> Result<(Config, Vec<EffectiveKey>), ConfigErrors> {
        self.clone().input().and_then(config::explain)
    }

    /// Prints how this configuration differs from the one read from `old` with the same environment and
    /// flags.
    fn differences(&self, old: &Path) -> Result<ExitCode, ConfigErrors> {
        let before = Self { config: Some(old.to_owned()), ..self.clone() };
        let ((old, old_keys), (new, new_keys)) = (before.read()?, self.read()?);
        let outcome = reload::changes((&old, &old_keys), (&new, &new_keys));
        Ok(ended(print_differences(&old_keys, &new_keys, &outcome), print_error))
    }

    fn input(self) -> Result<LoadInput, ConfigErrors> {
        let path = self.config.or_else(|| Path::new(DEFAULT_FILE).is_file().then(|| DEFAULT_FILE.into()));
        let file = path.map(|p| ConfigFile::read(&p)).transpose()?;
        // A variable that is not UTF-8 cannot be one of ours.
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Ok(LoadInput { file, env: env.collect(), flags: self.set })
    }
}

/// Prints the settings that differ.
fn print_differences(
    old: &[EffectiveKey],
    new: &[EffectiveKey],
    outcome: &ReloadOutcome,
) -> anyhow::Result<()> {
    let mut text = String::new();
    let effects = [(&outcome.applied, "applied by reload"), (&outcome.need_restart, "needs a restart")];
    for (keys, effect) in effects {
        for key in keys {
            let value = |list: &[EffectiveKey]| list.iter().find(|k| k.key == *key).map(|k| k.value.clone());
            let [old, new] = [value(old), value(new)].map(Option::unwrap_or_default);
            text += &format!("{key}: {old} -> {new}  ({effect})\n");
        }
    }
    output::print(text)
}

fn serve((config, keys): (Config, Vec<EffectiveKey>), args: ConfigArgs) -> ExitCode {
    let read = move || args.read();
    let manager = Environment::read(std::env::var_os);
    let run = stentor::app::run(config, keys, read, manager);
    // Print through the queue of the log, because standard error may be a pipe that is not read.
    ended(actix::System::new().block_on(run), logging::say)
}

fn demo(demo: Demo) -> ExitCode {
    ended(actix::System::new().block_on(demo.run()), print_error)
}

fn print_error(error: &str) {
    eprintln!("{error}");
}

fn ended(outcome: anyhow::Result<()>, say: impl FnOnce(&str)) -> ExitCode {
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

fn check_config(input: LoadInput) -> Result<ExitCode, ConfigErrors> {
    let (config, keys) = config::explain(input)?;
    let width = |text: fn(&EffectiveKey) -> &str| keys.iter().map(|k| text(k).len()).max().unwrap_or(0);
    let (key_width, value_width) = (width(|k| &k.key), width(|k| &k.value));
    let line = |EffectiveKey { key, value, source, .. }: &EffectiveKey| {
        format!("{key:key_width$}  {value:value_width$}  {source}\n")
    };
    for remark in config.warnings() {
        eprintln!("{remark}");
    }
    Ok(ended(output::print(keys.iter().map(line).collect::<String>()), print_error))
}

fn doctor(config: &Config, json: bool) -> ExitCode {
    let findings = actix::System::new().block_on(doctor::examine(config));
    let text = if json { findings_as_json(&findings) } else { findings_as_lines(&findings) };
    let code = u8::from(findings.iter().any(|finding| finding.verdict == Verdict::Failure));
    if let Err(error) = text.and_then(|text| output::print_before(text, code.into())) {
        print_error(&format!("{error:#}"));
    }
    ExitCode::from(code)
}

fn findings_as_json(findings: &[Finding]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(findings)? + "\n")
}

fn findings_as_lines(findings: &[Finding]) -> anyhow::Result<String> {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Warning => "WARN",
            Verdict::Failure => "FAIL",
        };
        text += &format!("{verdict:4}  {:width$}  {}\n", finding.subject, finding.text);
    }
    Ok(text)
}

fn openapi() -> anyhow::Result<()> {
    output::print(serde_json::to_string_pretty(&stentor::http::rest::openapi())? + "\n")
}

fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stentor", &mut script);
    output::print(String::from_utf8(script)?)
}

fn man(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("cannot write to {}", folder.display()))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
