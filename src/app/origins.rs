//! Origins and host names that the HTTP servers accept.

use url::Url;

use crate::config::Config;
use crate::http::cors::Hosts;

/// Returns the origins that may open signalling connections. Our own page for anchors is served at the
/// listener address, whose origin differs from the origin of the gateway.
pub fn speakers_origins(config: &Config) -> Vec<String> {
    let (listen, mut origins) = (config.listen.hls, config.http.allowed_origins.clone());
    let scheme = if config.secure().hls { "https" } else { "http" };
    origins.push(format!("{scheme}://{listen}"));
    if listen.ip().is_loopback() {
        origins.push(format!("{scheme}://localhost:{}", listen.port()));
    }
    let public = config.http.public_hls_url.as_deref().and_then(|url| Url::parse(url).ok());
    origins.extend(public.map(|url| url.origin().ascii_serialization()));
    origins
}

/// Returns the host names that sockets without authentication accept, in addition to `localhost`. They are
/// those of the public URLs and of the allowed origins, which a reverse proxy may use.
pub fn hosts(config: &Config) -> Hosts {
    let public = [&config.http.public_hls_url, &config.http.public_ws_url].into_iter().flatten();
    Hosts::of(public.chain(&config.http.allowed_origins).map(String::as_str))
}
