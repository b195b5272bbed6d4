//! Parsers of single values. Each error states the allowed values.
//!
//! Owns: the syntax and range of values. Does not depend on the key of a value.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;
use tracing_subscriber::filter::Directive;

use super::reader::ParseResult;
use super::types::{JwtSecret, Roles, Secret, Sockets, port_pairs};

/// Minimum length of a secret in bytes: HS256 and the content keys need at least the output size of SHA-256
/// (RFC 7518, 3.2).
const SECRET_MIN: usize = 32;
const API_KEY_MIN: usize = 16;

/// Parses a text. Refuses numbers, because YAML drops their leading zeros and the trailing zeros of their
/// decimals.
pub(super) fn text(value: &Value) -> ParseResult<String> {
    match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Some(_) => Err("must not be empty".into()),
        None => Err("must be a text; put it in quotes".into()),
    }
}

pub(super) fn path(value: &Value) -> ParseResult<PathBuf> {
    text(value).map(PathBuf::from)
}

pub(super) fn parsed<T: FromStr>(allowed: &'static str) -> impl Fn(&Value) -> ParseResult<T> {
    move |value| text(value)?.parse().map_err(|_| allowed.to_owned())
}

pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&Value) -> ParseResult<T>
where
    T: TryFrom<u64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let number = number.and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn millis(range: RangeInclusive<u64>) -> impl Fn(&Value) -> ParseResult<Duration> {
    let number = number(range);
    move |value| number(value).map(Duration::from_millis)
}

/// Parses like [`number`], but also accepts negative values.
pub(super) fn integer(range: RangeInclusive<i32>) -> impl Fn(&Value) -> ParseResult<i32> {
    move |value| {
        let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        let number = number.and_then(|n| i32::try_from(n).ok()).filter(|n| range.contains(n));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn switch(value: &Value) -> ParseResult<bool> {
    let switch = value.as_bool().or_else(|| value.as_str()?.trim().parse().ok());
    switch.ok_or_else(|| "must be true or false".to_owned())
}

/// Parses `500ms`, `10s`, `5m`, `3h`; `from` and `to` have the same format.
pub(super) fn duration(from: &'static str, to: &'static str) -> impl Fn(&Value) -> ParseResult<Duration> {
    move |value| {
        // Both bounds are literals. If one of them had a typo, every value would be refused, including the
        // default, which a test would report.
        let range = parse_duration(from).zip(parse_duration(to));
        let duration = value.as_str().and_then(parse_duration);
        let inside = duration.zip(range).filter(|(d, (from, to))| from <= d && d <= to);
        inside.map(|(d, _)| d).ok_or_else(|| {
            format!("must be a duration from {from} to {to}, written like 500ms, 10s, 5m or 3h")
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..unit_at].parse().ok()?;
    match &text[unit_at..] {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(count.checked_mul(3600)?)),
        _ => None,
    }
}

pub(super) fn one_of<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&Value) -> ParseResult<T> {
    move |value| {
        let chosen = choices.iter().find(|(name, _)| value.as_str() == Some(name));
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        chosen.map(|(_, choice)| *choice).ok_or_else(|| format!("must be {}", names.join(" or ")))
    }
}

/// Parses a YAML list, or one comma-separated text (environment and flags).
pub(super) fn list<T>(item: impl Fn(&Value) -> ParseResult<T>) -> impl Fn(&Value) -> ParseResult<Vec<T>> {
    move |value| match value {
        Value::Array(items) => items.iter().map(&item).collect(),
        Value::String(text) => {
            let items = text.split(',').map(str::trim).filter(|t| !t.is_empty());
            items.map(|t| item(&Value::from(t))).collect()
        }
        _ => Err("must be a list".into()),
    }
}

pub(super) fn roles(value: &Value) -> ParseResult<Roles> {
    let mut roles = Roles { rooms: false, janus: false, mixer: false, hls: false, gateway: false };
    for name in list(text)(value)? {
        match name.as_str() {
            "rooms" => roles.rooms = true,
            "janus" => roles.janus = true,
            "mixer" => roles.mixer = true,
            "gateway" => roles.gateway = true,
            "hls" => roles.hls = true,
            other => {
                return Err(format!("{other:?} is not a role; roles are rooms, janus, mixer, gateway, hls"));
            }
        }
    }
    match roles {
        Roles { rooms: false, janus: false, mixer: false, hls: false, gateway: false } => {
            Err("must name at least one of rooms, janus, mixer, gateway, hls".into())
        }
        some => Ok(some),
    }
}

/// Parses a CIDR network, or an IP address as a network with one address.
pub(super) fn network(value: &Value) -> ParseResult<IpNet> {
    let text = text(value)?;
    let network = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
    network.ok_or_else(|| "must be networks or addresses, like 10.0.0.0/8, fd00::/8 or 127.0.0.1".into())
}

pub(super) fn sockets(value: &Value) -> ParseResult<Sockets> {
    let mut sockets = Sockets::default();
    for name in list(text)(value)? {
        match name.as_str() {
            "api" => sockets.api = true,
            "ws" => sockets.ws = true,
            "hls" => sockets.hls = true,
            _ => return Err("must be any of api, ws, hls".into()),
        }
    }
    Ok(sockets)
}

pub(super) fn tls_sockets(value: &Value) -> ParseResult<Sockets> {
    match sockets(value)? {
        none if none == Sockets::default() => {
            Err("must name at least one of api, ws, hls; without TLS, leave tls.certificate_file out".into())
        }
        some => Ok(some),
    }
}

pub(super) fn listener(value: &Value) -> ParseResult<SocketAddr> {
    parsed("must be an address with a port, like 127.0.0.1:3000 or [::1]:3000")(value)
}

pub(super) fn media_ip(value: &Value) -> ParseResult<IpAddr> {
    const ALLOWED: &str = "must be one IP address that Janus can send RTP to, like 127.0.0.1, not a wildcard";
    let ip: IpAddr = parsed(ALLOWED)(value)?;
    if ip.is_unspecified() || ip.is_multicast() { Err(ALLOWED.into()) } else { Ok(ip) }
}

/// Parses the public IPv4 address of a NAT that keeps ports. IPv6 is refused, because there is no such NAT
/// for IPv6.
pub(super) fn public_ip(value: &Value) -> ParseResult<Ipv4Addr> {
    const ALLOWED: &str = "must be one IPv4 address that anchors can send to, like 203.0.113.7";
    let ip: Ipv4Addr = parsed(ALLOWED)(value)?;
    let usable = !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast());
    if usable { Ok(ip) } else { Err(ALLOWED.into()) }
}

pub(super) fn host(value: &Value) -> ParseResult<String> {
    let host = text(value)?;
    let named =
        host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let usable = host.parse::<IpAddr>().map_or(named, |ip| !ip.is_unspecified());
    if usable { Ok(host) } else { Err("must be a host name or an IP address, without a port".into()) }
}

/// Parses the name of the cluster. The name must have no slash, because it is between two slashes in the
/// descriptions of Janus rooms.
pub(super) fn cluster(value: &Value) -> ParseResult<String> {
    let name = text(value)?;
    let ok = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if ok { Ok(name) } else { Err("must be 1 to 64 characters of A-Z a-z 0-9 _ - .".into()) }
}

/// Parses a URL with one of the `schemes`. Refuses a user or password in it, because they would appear in
/// logs.
pub(super) fn url(schemes: &'static [&'static str]) -> impl Fn(&Value) -> ParseResult<String> {
    move |value| {
        let text = text(value)?;
        let url = url::Url::parse(&text).ok().filter(|u| schemes.contains(&u.scheme()) && u.has_host());
        let plain = url.filter(|u| u.username().is_empty() && u.password().is_none());
        match plain {
            Some(_) => Ok(text.trim_end_matches('/').to_owned()),
            None => Err(format!(
                "must be a URL ({}://host:port) without user or password",
                schemes.join(":// or ")
            )),
        }
    }
}

/// Parses the URL of a JWK set. Only https is allowed, because anybody who can change the set can make valid
/// tokens.
pub(super) fn jwks_url(value: &Value) -> ParseResult<String> {
    let text = text(value)?;
    let url = url::Url::parse(&text).ok().filter(|url| url.scheme() == "https" && url.has_host());
    match url.filter(|url| url.username().is_empty() && url.password().is_none()) {
        Some(_) => Ok(text),
        None => Err("must be an https URL without user or password".into()),
    }
}

/// Reads the certificates in PEM (RFC 7468 section 5) from the named file.
pub(super) fn ca_certificates(value: &Value) -> ParseResult<Vec<u8>> {
    let pem = std::fs::read(text(value)?).map_err(|e| format!("the file cannot be read: {e}"))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    match pem.windows(marker.len()).any(|window| window == marker) {
        true => Ok(pem),
        false => Err("must be a file with certificates in PEM (-----BEGIN CERTIFICATE-----)".into()),
    }
}

/// Parses the URL of the pages and playlists, which are served at the root of their host.
pub(super) fn base_url(value: &Value) -> ParseResult<String> {
    let text = url(&["http", "https"])(value)?;
    match parts_of(&text) {
        ("/", false) => Ok(text),
        _ => {
            Err("must be a URL without path, query or fragment, like https://live.example.org; if pages and \
            playlists are served below a path, set http.base_path to it"
                .into())
        }
    }
}

/// Parses the URL to which anchors connect. The URL may have any path, because clients use it unchanged.
pub(super) fn ws_url(value: &Value) -> ParseResult<String> {
    let text = url(&["ws", "wss"])(value)?;
    match parts_of(&text) {
        (_, false) => Ok(text),
        _ => Err("must be a URL without query or fragment, like wss://live.example.org/ws".into()),
    }
}

/// Returns the path of a URL, and true if the URL has a query or a fragment.
fn parts_of(text: &str) -> (&str, bool) {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = rest.find(['/', '?', '#']).map_or("/", |at| &rest[at..]);
    (path, path.contains(['?', '#']))
}

/// Parses the URL of a STUN server (RFC 7064) or TURN server (RFC 7065). Such a URL has no slashes after the
/// scheme.
pub(super) fn ice_server(value: &Value) -> ParseResult<String> {
    let text = text(value)?;
    let rest = ["stun:", "stuns:", "turn:", "turns:"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(host) if !host.is_empty() && !host.starts_with('/') && !host.contains(['@', ' ']) => Ok(text),
        _ => Err("must be URLs like stun:host:3478 or turn:host:3478?transport=udp".into()),
    }
}

/// Parses a serialised origin (RFC 6454 section 6.2) of any scheme, `null`, or `*` for any origin.
pub(super) fn origin(value: &Value) -> ParseResult<String> {
    let text = text(value)?;
    let is_serialised = |url: url::Url| match url.origin() {
        origin @ url::Origin::Tuple(..) => origin.ascii_serialization() == text,
        // An app's own scheme, such as capacitor://localhost: the app's web view sends scheme, host and port
        // as the origin.
        url::Origin::Opaque(_) => {
            let bare = url.path().is_empty() && url.query().is_none() && url.fragment().is_none();
            let anonymous = url.username().is_empty() && url.password().is_none();
            url.has_host() && bare && anonymous && url.as_str() == text
        }
    };
    // Android's WebView sends `file://` for local files.
    if ["*", "null", "file://"].contains(&text.as_str()) || url::Url::parse(&text).is_ok_and(is_serialised) {
        Ok(text)
    } else {
        Err("must be origins as browsers send them, without a path: like https://example.org, \
             capacitor://localhost, null, or * for any"
            .into())
    }
}

/// Parses a source of the directive `frame-ancestors` (CSP Level 3 section 2.3.1): an origin or `*` for any
/// origin. The host of the origin may begin with a wildcard.
pub(super) fn frame_ancestor(value: &Value) -> ParseResult<String> {
    let text = text(value)?;
    // Excludes all characters that could end a directive or quote a keyword.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:/-_[]".contains(c);
    let host = text.replacen("://*.", "://", 1);
    let is_origin = host.chars().all(is_plain) && !host.ends_with("://") && host != "null";
    if text == "*" || is_origin && origin(&Value::String(host)).is_ok() {
        Ok(text)
    } else {
        Err("must be origins without a path, like https://example.org or https://*.example.org, or * for any"
            .into())
    }
}

pub(super) fn rtp_ports(value: &Value) -> ParseResult<(u16, u16)> {
    port_range(value).filter(|ports| port_pairs(*ports) > 0).ok_or_else(|| {
        "must be a range of ports from 1024 on that holds an even port and the odd one above it, \
         like 27000-28999"
            .into()
    })
}

pub(super) fn udp_ports(value: &Value) -> ParseResult<(u16, u16)> {
    let allowed = "must be a range of two ports or more from 1024 on, like 20000-24999";
    port_range(value).filter(|(low, high)| low < high).ok_or_else(|| allowed.into())
}

/// Parses a port range without the ports that only root may bind.
fn port_range(value: &Value) -> Option<(u16, u16)> {
    let (low, high) = value.as_str()?.split_once('-')?;
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low >= 1024).then_some((low, high))
}

/// Returns the parts of a log filter. A comma in braces separates the fields of a span, not two parts. The
/// library's own function for whole filters splits at every comma.
pub fn log_directives(filter: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    let parts = filter.split(move |c| {
        inside = c == '{' || inside && c != '}';
        c == ',' && !inside
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

pub(super) fn log_filter(value: &Value) -> ParseResult<String> {
    let filter = text(value)?;
    // A single word is the name of a module for the library, and a misspelt level would switch the log off.
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let is_word = |part: &&str| !part.contains(['=', '[', ']', ':']);
    if let Some(word) = log_directives(&filter).find(|part| is_word(part) && !is_level(part)) {
        return Err(format!(
            "{word:?} is not a level; levels are off, error, warn, info, debug and trace; a level of one \
             module is written like stentor=debug"
        ));
    }
    let wrong = |part: &str| Some((part.to_owned(), part.parse::<Directive>().err()?));
    if let Some((part, e)) = log_directives(&filter).find_map(wrong) {
        return Err(format!("must be a filter like info or info,stentor=debug; {part:?} is not ({e})"));
    }
    Ok(filter)
}

pub(super) fn api_keys(value: &Value) -> ParseResult<Vec<Secret>> {
    list(|item| {
        let key = text(item)?;
        let ok = key.len() >= API_KEY_MIN && key.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        let allowed = "each key must be 16 or more printable ASCII characters without spaces or commas";
        if ok { Ok(Secret(key.into_bytes())) } else { Err(allowed.to_owned()) }
    })(value)
}

/// Parses `{kid, secret}` in YAML, or `kid:secret` in a line of a file, in the environment and in flags.
pub(super) fn jwt_secrets(value: &Value) -> ParseResult<Vec<JwtSecret>> {
    let secrets = list(jwt_secret)(value)?;
    let mut kids: Vec<_> = secrets.iter().map(|s| &s.kid).collect();
    kids.sort();
    if kids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("each kid must be unique".into());
    }
    Ok(secrets)
}

fn jwt_secret(item: &Value) -> ParseResult<JwtSecret> {
    let (kid, secret) = match item {
        Value::String(line) => line.split_once(':').unwrap_or_default(),
        Value::Object(fields) if fields.len() == 2 => {
            let field = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
            (field("kid"), field("secret"))
        }
        _ => ("", ""),
    };
    let named = !kid.is_empty() && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if named && secret.len() >= SECRET_MIN {
        Ok(JwtSecret { kid: kid.to_owned(), secret: Secret(secret.as_bytes().to_vec()) })
    } else {
        Err("each must have a kid (A-Z a-z 0-9 _ - .) and a secret of at least 32 bytes: {kid, secret}, \
             or kid:secret where it is one text"
            .into())
    }
}

/// Parses a secret of at least 32 bytes.
pub(super) fn long_secret(value: &Value) -> ParseResult<Secret> {
    let secret = secret(value)?;
    if secret.0.len() >= SECRET_MIN { Ok(secret) } else { Err("must be at least 32 bytes".into()) }
}

/// Parses any text as a secret; a file must hold exactly one line.
pub(super) fn secret(value: &Value) -> ParseResult<Secret> {
    let value = match value {
        Value::Array(lines) if lines.len() == 1 => &lines[0],
        Value::Array(_) => return Err("must hold one line".into()),
        other => other,
    };
    text(value).map(|t| Secret(t.into_bytes()))
}
