//! `stentor room`, `stentor user` and `stentor token`.
//!
//! Owns: their arguments and output. Does not decide anything; the room API has all the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use awc::http::Method;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use stentor::http::error::Code;

use super::client::{Client, refusal_code};
use super::output::{Table, age, cell, now, print, print_json};
use super::progress::{Look, wait_until};

/// Time limit of a start or removal, which takes less than a second unless the machine is busy.
const DEADLINE: Duration = Duration::from_secs(30);
const WATCH_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub enum RoomCommand {
    /// Create a room.
    Create {
        /// Id of the room: 3 to 32 letters, digits, - and _. Generated if absent.
        room: Option<String>,
        /// PIN of the room. Generated if absent.
        #[arg(long)]
        pin: Option<String>,
        /// Maximum number of users who speak in the room.
        #[arg(long, value_name = "N")]
        max_anchors: Option<u32>,
        /// Put the room on air and wait until it is.
        #[arg(long, conflicts_with_all = ["starts_at", "backstage"])]
        start: bool,
        /// Time at which the room goes on air by itself, in RFC 3339 format, such as
        /// 2026-01-31T18:00:00Z.
        #[arg(long, value_name = "TIME")]
        starts_at: Option<String>,
        /// Open the backstage: anchors may join, and listeners hear nothing until the start.
        #[arg(long)]
        backstage: bool,
    },
    /// Open the backstage of a room: anchors may join, and listeners hear nothing until the start.
    Backstage { room: String },
    /// Put a room on air and wait until it is.
    Start { room: String },
    /// Take a room off air, or close its backstage. The room still exists and may be started again.
    Stop { room: String },
    /// End a room and delete it.
    Delete { room: String },
    /// List all rooms.
    List,
    /// Show one room.
    Show { room: String },
    /// Disconnect a user (anchor or listener), who may come back after about ten seconds.
    Kick { room: String, user: String },
    /// Ban a user (anchor or listener): no token of the user is valid for the room until the ban is lifted.
    Ban { room: String, user: String },
    /// Lift the ban of a user.
    Unban { room: String, user: String },
    /// List the users who are banned from a room.
    Bans { room: String },
    /// Give a user a role, in place of the one that the user's tokens claim.
    Role {
        room: String,
        user: String,
        #[arg(value_enum)]
        role: RoomRole,
    },
    /// Print every change of the rooms, or of one room, until Ctrl-C.
    Watch { room: Option<String> },
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Give a user the right to speak. Prints the link to send to the user; each call prints a new link.
    Invite {
        room: String,
        /// Id of the user. Generated if absent.
        user: Option<String>,
        #[arg(long, value_enum, default_value_t = Role::Anchor)]
        role: Role,
    },
    /// List the users of a room: invited, connected and removed.
    List { room: String },
    /// Disconnect a user and make all tokens of the user invalid for this room; the same as `room ban`.
    Remove { room: String, user: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Role {
    /// Speaks.
    Anchor,
    /// Speaks, and may mute and remove others.
    Host,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoomRole {
    /// Mutes and bans others, and changes roles.
    Host,
    /// Mutes others, and bans anchors and listeners.
    #[value(alias = "co_host")]
    CoHost,
    /// Speaks.
    Anchor,
    /// May not speak; tokens for listening stay valid.
    Listener,
}

pub async fn room(client: &Client, json: bool, command: RoomCommand) -> anyhow::Result<()> {
    match command {
        RoomCommand::Create { room, pin, max_anchors, start, starts_at, backstage } => {
            let body = given([
                ("roomId", room.map(Value::from)),
                ("pin", pin.map(Value::from)),
                ("maxAnchors", max_anchors.map(Value::from)),
                ("start", start.then_some(Value::Bool(true))),
                ("startsAt", starts_at.map(Value::from)),
                ("backstage", backstage.then_some(Value::Bool(true))),
            ]);
            let created = client.call(Method::POST, &["rooms"], Some(body)).await?;
            let id = cell(&created["room"]["roomId"]);
            let room = if start { on_air(client, &id).await? } else { created["room"].clone() };
            show_room(&room, json)
        }
        RoomCommand::Backstage { room } => {
            let answer = client.call(Method::POST, &["rooms", &room, "backstage"], None).await?;
            show_room(&answer["room"], json)
        }
        RoomCommand::Start { room } => {
            client.call(Method::POST, &["rooms", &room, "start"], None).await?;
            show_room(&on_air(client, &room).await?, json)
        }
        RoomCommand::Stop { room } => {
            let answer = client.call(Method::POST, &["rooms", &room, "stop"], None).await?;
            done(&answer, json, format_args!("{room} is off air"))
        }
        RoomCommand::Delete { room } => {
            let answer = client.call(Method::DELETE, &["rooms", &room], None).await?;
            deleted(client, &room).await?;
            done(&answer, json, format_args!("{room} is deleted"))
        }
        RoomCommand::List => {
            let rooms = client.rooms().await?;
            if json {
                return print_json(&Value::Array(rooms));
            }
            let now = now();
            let header =
                ["ROOM", "STATUS", "ANCHORS", "LISTENERS", "JANUS", "MIXER", "ON AIR FOR", "STARTS AT"];
            let mut table = Table::new(&header);
            for room in &rooms {
                table.row([
                    cell(&room["roomId"]),
                    cell(&room["status"]),
                    format!("{}/{}", cell(&room["anchors"]), cell(&room["maxAnchors"])),
                    cell(&room["listeners"]),
                    cell(&room["janus"]["id"]),
                    cell(&room["mixer"]["id"]),
                    on_air_for(room, now),
                    cell(&room["startsAt"]),
                ]);
            }
            print(table)
        }
        RoomCommand::Show { room } => show_room(&client.get(&["rooms", &room]).await?["room"], json),
        RoomCommand::Watch { room } => watch(client, json, room).await,
        RoomCommand::Kick { room, user } => {
            let answer = client.call(Method::POST, &["rooms", &room, "users", &user, "kick"], None).await?;
            done(&answer, json, format_args!("{user} is kicked out of {room} and may come back"))
        }
        RoomCommand::Ban { room, user } => {
            let answer = client.call(Method::PUT, &["rooms", &room, "bans", &user], None).await?;
            done(&answer, json, format_args!("{user} is banned from {room}"))
        }
        RoomCommand::Unban { room, user } => {
            let answer = client.call(Method::DELETE, &["rooms", &room, "bans", &user], None).await?;
            done(&answer, json, format_args!("{user} is not banned from {room}"))
        }
        RoomCommand::Bans { room } => {
            let answer = client.get(&["rooms", &room, "bans"]).await?;
            if json {
                return print_json(&answer["bans"]);
            }
            let mut table = Table::new(&["USER", "NAME", "BANNED"]);
            let now = now();
            for ban in answer["bans"].as_array().into_iter().flatten() {
                let since = format!("{} ago", age(&ban["bannedAt"], now));
                table.row([cell(&ban["userId"]), cell(&ban["name"]), since]);
            }
            print(table)
        }
        RoomCommand::Role { room, user, role } => {
            let role = match role {
                RoomRole::Host => "host",
                RoomRole::CoHost => "co_host",
                RoomRole::Anchor => "anchor",
                RoomRole::Listener => "listener",
            };
            let (path, body) = (["rooms", &room, "users", &user, "role"], json!({ "role": role }));
            let answer = client.call(Method::PUT, &path, Some(body)).await?;
            done(&answer, json, format_args!("{user} has the role {role} in {room}"))
        }
    }
}

pub async fn user(client: &Client, json: bool, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Invite { room, user, role } => {
            let role = match role {
                Role::Anchor => "anchor",
                Role::Host => "host",
            };
            let body = given([("role", Some(role.into())), ("userId", user.map(Value::from))]);
            let answer = client.call(Method::POST, &["rooms", &room, "users"], Some(body)).await?;
            if json {
                return print_json(&answer);
            }
            print(Table::of_fields([
                ("user", cell(&answer["userId"])),
                ("role", cell(&answer["role"])),
                ("link", cell(&answer["inviteUrl"])),
                ("valid for", until(&answer["expiresAt"])),
            ]))
        }
        UserCommand::List { room } => {
            let answer = client.get(&["rooms", &room, "users"]).await?;
            if json {
                return print_json(&answer["users"]);
            }
            let mut table = Table::new(&["USER", "ROLE", "STATE", "NAME"]);
            for user in answer["users"].as_array().into_iter().flatten() {
                let state = match (&user["removedAt"], &user["connected"], &user["muted"]) {
                    (Value::Number(_), _, _) => "removed",
                    (_, Value::Bool(true), Value::Bool(true)) => "connected, muted",
                    (_, Value::Bool(true), _) => "connected",
                    (_, Value::Bool(false), _) => "away",
                    _ => "unknown",
                };
                let (id, role) = (cell(&user["userId"]), cell(&user["role"]));
                table.row([id, role, state.to_owned(), cell(&user["displayName"])]);
            }
            print(table)
        }
        UserCommand::Remove { room, user } => {
            let answer = client.call(Method::DELETE, &["rooms", &room, "users", &user], None).await?;
            done(&answer, json, format_args!("{user} is removed from {room}"))
        }
    }
}

/// Issues a listener token, and prints the token and the URLs that contain it.
pub async fn token(client: &Client, json: bool, room: &str) -> anyhow::Result<()> {
    let answer = client.call(Method::POST, &["token"], Some(json!({ "roomId": room }))).await?;
    if json {
        return print_json(&answer);
    }
    let token = cell(&answer["token"]);
    let playlist = cell(&client.get(&["rooms", room]).await?["room"]["hlsUrl"]);
    let page = playlist.split("/hls/rooms/").next().map(|base| format!("{base}/listen/{room}#token={token}"));
    print(Table::of_fields([
        ("page", page.unwrap_or_default()),
        ("playlist", format!("{playlist}?token={token}")),
        ("token", token),
        ("valid for", until(&answer["expiresAt"])),
    ]))
}

/// Waits until the room is on air and returns it.
async fn on_air(client: &Client, room: &str) -> anyhow::Result<Value> {
    let remedy = format!("`stentor explain {room}` shows the reason");
    wait_until(DEADLINE, &remedy, async || {
        let mut answer = client.get(&["rooms", room]).await?;
        Ok(match answer["room"]["status"].as_str() {
            Some("onair") => Look::Done(answer["room"].take()),
            status => Look::Waiting(format!("{room} is {}", status.unwrap_or("unknown"))),
        })
    })
    .await
}

/// Waits until the room does not exist any more: its Janus room and FFmpeg are removed first.
async fn deleted(client: &Client, room: &str) -> anyhow::Result<()> {
    let remedy = "its Janus or mixer does not answer; the removal continues";
    wait_until(DEADLINE, remedy, async || match client.get(&["rooms", room]).await {
        Ok(_) => Ok(Look::Waiting(format!("{room} is being removed"))),
        Err(error) if refusal_code(&error) == Some(Code::RoomNotFound) => Ok(Look::Done(())),
        Err(error) => Err(error),
    })
    .await
}

/// Returns the duration of the broadcast; empty if the room is not on air. `startedAt` stays after the end of
/// a broadcast.
fn on_air_for(room: &Value, now: u64) -> String {
    match room["status"].as_str() {
        Some("starting" | "onair" | "degraded") => age(&room["startedAt"], now),
        _ => String::new(),
    }
}

fn show_room(room: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(room);
    }
    let side = |side: &Value| match (cell(&side["id"]), cell(&side["status"])) {
        (id, status) if status.is_empty() => id,
        (id, status) => format!("{id} ({status})"),
    };
    print(Table::of_fields([
        ("room", cell(&room["roomId"])),
        ("status", cell(&room["status"])),
        ("PIN", cell(&room["pin"])),
        ("anchors", format!("{} of {}", cell(&room["anchors"]), cell(&room["maxAnchors"]))),
        ("listeners", cell(&room["listeners"])),
        ("on air for", on_air_for(room, now())),
        ("starts at", cell(&room["startsAt"])),
        ("janus", side(&room["janus"])),
        ("mixer", side(&room["mixer"])),
        ("playlist", cell(&room["hlsUrl"])),
    ]))
}

/// Prints a line for each room that has changed, with the changes.
async fn watch(client: &Client, json: bool, only: Option<String>) -> anyhow::Result<()> {
    let mut before = BTreeMap::new();
    loop {
        let rooms = match &only {
            Some(room) => vec![client.get(&["rooms", room]).await?["room"].take()],
            None => client.rooms().await?,
        };
        let now: BTreeMap<String, Value> =
            rooms.into_iter().map(|room| (cell(&room["roomId"]), room)).collect();
        for (id, room) in now.iter().filter(|(id, room)| before.get(*id) != Some(*room)) {
            let line = if json { Some(room.to_string()) } else { change(id, before.get(id), room) };
            line.map_or(Ok(()), |line| print(line + "\n"))?;
        }
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            let gone = json!({ "roomId": id, "status": "deleted" });
            print(if json { format!("{gone}\n") } else { format!("{id}: deleted\n") })?;
        }
        before = now;
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Returns the changed fields of a room in one line. Returns `None` if all changes are consequences of a
/// start.
fn change(id: &str, before: Option<&Value>, room: &Value) -> Option<String> {
    let fields = [
        ("status", "/status"),
        ("janus", "/janus/id"),
        ("mixer", "/mixer/id"),
        ("anchors", "/anchors"),
        ("listeners", "/listeners"),
    ];
    let text = |room: &Value, pointer| room.pointer(pointer).map(cell).unwrap_or_default();
    let mut changed: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, pointer)| {
            let (old, new) = (before.map(|room| text(room, pointer)), text(room, pointer));
            match old {
                None if new.is_empty() => None,
                None => Some(format!("{name} {new}")),
                Some(old) if old == new => None,
                Some(old) => Some(format!("{name} {} -> {}", or_none(&old), or_none(&new))),
            }
        })
        .collect();
    if let Some(before) = before {
        changed.extend(other_changes(before, room));
    }
    (!changed.is_empty()).then(|| format!("{id}: {}", changed.join(", ")))
}

/// Returns the changes of the other fields, such as the title. Leaves out fields whose changes are
/// consequences of a start.
fn other_changes(before: &Value, room: &Value) -> Vec<String> {
    let shown_or_implied =
        ["status", "janus", "mixer", "anchors", "listeners", "startedAt", "epoch", "hlsUrl"];
    let names: BTreeSet<&String> =
        [before, room].into_iter().filter_map(Value::as_object).flat_map(|o| o.keys()).collect();
    let others = names.iter().filter(|name| !shown_or_implied.contains(&name.as_str()));
    let changed = others.filter(|name| before[name.as_str()] != room[name.as_str()]);
    changed
        .map(|name| format!("{name} {} -> {}", value(&before[name.as_str()]), value(&room[name.as_str()])))
        .collect()
}

/// Returns the text of a value in one line.
fn value(value: &Value) -> String {
    match value {
        Value::String(text) if !text.contains(['\n', '\r']) => text.clone(),
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Returns a JSON object of the fields that have a value.
fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn done(answer: &Value, json: bool, text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    if json { print_json(answer) } else { print(format_args!("{text}\n")) }
}

/// Returns the time until `at` (Unix time, ms).
fn until(at: &Value) -> String {
    age(&Value::from(now()), at.as_u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_prints_changed_fields() {
        let starting = json!({ "status": "starting", "janus": { "id": "j1" }, "anchors": 0 });
        let on_air =
            json!({ "status": "onair", "janus": { "id": "j1" }, "mixer": { "id": "m1" }, "anchors": 0 });
        assert_eq!(change("tea", None, &starting).unwrap(), "tea: status starting, janus j1, anchors 0");
        let text = change("tea", Some(&starting), &on_air).unwrap();
        assert_eq!(text, "tea: status starting -> onair, mixer none -> m1");
    }

    #[test]
    fn watch_prints_title_and_tags() {
        let plain = json!({ "status": "onair", "epoch": 1 });
        let titled = json!({ "status": "onair", "epoch": 1, "title": "Tea", "tags": ["a"] });
        let text = change("tea", Some(&plain), &titled).unwrap();
        assert_eq!(text, r#"tea: tags none -> ["a"], title none -> Tea"#);
        assert_eq!(
            change("tea", Some(&titled), &plain).unwrap(),
            r#"tea: tags ["a"] -> none, title Tea -> none"#
        );
        let moved = json!({ "status": "onair", "epoch": 2 });
        assert_eq!(change("tea", Some(&plain), &moved), None);
    }

    #[test]
    fn stopped_rooms_have_no_duration() {
        for (status, wanted) in
            [("onair", "1m 05s"), ("degraded", "1m 05s"), ("created", ""), ("backstage", "")]
        {
            let room = json!({ "status": status, "startedAt": 10_000 });
            assert_eq!(on_air_for(&room, 75_000), wanted, "{status}");
        }
    }
}
