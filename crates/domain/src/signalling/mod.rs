//! Protocol between gateway role and client, except the JSON-RPC envelope, which is in [`super::rpc`].
//!
//! Owns methods and their limits, notifications, errors, close codes, and display names. Never carries out a
//! call.

pub mod answer;
pub mod close;
pub mod error;
pub mod ice_sdp;
pub mod methods;
pub mod names;
pub mod notifications;
pub mod offer;

pub use close::CloseCode;
pub use error::{ErrorCode, RpcError};
pub use methods::Method;
pub use names::DisplayName;
pub use notifications::Notification;
