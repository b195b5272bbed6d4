//! The steps of the demo: node ready, room on air, tone heard. After them, the demo shows the delay behind
//! live.
//!
//! Owns: the steps, their deadlines, and the message when one is missed. Does not end the node.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::time::timeout;

use super::api::Api;
use super::folder::Folder;
use super::screen::{Links, Screen, Status};
use super::source::{self, TONE};
use crate::actors::kernel::{self, ActorView};
use crate::actors::mixer::supervisor::UNUSABLE;
use crate::app::Node;
use crate::config::Config;
use crate::domain::ids::RoomId;
use crate::probe::listener::{AUDIBLE, Target};
use crate::probe::{HeardAudio, Listener, Mode, ProbeError};

const ROOM: &str = "demo";
/// Deadline of each step. A step takes a second or less, or a few on a machine that is busy compiling.
const STEP_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Duration of media between two updates of the screen.
const SIP: Duration = Duration::from_secs(2);
/// Time without sound after which the user gets a message.
const SILENCE: Duration = Duration::from_secs(6);
const RETRY: Duration = Duration::from_millis(500);

/// Runs the demo until the future is dropped.
///
/// # Errors
/// The failed step, the reason, and where to look for more.
pub async fn run(node: &Node, folder: &Folder, screen: &mut Screen) -> anyhow::Result<Infallible> {
    let room = RoomId::new(ROOM)?;
    ready(node).await?;
    screen.step("creating the room and putting it on air");
    let api = Api::new(node.config(), url(node.config().listen.api));
    let (pin, share) = api.start_new(&room).await?;
    let on_air = timeout(STEP_DEADLINE, api.until_on_air(&room)).await;
    on_air.unwrap_or_else(|_| bail!("the room is not on air: {}", reasons(node)))?;
    let token = api.token(&room).await?;
    screen.step("listening for the test tone");
    let (ffmpeg, base_url) = (node.config().mixer.ffmpeg.clone(), pages(node.config()));
    let speak = api.speak_page(&room, &base_url).await?;
    let target = Target { base_url, room: room.clone(), token, ffmpeg };
    let links = links(node, folder, &target, speak);
    let trouble = RefCell::default();
    tokio::select! {
        never = source::play(node, &room, &pin, share, &trouble) => match never {},
        failed = listen(node, &links, &target, &trouble, screen) => failed,
    }
}

async fn ready(node: &Node) -> anyhow::Result<()> {
    let deadline = Instant::now() + STEP_DEADLINE;
    while !node.missing().is_empty() {
        if Instant::now() >= deadline || node.actors().is_some_and(|root| is_hopeless(&root)) {
            bail!("the node is not ready: {}", reasons(node));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Returns true if this actor or one below it cannot recover without help.
fn is_hopeless(actor: &ActorView) -> bool {
    has_given_up(actor) || actor.children.iter().any(is_hopeless)
}

/// Returns true if the actor failed too often to retry at once, or found that a program it needs is unusable.
fn has_given_up(actor: &ActorView) -> bool {
    actor.status == kernel::Status::Parked || actor.state == UNUSABLE
}

/// Returns the reasons that the actors report: those of the actors that gave up, or of all if none gave up.
/// If no actor reports a reason, returns the missing conditions.
fn reasons(node: &Node) -> String {
    let mut all = Vec::new();
    if let Some(root) = node.actors() {
        collect(root, &mut all);
    }
    let told = |actors: &mut dyn Iterator<Item = &ActorView>| {
        actors.filter_map(|a| Some(format!("{}: {}", a.name, a.reason.as_ref()?))).collect::<Vec<_>>()
    };
    let mut found = told(&mut all.iter().filter(|actor| has_given_up(actor)));
    if found.is_empty() {
        found = told(&mut all.iter());
    }
    if found.is_empty() { node.missing().join("; ") } else { found.join("; ") }
}

fn collect(mut actor: ActorView, all: &mut Vec<ActorView>) {
    let children = std::mem::take(&mut actor.children);
    all.push(actor);
    children.into_iter().for_each(|child| collect(child, all));
}

async fn listen(
    node: &Node,
    links: &Links,
    target: &Target,
    trouble: &RefCell<Option<String>>,
    screen: &mut Screen,
) -> anyhow::Result<Infallible> {
    let (mut listener, heard) = match timeout(STEP_DEADLINE + SILENCE, first_sound(target)).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(error)) => return Err(unheard(node, trouble, &error.to_string())),
        Err(_) => return Err(unheard(node, trouble, "no new media arrive")),
    };
    let since = Instant::now();
    screen.on_air(ROOM, links);
    if node.config().secure().hls {
        screen.note(
            "the certificate was made for this demo: browsers warn about it once; accept it to continue",
        );
    }
    screen.status(&told(&heard, heard.strongest_hz(), since));
    loop {
        let status = match timeout(SILENCE, listener.hear(SIP)).await {
            Ok(Ok(heard)) => told(&heard, tone_in(&heard), since),
            missed => {
                let why = missed.map_or_else(|_| "no new media arrive".into(), said);
                // Continue with a new listener at the live edge. If it cannot be opened, keep the previous
                // one.
                listener = Listener::open(target, Mode::Parts).await.unwrap_or(listener);
                tokio::time::sleep(RETRY).await;
                Status { state: trouble.borrow().clone().unwrap_or(why), figures: String::new() }
            }
        };
        screen.status(&status);
    }
}

async fn first_sound(target: &Target) -> Result<(Listener, HeardAudio), ProbeError> {
    let deadline = Instant::now() + STEP_DEADLINE;
    let mut listener = Listener::open_by(target, Mode::Parts, deadline).await?;
    let heard = listener.hear_until(f64::from(TONE), deadline).await?;
    Ok((listener, heard))
}

fn unheard(node: &Node, trouble: &RefCell<Option<String>>, why: &str) -> anyhow::Error {
    let cause = trouble.borrow().clone().unwrap_or_else(|| reasons(node));
    anyhow!("the test tone is not heard: {why}; {cause}; see {}/", url(node.addresses.ops))
}

/// Returns the tone if it is audible. Checking one tone is far faster than searching for the strongest.
fn tone_in(heard: &HeardAudio) -> Option<f64> {
    let tone = f64::from(TONE);
    (heard.level(tone) >= AUDIBLE).then_some(tone)
}

fn said(heard: Result<HeardAudio, ProbeError>) -> String {
    heard.map_or_else(|error| error.to_string(), |_| String::new())
}

fn told(heard: &HeardAudio, hz: Option<f64>, since: Instant) -> Status {
    let state = match hz {
        Some(hz) => format!("on air, {hz:.0} Hz heard"),
        None => "on air, but the tone is not heard".to_owned(),
    };
    let behind = heard.behind_live.map(|s| format!(", {s:.1} s behind live")).unwrap_or_default();
    let seconds = since.elapsed().as_secs();
    Status { state, figures: format!("{behind}, for {}:{:02}", seconds / 60, seconds % 60) }
}

fn links(node: &Node, folder: &Folder, target: &Target, speak: String) -> Links {
    let Target { base_url, room, token, .. } = target;
    Links {
        page: format!("{base_url}/listen/{room}#token={token}"),
        speak,
        playlist: format!("{base_url}/hls/rooms/{room}/index.m3u8?token={token}"),
        actors: format!("{}/", url(node.addresses.ops)),
        api: format!("{}/api/rooms/{room}", url(node.config().listen.api)),
        log: folder.log().display().to_string(),
    }
}

/// Returns the base URL of the pages: for this machine only or, with TLS, also for others.
fn pages(config: &Config) -> String {
    match config.secure().hls {
        true => config.hls_base_url(),
        false => url(config.listen.hls),
    }
}

/// Returns the URL as reached from this machine: an unspecified address is replaced by loopback.
fn url(mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}")
}
