//! HTTP client of the room API and of the operations endpoints, for the commands that control a running node.
//!
//! Owns: the addresses, the API key and the wording of failures. Does not print an answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use awc::http::{Method, StatusCode};
use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;
use stentor::http::error::Code;
use url::Url;

/// Time limit of a request. Longer than the 15 s that a node waits for a webhook endpoint.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of an answer, in bytes. `/actors` of a node with a thousand rooms takes a few MB.
const MAX_BODY: usize = 64 << 20;
const KEY_VARIABLE: &str = "STENTOR_API_KEY";

/// The node to which a command sends requests, and the form of its output.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Room API of a node.
    #[arg(
        long,
        global = true,
        env = "STENTOR_API",
        default_value = "http://127.0.0.1:3000",
        value_name = "URL"
    )]
    #[arg(value_parser = base_url)]
    api: Url,
    /// Operations address of a node (`listen.ops`).
    #[arg(
        long,
        global = true,
        env = "STENTOR_OPS",
        default_value = "http://127.0.0.1:9464",
        value_name = "URL"
    )]
    #[arg(value_parser = base_url)]
    ops: Url,
    /// File with the API key, for example that of auth.api_keys_file. The key is the first line that is
    /// neither empty nor a comment. Without this option, the key is read from the environment variable
    /// STENTOR_API_KEY.
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Client of one node.
pub struct Client {
    http: awc::Client,
    api: Url,
    ops: Url,
    key: Option<String>,
}

impl Client {
    /// Creates a client for the addresses and the key in the arguments.
    ///
    /// # Errors
    /// The key file cannot be read or is empty.
    pub fn new(args: &NodeArgs) -> anyhow::Result<Self> {
        let key = match &args.key_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the API key in {}", path.display()))?;
                let first =
                    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
                Some(first.with_context(|| format!("{} holds no API key", path.display()))?.to_owned())
            }
            None => std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        let secure = [&args.api, &args.ops].into_iter().any(|url| url.scheme() == "https");
        let http = http_client(secure, TIMEOUT)?;
        Ok(Self { http, api: args.api.clone(), ops: args.ops.clone(), key })
    }

    /// Returns the answer to `GET /api/{path}`.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn get(&self, path: &[&str]) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a request to the room API and returns the answer. The segments of `path` are percent-encoded.
    ///
    /// # Errors
    /// The node is not reachable, or refuses the request; the text names the remedy.
    pub async fn call(&self, method: Method, path: &[&str], body: Option<Value>) -> anyhow::Result<Value> {
        let url = joined(&self.api, &[&["api"], path].concat());
        self.request(method, url, body, "--api or STENTOR_API").await
    }

    /// Returns the answer to `GET /api/{path}` with a query.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn query(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = joined(&self.api, &[&["api"], path].concat());
        url.query_pairs_mut().extend_pairs(query);
        self.request(Method::GET, url, None, "--api or STENTOR_API").await
    }

    /// Returns all rooms, ordered by id.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn rooms(&self) -> anyhow::Result<Vec<Value>> {
        let (mut rooms, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", "1000")];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = self.query(&["rooms"], &query).await?;
            if let Some(page) = page["rooms"].as_array_mut() {
                rooms.append(page);
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(rooms),
            }
        }
    }

    /// Returns the tree of `/actors` of the node at `--ops`.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn actors(&self) -> anyhow::Result<Value> {
        self.request(Method::GET, joined(&self.ops, &["actors"]), None, "--ops or STENTOR_OPS").await
    }

    /// Returns the actors of a room on every node, as the node at `--ops` collects them.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn room_actors(&self, room: &str) -> anyhow::Result<Value> {
        let url = joined(&self.ops, &["dashboard", "rooms", room, "actors"]);
        self.request(Method::GET, url, None, "--ops or STENTOR_OPS").await
    }

    /// Returns the answer to `GET /readyz` of the node at `--ops`, also if it is not ready.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn readiness(&self) -> anyhow::Result<Value> {
        let url = joined(&self.ops, &["readyz"]);
        let (_, readiness) = self.exchange(Method::GET, url, None, "--ops or STENTOR_OPS").await?;
        Ok(readiness)
    }

    /// Returns the audit log of the installation, from the node at `--ops`.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn audit(&self) -> anyhow::Result<Value> {
        self.request(Method::GET, joined(&self.ops, &["audit"]), None, "--ops or STENTOR_OPS").await
    }

    /// Makes the node at `--ops` read its configuration again. Returns the answer to `POST /reload`.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn reload(&self) -> anyhow::Result<Value> {
        let url = joined(&self.ops, &["reload"]);
        self.request(Method::POST, url, Some(serde_json::json!({})), "--ops or STENTOR_OPS").await
    }

    async fn request(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
        setting: &str,
    ) -> anyhow::Result<Value> {
        match self.exchange(method, url, body, setting).await? {
            (status, value) if status.is_success() => Ok(value),
            (status, value) => Err(RefusedRequest::of(status, &value, self.key.is_some(), setting).into()),
        }
    }

    /// Sends a request and returns the status and the JSON of the answer.
    async fn exchange(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
        setting: &str,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let place = url.origin().ascii_serialization();
        let unreachable = |e: &dyn std::fmt::Display| {
            anyhow::anyhow!("cannot reach {place}: {e}. Is the node running? {setting} sets another address")
        };
        let mut request = self.http.request(method.clone(), url.as_str());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let sent = match &body {
            Some(body) => request.send_json(body).await,
            None => request.send().await,
        };
        let mut answer = sent.map_err(|e| unreachable(&e))?;
        let bytes = answer.body().limit(MAX_BODY).await.map_err(|e| unreachable(&e))?;
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
            bail!("{place} answered with {} and without JSON: is {setting} right?", answer.status());
        };
        Ok((answer.status(), value))
    }
}

/// Returns an HTTP client, with TLS if `secure`. `timeout` limits each request, including the response body.
///
/// # Errors
/// The certificate authorities cannot be read.
pub fn http_client(secure: bool, timeout: Duration) -> anyhow::Result<awc::Client> {
    let connector = match secure {
        true => awc::Connector::new().rustls_0_23(stentor::tls::client_config().map_err(anyhow::Error::msg)?),
        false => awc::Connector::new(),
    };
    Ok(awc::Client::builder().connector(connector).timeout(timeout).disable_redirects().finish())
}

/// A request that the server refused.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code}){remedy}")]
struct RefusedRequest {
    /// Error code of the room API; `None` if another server answered, or a newer one with a new code.
    known: Option<Code>,
    code: String,
    message: String,
    remedy: String,
}

impl RefusedRequest {
    fn of(status: StatusCode, answer: &Value, with_key: bool, setting: &str) -> Self {
        let message = answer["error"].as_str().unwrap_or("the request was refused").to_owned();
        let known = Code::deserialize(&answer["code"]).ok();
        let code = answer["code"].as_str().unwrap_or_else(|| status.as_str()).to_owned();
        let remedy = match (status, with_key) {
            (StatusCode::UNAUTHORIZED, false) => format!("; set --key-file or {KEY_VARIABLE}"),
            (StatusCode::UNAUTHORIZED, true) => {
                "; stentor key list shows the valid keys, besides those of auth.api_keys".to_owned()
            }
            _ if known == Some(Code::InvalidConfig) => error_lines(&answer["details"]["errors"]),
            // Every room API has the paths that the commands use, so the address probably belongs to another
            // server.
            _ if known == Some(Code::NotFound) => format!("; is {setting} right?"),
            _ => String::new(),
        };
        Self { known, code, message, remedy }
    }
}

/// Returns the error code of the room API, if the error is a refusal of it.
pub fn refusal_code(error: &anyhow::Error) -> Option<Code> {
    error.downcast_ref::<RefusedRequest>().and_then(|refused| refused.known)
}

/// Returns the errors in a list, each on its own line.
fn error_lines(errors: &Value) -> String {
    let errors = errors.as_array().into_iter().flatten().filter_map(Value::as_str);
    errors.map(|error| format!("\n  {error}")).collect()
}

fn joined(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{e}; must be a URL such as http://127.0.0.1:3000"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("must be a URL such as http://127.0.0.1:3000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segments_are_encoded() {
        let base = base_url("http://127.0.0.1:3000/").unwrap();
        let url = joined(&base, &["api", "rooms", "tea", "users", "auth0|a/b"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:3000/api/rooms/tea/users/auth0|a%2Fb");
    }

    #[test]
    fn refusals_name_code_and_remedy() {
        let body = serde_json::json!({ "error": "a valid API key is needed", "code": "unauthorized" });
        let text = RefusedRequest::of(StatusCode::UNAUTHORIZED, &body, false, "--api").to_string();
        assert_eq!(text, "a valid API key is needed (unauthorized); set --key-file or STENTOR_API_KEY");
        let text = RefusedRequest::of(StatusCode::BAD_GATEWAY, &Value::Null, true, "--api").to_string();
        assert_eq!(text, "the request was refused (502)");
    }

    #[test]
    fn addresses_must_be_web_urls() {
        for wrong in ["127.0.0.1:3000", "ftp://host", "http://", ""] {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
    }
}
