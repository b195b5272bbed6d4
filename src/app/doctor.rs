//! Examination of a machine before or while a node runs on it: programs, backends, sockets, limits, clock.
//!
//! Owns: the checks, and a remedy for each failure. Does not change anything, except that it starts its own
//! Janus instance in a temporary folder, and ends this instance.

mod network;
mod shared;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::mpsc;

use super::child_account::child_account;
use super::data_dir;
use super::janus_options::{external, managed};
use crate::acme;
use crate::auth::{Secrets, node_id};
use crate::config::{Config, JanusMode, PresenceKind, StoreKind};
use crate::domain::certificate::expires_soon;
use crate::domain::descriptors::RECOMMENDED;
use crate::domain::mix::MixShare;
use crate::domain::ports::are_ephemeral;
use crate::ffmpeg::{Loudness, ffmpeg_version};
use crate::janus::{ConnectOptions, JanusClient, ManagedJanus, Secret};
use crate::process;
use crate::tls::Chain;

/// Time for Janus to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Free space below which recordings and rewind windows may soon stop.
const LITTLE_SPACE: u64 = 1 << 30;
/// If wall clock and monotonic clock diverge by more than this during the examination, the clock was stepped.
const CLOCK_STEP: Duration = Duration::from_millis(50);
const LIVEZ_TIMEOUT: Duration = Duration::from_secs(2);

const RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub subject: &'static str,
    pub verdict: Verdict,
    /// Result of the check; for a warning or failure also the remedy.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    /// The node works, but with limitations.
    Warning,
    /// The node does not work until this is fixed.
    Failure,
}

impl Finding {
    fn of(subject: &'static str, result: Result<String, String>) -> Self {
        match result {
            Ok(text) => Self { subject, verdict: Verdict::Good, text },
            Err(text) => Self { subject, verdict: Verdict::Failure, text },
        }
    }

    fn warning(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warning, text: text.into() }
    }
}

/// Runs all checks that concern the roles of this configuration. Must be called inside an actix system.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let clock = Clocks::now();
    let roles = config.node.roles;
    let mut findings: Vec<Finding> =
        config.warnings().into_iter().map(|remark| Finding::warning("configuration", remark)).collect();
    if findings.is_empty() {
        findings.push(Finding::of("configuration", Ok("no errors, no warnings".into())));
    }
    findings.push(Finding::of("data directory", data_directory(config)));
    if roles.mixer {
        findings.extend(disk_space(&config.node.data_dir));
        findings.extend(config.recording.dir.as_deref().and_then(disk_space));
    }
    findings.push(descriptors());
    let running = is_alive(config.listen.ops).await;
    findings.extend(sockets(config, running).await);
    if !running {
        findings.extend(network::udp_ports(config));
    }
    findings.push(network::firewall(config).await);
    findings.extend(config.tls.certificate.as_ref().map(certificate));
    if config.tls.acme.is_on() {
        findings.extend(acme_findings(config).await);
    }
    if roles.janus || roles.mixer {
        findings.push(Finding::of("child processes", child_processes(config)));
    }
    if roles.janus {
        findings.push(Finding::of("janus", janus(config).await));
    }
    if roles.janus && config.janus.mode == JanusMode::Managed {
        findings.push(candidates(config.janus.public_ip, local_ip()));
    }
    if roles.mixer {
        findings.push(Finding::of("ffmpeg", ffmpeg(config).await));
        findings.push(ports(config));
    }
    if config.store.kind == StoreKind::Etcd {
        findings.push(shared::etcd(config).await);
    }
    if roles.gateway && config.presence.kind == PresenceKind::Redis {
        findings.push(Finding::of("redis", shared::redis(config).await));
    }
    findings.push(clock.finding(Clocks::now()));
    findings
}

fn child_processes(config: &Config) -> Result<String, String> {
    let account = child_account(config)?;
    let user = account.map(|account| format!(" as the user {}", account.name())).unwrap_or_default();
    Ok(format!("can be started{user}"))
}

fn data_directory(config: &Config) -> Result<String, String> {
    let dir = &config.node.data_dir;
    let shown = dir.display();
    match dir.metadata() {
        Ok(metadata) if !metadata.is_dir() => Err(format!("{shown} is not a folder; set node.data_dir")),
        Ok(_) => match rustix::fs::access(dir.as_path(), rustix::fs::Access::WRITE_OK) {
            Ok(()) => data_files(config).map(|()| format!("{shown} is writable")),
            Err(error) => {
                Err(format!("{shown} is not writable ({error}): change its owner, or node.data_dir"))
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(format!("{shown} is created at the first start"))
        }
        Err(error) => Err(format!("{shown}: {error}; set node.data_dir")),
    }
}

/// Checks the mode of an existing data directory, and its small files, as a start does. Does not check the
/// store, because a running node keeps it open.
fn data_files(config: &Config) -> Result<(), String> {
    let dir = &config.node.data_dir;
    data_dir::mode_to_restrict(dir).map_err(|error| format!("{error:#}"))?;
    // A file that is missing would be created.
    if dir.join("secrets.json").exists() {
        Secrets::load_or_create(config).map_err(|error| error.to_string())?;
    }
    if dir.join("node-id").exists() {
        node_id(config).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Returns a warning if the disk of this folder, which may not exist yet, is nearly full.
fn disk_space(folder: &Path) -> Option<Finding> {
    let folder = std::path::absolute(folder).ok()?;
    let disk = rustix::fs::statvfs(folder.ancestors().find(|folder| folder.is_dir())?).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let text = format!(
        "only {} MiB are free for {}; a recording or rewind window needs about 34 MB per hour: free space",
        free >> 20,
        folder.display()
    );
    (free < LITTLE_SPACE).then(|| Finding::warning("disk", text))
}

fn descriptors() -> Finding {
    let limit = process::raise_descriptor_limit();
    let text = format!("{limit} open files");
    match limit < RECOMMENDED {
        true => Finding::warning(
            "limits",
            format!("{text}, {RECOMMENDED} are recommended: raise the hard limit (systemd: LimitNOFILE=)"),
        ),
        false => Finding::of("limits", Ok(text)),
    }
}

/// Tries the listening addresses, unless a node already serves at them.
async fn sockets(config: &Config, running: bool) -> Vec<Finding> {
    if running {
        let text = format!("a node runs: it answers at listen.ops, {}", config.listen.ops);
        let mut findings = vec![Finding::of("addresses", Ok(text))];
        findings.extend(readiness(config.listen.ops).await);
        return findings;
    }
    let roles = config.node.roles;
    let sockets = [
        ("listen.api", config.listen.api, roles.rooms),
        ("listen.ws", config.listen.ws, roles.gateway),
        ("listen.hls", config.listen.hls, roles.hls || roles.mixer),
        ("listen.ops", config.listen.ops, true),
    ];
    let optional =
        [("listen.relay", config.listen.relay, true), ("listen.redirect", config.listen.redirect, true)];
    let optional = optional.into_iter().filter_map(|(key, address, wanted)| Some((key, address?, wanted)));
    let tried =
        sockets.into_iter().chain(optional).filter(|(.., wanted)| *wanted).map(|(key, address, _)| {
            let result = TcpListener::bind(address)
                .map(|_| format!("{key} {address} is free"))
                .map_err(|error| format!("{key} {address}: {error}; change {key}, or free the port"));
            Finding::of("addresses", result)
        });
    let mut found: Vec<Finding> = tried.collect();
    // If all addresses are free, one line is enough.
    if found.iter().all(|finding| finding.verdict == Verdict::Good) {
        found = vec![Finding::of("addresses", Ok("all listening addresses are free".into()))];
    }
    found
}

fn certificate(chain: &Chain) -> Finding {
    let now = SystemTime::now();
    let hours = chain.not_after().duration_since(now).unwrap_or_default().as_secs() / 3600;
    let left = if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
    match expires_soon(chain.validity(), now) {
        None => Finding::of("certificate", Ok(format!("valid for {left}"))),
        Some(_) => Finding::warning("certificate", format!("expires in {left}; renew it")),
    }
}

/// Returns the findings about ACME: the current certificate, the authority, and the names.
async fn acme_findings(config: &Config) -> Vec<Finding> {
    let own = &config.tls.acme;
    let present = match Chain::read(&config.acme_certificate(), SystemTime::now()) {
        Ok(chain) => certificate(&chain),
        Err(_) => {
            Finding::warning("certificate", "none obtained through ACME yet: a running node obtains one")
        }
    };
    let authority = acme::reach(&own.directory).await.map(|()| format!("{} answers", own.directory));
    let mut findings = vec![present, Finding::of("acme", authority)];
    for name in &own.domains {
        let found = tokio::net::lookup_host((name.as_str(), 80)).await;
        let error = match found.map(|mut addresses| addresses.next()) {
            Ok(Some(_)) => continue,
            Ok(None) => "no address".to_owned(),
            Err(error) => error.to_string(),
        };
        let text =
            format!("{name} has no address ({error}): add it to DNS, or remove it from tls.acme.domains");
        findings.push(Finding::warning("acme", text));
    }
    findings
}

/// Returns the failed checks of the running node.
async fn readiness(ops: SocketAddr) -> Vec<Finding> {
    let client = awc::Client::builder().timeout(LIVEZ_TIMEOUT).finish();
    let Ok(mut answer) = client.get(format!("http://{ops}/readyz")).send().await else { return Vec::new() };
    let body = answer.json::<serde_json::Value>().await.unwrap_or_default();
    if body["ready"] != false {
        return Vec::new();
    }
    let checks = body["checks"].as_array().into_iter().flatten();
    let failed = checks.filter_map(|check| Some((check["name"].as_str()?, check["reason"].as_str()?)));
    let failed: Vec<_> = failed.map(|(name, reason)| format!("is not ready: {name}: {reason}")).collect();
    match failed.is_empty() {
        // `listen.ops` is not on loopback, and this command has no API key.
        true => vec![Finding::of("node", Err("is not ready; `stentor explain` with a key says why".into()))],
        false => failed.into_iter().map(|text| Finding::of("node", Err(text))).collect(),
    }
}

async fn is_alive(ops: SocketAddr) -> bool {
    let client = awc::Client::builder().timeout(LIVEZ_TIMEOUT).finish();
    client.get(format!("http://{ops}/livez")).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Starts a managed Janus in a temporary folder, or connects to the external one, and attaches to the
/// AudioBridge.
async fn janus(config: &Config) -> Result<String, String> {
    if config.janus.mode == JanusMode::External {
        let options = external(config);
        let version = attached(&options).await.map_err(|error| {
            format!("{}: {error}; check janus.url, janus.api_secret and janus.admin_key", options.url)
        })?;
        return Ok(format!("{version} at {}", options.url));
    }
    let account = child_account(config)?;
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let secret = Secret(hex::encode(rand::random::<[u8; 16]>()));
    let options = managed(config, folder.path().join("janus"), secret.clone(), secret.clone(), account);
    let janus = ManagedJanus::start(&options).await.map_err(|error| error.to_string())?;
    let connect = ConnectOptions {
        url: janus.url().to_owned(),
        api_secret: Some(secret.clone()),
        admin_key: Some(secret),
        ..external(config)
    };
    let version = attached(&connect).await;
    // This Janus has no rooms, and a failure to stop it does not change the finding.
    let _ = janus.stop(STOP_GRACE).await;
    version.map_err(|error| format!("{error}; install Janus with its AudioBridge plugin"))
}

/// Attaches to the AudioBridge and returns the version of Janus.
async fn attached(options: &ConnectOptions) -> Result<String, String> {
    let (events, _) = mpsc::unbounded_channel();
    let client = JanusClient::connect(options, events).await.map_err(|error| error.to_string())?;
    let version = client.version().await.map_err(|error| error.to_string())?;
    Ok(format!("Janus {version} with AudioBridge"))
}

/// Returns the finding about the address at which anchors reach Janus. `own` is the address of this machine
/// on its default route.
fn candidates(public_ip: Option<Ipv4Addr>, own: Option<IpAddr>) -> Finding {
    let subject = "anchors";
    match (public_ip, own) {
        (Some(public), _) => {
            Finding::of(subject, Ok(format!("send their audio to {public} (janus.public_ip)")))
        }
        (None, None) => Finding::warning(
            subject,
            "this machine has no default route: anchors reach it only from networks that it is directly \
             part of",
        ),
        (None, Some(IpAddr::V4(own))) if own.is_private() => Finding::warning(
            subject,
            format!(
                "send their audio to {own}, which is private: from outside of this network they need \
                 janus.public_ip, and a NAT that forwards the UDP ports janus.webrtc_ports"
            ),
        ),
        (None, Some(own)) => Finding::of(subject, Ok(format!("send their audio to {own}"))),
    }
}

/// Returns the address from which this machine reaches other networks. Sends nothing: a UDP `connect` only
/// looks up the route. 192.0.2.0/24 and 2001:db8::/32 are for documentation (RFC 5737, RFC 3849).
fn local_ip() -> Option<IpAddr> {
    let routes = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    routes.into_iter().find_map(|(any, far)| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(far).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

/// Encodes a tenth of a second through the filters that rooms use.
async fn ffmpeg(config: &Config) -> Result<String, String> {
    let binary = &config.mixer.ffmpeg;
    let version = ffmpeg_version(binary).await.map_err(|error| error.to_string())?;
    let remedy = "install a complete FFmpeg (`apt install ffmpeg`) or set mixer.ffmpeg";
    for (list, name) in [("-decoders", "opus"), ("-encoders", "aac"), ("-protocols", "srtp")] {
        let listed = ran(binary, &["-hide_banner", list]).await?;
        if !listed.split_whitespace().any(|word| word == name) {
            return Err(format!("FFmpeg {version} lacks {name} ({list}): {remedy}"));
        }
    }
    let filters = Loudness::new(MixShare::of(3), Some(-18), -1).filters();
    let input = ["-v", "error", "-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono:d=0.1", "-af"];
    let args = [&input[..], &[&filters, "-c:a", "aac", "-f", "null", "-"]].concat();
    ran(binary, &args).await.map_err(|error| format!("FFmpeg {version} cannot encode: {error}; {remedy}"))?;
    Ok(format!("FFmpeg {version} decodes, levels and encodes"))
}

/// Runs the program and returns its standard output. The program is killed after [`RUN_TIMEOUT`].
async fn ran(binary: &Path, args: &[&str]) -> Result<String, String> {
    let output = tokio::time::timeout(RUN_TIMEOUT, process::command(binary, args).output()).await;
    let output = output.map_err(|_| format!("no result within {} s", RUN_TIMEOUT.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(errors.lines().next().unwrap_or("no error text").to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Warns if the mixers' ports overlap the kernel's range of ports for outgoing traffic. Ports that are
/// reserved in `ip_local_reserved_ports` do not count.
fn ports(config: &Config) -> Finding {
    let (low, high) = config.mixer.rtp_ports;
    let kernel = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let range = kernel("ip_local_port_range");
    if are_ephemeral((low, high), &range, &kernel("ip_local_reserved_ports")) {
        let range = range.split_whitespace().collect::<Vec<_>>().join("-");
        return Finding::warning(
            "ports",
            format!(
                "mixer.rtp_ports {low}-{high} are also given to outgoing traffic ({range}): change \
                 mixer.rtp_ports, or reserve them in net.ipv4.ip_local_reserved_ports"
            ),
        );
    }
    Finding::of("ports", Ok(format!("mixer.rtp_ports {low}-{high}: enough for {} rooms", (high - low) / 2)))
}

/// Readings of both clocks at one moment.
struct Clocks {
    wall: SystemTime,
    monotonic: Instant,
}

impl Clocks {
    fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// Compares how far the two clocks have advanced since this reading.
    fn finding(&self, later: Self) -> Finding {
        let gone = later.monotonic.duration_since(self.monotonic);
        let step = match later.wall.duration_since(self.wall) {
            Ok(wall) => wall.abs_diff(gone),
            Err(back) => back.duration() + gone,
        };
        match step > CLOCK_STEP {
            true => Finding::warning(
                "clock",
                format!(
                    "stepped by {} ms during this examination: let chrony or systemd-timesyncd slew it; \
                     otherwise, the mixes of rooms on air stop or jump",
                    step.as_millis()
                ),
            ),
            false => Finding::of("clock", Ok(format!("steady over {} ms", gone.as_millis()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_steps_are_noticed() {
        let start = Clocks::now();
        let at = |wall: SystemTime| Clocks { wall, monotonic: start.monotonic + Duration::from_secs(1) };
        let second = Duration::from_secs(1);
        assert_eq!(start.finding(at(start.wall + second)).verdict, Verdict::Good);
        for stepped in [start.wall, start.wall - second, start.wall + 60 * second] {
            assert_eq!(start.finding(at(stepped)).verdict, Verdict::Warning);
        }
    }

    #[test]
    fn unusable_data_directories_are_failures() {
        use std::os::unix::fs::PermissionsExt;

        use crate::config::{LoadInput, load};

        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let flags = vec![("node.data_dir".to_owned(), dir.to_str().unwrap().to_owned())];
        let config = load(LoadInput { flags, ..LoadInput::default() }).unwrap();
        data_dir::prepare(&dir).unwrap();
        assert!(data_directory(&config).is_ok());
        std::fs::write(dir.join("notes"), "of another program").unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(data_directory(&config).unwrap_err().contains("chmod 700"));
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(data_directory(&config).is_ok());
        std::fs::write(dir.join("secrets.json"), "{").unwrap();
        assert!(data_directory(&config).unwrap_err().contains("secrets.json"));
    }

    #[test]
    fn private_addresses_need_a_public_one() {
        let verdict =
            |public, own: Option<&str>| candidates(public, own.map(|ip| ip.parse().unwrap())).verdict;
        assert_eq!(verdict(None, Some("203.0.113.7")), Verdict::Good);
        assert_eq!(verdict(None, Some("10.0.0.7")), Verdict::Warning);
        assert_eq!(verdict(None, None), Verdict::Warning);
        assert_eq!(verdict(Some(Ipv4Addr::new(203, 0, 113, 7)), Some("10.0.0.7")), Verdict::Good);
    }
}
