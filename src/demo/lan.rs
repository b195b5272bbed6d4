//! `stentor demo --tls`: the address of this machine on its network, and a certificate for it.
//!
//! Browsers allow the microphone only on pages from https or localhost, so a phone needs this address and a
//! certificate. Owns: the address and the certificate. Does not send a packet to find the address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::folder::{Folder, SECRETS};
use crate::config::{ConfigError, ConfigErrors, LoadInput, Source};

/// Port that is tried first: usual for https without root.
const PORT: u16 = 8443;
/// Lifetime of the certificate: as long as a demo may last.
const LIFETIME: Duration = Duration::from_secs(720 * 3600);
/// Documentation address (RFC 5737). Connecting a UDP socket to it chooses a route and sends nothing.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
const KEY: &str = "listen.hls";

/// Address and certificate of the demo.
pub struct Lan {
    pub address: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Key of the REST API. It is required because open mode does not serve other machines.
    pub api_key: String,
}

impl Lan {
    /// Chooses the address, unless a flag sets it, and writes a new certificate for it into the folder.
    ///
    /// # Errors
    /// The machine has no network, or the files cannot be written.
    pub fn prepare(input: &LoadInput, folder: &mut Folder) -> Result<Self, ConfigErrors> {
        let address = match chosen(input) {
            Some(address) => address,
            None => free(own_ip()?),
        };
        let (certificate, key) = certificate(address.ip()).map_err(|error| problem(error.to_string()))?;
        let mut write = |name, text: &str| {
            let written = folder.write(name, text);
            written.map_err(|error| problem(format!("cannot write {name}: {error}; set TMPDIR")))
        };
        let api_key = hex::encode(rand::random::<[u8; 16]>());
        Ok(Self {
            address,
            certificate: write(SECRETS[0], &certificate)?,
            key: write(SECRETS[1], &key)?,
            api_key,
        })
    }
}

fn chosen(input: &LoadInput) -> Option<SocketAddr> {
    let flag = input.flags.iter().rfind(|(key, _)| key == KEY);
    let address: SocketAddr = flag?.1.parse().ok()?;
    match address.port() {
        0 => Some(free(address.ip())),
        _ => Some(address),
    }
}

/// Returns the address by which this machine reaches other networks.
fn own_ip() -> Result<IpAddr, ConfigErrors> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let ip = socket.and_then(|socket| socket.connect(ELSEWHERE).and_then(|()| socket.local_addr()));
    let ip = ip.map(|address| address.ip()).ok().filter(|ip| !ip.is_loopback());
    ip.ok_or_else(|| {
        problem(
            "this machine has no route to a network; connect it, or give --set listen.hls=ADDRESS:8443"
                .into(),
        )
    })
}

/// Returns the address with a free port, or with [`PORT`] if none was found. The node binds it a moment
/// later.
fn free(ip: IpAddr) -> SocketAddr {
    let port = [PORT, 0].into_iter().find_map(|port| TcpListener::bind((ip, port)).ok()?.local_addr().ok());
    port.unwrap_or(SocketAddr::new(ip, PORT))
}

/// Returns a self-signed certificate for the address, and its key, in PEM.
fn certificate(ip: IpAddr) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![ip.to_string()])?;
    params.distinguished_name.push(DnType::CommonName, "Stentor demo");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    // The certificate is valid from an hour ago, for devices whose clocks are behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + LIFETIME).into();
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn problem(problem: String) -> ConfigErrors {
    ConfigErrors(vec![ConfigError { key: KEY.to_owned(), value: None, source: Source::Default, problem }])
}
