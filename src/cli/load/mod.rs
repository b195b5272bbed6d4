//! `stentor load`: creates rooms, speaking anchors and listeners on a running installation, and measures how
//! well they are served.
//!
//! The command uses the room API and the URLs of listeners. Owns: the order of the steps, and the removal of
//! the rooms that the command has created. Does not touch other rooms.

mod anchors;
mod listeners;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use awc::http::Method;
use clap::{Args, value_parser};
use futures::{StreamExt, TryStreamExt, future, stream};
use serde_json::json;
use stentor::domain::ids::RoomId;
use stentor::http::error::Code;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, refusal_code};
use super::output::{cell, print, print_json};
use super::progress::{countdown, spinner};
use anchors::Invitation;
use report::Report;

/// Maximum time from the request to start a room to its first playlist.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Maximum number of concurrent requests to the room API.
const AT_ONCE: usize = 16;
/// Maximum number of anchors in a room.
const ANCHORS_PER_ROOM: u16 = 20;

#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Rooms to create, start and delete.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..=50))]
    rooms: u16,
    /// Anchors in total who speak over WebRTC, spread over the rooms: at most 20 per room.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u16).range(0..=200))]
    anchors: u16,
    /// Low-latency HLS listeners in total, spread over the rooms.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u16).range(0..=1000))]
    listeners: u16,
    /// Listeners of the plain stream in total, spread over the rooms.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u16).range(0..=1000))]
    plain: u16,
    /// Time for which the listeners listen, in seconds.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u16).range(1..=600))]
    seconds: u16,
}

/// A started room.
struct Room {
    id: RoomId,
    /// Part of the listeners' URLs in front of `/hls`.
    base_url: String,
    /// Time from the request to start the room to its first playlist.
    start: Duration,
}

/// Runs the load and prints the report. Deletes the rooms in every case, even after an error or a signal.
pub async fn load(client: &Client, json: bool, args: LoadArgs) -> anyhow::Result<()> {
    // Each listener needs two or three connections, and each connection a file descriptor.
    stentor::process::raise_descriptor_limit();
    let most = args.rooms * ANCHORS_PER_ROOM;
    anyhow::ensure!(args.anchors <= most, "--anchors must be at most {most}: {ANCHORS_PER_ROOM} per room");
    let run = format!("{:06x}", rand::random::<u32>() & 0x00ff_ffff);
    let ids: Vec<_> = (1..=args.rooms).map(|n| format!("load-{run}-{n}")).collect();
    // A closed terminal sends HUP.
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let outcome = tokio::select! {
        outcome = perform(client, &ids, &args) => outcome,
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
        _ = hangup.recv() => Err(anyhow!("the terminal was closed")),
    };
    remove(client, &ids).await;
    let report = outcome?;
    if json { print_json(&report.json()) } else { print(report) }
}

async fn perform(client: &Client, ids: &[String], args: &LoadArgs) -> anyhow::Result<Report> {
    let progress = spinner();
    progress.set_message(format!("starting {} rooms", ids.len()));
    let anchors_per_room = args.anchors.div_ceil(args.rooms);
    let starts = stream::iter(ids).map(|id| start(client, id, anchors_per_room)).buffered(AT_ONCE);
    let rooms: Vec<_> = starts.try_collect().await?;
    progress.set_message("requesting tokens");
    let count = usize::from(args.listeners) + usize::from(args.plain);
    let targets = stream::iter(rooms.iter().cycle().take(count));
    let targets: Vec<_> = targets.map(|room| target(client, room)).buffered(AT_ONCE).try_collect().await?;
    let invitations = stream::iter(rooms.iter().cycle().take(args.anchors.into()).enumerate());
    let invitations = invitations.map(|(n, room)| invitation(client, room, n)).buffered(AT_ONCE);
    let invitations: Vec<_> = invitations.try_collect().await?;
    progress.finish_and_clear();
    let anchors = args.anchors;
    let progress = countdown(format!("{anchors} anchors, {count} listeners"), args.seconds.into());
    let end = Instant::now() + Duration::from_secs(args.seconds.into());
    let anchors = future::join_all(invitations.iter().map(|invitation| anchors::speak(invitation, end)));
    let (by_parts, plainly) = targets.split_at(args.listeners.into());
    let by_parts = future::join_all(by_parts.iter().map(|target| listeners::by_parts(target, end)));
    let plainly = future::join_all(plainly.iter().map(|target| listeners::plainly(target, end)));
    let (anchors, by_parts, plainly) = future::join3(anchors, by_parts, plainly).await;
    progress.finish_and_clear();
    Ok(Report::new(rooms.iter().map(|room| room.start), anchors, by_parts, plainly))
}

/// Creates and starts a room, and waits until it can be heard.
async fn start(client: &Client, id: &str, anchors: u16) -> anyhow::Result<Room> {
    let began = Instant::now();
    let mut body = json!({ "roomId": id, "start": true, "title": "stentor load" });
    if anchors > 0 {
        body["maxAnchors"] = anchors.into();
    }
    let made = client.call(Method::POST, &["rooms"], Some(body)).await?;
    let url = cell(&made["room"]["hlsUrl"]);
    let (base_url, _) = url.split_once("/hls/rooms/").context("the room has no playlist URL")?;
    let base_url = base_url.to_owned();
    let mut room = Room { id: RoomId::new(id)?, base_url, start: Duration::ZERO };
    let target = target(client, &room).await?;
    let opened = Listener::open_by(&target, Mode::Parts, began + START_DEADLINE).await;
    opened.with_context(|| format!("{id} was not heard; stentor explain {id} shows why"))?;
    room.start = began.elapsed();
    Ok(room)
}

/// Requests a listener token, and returns the target for one listener of the room.
async fn target(client: &Client, room: &Room) -> anyhow::Result<Target> {
    let body = json!({ "roomId": room.id.as_str() });
    let answer = client.call(Method::POST, &["token"], Some(body)).await?;
    let (base_url, room, token) = (room.base_url.clone(), room.id.clone(), cell(&answer["token"]));
    Ok(Target { base_url, room, token, ffmpeg: "ffmpeg".into() })
}

/// Invites the anchor with this number into the room.
async fn invitation(client: &Client, room: &Room, number: usize) -> anyhow::Result<Invitation> {
    let body = json!({ "userId": format!("load-{number}"), "role": "anchor" });
    let answer = client.call(Method::POST, &["rooms", room.id.as_str(), "users"], Some(body)).await?;
    Ok(Invitation { whip_url: cell(&answer["whipUrl"]), token: cell(&answer["token"]) })
}

/// Deletes the rooms. If the run was interrupted, or if the key may not create rooms, some of them do not
/// exist.
async fn remove(client: &Client, ids: &[String]) {
    let deletions = stream::iter(ids).map(|id| async move {
        let deleted = client.call(Method::DELETE, &["rooms", id], None).await;
        let is_absent =
            |error: &_| matches!(refusal_code(error), Some(Code::RoomNotFound | Code::ScopeMissing));
        let failed = deleted.err().filter(|error| !is_absent(error));
        failed.map(|error| (id, error))
    });
    let failed: Vec<_> = deletions.buffer_unordered(AT_ONCE).collect().await;
    for (id, error) in failed.into_iter().flatten() {
        eprintln!("{id} was not deleted: {error:#}; delete it with stentor room delete {id}");
    }
}
