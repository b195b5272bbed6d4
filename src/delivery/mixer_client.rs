//! Requests to mixer nodes, over the private network.
//!
//! Each request contains the relay token of its room, made from the secret shared by all nodes
//! ([`Secrets::relay_token`]). Owns: the HTTP client and the interpretation of responses. Does not decide
//! what to request, or when to retry.

use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use awc::http::StatusCode;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::auth::Secrets;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::recording::RecordingId;
use crate::domain::relay_protocol::{
    EARLIER_WINDOW, ENDED, FORWARDED, LAST, LISTENERS, LIVE, NEXT, NODE, REWIND, REWIND_FILE, REWIND_TAKEN,
    TOKEN, WINDOW,
};
use crate::domain::relay_room::{self, Outcome, Position, Upstream};
use crate::domain::rewind::RewindUpdate;
use crate::packager::{ContentKeys, MediaFile, NonceHint, relayed};
use crate::telemetry::Metrics;

/// Time limit for fetching a window snapshot, for which listeners wait.
const WINDOW_WITHIN: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(2);
/// Time for transmission, in addition to the time a mixer may wait before it responds.
const SPARE: Duration = Duration::from_secs(5);
/// Largest accepted body. A segment of ten seconds at 320 kbit/s is 400 kB.
const MAX_BODY: usize = 8 << 20;

/// HTTP client for mixer nodes; cheap to clone. Requests run on the arbiter that the client is bound to.
#[derive(Clone)]
pub struct MixerClient {
    secrets: Arc<Secrets>,
    arbiter: ArbiterHandle,
    metrics: Metrics,
    /// Time limit of one request.
    timeout: Duration,
}

/// Source of media files.
pub trait MixerFiles: Clone + Send + Sync + 'static {
    fn file(
        self,
        from: Upstream,
        room: RoomId,
        file: MediaFile,
    ) -> impl Future<Output = Result<Bytes, FetchError>> + Send;

    /// Returns the changes of the rewind window after segment `last`.
    fn rewind(
        self,
        from: Upstream,
        room: RoomId,
        last: Option<u64>,
    ) -> impl Future<Output = Result<RewindUpdate, FetchError>> + Send;
}

/// Reason why a mixer node did not provide a file.
#[derive(Debug)]
pub enum FetchError {
    NotYet,
    Gone,
    Failed(String),
}

type Header = (&'static str, String);

struct MixerResponse {
    status: StatusCode,
    next: Option<Position>,
    ended: bool,
    body: Bytes,
}

thread_local! {
    /// HTTP client of this thread. It may open any number of connections, because blocking reloads of many
    /// rooms wait in parallel.
    static CLIENT: awc::Client = awc::Client::builder()
        .connector(awc::Connector::new().limit(0).timeout(CONNECT))
        .disable_redirects()
        .finish();
}

impl MixerClient {
    /// Creates the client. `patience` is the longest time a mixer waits before it responds.
    pub fn new(secrets: Arc<Secrets>, patience: Duration, arbiter: ArbiterHandle, metrics: Metrics) -> Self {
        Self { secrets, arbiter, metrics, timeout: patience + SPARE }
    }

    /// Requests the playlist, and reports this node's number of `listeners`.
    pub fn playlist(
        self,
        room: RoomId,
        what: relay_room::Fetch,
        (me, listeners): (&ModuleId, usize),
    ) -> impl Future<Output = (Outcome, Option<Bytes>)> + use<> {
        let live = ContentKeys::new(&[], &room, &what.from.nonce).hint();
        let headers = [(LIVE, live.to_string()), (LISTENERS, format!("{me} {listeners}"))];
        self.ask_for_playlist(room, what, live, headers)
    }

    async fn ask_for_playlist(
        self,
        room: RoomId,
        what: relay_room::Fetch,
        live: NonceHint,
        headers: [Header; 2],
    ) -> (Outcome, Option<Bytes>) {
        let query = what.at.map_or(String::new(), |(msn, part)| format!("?_HLS_msn={msn}&_HLS_part={part}"));
        let url = format!("{}/relay/rooms/{room}/index.m3u8{query}", what.from.url);
        let outcome = match self.get(&room, url, &headers).await {
            Err(why) => (Outcome::Failed(why), None),
            Ok(got) => match (got.status, got.next) {
                (StatusCode::OK, Some(next)) => {
                    match relayed::refusal(&got.body, live, (!got.ended).then_some(next)) {
                        None => (Outcome::Playlist { next, ended: got.ended }, Some(got.body)),
                        Some(why) => {
                            let mixer = &what.from.mixer;
                            (
                                Outcome::Failed(format!("the playlist of mixer {mixer} was refused: {why}")),
                                None,
                            )
                        }
                    }
                }
                (StatusCode::SERVICE_UNAVAILABLE, _) => (Outcome::NotYet, None),
                (status, _) => {
                    let why = format!("mixer {} responded with {status}{}", what.from.mixer, remedy(status));
                    (Outcome::Failed(why), None)
                }
            },
        };
        let told = match &outcome.0 {
            Outcome::Playlist { .. } => "ok",
            Outcome::NotYet => "not_yet",
            Outcome::Failed(_) => "failed",
        };
        self.metrics.relay_request("playlist", told);
        outcome
    }

    /// Returns the window snapshot of the mixer at this URL; `None` if the request fails or takes too long.
    pub async fn window_snapshot(self: MixerClient, url: String, room: RoomId) -> Option<Bytes> {
        let fetch = async {
            for name in [WINDOW, EARLIER_WINDOW] {
                let got = self.get(&room, format!("{url}/relay/rooms/{room}/{name}"), &[]).await.ok()?;
                if got.status != StatusCode::NOT_FOUND {
                    return Some(got);
                }
            }
            None
        };
        let got = tokio::time::timeout(WINDOW_WITHIN, fetch).await.ok().flatten();
        let got = got.filter(|got| got.status == StatusCode::OK);
        self.metrics.relay_request("window", if got.is_some() { "ok" } else { "failed" });
        got.map(|got| got.body)
    }

    /// Returns the journal, a segment, or a part of a track of a recording that the node at this URL has.
    /// `None`: the node does not answer, or does not have the data.
    pub async fn recorded(
        &self,
        url: &str,
        room: &RoomId,
        recording: &RecordingId,
        name: &str,
    ) -> Option<Bytes> {
        let url = format!("{url}/relay/rooms/{room}/recordings/{recording}/{name}");
        let got = self.get(room, url, &[]).await.ok().filter(|got| got.status == StatusCode::OK);
        self.metrics.relay_request("recording", if got.is_some() { "ok" } else { "failed" });
        got.map(|got| got.body)
    }

    /// Returns a media file of the rewind window of the mixer that handed the room over.
    pub async fn rewind_file(self, from: Upstream, room: RoomId, number: u32) -> Result<Bytes, FetchError> {
        let url = format!("{}/relay/rooms/{room}/{REWIND_FILE}{number}", from.url);
        let live = ContentKeys::new(&[], &room, &from.nonce).hint();
        let answer = body(self.get(&room, url, &[(LIVE, live.to_string())]).await);
        self.metrics.relay_request("rewind", outcome(&answer));
        answer
    }

    /// Returns a segment of the rewind window of the mixer that handed the room over.
    pub async fn rewind_segment(
        self,
        from: Upstream,
        room: RoomId,
        file: MediaFile,
    ) -> Result<Bytes, FetchError> {
        let url = format!("{}/relay/rooms/{room}/{file}", from.url);
        let answer = body(self.get(&room, url, &[(FORWARDED, "1".to_owned())]).await);
        self.metrics.relay_request("rewind", outcome(&answer));
        answer
    }

    /// Tells the mixer that handed the room over that this node needs nothing more of its rewind window. If
    /// the request fails, that mixer keeps its window for the longest time.
    pub async fn rewind_taken(self, from: Upstream, room: RoomId) {
        let url = format!("{}/relay/rooms/{room}/{REWIND_TAKEN}", from.url);
        let live = ContentKeys::new(&[], &room, &from.nonce).hint();
        let answer = body(self.get(&room, url, &[(LIVE, live.to_string())]).await);
        self.metrics.relay_request("rewind", outcome(&answer));
    }

    /// Returns the answer of the node at this URL to a question about its rooms.
    ///
    /// # Errors
    /// The node does not answer, or refuses; the text says why.
    pub async fn node(&self, base: &str, path: &str) -> Result<Bytes, String> {
        let url = format!("{base}{NODE}{path}");
        let got = self.send(url, vec![(TOKEN, self.secrets.node_token())]).await;
        let answer = got.and_then(|got| match got.status {
            StatusCode::OK => Ok(got.body),
            status => Err(format!("it responded with {status}{}", remedy(status))),
        });
        self.metrics.relay_request("node", if answer.is_ok() { "ok" } else { "failed" });
        answer
    }

    async fn get(&self, room: &RoomId, url: String, headers: &[Header]) -> Result<MixerResponse, String> {
        self.send(url, [&[(TOKEN, self.secrets.relay_token(room))], headers].concat()).await
    }

    async fn send(&self, url: String, headers: Vec<Header>) -> Result<MixerResponse, String> {
        let ((mut answer, answered), timeout) = (oneshot::channel(), self.timeout);
        self.arbiter.spawn_fn(move || {
            actix::spawn(async move {
                tokio::select! {
                    got = twice(&url, &headers, timeout) => drop(answer.send(got)),
                    // The caller no longer waits for the result.
                    () = answer.closed() => {}
                }
            });
        });
        answered.await.unwrap_or_else(|_| Err("the node is stopping".into()))
    }
}

impl MixerFiles for MixerClient {
    async fn file(self, from: Upstream, room: RoomId, file: MediaFile) -> Result<Bytes, FetchError> {
        let url = format!("{}/relay/rooms/{room}/{file}", from.url);
        let answer = body(self.get(&room, url, &[]).await);
        self.metrics.relay_request("file", outcome(&answer));
        answer
    }

    async fn rewind(
        self,
        from: Upstream,
        room: RoomId,
        last: Option<u64>,
    ) -> Result<RewindUpdate, FetchError> {
        let query = last.map_or(String::new(), |last| format!("?{LAST}={last}"));
        let url = format!("{}/relay/rooms/{room}/{REWIND}{query}", from.url);
        let live = ContentKeys::new(&[], &room, &from.nonce).hint();
        let answer = match self.get(&room, url, &[(LIVE, live.to_string())]).await {
            Ok(MixerResponse { status: StatusCode::OK, body, .. }) => {
                serde_json::from_slice(&body).map_err(|error| FetchError::Failed(error.to_string()))
            }
            Ok(MixerResponse { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => Err(FetchError::NotYet),
            Ok(got) => Err(FetchError::Failed(format!(
                "the mixer responded with {}{}",
                got.status,
                remedy(got.status)
            ))),
            Err(why) => Err(FetchError::Failed(why)),
        };
        self.metrics.relay_request("rewind", outcome(&answer));
        answer
    }
}

/// Interprets the response to a request for a file.
fn body(response: Result<MixerResponse, String>) -> Result<Bytes, FetchError> {
    match response.map_err(FetchError::Failed)? {
        MixerResponse { status: StatusCode::OK, body, .. } => Ok(body),
        MixerResponse { status: StatusCode::SERVICE_UNAVAILABLE, .. } => Err(FetchError::NotYet),
        MixerResponse { status: StatusCode::GONE | StatusCode::NOT_FOUND, .. } => Err(FetchError::Gone),
        got => {
            Err(FetchError::Failed(format!("the mixer responded with {}{}", got.status, remedy(got.status))))
        }
    }
}

/// Returns the remedy for a refusal of a mixer; empty if there is none.
fn remedy(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            ": it refuses this node's token; use the same hls.secret on all nodes, and correct their clocks"
        }
        _ => "",
    }
}

/// Returns the label of an answer in the metrics.
fn outcome<T>(answer: &Result<T, FetchError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(FetchError::NotYet) => "not_yet",
        Err(FetchError::Gone) => "gone",
        Err(FetchError::Failed(_)) => "failed",
    }
}

/// Sends the request, and sends it again after a failure: the mixer may just have closed the idle connection
/// on which the request was sent.
async fn twice(url: &str, headers: &[Header], timeout: Duration) -> Result<MixerResponse, String> {
    match request(url, headers, timeout).await {
        Ok(got) => Ok(got),
        Err(_) => request(url, headers, timeout).await,
    }
}

async fn request(url: &str, headers: &[Header], timeout: Duration) -> Result<MixerResponse, String> {
    let client = CLIENT.with(awc::Client::clone);
    let asking = headers.iter().fold(client.get(url).timeout(timeout), |asking, (name, value)| {
        asking.insert_header((*name, value.as_str()))
    });
    let sent = asking.send().await;
    let mut response = sent.map_err(|error| error.to_string())?;
    let body = response.body().limit(MAX_BODY).await.map_err(|error| error.to_string())?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    Ok(MixerResponse {
        status: response.status(),
        next: header(NEXT).and_then(position),
        ended: header(ENDED).is_some(),
        body,
    })
}

fn position(text: &str) -> Option<Position> {
    let (msn, part) = text.split_once('.')?;
    Some((msn.parse().ok()?, part.parse().ok()?))
}
