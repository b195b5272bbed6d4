//! Connection of this node to an Icecast target.
//!
//! FFmpeg would follow a redirect to any address. Therefore the node connects to the address that was
//! checked, sends the request itself, and passes on the audio that FFmpeg writes. The requests and the
//! meaning of the answers are in [`domain::output`](crate::domain::output).
//!
//! Owns: the socket. Does not start FFmpeg, and follows no redirect.

use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::sending::{NO_DATA, STALLED_AFTER};
use crate::domain::output::{Target, icecast_answer, known_failure, second_icecast_answer};

/// Time limit for the connection, the handshake and the answer together.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("stentor/", env!("CARGO_PKG_VERSION"));
const CLOSED: &str = "the target has closed the connection";
const NO_AUDIO: &str = "FFmpeg writes no audio";
/// Size of the buffer between FFmpeg and the socket, in bytes.
const BUFFER: usize = 16 * 1024;

/// Plain or encrypted connection.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connection to a target that has accepted the request.
pub struct IcecastConnection {
    stream: Box<dyn Stream>,
    /// Data that arrived together with the first answer: the second answer, or its beginning.
    received: Vec<u8>,
}

impl IcecastConnection {
    /// Connects to `ip`, an allowed address of the target, and sends the request. Returns `None` if the
    /// target is not an Icecast server.
    ///
    /// # Errors
    /// The target cannot be reached, its certificate is not valid, or it refuses the request. The reason
    /// contains no credentials.
    pub async fn open(target: &Target, ip: IpAddr) -> Result<Option<Self>, String> {
        let Some(request) = target.icecast_request(AGENT) else { return Ok(None) };
        let open = async {
            let mut stream = connect(target, ip).await?;
            let sent = async {
                stream.write_all(request.as_bytes()).await?;
                stream.flush().await
            };
            sent.await.map_err(|_| CLOSED)?;
            let mut received = Vec::new();
            loop {
                match icecast_answer(&received) {
                    Some(answer) => {
                        let received = second_icecast_answer(&received).to_vec();
                        return answer.map(|()| Some(Self { stream, received }));
                    }
                    None if stream.read_buf(&mut received).await.unwrap_or(0) == 0 => {
                        return Err(CLOSED.to_owned());
                    }
                    None => {}
                }
            }
        };
        timeout(OPEN_WITHIN, open).await.unwrap_or_else(|_| Err("the target does not answer".into()))
    }

    /// Sends the output of FFmpeg until the target fails, and returns the reason. Calls `live` once, after
    /// the first data was sent. If FFmpeg ends first, returns only when the target closes the connection;
    /// the caller detects the end of FFmpeg.
    pub async fn push(self, audio: ChildStdout, live: &impl Fn()) -> String {
        let (read, write) = tokio::io::split(self.stream);
        tokio::select! {
            why = send(audio, write, live, STALLED_AFTER) => why,
            why = refused(read, self.received) => why,
        }
    }
}

/// Connects to the target, with TLS if its URL says so.
async fn connect(target: &Target, ip: IpAddr) -> Result<Box<dyn Stream>, String> {
    let reason = |error: std::io::Error| {
        let text = error.to_string();
        known_failure([text.as_str()]).map_or_else(|| format!("the connection failed: {text}"), str::to_owned)
    };
    let (host, port) = target.authority();
    let stream = TcpStream::connect((ip, port)).await.map_err(reason)?;
    // Without this limit, the kernel keeps unacknowledged data for 15 minutes. Ignore the error: the audio is
    // sent without the limit, too.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_AFTER));
    if !target.is_encrypted() {
        return Ok(Box::new(stream));
    }
    let config = tokio::task::spawn_blocking(crate::tls::client_config).await;
    let config = config.map_err(|error| format!("cannot read the certificate authorities: {error}"))??;
    let name = ServerName::try_from(host).map_err(|_| "the host is not valid in a certificate")?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(reason)?;
    Ok(Box::new(stream))
}

/// Sends audio until it fails, and returns the reason. `patience`: longest wait for FFmpeg or the target.
async fn send(
    mut audio: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    live: &impl Fn(),
    patience: Duration,
) -> String {
    let (mut buffer, mut is_first) = (vec![0; BUFFER], true);
    loop {
        // FFmpeg always has audio to send: gaps in the stream are filled with silence.
        let Ok(read) = timeout(patience, audio.read(&mut buffer)).await else {
            return NO_AUDIO.to_owned();
        };
        let size = read.unwrap_or(0);
        if size == 0 {
            // End the connection properly. Ignore the error: the target may have closed it.
            let _ = write.shutdown().await;
            std::future::pending::<()>().await;
        }
        let sent = async {
            write.write_all(&buffer[..size]).await?;
            write.flush().await
        };
        match timeout(patience, sent).await {
            Ok(Ok(())) if std::mem::take(&mut is_first) => live(),
            Ok(Ok(())) => {}
            Ok(Err(_)) => return CLOSED.to_owned(),
            Err(_) => return NO_DATA.to_owned(),
        }
    }
}

/// Returns when the target closes the connection, or refuses the audio after it has accepted the request.
/// `received`: data that was read before.
async fn refused(mut read: impl AsyncRead + Unpin, mut received: Vec<u8>) -> String {
    loop {
        if let Some(Err(why)) = icecast_answer(&received) {
            return why;
        }
        // Only the first answer matters. The rest is read to notice the end of the connection.
        received.truncate(BUFFER);
        if read.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return CLOSED.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hung_encoders_are_noticed() {
        let (_encoder, audio) = tokio::io::duplex(64);
        let (target, _far) = tokio::io::duplex(64);
        let why = send(audio, target, &|| {}, Duration::from_millis(50)).await;
        assert_eq!(why, NO_AUDIO);
    }

    #[tokio::test]
    async fn answers_received_before_count() {
        let (read, _target) = tokio::io::duplex(64);
        let why = refused(read, b"HTTP/1.0 403 Mountpoint in use\r\n\r\n".to_vec()).await;
        assert!(why.contains("in use"), "{why}");
    }
}
