//! One connection to the target of an output, from start to end. The output's actor runs it as an effect.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::lookup_host;
use tokio::process::ChildStdin;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::icecast::IcecastConnection;
use crate::actors::context::Context;
use crate::config::Config;
use crate::delivery::PlainReader;
use crate::domain::output::{Target, failure};
use crate::ffmpeg::{OutputFfmpeg, Progress};

/// Time limit for resolving the name of the target's host.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// Time without progress after which a connection counts as dead. A live target never waits that long: gaps
/// in the stream are filled with silence.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(15);
pub(super) const NO_DATA: &str = "the target accepts no data";
/// Time limit for FFmpeg to end the stream at the target properly.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Number of log lines kept to explain the exit.
const LAST_LINES: usize = 16;

/// Reason why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendingEnd {
    /// The connection was closed on request, or the broadcast has ended.
    Stopped,
    /// The connection failed. The text is the reason, without credentials.
    Failed(String),
}

/// Pushes a stream until it ends, the target or FFmpeg fails, or `left` is notified. Calls `live` once, when
/// the first data was sent to the target.
pub async fn send(
    context: Context,
    target: Target,
    reader: PlainReader,
    left: Arc<Notify>,
    live: impl Fn(),
) -> SendingEnd {
    let ip = match allowed_address(&context.config, &target).await {
        Ok(ip) => ip,
        Err(reason) => return SendingEnd::Failed(reason),
    };
    let icecast = tokio::select! {
        opened = IcecastConnection::open(&target, ip) => match opened {
            Ok(connection) => connection,
            Err(reason) => return SendingEnd::Failed(reason),
        },
        () = left.notified() => return SendingEnd::Stopped,
    };
    let spawned = OutputFfmpeg::spawn(&context.ffmpeg(), &target, ip);
    let OutputFfmpeg { stdin, stdout, log, mut process } = match spawned {
        Ok(ffmpeg) => ffmpeg,
        Err(error) => return SendingEnd::Failed(format!("FFmpeg could not be started: {error}")),
    };
    let fails = async {
        match icecast {
            Some(connection) => connection.push(stdout, &live).await,
            None => {
                stalled(Progress::new(stdout), &live).await;
                NO_DATA.to_owned()
            }
        }
    };
    let work = async {
        tokio::select! {
            () = copy(reader, stdin) => Some(SendingEnd::Stopped),
            () = left.notified() => Some(SendingEnd::Stopped),
            reason = fails => Some(SendingEnd::Failed(reason)),
            // The reason is in the log, which ends with the process.
            _ = process.wait() => None,
        }
    };
    let (ended, last) = {
        let mut log = Box::pin(log.last(LAST_LINES));
        tokio::select! {
            ended = work => match ended {
                Some(ended) => (Some(ended), Vec::new()),
                None => (None, log.await),
            },
            last = &mut log => (None, last),
        }
    };
    let status = process.stop(END_WITHIN).await;
    ended.unwrap_or_else(|| {
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        SendingEnd::Failed(failure(last.iter().map(String::as_str), &status))
    })
}

/// Resolves the host of the target and returns its first address.
///
/// # Errors
/// The host cannot be resolved, or one of its addresses is not allowed.
async fn allowed_address(config: &Config, target: &Target) -> Result<IpAddr, String> {
    let (host, port) = target.authority();
    let found = timeout(RESOLVE_WITHIN, lookup_host((host.as_str(), port))).await;
    let found = found.map_err(|_| format!("the name {host} was not resolved in time"))?;
    let found: Vec<_> = found.map_err(|_| format!("the host {host} is unknown"))?.map(|a| a.ip()).collect();
    if let Some(ip) = found.iter().find(|ip| !config.outputs.allows(**ip)) {
        return Err(format!("{ip} is not a public address; list its network in outputs.networks"));
    }
    found.first().copied().ok_or_else(|| format!("the host {host} has no address"))
}

/// Writes the stream to FFmpeg and returns after the end of the stream. Never returns if FFmpeg ends first.
/// [`stalled`] detects a target that accepts no data.
async fn copy(mut reader: PlainReader, mut stdin: ChildStdin) {
    while let Some(part) = reader.next().await {
        if stdin.write_all(&part).await.is_err() {
            // FFmpeg has closed its input. Wait: `send` handles the exit of FFmpeg and reports the reason.
            std::future::pending::<()>().await;
        }
    }
    // Closing stdin makes FFmpeg send the remaining audio and close the connection properly.
    drop(stdin);
    tokio::time::sleep(END_WITHIN / 2).await;
}

/// Returns when FFmpeg has sent nothing to the target for [`STALLED_AFTER`]. Calls `live` at the first data.
async fn stalled(mut progress: Progress, live: &impl Fn()) {
    let mut sent = 0;
    let mut deadline = Instant::now() + STALLED_AFTER;
    loop {
        match timeout_at(deadline, progress.next()).await {
            Err(_) => return,
            // The process has ended; `send` handles its exit.
            Ok(None) => std::future::pending().await,
            Ok(Some(size)) if size > sent => {
                if sent == 0 {
                    live();
                }
                sent = size;
                deadline = Instant::now() + STALLED_AFTER;
            }
            Ok(Some(_)) => {}
        }
    }
}
