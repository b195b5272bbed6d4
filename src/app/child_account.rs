//! Account that Janus and FFmpeg run as, from the configuration.
//!
//! Owns: the list of programs that the account must be able to run. Does not start them.

use crate::config::{Config, JanusMode};
use crate::process::{self, Account};

/// Returns the account of Janus and FFmpeg; `None`: they run as the user of the node. Checks that the account
/// can run the managed Janus of the role `janus`, and FFmpeg if the node mixes rooms or plays sources in
/// them. A node with the role `rooms` needs FFmpeg only once a recogniser connects, and one with the role
/// `hls` once somebody requests Opus.
///
/// # Errors
/// The message names the remedy.
pub fn child_account(config: &Config) -> Result<Option<Account>, String> {
    let (roles, managed) = (config.node.roles, config.janus.mode == JanusMode::Managed);
    if !(roles.mixer || roles.janus || roles.rooms || roles.hls) {
        return Ok(None);
    }
    let account = Account::for_children(&config.node.child_user)?;
    let sources = roles.janus && config.sources.policy().permits_any();
    let programs =
        [(roles.janus && managed, &config.janus.binary), (roles.mixer || sources, &config.mixer.ffmpeg)];
    let needed: Vec<_> =
        programs.into_iter().filter_map(|(needed, path)| needed.then_some(path.as_path())).collect();
    process::check(account.as_ref(), &needed)?;
    Ok(account)
}
