//! Authentication and authorisation: API keys of the REST API, tokens of listeners and anchors, and their
//! secrets.
//!
//! Owns: every comparison of a secret, the token format, and the files of the data directory that hold
//! secrets and the node's id. Does not speak HTTP, log a secret, or read a clock (`now` is a parameter).

pub mod api_keys;
mod certificate_seal;
mod data_files;
mod feed_tokens;
pub mod jwks;
mod operator_session;
mod replay_tokens;
pub mod seal;
mod sealed;
mod sealed_urls;
pub mod secrets;
pub mod tokens;
pub mod turn;

pub use api_keys::{ApiKeyError, ApiKeys, NewKey};
pub use certificate_seal::CertificateSeal;
pub use feed_tokens::FeedTokens;
pub use jwks::{IdentityProvider, JwksError};
pub use operator_session::{OperatorSessions, SESSION_TTL};
pub use replay_tokens::ReplayGrant;
pub use seal::{Seal, SealBinding, SealError};
pub use sealed_urls::SealedUrls;
pub use secrets::{Secrets, SecretsError, node_id};
pub use tokens::{Audience, Claims, IssuedToken, Role, TokenError, Tokens};
