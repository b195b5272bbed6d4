//! The exchange with a certificate authority: account, order, challenges, certificate.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use serde_json::Value;

use super::files::Files;
use super::shared::{Lock, SharedOrder};
use crate::config::AcmeConfig;
use crate::domain::acme::ANSWERS_KNOWN_AFTER;
use crate::tls;

/// Time limit of one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Maximum size of a response, in bytes. A chain has about 5,000.
const MAX_RESPONSE: usize = 1 << 20;
/// Time limit of each wait for the authority: for its check of the names, and for the certificate.
const CHECKED_WITHIN: Duration = Duration::from_secs(90);
const USER_AGENT: &str = concat!("stentor/", env!("CARGO_PKG_VERSION"));
/// Problem type of a request whose account the authority does not know (RFC 8555 section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Requests the directory of an authority.
///
/// # Errors
/// The authority cannot be reached, or it does not answer with a directory. The text is for the operator.
pub async fn reach(directory: &str) -> Result<(), String> {
    let failed =
        |why: &str| format!("{directory} {why}; check tls.acme.directory and this machine's Internet access");
    let (parts, answer) = get(directory).await.map_err(|why| failed(&why))?;
    if answer["newOrder"].is_string() {
        Ok(())
    } else {
        Err(failed(&format!("answered with {}, but not with an ACME directory", parts.status)))
    }
}

/// Requests the renewal information of a certificate (RFC 9773 section 4.1). Returns it, and the seconds in
/// the header `Retry-After`.
///
/// # Errors
/// The authority cannot be reached, or has no renewal information.
pub(super) async fn renewal_information(
    directory: &str,
    certificate: &str,
) -> Result<(Value, Option<u64>), String> {
    let (_, known) = get(directory).await?;
    let base = known["renewalInfo"].as_str().ok_or("the directory names no renewalInfo")?;
    let (parts, information) = get(&format!("{base}/{certificate}")).await?;
    if !parts.status.is_success() {
        return Err(format!("renewalInfo answered with {}", parts.status));
    }
    let again = parts.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    Ok((information, again.and_then(|value| value.parse().ok())))
}

/// Sends a GET request, and returns the answer with its JSON; null if it has none.
async fn get(url: &str) -> Result<(http::response::Parts, Value), String> {
    // RFC 8555 section 6.1 requires a user agent.
    let request = http::Request::get(url).header(http::header::USER_AGENT, USER_AGENT);
    let request = request.body(BodyWrapper::default()).map_err(|error| error.to_string())?;
    let response = Client::new()?.request(request).await;
    let mut response = response.map_err(|error| told("cannot be reached", &error))?;
    let body = response.body.into_bytes().await.map_err(|error| error.to_string())?;
    Ok((response.parts, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Orders a certificate. Returns a new private key and the chain, in PEM.
pub(super) async fn order(
    config: &AcmeConfig,
    files: &Files,
    account: &Account,
    shared: &SharedOrder,
    lock: &Lock,
) -> Result<String, String> {
    let names: Vec<_> = config.domains.iter().cloned().map(Identifier::Dns).collect();
    let wanted = NewOrder::new(&names);
    let ordered = match account.new_order(&wanted).await {
        Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
            tracing::warn!("the authority has deleted the account; a new one is created");
            create_account(config, files).await?.new_order(&wanted).await
        }
        ordered => ordered,
    };
    let mut order = ordered.map_err(|error| told("the authority refused the order", &error))?;
    answer(&mut order, shared, lock).await?;
    let patience = RetryPolicy::new().timeout(CHECKED_WITHIN);
    let ready = order.poll_ready(&patience).await;
    let is_ready = matches!(ready, Ok(OrderStatus::Ready | OrderStatus::Valid));
    if !is_ready {
        return Err(match failed_challenge(&mut order).await {
            Some(why) => why,
            None => ready.map_or_else(
                |error| told("the authority did not accept the names", &error),
                |status| format!("the authority did not accept the names: the order is {status:?}"),
            ),
        });
    }
    let key = order.finalize().await.map_err(|error| told("the authority refused the request", &error))?;
    let chain = order.poll_certificate(&patience).await;
    let chain = chain.map_err(|error| told("the authority issued no certificate", &error))?;
    Ok(format!("{key}{chain}"))
}

/// Loads the account, or creates it. Contacts the authority in both cases, but places no order.
pub(super) async fn account(config: &AcmeConfig, files: &Files) -> Result<Account, String> {
    let authority = config.authority_id();
    let Some(text) = files.account(&authority).await? else { return create_account(config, files).await };
    let damaged = |_| {
        let path = files.account_path(&authority);
        format!("{} is damaged; remove it to create a new account", path.display())
    };
    let credentials: AccountCredentials = serde_json::from_str(&text).map_err(damaged)?;
    let builder = Account::builder_with_http(Box::new(Client::new()?));
    builder.from_credentials(credentials).await.map_err(|error| unusable(config, &error))
}

/// Creates an account, and replaces the file of an earlier account.
async fn create_account(config: &AcmeConfig, files: &Files) -> Result<Account, String> {
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(Client::new()?));
    let created = builder.create(&new, config.directory.clone(), None).await;
    let (account, credentials) = created.map_err(|error| unusable(config, &error))?;
    let text = serde_json::to_string(&credentials).map_err(|error| error.to_string())?;
    files.write_account(&config.authority_id(), text).await?;
    Ok(account)
}

fn unusable(config: &AcmeConfig, error: &Error) -> String {
    told(&format!("{} (tls.acme.directory) cannot be used", config.directory), error)
}

/// Publishes the answers to the HTTP-01 challenges of the names that are not authorized yet. Waits until
/// every node can serve the answers, then asks the authority to check them.
async fn answer(order: &mut Order, shared: &SharedOrder, lock: &Lock) -> Result<(), String> {
    let mut is_any_open = false;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| told("the order cannot be read", &error))?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(format!("the authorization of a name is {other:?}")),
        }
        let Some(challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Err("the authority offers no HTTP-01 challenge for a name".into());
        };
        let (token, text) = (challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
        let published = shared.answer(lock, &token, text).await;
        published.map_err(|error| format!("the answer to a challenge was not stored: {error}"))?;
        is_any_open = true;
    }
    if is_any_open {
        tokio::time::sleep(ANSWERS_KNOWN_AFTER).await;
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| told("the order cannot be read", &error))?;
        // Every pending name has this challenge: for a name without it, the first loop has returned an error.
        let pending = authorization.status == AuthorizationStatus::Pending;
        if let Some(mut challenge) = authorization.challenge(ChallengeType::Http01).filter(|_| pending) {
            let ready = challenge.set_ready().await;
            ready.map_err(|error| told("the authority refused the answer to a challenge", &error))?;
        }
    }
    Ok(())
}

/// Returns an error text: the first name that the authority could not check, the reason, and the remedy.
/// `None` if no challenge has failed, or if the authorizations cannot be read.
async fn failed_challenge(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // The state that the order has cached lacks the reason.
        authorization.refresh().await.ok()?;
        let name = authorization.identifier().to_string();
        let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let detail = problem.detail.as_deref().unwrap_or("no reason given");
            return Some(format!(
                "the authority could not check {name}: {detail}; port 80 of {name} must reach \
                 listen.redirect of this cluster"
            ));
        }
    }
    None
}

/// Joins a text and an error with its causes.
fn told(what: &str, error: &Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// HTTP client with this program's trusted certificate authorities and limits.
struct Client(reqwest::Client);

impl Client {
    fn new() -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(Arc::unwrap_or_clone(tls::client_config()?))
            .no_proxy()
            .https_only(true)
            .timeout(ANSWER_WITHIN)
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let failed = |error: reqwest::Error| Error::Other(error.into());
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap)).map_err(failed)?;
            let mut response = client.execute(request).await.map_err(failed)?;
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > MAX_RESPONSE {
                    return Err(Error::Str("the response of the authority is larger than 1 MiB"));
                }
                body.extend_from_slice(&chunk);
            }
            let (parts, _) = http::Response::from(response).into_parts();
            Ok(BytesResponse { parts, body: Box::new(body.freeze()) })
        })
    }
}
