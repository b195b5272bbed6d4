//! `stentor module` and `stentor reload`: the Janus instances and mixers of the installation, their cordon
//! labels, and the settings of a node.
//!
//! Owns: the arguments and output. Does not decide which rooms move; the leader does.

use std::time::Duration;

use anyhow::Context as _;
use awc::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Table, age, cell, now, print, print_json};
use super::progress::{Look, wait_until};

/// Time limit of a drain. A module with a hundred rooms is empty in less than a minute.
const DRAIN_DEADLINE: Duration = Duration::from_secs(600);

#[derive(Debug, Subcommand)]
pub enum ModuleCommand {
    /// List all Janus instances and mixers.
    List,
    /// Stop assigning new rooms to a module. Its rooms stay.
    Cordon {
        #[command(flatten)]
        module: Module,
        /// Time after which the label expires, in seconds.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
    /// Move all rooms of a module to other modules and wait until it is empty. It gets no new rooms.
    Drain {
        #[command(flatten)]
        module: Module,
    },
    /// Let a module get new rooms again.
    Ready {
        #[command(flatten)]
        module: Module,
    },
}

#[derive(Debug, Args)]
pub struct Module {
    kind: Kind,
    /// Id of the module, as `stentor module list` shows it.
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Janus,
    Mixer,
}

/// Prints the changed settings that the node applied, and those that need a restart.
pub async fn reload(client: &Client, json: bool) -> anyhow::Result<()> {
    let outcome = client.reload().await?;
    if json {
        return print_json(&outcome);
    }
    let mut table = Table::new(&["SETTING", "EFFECT"]);
    for (list, effect) in [("applied", "applied"), ("needRestart", "needs a restart")] {
        for key in outcome[list].as_array().into_iter().flatten() {
            table.row([cell(key), effect.to_owned()]);
        }
    }
    print(table)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Janus => "janus",
            Self::Mixer => "mixer",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Janus => "januses",
            Self::Mixer => "mixers",
        }
    }
}

pub async fn module(client: &Client, json: bool, command: ModuleCommand) -> anyhow::Result<()> {
    match command {
        ModuleCommand::List => {
            let modules = client.get(&["modules"]).await?;
            if json {
                return print_json(&modules);
            }
            print(table(&modules))
        }
        ModuleCommand::Cordon { module, ttl } => {
            label(client, &module, json!({ "label": "cordon", "ttl": ttl })).await?;
            show(client, json, &module).await
        }
        ModuleCommand::Drain { module } => {
            label(client, &module, json!({ "label": "draining" })).await?;
            drained(client, &module).await?;
            show(client, json, &module).await
        }
        ModuleCommand::Ready { module } => {
            let path = ["modules", module.kind.plural(), &module.id, "mark"];
            client.call(Method::DELETE, &path, None).await?;
            show(client, json, &module).await
        }
    }
}

async fn label(client: &Client, module: &Module, mut body: Value) -> anyhow::Result<()> {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let path = ["modules", module.kind.plural(), &module.id, "mark"];
    client.call(Method::PUT, &path, Some(body)).await.map(drop)
}

/// Waits until no room is left on the module.
async fn drained(client: &Client, module: &Module) -> anyhow::Result<()> {
    let remedy = "its rooms stay until another module takes them: see `stentor module list`";
    wait_until(DRAIN_DEADLINE, remedy, async || {
        let found = find(client, module).await?;
        Ok(match found["mark"].as_str() {
            Some("drained") => Look::Done(()),
            Some("draining") => Look::Waiting(format!("{} rooms are left", cell(&found["roomsLeft"]))),
            _ => anyhow::bail!("the label of {} was changed by somebody else", module.id),
        })
    })
    .await
}

async fn find(client: &Client, module: &Module) -> anyhow::Result<Value> {
    let modules = client.get(&["modules"]).await?;
    let all = modules[module.kind.plural()].as_array().into_iter().flatten();
    let found = all.into_iter().find(|found| found["id"] == module.id);
    found.cloned().with_context(|| format!("there is no module {} any more", module.id))
}

async fn show(client: &Client, json: bool, module: &Module) -> anyhow::Result<()> {
    let found = find(client, module).await?;
    if json {
        return print_json(&found);
    }
    print(table(&json!({ module.kind.plural(): [found] })))
}

fn table(modules: &Value) -> Table {
    let mut table = Table::new(&["KIND", "ID", "STATUS", "LABEL", "ROOMS", "UP FOR", "HOST", "TAKES ROOMS"]);
    let now = now();
    for kind in [Kind::Janus, Kind::Mixer] {
        for module in modules[kind.plural()].as_array().into_iter().flatten() {
            table.row([
                kind.name().to_owned(),
                cell(&module["id"]),
                module["status"].as_str().unwrap_or("no heartbeat").to_owned(),
                cell(&module["mark"]),
                format!("{}/{}", cell(&module["load"]), cell(&module["capacity"])),
                age(&module["startedAt"], now),
                cell(&module["host"]),
                match module["pickable"].as_bool() {
                    Some(true) => "yes".to_owned(),
                    _ => format!("no: {}", cell(&module["reason"])),
                },
            ]);
        }
    }
    table
}
