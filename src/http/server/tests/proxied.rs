//! Tests of clients behind proxies, limits per address, and IPv6.

use super::*;

const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x12\x67\x01\xbb";

/// Trusts the clients of the test, which are on loopback, as proxies.
fn trusting(rate: u32) -> impl FnOnce(&mut Options) {
    move |options| {
        let proxies = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
        options.clients = Clients::new(proxies, limits(rate), &metrics);
    }
}

fn forwarded(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: inner\r\nConnection: close\r\n{headers}\r\n")
}

const FORWARDED: &str = "X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
                         X-Forwarded-Host: live.example.org\r\n";

#[actix::test]
async fn trusted_proxies_name_the_client() {
    let served = TestServer::start_with(10, trusting(1000));
    let answer = served.ask(&forwarded("/client", FORWARDED)).await;
    assert!(answer.ends_with("\r\n\r\n203.0.113.7 live.example.org"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=3600"), "{answer}");
    let bare = served.ask(&forwarded("/client", "")).await;
    assert!(bare.ends_with("127.0.0.1 inner") && !bare.contains("strict-transport"), "{bare}");
    served.handle.stop(false).await;
}

#[actix::test]
async fn forged_headers_change_nothing() {
    let served = TestServer::start(10);
    let answer = served.ask(&forwarded("/client", FORWARDED)).await;
    assert!(answer.ends_with("127.0.0.1 inner") && !answer.contains("strict-transport"), "{answer}");
    served.handle.stop(false).await;
}

#[actix::test]
async fn addresses_beyond_their_rate_get_429() {
    let served = TestServer::start_with(10, trusting(1));
    let limited = "GET /small HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n".repeat(100);
    let answers = served.ask(&(limited + &forwarded("/small", ""))).await;
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.ends_with("small"), "{answers}");
    let refused = answers.split("HTTP/1.1 ").find(|answer| answer.starts_with("429 ")).unwrap();
    assert!(refused.contains("retry-after: 1\r\n") && refused.contains("nosniff"), "{refused}");
    assert!(refused.contains("\"code\":\"too_many_requests\""), "{refused}");
    let other = served.ask(&forwarded("/small", "X-Forwarded-For: 203.0.113.8\r\n")).await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    served.handle.stop(false).await;
}

#[actix::test]
async fn proxy_protocol_names_the_client() {
    let served = TestServer::start_with(10, |options| {
        trusting(1000)(options);
        options.proxy_protocol = true;
    });
    let v1 = b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n";
    for (header, expected) in [(&v1[..], "2001:db8::7 inner"), (PROXY_V2, "203.0.113.7 inner")] {
        let mut client = served.connect().await;
        client.write_all(header).await.unwrap();
        client.write_all(forwarded("/client", "X-Forwarded-For: 192.0.2.1\r\n").as_bytes()).await.unwrap();
        let answer = read(&mut client).await;
        assert!(answer.ends_with(expected), "{answer}");
    }
    let without = served.ask(&forwarded("/client", "")).await;
    assert_eq!(without, "", "a trusted proxy must send the header");
    served.handle.stop(false).await;
}

#[actix::test]
async fn strangers_cannot_use_the_proxy_protocol() {
    let served = TestServer::start_with(10, |options| options.proxy_protocol = true);
    let direct = served.ask(&forwarded("/client", "")).await;
    assert!(direct.ends_with("127.0.0.1 inner"), "{direct}");
    let mut client = served.connect().await;
    client.write_all(PROXY_V2).await.unwrap();
    client.write_all(forwarded("/client", "").as_bytes()).await.unwrap();
    assert!(!read(&mut client).await.contains("203.0.113.7"));
    served.handle.stop(false).await;
}

#[actix::test]
async fn surplus_connections_of_an_address_get_429() {
    let served = TestServer::start_with(4, |options| {
        trusting(1000)(options);
        options.proxy_protocol = true;
    });
    let connect = async || {
        let mut client = served.connect().await;
        client.write_all(PROXY_V2).await.unwrap();
        client
    };
    let (mut one, mut two) = (connect().await, connect().await);
    for client in [&mut one, &mut two] {
        client.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let refused = read(&mut connect().await).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 1\r\n"), "{refused}");
    served.handle.stop(false).await;
}

#[actix::test]
async fn ipv6_sockets_take_ipv4_too() {
    // Skipped where the system has no IPv6.
    if bind("[::1]:0".parse().unwrap()).is_err() {
        return;
    }
    let served = TestServer::start_at("[::]:0", 10, |_| ());
    for (host, seen) in [("127.0.0.1", "127.0.0.1 inner"), ("::1", "::1 inner")] {
        let mut client = TcpStream::connect((host, served.address.port())).await.unwrap();
        client.write_all(forwarded("/client", "").as_bytes()).await.unwrap();
        let answer = read(&mut client).await;
        assert!(answer.ends_with(seen), "{answer}");
    }
    served.handle.stop(false).await;
}
