//! HLS listener that follows the playlist exactly and records every violation of the HLS rules.
//!
//! It has two modes: by parts, with blocking reloads and preload hints like a low-latency player, or by whole
//! segments, ignoring every low-latency tag. Owns: the position in the stream. Does not repair an error. An
//! HTTP failure ends the call, and the next call continues at the same position. A listed file that the
//! server does not have (404, 410) is a violation, and listening continues after it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use url::Url;

use super::fetch::Fetch;
use super::hearing::{Gap, HeardAudio, Piece};
use super::m3u8::{NotAPlaylist, Playlist, Segment};
use super::rules::Rules;
use super::transport::{Audio, Demuxer};
use stentor_domain::ids::RoomId;

/// Media types allowed for a playlist (RFC 8216 section 4).
const PLAYLIST_TYPES: [&str; 2] = ["application/vnd.apple.mpegurl", "audio/mpegurl"];
/// Amplitude at which a tone counts as heard.
pub const AUDIBLE: f64 = 0.01;
/// Interval between attempts while a room is not on air yet.
const OPEN_RETRY: Duration = Duration::from_millis(50);
/// Duration of media heard at a time while waiting for a tone.
const SIP: Duration = Duration::from_millis(700);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Parts,
    Segments,
}

/// Stream to listen to, and the tools for it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Base of the listeners' URLs, with the path prefix if there is one, e.g. `http://127.0.0.1:8080`.
    pub base_url: String,
    pub room: RoomId,
    pub token: String,
    pub ffmpeg: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("{path} answered with {status} ({})", code.as_deref().unwrap_or("no code"))]
    Refused { path: String, status: u16, code: Option<String> },
    #[error(transparent)]
    NotAPlaylist(#[from] NotAPlaylist),
    #[error("cannot decrypt: {0}")]
    Decrypt(String),
    #[error("not a valid transport stream: {0}")]
    Demux(String),
    #[error("cannot decode: {0}")]
    Decode(String),
    #[error("the stream has ended")]
    Ended,
    #[error("{wanted} Hz was not heard in time; the strongest was {strongest:?} Hz")]
    NotHeard { wanted: f64, strongest: Option<f64> },
}

impl ProbeError {
    /// Returns true if a player would retry: no response, or 503.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Refused { status: 503, .. })
    }
}

pub struct Listener {
    mode: Mode,
    ffmpeg: PathBuf,
    files: Fetch,
    rules: Rules,
    playlist: Playlist,
    /// Time of the last playlist request.
    loaded: Instant,
    /// True if the last playlist request returned anything new (RFC 8216 section 6.3.4).
    fresh: bool,
    /// Segment and part to hear next.
    next: (u64, u32),
    /// Listed files not fetched yet.
    ready: VecDeque<ListedMedia>,
    /// Hinted part that arrived before it was listed.
    hinted: Option<(String, Bytes)>,
    demuxer: Demuxer,
    /// Last piece read, and its discontinuity number.
    demuxed: Option<((u64, Option<u32>), u64)>,
    gaps: Vec<Gap>,
    violations: Vec<String>,
}

struct ListedMedia {
    segment: Segment,
    part: Option<u32>,
    uri: String,
    duration: f64,
    /// Seconds since the Unix epoch at which the last sample was recorded.
    end: Option<f64>,
}

impl Listener {
    /// Loads the playlist and begins at the position at which a player would start.
    pub async fn open(target: &Target, mode: Mode) -> Result<Self, ProbeError> {
        let (base, room) = (target.base_url.trim_end_matches('/'), &target.room);
        let url = Url::parse(&format!("{base}/hls/rooms/{room}/index.m3u8"))
            .map_err(|e| ProbeError::Unreachable(format!("{}: {e}", target.base_url)))?;
        let files = Fetch::new(url, target.token.clone());
        let loaded = Instant::now();
        let mut violations = Vec::new();
        let mut rules = Rules::default();
        let playlist = load(&files, None, &mut rules, &mut violations).await?;
        let next = match mode {
            Mode::Parts => start_by_parts(&playlist),
            Mode::Segments => start_by_segments(&playlist),
        };
        Ok(Self {
            mode,
            ffmpeg: target.ffmpeg.clone(),
            files,
            rules,
            playlist,
            loaded,
            fresh: true,
            next,
            ready: VecDeque::new(),
            hinted: None,
            demuxer: Demuxer::default(),
            demuxed: None,
            gaps: Vec::new(),
            violations,
        })
    }

    /// Does the same as [`open`](Self::open), and retries refused and unanswered requests until `deadline`.
    pub async fn open_by(target: &Target, mode: Mode, deadline: Instant) -> Result<Self, ProbeError> {
        loop {
            match Self::open(target, mode).await {
                Err(e @ (ProbeError::Refused { .. } | ProbeError::Unreachable(_))) => {
                    if Instant::now() >= deadline {
                        return Err(e);
                    }
                }
                done => return done,
            }
            tokio::time::sleep(OPEN_RETRY).await;
        }
    }

    /// Returns the playlist as last loaded.
    pub fn playlist(&self) -> &Playlist {
        &self.playlist
    }

    /// Listens to at least this duration of media.
    pub async fn hear(&mut self, media: Duration) -> Result<HeardAudio, ProbeError> {
        self.hear_while(|heard| heard.seconds() < media.as_secs_f64()).await
    }

    /// Listens until `count` segments were heard completely.
    pub async fn hear_segments(&mut self, count: usize) -> Result<HeardAudio, ProbeError> {
        let by_parts = self.mode == Mode::Parts;
        // By parts, a segment is known to have ended when the next one begins.
        self.hear_while(|heard| heard.segments().len() < count + usize::from(by_parts)).await
    }

    /// Listens until the tone at `hz` is the strongest one. Returns the media heard last.
    pub async fn hear_until(&mut self, hz: f64, deadline: Instant) -> Result<HeardAudio, ProbeError> {
        loop {
            let heard = self.hear(SIP).await?;
            let strongest = heard.strongest_hz();
            // AAC, and a start in the middle of a frame, may shift the maximum slightly.
            if strongest.is_some_and(|s| (s - hz).abs() <= 3.0) && heard.level(hz) >= AUDIBLE {
                return Ok(heard);
            }
            if Instant::now() >= deadline {
                return Err(ProbeError::NotHeard { wanted: hz, strongest });
            }
        }
    }

    async fn hear_while(&mut self, more: impl Fn(&HeardAudio) -> bool) -> Result<HeardAudio, ProbeError> {
        let mut heard = HeardAudio::default();
        while more(&heard) {
            if let Some(piece) = self.next_piece().await? {
                heard.behind_live = piece.age.map(|age| age + self.hold_back()).or(heard.behind_live);
                heard.pieces.push(piece);
            }
        }
        heard.decode(&self.ffmpeg).await?;
        heard.gaps = self.gaps.clone();
        heard.violations = self.violations.clone();
        Ok(heard)
    }

    /// Returns the media lost since the listener was opened.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Returns the next piece, without decoding it. `None` if the server does not have a listed file: this is
    /// recorded as a violation, and listening continues after the file.
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, ProbeError> {
        loop {
            if let Some(listed) = self.ready.pop_front() {
                let piece = self.fetch(&listed).await;
                if piece.is_err() {
                    self.ready.push_front(listed);
                }
                return piece;
            }
            self.collect();
            if self.ready.is_empty() {
                self.reload().await?;
            }
        }
    }

    async fn reload(&mut self) -> Result<(), ProbeError> {
        if self.playlist.ended {
            return Err(ProbeError::Ended);
        }
        let low_latency = self.mode == Mode::Parts && self.playlist.can_block_reload;
        if !low_latency || !self.fresh {
            // Section 6.3.4: wait one target duration if the last reload brought a change, otherwise half of
            // one.
            let share = if self.fresh { 1.0 } else { 0.5 };
            let pause = Duration::from_secs_f64(self.playlist.target_duration * share);
            tokio::time::sleep_until((self.loaded + pause).into()).await;
        }
        self.loaded = Instant::now();
        let edge = low_latency.then(|| self.playlist.edge());
        let hint = self.playlist.hint.clone().filter(|_| low_latency);
        let (playlist, hinted) = futures::join!(
            load(&self.files, edge, &mut self.rules, &mut self.violations),
            preload(&self.files, hint)
        );
        let playlist = playlist?;
        self.fresh = playlist.edge() != self.playlist.edge();
        if let Some(awaited) = edge
            && playlist.edge() <= awaited
            && !playlist.ended
        {
            self.breach(format!("6.2.5.2: the reload for {awaited:?} came back without it"));
        }
        self.playlist = playlist;
        self.take_hinted(hinted);
        Ok(())
    }

    /// Keeps the hinted part if it is listed now. If it is listed but could not be fetched, records a
    /// violation (section 4.4.5.3).
    fn take_hinted(&mut self, hinted: Option<(String, Result<Bytes, ProbeError>)>) {
        let Some((uri, answer)) = hinted else { return };
        let listed = self.playlist.segments.iter().any(|s| s.parts.iter().any(|p| p.uri == uri));
        match answer {
            Ok(body) if listed => self.hinted = Some((uri, body)),
            Err(e) if listed => self.breach(format!("cannot fetch the hinted part: {e}")),
            // The hinted part is not listed: its segment was closed without this part.
            _ => {}
        }
    }

    /// Collects everything listed from the current position on.
    fn collect(&mut self) {
        let Some(first) = self.playlist.segments.first().map(|s| s.sequence) else { return };
        if self.next.0 < first {
            self.lost(Gap { from: self.next.0, to: first });
            self.next = (first, 0);
        }
        let segments = std::mem::take(&mut self.playlist.segments);
        for segment in &segments {
            match self.mode {
                _ if segment.sequence < self.next.0 => {}
                Mode::Parts if !segment.parts.is_empty() => self.collect_parts(segment),
                _ => self.collect_whole(segment),
            }
        }
        self.playlist.segments = segments;
    }

    fn collect_parts(&mut self, segment: &Segment) {
        let from = if segment.sequence == self.next.0 { self.next.1 as usize } else { 0 };
        let mut end = segment.date;
        for (i, part) in segment.parts.iter().enumerate() {
            end = end.map(|e| e + part.duration);
            if i >= from {
                self.ready.push_back(ListedMedia {
                    part: Some(i as u32),
                    uri: part.uri.clone(),
                    duration: part.duration,
                    end,
                    segment: segment.clone(),
                });
            }
        }
        self.next = match segment.uri {
            Some(_) => (segment.sequence + 1, 0),
            None => (segment.sequence, segment.parts.len() as u32),
        };
    }

    fn collect_whole(&mut self, segment: &Segment) {
        let Some(uri) = segment.uri.clone() else { return };
        if segment.sequence == self.next.0 && self.next.1 > 0 {
            // The parts of the segment are no longer listed, and some of them were heard, so the rest is
            // lost.
            self.lost(Gap { from: segment.sequence, to: segment.sequence + 1 });
        } else {
            let end = segment.date.map(|d| d + segment.duration);
            let duration = segment.duration;
            self.ready.push_back(ListedMedia { part: None, uri, duration, end, segment: segment.clone() });
        }
        self.next = (segment.sequence + 1, 0);
    }

    async fn fetch(&mut self, listed: &ListedMedia) -> Result<Option<Piece>, ProbeError> {
        let segment = &listed.segment;
        let sealed = match self.hinted.take() {
            Some((uri, body)) if uri == listed.uri => body,
            _ => match self.files.media(&listed.uri).await {
                Ok(body) => body,
                Err(ProbeError::Refused { status, .. }) if status == 404 || status == 410 => {
                    self.breach(format!("{} is listed, but the server answers with {status}", listed.uri));
                    self.demuxed = None;
                    return Ok(None);
                }
                Err(e) => return Err(e),
            },
        };
        let age = listed.end.map(|end| unix_seconds() - end);
        let media = self.files.open(sealed, segment.key.as_ref(), segment.sequence).await?;
        let audio = self.demux(listed, &media)?;
        Ok(Some(Piece {
            sequence: segment.sequence,
            part: listed.part,
            duration: listed.duration,
            discontinuity: segment.discontinuity,
            key_uri: segment.key.as_ref().map(|k| k.uri.clone()),
            audio,
            age,
        }))
    }

    /// Extracts the audio of a piece. The audio must continue that of the previous piece, unless a
    /// discontinuity or lost media separate the two pieces.
    fn demux(&mut self, listed: &ListedMedia, media: &[u8]) -> Result<Audio, ProbeError> {
        let segment = &listed.segment;
        let here = (segment.sequence, listed.part);
        let follows = self.demuxed.is_some_and(|((sequence, part), discontinuity)| {
            let next_part = part.map(|part| part + 1);
            let adjacent = here == (sequence, next_part)
                || (segment.sequence == sequence + 1 && listed.part.unwrap_or(0) == 0);
            adjacent && discontinuity == segment.discontinuity
        });
        if !follows {
            self.demuxer.reset();
        }
        self.demuxed = Some((here, segment.discontinuity));
        self.demuxer.read(media).or_else(|why| {
            self.breach(format!("{}: {why}", listed.uri));
            self.demuxer.reset();
            self.demuxer.read(media).map_err(ProbeError::Demux)
        })
    }

    /// Returns the distance in seconds that a player in this mode keeps to the newest media.
    fn hold_back(&self) -> f64 {
        match (self.mode, self.playlist.part_hold_back) {
            (Mode::Parts, Some(hold)) => hold,
            _ => 3.0 * self.playlist.target_duration,
        }
    }

    fn lost(&mut self, gap: Gap) {
        self.gaps.push(gap);
        self.demuxed = None;
    }

    fn breach(&mut self, words: String) {
        note(&mut self.violations, words);
    }
}

async fn load(
    files: &Fetch,
    edge: Option<(u64, u32)>,
    rules: &mut Rules,
    violations: &mut Vec<String>,
) -> Result<Playlist, ProbeError> {
    let file = files.playlist(edge).await?;
    if !PLAYLIST_TYPES.contains(&file.content_type.as_str()) {
        note(violations, format!("the playlist's Content-Type is {:?}", file.content_type));
    }
    let playlist = Playlist::parse(&String::from_utf8_lossy(&file.body))?;
    rules.check(&playlist).into_iter().for_each(|words| note(violations, words));
    Ok(playlist)
}

async fn preload(files: &Fetch, hint: Option<String>) -> Option<(String, Result<Bytes, ProbeError>)> {
    let uri = hint?;
    let answer = files.media(&uri).await;
    Some((uri, answer))
}

fn note(violations: &mut Vec<String>, words: String) {
    if !violations.contains(&words) {
        violations.push(words);
    }
}

/// Returns the position of the newest part that begins at least PART-HOLD-BACK before the end, or of the
/// oldest part if there is no such part.
fn start_by_parts(playlist: &Playlist) -> (u64, u32) {
    let hold = playlist.part_hold_back.unwrap_or(3.0 * playlist.target_duration);
    let (mut position, mut behind) = (playlist.edge(), 0.0);
    for segment in playlist.segments.iter().rev() {
        for (i, part) in segment.parts.iter().enumerate().rev() {
            position = (segment.sequence, i as u32);
            behind += part.duration;
            if behind >= hold {
                return position;
            }
        }
    }
    position
}

/// Returns the position of the newest segment that begins at least three target durations before the end
/// (section 6.3.3), or of the oldest segment if there is no such segment.
fn start_by_segments(playlist: &Playlist) -> (u64, u32) {
    let mut behind = 0.0;
    for segment in playlist.segments.iter().rev().filter(|s| s.uri.is_some()) {
        behind += segment.duration;
        if behind >= 3.0 * playlist.target_duration {
            return (segment.sequence, 0);
        }
    }
    (playlist.media_sequence, 0)
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
