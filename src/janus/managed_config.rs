//! The configuration folder of a managed Janus, which loads only AudioBridge and opens only one loopback
//! WebSocket.
//!
//! Fields are those of the samples in Janus 1.1 (`/etc/janus/*.jcfg`). The files contain secrets, so only the
//! user of the node can read the folder and the files. If Janus runs as another account, the group of that
//! account can read them too, but not write.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Secret;
use crate::process::Account;

/// Default of `janus.session_timeout`. Janus ends a session that gets no keep-alive, or has lost its
/// connection, for this time. Within this time, an anchor can return, to this node or another. Janus checks
/// every two seconds.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

const UNUSED_PLUGINS: &[&str] = &[
    "duktape",
    "echotest",
    "lua",
    "nosip",
    "recordplay",
    "sip",
    "streaming",
    "textroom",
    "videocall",
    "videoroom",
    "voicemail",
];
const UNUSED_TRANSPORTS: &[&str] = &["http", "mqtt", "nanomsg", "pfunix", "rabbitmq"];
const UNUSED_LOGGERS: &[&str] = &["jsonlog"];

/// Folder for recordings of participants, in the configuration folder. The account of Janus has no access to
/// any other folder.
pub const TRACKS: &str = "tracks";
/// Extension of a recording that Janus has not closed.
pub const OPEN: &str = "open";

/// Log level of Janus (1 fatal, 2 error, 3 warning). Higher levels print session ids, and still higher ones
/// SDP.
const DEBUG_LEVEL: u8 = 3;

/// Settings of a managed Janus.
#[derive(Debug, Clone)]
pub struct ManagedOptions {
    pub binary: PathBuf,
    /// Configuration folder. Created if missing. No other program may use it.
    pub work_dir: PathBuf,
    /// Address on which plain RTP is received and from which it is forwarded.
    pub media_ip: IpAddr,
    /// Only interface for WebRTC; `None`: all except loopback, which Janus never uses.
    pub ice_interface: Option<String>,
    /// Address in the IPv4 candidates instead of this machine's own: the public address of a NAT that
    /// forwards packets to the same port. IPv6 candidates are unchanged, because a NAT has no IPv6 addresses.
    pub public_ip: Option<Ipv4Addr>,
    pub api_secret: Secret,
    pub admin_key: Secret,
    /// Port range for WebRTC, inclusive; must not overlap the mixers' ports.
    pub webrtc_ports: (u16, u16),
    /// Port range for plain RTP, inclusive; must not overlap the mixers' ports.
    pub plain_rtp_ports: (u16, u16),
    /// Janus's `session_timeout`, rounded down to whole seconds, Janus's unit; see [`SESSION_TIMEOUT`].
    pub session_timeout: Duration,
    /// Account that Janus runs as; `None`: that of the node.
    pub account: Option<Account>,
    /// Limit of heap and thread stacks, in bytes.
    pub data_limit: u64,
}

/// Writes all files. `port` is the port of the WebSocket on 127.0.0.1.
pub(super) fn write(options: &ManagedOptions, server_name: &str, port: u16) -> io::Result<()> {
    let dir = &options.work_dir;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // The folder may have existed with other permissions.
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    let group = options.account.as_ref().map(Account::gid);
    let files = [
        ("janus.jcfg", core(options, server_name)),
        ("janus.transport.websockets.jcfg", websockets(port)),
        ("janus.plugin.audiobridge.jcfg", audiobridge(options)),
    ];
    for (name, text) in files {
        write_private(&dir.join(name), &text, group)?;
    }
    let tracks = dir.join(TRACKS);
    DirBuilder::new().recursive(true).mode(0o700).create(&tracks)?;
    group.map_or(Ok(()), |group| {
        give_to_group(&tracks, group, 0o770)?;
        give_to_group(dir, group, 0o750)
    })
}

fn give_to_group(path: &Path, group: u32, mode: u32) -> io::Result<()> {
    chown(path, None, Some(group))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

fn write_private(path: &Path, text: &str, group: Option<u32>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Create a new file, so that no other process has the file open and the path is not a link.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    group.map_or(Ok(()), |group| give_to_group(path, group, 0o640))
}

fn core(options: &ManagedOptions, server_name: &str) -> String {
    let api_secret = quoted(&options.api_secret.0);
    let server_name = quoted(server_name);
    let (low, high) = options.webrtc_ports;
    let timeout = options.session_timeout.as_secs();
    let enforce = options.ice_interface.as_deref().map(|i| format!("ice_enforce_list = {}; ", quoted(i)));
    let mapping = options.public_ip.map(|ip| format!("nat_1_1_mapping = \"{ip}\"; "));
    format!(
        "general: {{\n  debug_level = {DEBUG_LEVEL};\n  debug_colors = false;\n  \
         server_name = {server_name};\n  \
         api_secret = {api_secret};\n  session_timeout = {timeout};\n  \
         reclaim_session_timeout = {timeout};\n  recordings_tmp_ext = \"{OPEN}\";\n}}\n\
         media: {{ ipv6 = true; rtp_port_range = \"{low}-{high}\"; }}\n\
         nat: {{ {}{}}}\n\
         plugins: {{ disable = {}; }}\n\
         transports: {{ disable = {}; }}\n\
         loggers: {{ disable = {}; }}\n",
        enforce.unwrap_or_default(),
        mapping.unwrap_or_default(),
        libraries(UNUSED_PLUGINS),
        libraries(UNUSED_TRANSPORTS),
        libraries(UNUSED_LOGGERS),
    )
}

fn websockets(port: u16) -> String {
    format!(
        "general: {{ json = \"compact\"; ws = true; ws_port = {port}; ws_ip = \"127.0.0.1\"; \
         wss = false; }}\n\
         admin: {{ admin_ws = false; admin_wss = false; }}\n"
    )
}

fn audiobridge(options: &ManagedOptions) -> String {
    let (low, high) = options.plain_rtp_ports;
    format!(
        "general: {{\n  admin_key = {};\n  lock_rtp_forward = true;\n  lock_play_file = true;\n  \
         local_ip = \"{}\";\n  rtp_port_range = \"{low}-{high}\";\n}}\n",
        quoted(&options.admin_key.0),
        options.media_ip,
    )
}

fn libraries(names: &[&str]) -> String {
    let files: Vec<String> = names.iter().map(|name| format!("libjanus_{name}.so")).collect();
    quoted(&files.join(","))
}

/// Returns the text as a quoted libconfig string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::domain::ports::{PLAIN_RTP_PORTS, WEBRTC_PORTS};

    fn options(work_dir: PathBuf) -> ManagedOptions {
        ManagedOptions {
            binary: "janus".into(),
            work_dir,
            media_ip: [127, 0, 0, 1].into(),
            ice_interface: Some("eth0".to_owned()),
            public_ip: None,
            api_secret: Secret("api".to_owned()),
            admin_key: Secret("admin".to_owned()),
            webrtc_ports: WEBRTC_PORTS,
            plain_rtp_ports: PLAIN_RTP_PORTS,
            session_timeout: SESSION_TIMEOUT,
            account: None,
            data_limit: 1 << 30,
        }
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).collect()
    }

    #[test]
    fn a_secret_cannot_leave_its_quotes() {
        assert_eq!(quoted("a\"; ws = true; \\\n"), r#""a\"; ws = true; \\\x0a""#);
    }

    #[test]
    fn folder_and_files_are_their_owners_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("janus");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.join("janus.jcfg"), "left from an older start, readable by all").unwrap();
        write(&options(dir.clone()), "name", 1234).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(TRACKS))), (0o700, 0o700));
        for file in files(&dir) {
            assert_eq!(mode(&file), 0o600);
        }
    }

    #[test]
    fn account_of_janus_may_read() {
        // Runs as root only: other users cannot change the group of a file to one of another account.
        let Some(account) = Account::for_children("nobody").unwrap() else { return };
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("janus");
        let group = account.gid();
        write(&ManagedOptions { account: Some(account), ..options(dir.clone()) }, "name", 1234).unwrap();
        let owner = |path: &Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        };
        assert_eq!(owner(&dir), (0, group, 0o750));
        assert_eq!(owner(&dir.join(TRACKS)), (0, group, 0o770));
        for file in files(&dir) {
            assert_eq!(owner(&file), (0, group, 0o640));
        }
    }

    #[test]
    fn ice_interface_is_enforced_if_set() {
        let mut options = options(PathBuf::new());
        assert!(core(&options, "name").contains("ice_enforce_list = \"eth0\";"));
        options.ice_interface = None;
        assert!(!core(&options, "name").contains("ice_enforce_list"));
    }

    #[test]
    fn ipv6_candidates_are_enabled() {
        let text = core(&options(PathBuf::new()), "name");
        assert!(text.contains("media: { ipv6 = true; rtp_port_range = \"20000-24999\"; }"), "{text}");
    }

    #[test]
    fn public_ip_is_mapped_if_set() {
        let mut options = options(PathBuf::new());
        assert!(core(&options, "name").contains("nat: { ice_enforce_list = \"eth0\"; }"));
        options.public_ip = Some(Ipv4Addr::new(203, 0, 113, 7));
        let both = "nat: { ice_enforce_list = \"eth0\"; nat_1_1_mapping = \"203.0.113.7\"; }";
        assert!(core(&options, "name").contains(both));
    }
}
