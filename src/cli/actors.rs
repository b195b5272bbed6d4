//! `stentor actors` and `stentor explain`: the state of a node's actors, and the reasons for it.
//!
//! Owns: the arguments and output. Does not interpret a reason; actors state their own.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use stentor::actors::kernel::Behaviour as _;
use stentor::actors::store_watch::{FOLLOWING, StoreWatch};
use stentor::domain::civil_time::Rfc3339;
use stentor::domain::ids::UnixMs;

use super::client::Client;
use super::output::{Table, age, cell, now, print, print_json};

/// Maximum number of an actor's latest transitions that `explain` shows.
const TRANSITIONS: usize = 4;

#[derive(Debug, Args)]
pub struct ActorsArgs {
    /// Order of the list.
    #[arg(long, value_enum, default_value_t = Order::Path)]
    sort: Order,
    /// Only actors of this kind, such as janus_room.
    #[arg(long)]
    kind: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// Supervision tree, parents before children.
    Path,
    /// Age of the oldest waiting message, the highest first.
    Mailbox,
    /// Number of restarts, the highest first.
    Restarts,
    /// Time since the start of the actor, the youngest first.
    Started,
}

pub async fn actors(client: &Client, json: bool, args: ActorsArgs) -> anyhow::Result<()> {
    let mut list = flat(client.actors().await?);
    list.retain(|actor| args.kind.as_ref().is_none_or(|kind| actor["kind"] == **kind));
    match args.sort {
        Order::Path => {}
        Order::Mailbox => {
            list.sort_by_key(|actor| std::cmp::Reverse(actor["mailbox"]["oldest_age_ms"].as_u64()));
        }
        Order::Restarts => list.sort_by_key(|actor| std::cmp::Reverse(restarts(actor))),
        Order::Started => list.sort_by_key(|actor| std::cmp::Reverse(actor["started_at"].as_u64())),
    }
    if json {
        return print_json(&Value::Array(list));
    }
    let now = now();
    let mut table = Table::new(&["ACTOR", "KIND", "STATE", "FOR", "RESTARTS", "WAITING", "OLDEST", "REASON"]);
    for actor in &list {
        table.row([
            cell(&actor["path"]),
            cell(&actor["kind"]),
            cell(&actor["state"]),
            age(&actor["started_at"], now),
            restarts(actor).to_string(),
            cell(&actor["mailbox"]["depth"]),
            format!("{} ms", cell(&actor["mailbox"]["oldest_age_ms"])),
            reason(actor),
        ]);
    }
    print(table)
}

/// Prints the modules of the room with the reasons of their choice, the condition that the room waits for,
/// and the modules that would accept the room now. Also prints what the room's actors on each node wait for.
pub async fn explain(client: &Client, json: bool, id: &str) -> anyhow::Result<()> {
    let room = client.get(&["rooms", id]).await?["room"].take();
    let modules = client.get(&["modules"]).await?;
    let mut actors = flat(client.actors().await?);
    let everywhere = client.room_actors(id).await?;
    let readiness = client.readiness().await?;
    let lost_store = lost_store(&actors);
    let name = format!("room:{id}");
    actors.retain(|actor| actor["name"] == *name);
    if json {
        let (nodes, waits) = (&everywhere["nodes"], &everywhere["waitsFor"]);
        return print_json(&json!({
            "room": room,
            "modules": modules,
            "actors": actors,
            "nodes": nodes,
            "waitsFor": waits,
            "readiness": readiness,
        }));
    }
    let mut text = summary(id, &room, &Rfc3339(UnixMs(now())).to_string()) + lost_store;
    if let Some(condition) = everywhere["waitsFor"].as_str() {
        text += &format!("It waits: {condition}.\n");
    }
    text += &not_ready(&readiness);
    for (kind, side) in [("januses", "janus"), ("mixers", "mixer")] {
        text += &placement(side, &room[side], &modules[kind]);
    }
    print(text + &actors_of_nodes(&everywhere, now()))
}

/// Returns the actors of a room on each node, with what they wait for.
fn actors_of_nodes(everywhere: &Value, now: u64) -> String {
    let mut text = String::new();
    for answer in everywhere["nodes"].as_array().into_iter().flatten() {
        let (node, actors) = (cell(&answer["node"]), answer["actors"].as_array());
        if let Some(error) = answer["error"].as_str() {
            text += &format!("\nNode {node} does not say what it does: {error}\n");
        }
        for (n, actor) in actors.into_iter().flatten().enumerate() {
            if n == 0 {
                text += &format!("\nOn node {node}\n");
            }
            let (path, kind, state) = (&actor["path"], &actor["kind"], &actor["state"]);
            text += &format!("  {} ({}): {}\n", cell(path), cell(kind), cell(state));
            text += &lines_of(actor, now);
        }
    }
    if text.is_empty() {
        text += "\nNo node does anything for this room: it is off air.\n";
    }
    if let Some(error) = everywhere["error"].as_str() {
        text += &format!("\nOther nodes were not asked: {error}\n");
    }
    text
}

/// Returns a sentence for `explain` if the node of these actors does not follow the store.
fn lost_store(actors: &[Value]) -> &'static str {
    let mut watches = actors.iter().filter(|actor| actor["kind"] == StoreWatch::KIND);
    match watches.any(|watch| watch["state"] != FOLLOWING) {
        true => "The node at --ops does not follow the store: until it does, no room is started or moved.\n",
        false => "",
    }
}

/// Returns a line for each failed check of the node at `--ops`.
fn not_ready(readiness: &Value) -> String {
    let checks = readiness["checks"].as_array().into_iter().flatten();
    let failed = checks.filter(|check| check["ok"] == false);
    let line = |check: &Value| {
        format!("The node at --ops is not ready: {}: {}.\n", cell(&check["name"]), cell(&check["reason"]))
    };
    failed.map(line).collect()
}

fn summary(id: &str, room: &Value, now: &str) -> String {
    let meaning = match room["status"].as_str() {
        // Times in RFC 3339 format, in UTC with milliseconds, are ordered like their texts.
        Some("created") if room["startsAt"].as_str().is_some_and(|time| time <= now) => {
            let time = cell(&room["startsAt"]);
            return format!("{id} is off air: it was due at {time}; the start is tried for 15 minutes.\n");
        }
        Some("created") if room["startsAt"].is_string() => {
            return format!("{id} is off air: it starts at {}.\n", cell(&room["startsAt"]));
        }
        Some("backstage") => {
            "backstage: its anchors hear each other, listeners hear nothing until it is started"
        }
        Some("created") => "off air: nobody has started it, or it was stopped",
        Some("starting") => "starting: its Janus or its mixer is not ready yet",
        Some("onair") => "on air",
        Some("degraded") => "degraded: its Janus or mixer is missing, or no sound arrives at the mixer",
        Some("removing") => "being removed",
        _ => "in a state that this version does not know",
    };
    format!("{id} is {meaning}.\n")
}

/// Returns a text with the assigned module and the reason of its choice, the modules that accept rooms, and
/// the reasons why the other modules do not.
fn placement(side: &str, assigned: &Value, modules: &Value) -> String {
    let (assigned, chosen) = (cell(&assigned["id"]), cell(&assigned["reason"]));
    let modules: Vec<&Value> = modules.as_array().into_iter().flatten().collect();
    let chosen = if chosen.is_empty() { chosen } else { format!(" It was chosen because: {chosen}.") };
    let mut text = match modules.iter().find(|module| module["id"] == *assigned) {
        _ if assigned.is_empty() => {
            format!("\nIt has no {side}: modules are assigned when the room starts.\n")
        }
        Some(_) => format!("\nIts {side} is {assigned}.{chosen}\n"),
        None => {
            format!(
                "\nIts {side} is {assigned}, which has no heartbeat; the room moves to another.{chosen}\n"
            )
        }
    };
    let mut free: Vec<&&Value> = modules.iter().filter(|module| module["pickable"] == true).collect();
    free.sort_by_key(|module| module["load"].as_u64());
    match free.len() {
        0 => text += &format!("No {side} takes a room now:\n"),
        1 => text += "Placed now, it would go to the one that takes rooms:\n",
        _ => text += "Placed now, it would go to the less loaded of two drawn at random:\n",
    }
    for module in &free {
        let (load, capacity) = (cell(&module["load"]), cell(&module["capacity"]));
        let busy = module["machineLoad"]["busyPercent"].as_u64();
        let busy = busy.map_or(String::new(), |busy| format!(", its machine is {busy} % busy"));
        text += &format!("  {}: {load} of {capacity} rooms{busy}\n", cell(&module["id"]));
    }
    for module in modules.iter().filter(|module| module["pickable"] != true) {
        text += &format!("  {}: takes no room, {}\n", cell(&module["id"]), cell(&module["reason"]));
    }
    if modules.is_empty() {
        text += &format!("  there is none: start a node with the role {side}\n");
    }
    text
}

/// Returns the reason, the next retry, the last failure and the last transitions of an actor.
fn lines_of(actor: &Value, now: u64) -> String {
    let mut text = String::new();
    if !actor["reason"].is_null() {
        text += &format!("    waits for or does: {}\n", cell(&actor["reason"]));
    }
    if let Some(retry) = actor["next_retry_in_ms"].as_u64() {
        text += &format!("    attempt {}, next retry in {retry} ms\n", cell(&actor["attempt"]));
    }
    if !actor["last_failure"].is_null() {
        text += &format!("    last failure: {}\n", cell(&actor["last_failure"]));
    }
    let transitions: Vec<&Value> = actor["transitions"].as_array().into_iter().flatten().collect();
    for transition in &transitions[transitions.len().saturating_sub(TRANSITIONS)..] {
        let (to, cause) = (cell(&transition["to"]), cell(&transition["cause"]));
        text += &format!("    {} ago: {to} ({cause})\n", age(&transition["at"], now));
    }
    text
}

/// Returns all actors of a tree, parents before children.
fn flat(mut actor: Value) -> Vec<Value> {
    let children = actor["children"].take();
    let mut list = vec![actor];
    if let Value::Array(children) = children {
        list.extend(children.into_iter().flat_map(flat));
    }
    list
}

fn restarts(actor: &Value) -> u64 {
    actor["restarts"].as_object().map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum())
}

fn reason(actor: &Value) -> String {
    match actor["next_retry_in_ms"].as_u64() {
        Some(retry) => format!("{} (retry in {retry} ms)", cell(&actor["last_failure"])),
        None => cell(&actor["reason"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_names_candidates_and_reasons() {
        let modules = json!([
            { "id": "j1", "load": 60, "capacity": 60, "pickable": false, "reason": "full" },
            { "id": "j2", "load": 9, "capacity": 60, "pickable": true },
            { "id": "j3", "load": 2, "capacity": 60, "pickable": true, "machineLoad": { "busyPercent": 12 } },
        ]);
        let reason = "it had 1 of 60 rooms, j2 9 of 60";
        let text = placement("janus", &json!({ "id": "j1", "reason": reason }), &modules);
        let expected = "\nIts janus is j1. It was chosen because: it had 1 of 60 rooms, j2 9 of 60.\n\
                        Placed now, it would go to the less loaded of two drawn at random:\n  \
                        j3: 2 of 60 rooms, its machine is 12 % busy\n  j2: 9 of 60 rooms\n  \
                        j1: takes no room, full\n";
        assert_eq!(text, expected);
        let lost = placement("mixer", &json!({ "id": "m9" }), &json!([]));
        assert!(lost.contains("m9, which has no heartbeat"));
    }

    #[test]
    fn nodes_show_waits_and_errors() {
        let actor = json!({ "path": "node/mixers/room:tea", "kind": "mixer_room", "state": "waiting",
                            "reason": "Janus j1 has not created the room" });
        let everywhere = json!({ "nodes": [
            { "node": "n1", "actors": [] },
            { "node": "n2", "actors": [actor] },
            { "node": "n3", "error": "it has no address" },
        ] });
        let expected = "\nOn node n2\n  node/mixers/room:tea (mixer_room): waiting\n    \
                        waits for or does: Janus j1 has not created the room\n\n\
                        Node n3 does not say what it does: it has no address\n";
        assert_eq!(actors_of_nodes(&everywhere, 0), expected);
        assert!(actors_of_nodes(&json!({ "nodes": [] }), 0).contains("No node does anything"));
    }

    #[test]
    fn summary_says_if_start_is_late() {
        let room = json!({ "status": "created", "startsAt": "2027-01-31T18:00:00.000Z" });
        assert!(summary("tea", &room, "2027-01-31T17:59:59.999Z").contains("it starts at 2027"));
        assert!(summary("tea", &room, "2027-01-31T18:00:00.001Z").contains("it was due at 2027"));
    }

    #[test]
    fn lost_store_is_named() {
        let watch = |state: &str| [json!({ "kind": "store_watch", "state": state })];
        assert_eq!(lost_store(&watch("following")), "");
        assert!(lost_store(&watch("lost")).contains("does not follow the store"));
    }

    #[test]
    fn failed_checks_are_named() {
        let checks = json!([{ "name": "node", "ok": true },
                            { "name": "janus", "ok": false, "reason": "has not worked for 7 s" }]);
        let text = not_ready(&json!({ "ready": false, "checks": checks }));
        assert_eq!(text, "The node at --ops is not ready: janus: has not worked for 7 s.\n");
        assert_eq!(not_ready(&json!({ "ready": true })), "");
    }

    #[test]
    fn actor_trees_are_flattened_in_order() {
        let children = json!([{ "path": "b", "children": [{ "path": "c" }] }, { "path": "d" }]);
        let tree = json!({ "path": "a", "children": children });
        let paths: Vec<String> = flat(tree).iter().map(|actor| cell(&actor["path"])).collect();
        assert_eq!(paths, ["a", "b", "c", "d"]);
    }
}
