//! Cost of a live room in the node's own process, apart from its media: processor time and memory.
//!
//! Baseline for the processor time: a process that reads the same frames at the same pace and packages them.
//! Baseline for the memory: the media that a room must hold. These are the listed media, and the removed
//! segments for as long as RFC 8216 section 6.2.2 requires them.

use std::os::fd::AsFd;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use stentor::domain::ids::{Nonce, RoomId};
use stentor::domain::timeline::{Junction, Moment, Timeline};
use stentor::packager::{ContentKeys, Packager, PackagerConfig, SequenceStart};
use stentor::probe::m3u8::Playlist;
use stentor::process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::house::{Backend, House};
use super::support::pause_async;
use super::table::Row;
use super::{synth, usage};

/// Argument that makes this program run as the baseline process.
const FLOOR: &str = "upkeep-floor";
const ROOMS: usize = 20;
const WATCHED: Duration = Duration::from_secs(20);
/// Closed segments in a playlist of full length: the default of `hls.window`.
const FULL: usize = 6;
const PART: Duration = Duration::from_millis(192);

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[("hls.segment_ms", "2000")]).await;
    let pid = house.node.pid();
    // Start one room first, so that one-time allocations happen before the measurement.
    house.node.room_on_air("warm").await;
    house.remove("warm").await;
    let (idle, memory) = (cpu_share(pid).await, usage::private_bytes(pid));
    for n in 0..ROOMS {
        house.node.room_on_air(&format!("upkeep-{n}")).await;
    }
    for n in 0..ROOMS {
        full_playlist(&house, &format!("upkeep-{n}")).await;
    }
    let busy = cpu_share(pid).await;
    let grown = || usage::private_bytes(pid).saturating_sub(memory) as f64 / ROOMS as f64 / 1e3;
    let quiet = grown();
    let mut window = 0;
    for n in 0..ROOMS {
        window += full_window(&house, &format!("upkeep-{n}")).await;
    }
    let rooms = ROOMS as f64;
    let per_room = (busy - idle).max(0.0) / rooms;
    vec![
        Row::new(
            format!(
                "processor time of the node per live room, % of a core, {ROOMS} rooms (floor: woken by a \
                 pipe, packager)"
            ),
            format!("{:.3} %", floor_share().await * 100.0),
            format!("{:.3} % (idle node {:.2} %)", per_room * 100.0, idle * 100.0),
            "≤ 0.05 %",
        ),
        Row::new(
            format!("memory of the node per live room, {ROOMS} rooms (floor: the media it must hold)"),
            format!("{:.0} kB", window as f64 / rooms / 1e3),
            format!("{quiet:.0} kB ({:.0} kB once every listed file was asked for)", grown()),
            "≤ 64 kB above",
        ),
    ]
}

/// Returns the process's CPU time as a share of one core.
async fn cpu_share(pid: i32) -> f64 {
    let (begin, before) = (Instant::now(), usage::cpu(&[pid]));
    // Sleep: the interval over which processor time is measured.
    tokio::time::sleep(WATCHED).await;
    (usage::cpu(&[pid]) - before).as_secs_f64() / begin.elapsed().as_secs_f64()
}

/// Waits until the playlist has its full length and returns it.
async fn full_playlist(house: &House, room: &str) -> Playlist {
    let url = format!("{}/hls/rooms/{room}/index.m3u8", house.node.hls);
    loop {
        let playlist = Playlist::parse(&String::from_utf8_lossy(&get(house, &url).await));
        match playlist {
            Ok(playlist) if playlist.segments.len() > FULL => return playlist,
            _ => pause_async().await,
        }
    }
}

/// Returns the size in bytes of all files that must be available once the playlist has its full length: the
/// listed files, and the segments that have left the playlist. Such a segment stays available for its own
/// duration plus that of the playlist (RFC 8216 section 6.2.2).
async fn full_window(house: &House, room: &str) -> usize {
    let base = format!("{}/hls/rooms/{room}", house.node.hls);
    let playlist = full_playlist(house, room).await;
    let (mut segments, mut parts) = (0, 0);
    for uri in playlist.segments.iter().filter_map(|s| s.uri.as_ref()) {
        segments += get(house, &format!("{base}/{uri}")).await.len();
    }
    for part in playlist.segments.iter().flat_map(|s| &s.parts) {
        parts += get(house, &format!("{base}/{}", part.uri)).await.len();
    }
    let listed = playlist.segments.iter().filter(|s| s.uri.is_some()).count();
    segments + parts + segments / listed * (listed + 1)
}

/// Fetches a file. The result is empty if it is not available: a segment may leave the window meanwhile.
async fn get(house: &House, url: &str) -> Vec<u8> {
    let mut answer = house.http.get(url).send().await.expect("an answer");
    let body = answer.body().await.expect("a body");
    if answer.status().is_success() { body.to_vec() } else { Vec::new() }
}

/// Measures the baseline per room as a share of one core. The baseline is a process that a pipe wakes for
/// each part. It only cuts, muxes and encrypts the part.
async fn floor_share() -> f64 {
    let mut command = process::command(std::env::current_exe().expect("our own path"), [FLOOR]);
    let mut child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn().expect("this program");
    let mut pipe = child.stdin.take().expect("a pipe");
    let pid = child.id().expect("it runs") as i32;
    let mut beat = tokio::time::interval(PART / ROOMS as u32);
    let (begin, before) = (Instant::now(), usage::cpu(&[pid]));
    loop {
        beat.tick().await;
        if begin.elapsed() >= WATCHED {
            break;
        }
        pipe.write_all(&synth::frames(9, 7)).await.expect("it reads");
    }
    (usage::cpu(&[pid]) - before).as_secs_f64() / begin.elapsed().as_secs_f64() / ROOMS as f64
}

/// Runs as the baseline process if [`floor_share`] started this process.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked = std::env::args().nth(1).as_deref() == Some(FLOOR);
    asked.then(|| actix::System::new().block_on(read_and_package()))
}

async fn read_and_package() -> ExitCode {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
    let mut pipe = pipe::Receiver::from_owned_fd(stdin).expect("a pipe");
    let room = RoomId::new("bench").expect("a room id");
    let keys = ContentKeys::new(b"server secret", &room, &Nonce("nonce".into()));
    let config = PackagerConfig { part: PART, segment: Duration::from_secs(2), window: 6, key_rotation: 30 };
    let junction = Junction::First(Timeline::default());
    let (mut packager, _) =
        Packager::new(config, keys, SequenceStart::default(), junction, Moment::default());
    packager.begin_incarnation(Moment::default());
    let mut buffer = vec![0; 4096];
    let mut at = Moment::default();
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        // The frames of many rooms come through one pipe, faster than real time. So the clock of this process
        // advances by one part per read.
        at.now += PART;
        at.wall.0 += PART.as_millis() as u64;
        packager.push(&buffer[..read], at).expect("media");
    }
    ExitCode::SUCCESS
}
