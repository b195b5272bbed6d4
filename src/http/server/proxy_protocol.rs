//! PROXY protocol, versions 1 and 2: a trusted proxy sends the client's address before the client's first
//! byte.
//!
//! Specification: haproxy `doc/proxy-protocol.txt`. The length of a header is not known before it is read,
//! and no byte after the header may be read from the socket.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Length of the shortest header: `PROXY UNKNOWN` and the end of the line.
const SHORTEST: usize = 15;
/// Length of the fixed part of version 2. Its last two bytes are the length of the rest.
const FIXED: usize = 16;
/// Maximum length of a header of version 1 (section 2.1), and our limit for one of version 2. Proxies add a
/// few hundred bytes of extensions.
const LONGEST: (usize, usize) = (107, 4096);

/// Reads the header. Returns the client's address; `None` if the connection is the proxy's own.
///
/// # Errors
/// There is no valid header.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut bytes = vec![0; SHORTEST];
    socket.read_exact(&mut bytes).await?;
    if bytes.starts_with(v2::PROTOCOL_PREFIX) {
        extend(socket, &mut bytes, FIXED).await?;
        let rest = usize::from(u16::from_be_bytes([bytes[FIXED - 2], bytes[FIXED - 1]]));
        if FIXED + rest > LONGEST.1 {
            return Err(invalid("too long"));
        }
        extend(socket, &mut bytes, FIXED + rest).await?;
        return second(&bytes);
    }
    while !bytes.ends_with(b"\r\n") {
        if bytes.len() == LONGEST.0 || !bytes.starts_with(b"PROXY ") {
            return Err(invalid("no PROXY protocol header"));
        }
        let longer = bytes.len() + 1;
        extend(socket, &mut bytes, longer).await?;
    }
    first(&bytes)
}

async fn extend(socket: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>, to: usize) -> io::Result<()> {
    let from = bytes.len();
    bytes.resize(to, 0);
    socket.read_exact(&mut bytes[from..]).await.map(|_| ())
}

fn first(bytes: &[u8]) -> io::Result<Option<SocketAddr>> {
    match v1::Header::try_from(bytes).map_err(|error| invalid(&error.to_string()))?.addresses {
        v1::Addresses::Tcp4(ip) => Ok(Some((ip.source_address, ip.source_port).into())),
        v1::Addresses::Tcp6(ip) => Ok(Some((ip.source_address, ip.source_port).into())),
        v1::Addresses::Unknown => Ok(None),
    }
}

fn second(bytes: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v2::Header::try_from(bytes).map_err(|error| invalid(&error.to_string()))?;
    match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Ok(Some((ip.source_address, ip.source_port).into())),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Ok(Some((ip.source_address, ip.source_port).into())),
        // LOCAL: the connection is the proxy's own, such as a health check.
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Ok(None),
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// Returns the address, and the bytes that were not read.
    async fn read_all(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let mut socket = bytes;
        (read(&mut socket).await, socket.to_vec())
    }

    #[actix::test]
    async fn version_1_names_the_client() {
        for (line, address) in [
            ("PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", Some("203.0.113.7:4711")),
            ("PROXY TCP6 2001:db8::7 fd00::1 4711 443\r\n", Some("[2001:db8::7]:4711")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let (read, rest) = read_all(format!("{line}GET / HTTP/1.1\r\n").as_bytes()).await;
            assert_eq!(read.unwrap(), address.map(|address| address.parse().unwrap()), "{line}");
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[actix::test]
    async fn version_2_names_the_client() {
        let v4 = [SIGNATURE, b"\x21\x11\0\x0c", &[203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb]].concat();
        let (read, rest) = read_all(&[&v4[..], b"GET"].concat()).await;
        assert_eq!((read.unwrap(), rest), (Some("203.0.113.7:4711".parse().unwrap()), b"GET".to_vec()));
        // LOCAL, with an extension that is ignored.
        let local = [SIGNATURE, b"\x20\0\0\x04", &[4, 0, 1, 0]].concat();
        assert_eq!(read_all(&local).await.0.unwrap(), None);
    }

    #[actix::test]
    async fn other_beginnings_are_refused() {
        let long = [SIGNATURE, b"\x21\x11\xff\xff"].concat();
        let cut = [SIGNATURE, b"\x21\x11\0\x0c", &[203, 0, 113]].concat();
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 203.0.113.7\r\n........",
            b"PROXY",
            b"",
            &long,
            &cut,
            endless.as_bytes(),
        ] {
            assert!(read_all(bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
