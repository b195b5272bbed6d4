//! Opens the input of a source: checks the file or the address, and fetches HTTP URLs.
//!
//! HTTP is fetched here and piped to FFmpeg, because FFmpeg would follow a redirect to any address. For RTMP
//! and SRT, FFmpeg connects to the address that was checked here. After the check, the name is not resolved
//! again, so it cannot lead to another address.
//!
//! Owns: these checks and the requests. Does not start FFmpeg.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use awc::http::StatusCode;
use awc::http::header::{ACCEPT, LOCATION, USER_AGENT};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use rustls::ClientConfig;

use crate::auth::{SealedUrls, Secrets};
use crate::config::SourcesConfig;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::sources::{Input, Scheme, Source, SourceFile, SourcePolicy, SourceUrl};
use crate::ffmpeg::SourceInput;

/// Time limit for resolving a name, for a connection, and for the response header.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 3;

/// Body of an HTTP answer. Errors are texts for operators.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, String>>>>;

/// Permitted inputs, the key of their URLs, and the TLS settings of HTTPS requests.
#[derive(Clone)]
pub struct SourceParts {
    policy: Arc<SourcePolicy>,
    urls: SealedUrls,
    folder: Option<Arc<Path>>,
    /// `None` if HTTPS is not permitted.
    tls: Option<Arc<ClientConfig>>,
}

impl SourceParts {
    /// Reads the certificate authorities if `https` is permitted.
    ///
    /// # Errors
    /// The certificate authorities cannot be read; the text names the remedy.
    pub fn new(config: &SourcesConfig, secrets: &Secrets) -> Result<Self, String> {
        let tls = config.schemes.contains(&Scheme::Https).then(crate::tls::client_config).transpose()?;
        let folder = config.folder.as_deref().map(Arc::from);
        let urls = SealedUrls::of_sources(secrets);
        Ok(Self { policy: Arc::new(config.policy()), urls, folder, tls })
    }

    /// Opens the input. For HTTP, the body is returned; the caller passes it to FFmpeg.
    ///
    /// # Errors
    /// The input is not permitted or cannot be opened; the text says why.
    pub async fn open(
        &self,
        (room, id): (&RoomId, &UserId),
        source: &Source,
    ) -> Result<(SourceInput, Option<Body>), String> {
        let url = match &source.input {
            Input::File(file) => {
                self.check(&source.input)?;
                return Ok((self.file(file, source.repeats).await?, None));
            }
            Input::Url(url) => url.clone(),
            Input::Sealed(url) => {
                let opened = self.urls.open(room, id, &url.sealed);
                let changed =
                    |_| "the URL was stored under another hls.secret; remove the source and add it again";
                SourceUrl::new(&opened.map_err(changed)?).map_err(|error| error.to_string())?
            }
        };
        self.check(&Input::Url(url.clone()))?;
        match url.scheme() {
            Scheme::Http | Scheme::Https => Ok((SourceInput::Pipe, Some(self.fetch(url).await?))),
            Scheme::Rtmp => Ok((rtmp(&url, self.resolve(&url).await?), None)),
            Scheme::Srt => Ok((srt(&url, self.resolve(&url).await?), None)),
        }
    }

    /// Checks the input against this node's configuration, which may differ from that of the node that
    /// accepted the request.
    fn check(&self, input: &Input) -> Result<(), String> {
        self.policy.check(input).map_err(|denied| denied.to_string())
    }

    async fn file(&self, file: &SourceFile, repeats: bool) -> Result<SourceInput, String> {
        let folder = self.folder.as_deref().ok_or("sources.folder is not set on this node")?;
        let root = tokio::fs::canonicalize(folder).await;
        let root = root.map_err(|error| format!("sources.folder cannot be read: {error}"))?;
        let path = tokio::fs::canonicalize(root.join(file.as_str())).await;
        let path = path.map_err(|error| format!("the file cannot be read: {error}"))?;
        // A symbolic link may lead out of the folder.
        if !path.starts_with(&root) {
            return Err("the file is outside sources.folder".into());
        }
        let about = tokio::fs::metadata(&path).await;
        if !about.is_ok_and(|about| about.is_file()) {
            return Err("the path does not lead to a file".into());
        }
        Ok(SourceInput::File { path, repeats })
    }

    /// Returns a permitted address of the URL's host.
    async fn resolve(&self, url: &SourceUrl) -> Result<SocketAddr, String> {
        let (host, port) = url.authority();
        let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host.as_str(), port))).await;
        let found = found.map_err(|_| format!("the name {host} was not resolved in time"))?;
        let mut found = found.map_err(|error| format!("the name {host} cannot be resolved: {error}"))?;
        found
            .find(|address| self.policy.permits(address.ip()))
            .ok_or_else(|| format!("{host} has no public address, and none in sources.networks"))
    }

    async fn fetch(&self, mut url: SourceUrl) -> Result<Body, String> {
        for _ in 0..=MAX_REDIRECTS {
            let address = self.resolve(&url).await?;
            let connector = awc::Connector::new().timeout(TIMEOUT);
            let connector = match &self.tls {
                Some(tls) => connector.rustls_0_23(tls.clone()),
                None => connector,
            };
            let client =
                awc::Client::builder().connector(connector).timeout(TIMEOUT).disable_redirects().finish();
            let request = client
                .get(url.url().as_str())
                .address(address)
                .no_decompress()
                .force_close()
                .insert_header((ACCEPT, "audio/*,*/*;q=0.1"))
                .insert_header((USER_AGENT, concat!("stentor/", env!("CARGO_PKG_VERSION"))));
            let answer =
                request.send().await.map_err(|error| format!("the server did not answer: {error}"))?;
            let status = answer.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                url = redirected(&url, to)?;
                self.check(&Input::Url(url.clone()))?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(format!("the server answered with {}", status.as_u16()));
            }
            return Ok(Box::pin(answer.map_err(|error| format!("the connection was lost: {error}"))));
        }
        Err(format!("the server redirects more than {MAX_REDIRECTS} times"))
    }
}

/// Returns the URL that an answer redirects to.
///
/// # Errors
/// There is no URL, or it is not valid for a source, or it is neither HTTP nor HTTPS.
fn redirected(from: &SourceUrl, to: Option<&str>) -> Result<SourceUrl, String> {
    let to = to.and_then(|to| from.url().join(to).ok()).and_then(|to| SourceUrl::new(to.as_str()).ok());
    let to = to.filter(|to| matches!(to.scheme(), Scheme::Http | Scheme::Https));
    to.ok_or_else(|| "the server redirects to an address that is not an HTTP URL".into())
}

fn rtmp(url: &SourceUrl, address: SocketAddr) -> SourceInput {
    let (host, port) = url.authority();
    let (path, query) = (url.url().path(), url.url().query().map(|query| format!("?{query}")));
    // A server chooses the virtual host by `tc_url`, so `tc_url` contains the host name instead of the
    // address.
    let application = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    SourceInput::Rtmp {
        url: format!("rtmp://{address}{path}{}", query.unwrap_or_default()),
        tc_url: format!("rtmp://{host}:{port}/{application}"),
    }
}

fn srt(url: &SourceUrl, address: SocketAddr) -> SourceInput {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    // `SourceUrl` has checked the parameters: none can make FFmpeg listen or read files.
    query.extend_pairs(url.url().query_pairs()).append_pair("mode", "caller");
    SourceInput::Srt { url: format!("srt://{address}?{}", query.finish()) }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
