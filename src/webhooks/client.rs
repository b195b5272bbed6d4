//! HTTP client of the endpoints of an application.
//!
//! Owns: the signed request, its time limit, and the meaning of each answer to an event. Does not repeat a
//! request, follow a redirect, or log an answer.

use std::sync::Arc;
use std::time::Duration;

use awc::http::StatusCode;
use awc::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use bytes::Bytes;
use rustls::ClientConfig;

use super::Endpoint;
use super::signature::signature;
use crate::config::Secret;
use crate::domain::webhooks::Outcome;
use crate::rooms::now;

/// Time limit of a request, from the connection to the head of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);

/// Answer of an endpoint.
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

/// Client for all endpoints. Requests run on the thread that sends them.
#[derive(Clone)]
pub struct Client {
    /// `None`: no endpoint has TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    /// Creates the client for these URLs. Reads the certificate authorities if one of the URLs uses TLS.
    ///
    /// # Errors
    /// The certificate authorities cannot be read; the text names the remedy.
    pub fn new<'a>(mut urls: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let has_tls = urls.any(|url| url.starts_with("https:"));
        Ok(Self { tls: has_tls.then(crate::tls::client_config).transpose()? })
    }

    /// Sends an event once. `id` and `body` are the same in every delivery of the event.
    pub async fn send(&self, endpoint: &Endpoint, id: &str, body: Bytes) -> Outcome {
        match self.post(&endpoint.url, &endpoint.secrets, id, body, TIMEOUT, 0).await {
            Ok(answer) => meaning(answer.status, answer.retry_after),
            Err(error) => Outcome::Unavailable { error, retry_after: None },
        }
    }

    /// Sends a signed request. `limit`: time until the whole answer has arrived; `read`: maximum size of the
    /// answer's body in bytes. If `read` is 0, the body is not read.
    ///
    /// # Errors
    /// The connection failed, there was no answer in time, or its body was too large; the text says which.
    pub async fn post(
        &self,
        url: &str,
        secrets: &[Secret],
        id: &str,
        body: Bytes,
        limit: Duration,
        read: usize,
    ) -> Result<Answer, String> {
        let connector = awc::Connector::new().timeout(CONNECT);
        let connector = match &self.tls {
            Some(tls) => connector.rustls_0_23(tls.clone()),
            None => connector,
        };
        let client = awc::Client::builder().connector(connector).timeout(limit).disable_redirects().finish();
        let timestamp = now().0 / 1000;
        let request = client
            .post(url)
            // Use a new connection each time: a request on a connection that the endpoint has just closed
            // would look like an outage.
            .force_close()
            .insert_header((CONTENT_TYPE, "application/json"))
            .insert_header((USER_AGENT, concat!("stentor/", env!("CARGO_PKG_VERSION"))))
            .insert_header(("webhook-id", id))
            .insert_header(("webhook-timestamp", timestamp.to_string()))
            .insert_header(("webhook-signature", signature(secrets, id, timestamp, &body)));
        let exchange = async {
            let mut answer = request.send_body(body).await.map_err(|error| error.to_string())?;
            let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            let body = match read {
                0 => Bytes::new(),
                most => answer.body().limit(most).await.map_err(|error| error.to_string())?,
            };
            Ok(Answer { status: answer.status(), retry_after, body })
        };
        // This limit covers the whole request, including the connection, whose own limit is `CONNECT`.
        let late = |_| Err(format!("no answer within {} ms", limit.as_millis()));
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(late)
    }
}

/// Returns the meaning of a status. A status that concerns the endpoint instead of the event stops the
/// delivery of all events.
fn meaning(status: StatusCode, retry_after: Option<Duration>) -> Outcome {
    let error = format!("the endpoint answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        // Redirects are not followed: the URL is wrong. 421, 425 and 426: RFC 9110 and RFC 8470.
        300..=399 | 401 | 403..=405 | 407 | 408 | 410 | 421 | 425 | 426 | 429 | 502..=504 => {
            Outcome::Unavailable { error, retry_after }
        }
        _ => Outcome::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_documented_meanings() {
        let is = |status: u16| meaning(StatusCode::from_u16(status).unwrap(), None);
        for delivered in [200, 202, 204] {
            assert_eq!(is(delivered), Outcome::Delivered);
        }
        for refused in [400, 402, 406, 409, 413, 415, 422, 500, 501, 505] {
            assert!(matches!(is(refused), Outcome::Refused(_)), "{refused}");
        }
        for unavailable in [301, 307, 401, 403, 404, 405, 408, 410, 429, 502, 503, 504] {
            assert!(matches!(is(unavailable), Outcome::Unavailable { .. }), "{unavailable}");
        }
    }
}
