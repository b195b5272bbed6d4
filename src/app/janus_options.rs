//! Janus options, from the configuration.
//!
//! Owns: this conversion. Does not start Janus or connect to it.

use std::path::PathBuf;

use crate::config::Config;
use crate::domain::ports::PLAIN_RTP_PORTS;
use crate::janus::{ConnectOptions, ManagedOptions, Secret};
use crate::process::Account;

/// Heap and thread stacks of a Janus without rooms, in bytes.
const DATA: u64 = 2 << 30;
/// Heap and thread stacks of one room, in bytes. Janus has two threads for each of up to 20 anchors, each
/// with a stack of 8 MiB, of which it uses little.
const DATA_OF_ROOM: u64 = 512 << 20;

/// Returns the options for an external Janus; a gateway without its own Janus finds each URL in the store.
pub fn external(config: &Config) -> ConnectOptions {
    let text = |secret: &crate::config::Secret| Secret(String::from_utf8_lossy(&secret.0).into_owned());
    ConnectOptions {
        url: config.janus.url.clone().unwrap_or_default(),
        api_secret: config.janus.api_secret.as_ref().map(text),
        admin_key: config.janus.admin_key.as_ref().map(text),
        request_timeout: config.janus.request_timeout,
        keep_alive: config.janus.session_timeout / 3,
    }
}

/// Returns the options for a managed Janus. `work_dir` is the configuration folder of this Janus, and
/// `account` the account that it runs as.
pub fn managed(
    config: &Config,
    work_dir: PathBuf,
    api_secret: Secret,
    admin_key: Secret,
    account: Option<Account>,
) -> ManagedOptions {
    ManagedOptions {
        binary: config.janus.binary.clone(),
        work_dir,
        media_ip: config.listen.media,
        ice_interface: config.janus.ice_interface.clone(),
        public_ip: config.janus.public_ip,
        api_secret,
        admin_key,
        webrtc_ports: config.janus.webrtc_ports,
        plain_rtp_ports: PLAIN_RTP_PORTS,
        session_timeout: config.janus.session_timeout,
        account,
        data_limit: DATA + u64::from(config.janus.capacity) * DATA_OF_ROOM,
    }
}
