//! What gateway and client say to each other, beyond the JSON-RPC envelope of [`super::rpc`].
//!
//! Owns: methods and their limits, notifications, errors, close codes, the names in them. Never does: act.

pub mod close;
pub mod error;
pub mod methods;
pub mod names;
pub mod notifications;
pub mod offer;

pub use close::CloseCode;
pub use error::{ErrorCode, RpcError};
pub use methods::Method;
pub use names::DisplayName;
pub use notifications::Notification;
