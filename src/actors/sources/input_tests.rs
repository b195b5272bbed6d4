//! Tests of the checks before an input is opened, on real files and a real HTTP server.

use actix_web::{App, HttpResponse, HttpServer, web};
use ipnet::IpNet;

use super::*;
use crate::config::Secret;
use crate::domain::ids::UnixMs;
use crate::domain::sources::SealedUrl;

#[actix::test]
async fn files_outside_folder_are_refused() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret.mp3"), "x").unwrap();
    std::fs::write(inside.path().join("hello.mp3"), "x").unwrap();
    std::fs::create_dir(inside.path().join("folder")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.mp3"), inside.path().join("link.mp3")).unwrap();
    let parts = parts(&[], &[], Some(inside.path()));
    let root = inside.path().canonicalize().unwrap();
    let file = |name: &str| source(Input::File(SourceFile::new(name).unwrap()));
    let Ok((opened, None)) = open(&parts, &file("hello.mp3")).await else { panic!("a file of the folder") };
    assert_eq!(opened, SourceInput::File { path: root.join("hello.mp3"), repeats: false });
    for refused in ["link.mp3", "folder", "absent.mp3"] {
        assert!(open(&parts, &file(refused)).await.is_err(), "{refused}");
    }
}

#[actix::test]
async fn private_addresses_are_refused() {
    let everywhere = parts(&Scheme::ALL, &[], None);
    for url in [
        "http://127.0.0.1:1/x",
        "http://localhost:1/x",
        "http://[::1]:1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://0x7f000001:1/x",
        "http://2130706433:1/x",
        "rtmp://127.0.0.1/a/b",
        "srt://[::ffff:127.0.0.1]:9000",
    ] {
        let refusal = refusal(&everywhere, url).await;
        assert!(refusal.contains("no public address"), "{url}: {refusal}");
    }
    assert!(refusal(&parts(&[Scheme::Http], &[], None), "https://127.0.0.1/x").await.contains("schemes"));
}

#[actix::test]
async fn redirects_are_checked_again() {
    let to = |to: &'static str| {
        move || async move { HttpResponse::Found().insert_header((LOCATION, to)).finish() }
    };
    let server = HttpServer::new(move || {
        App::new()
            .route("/out", web::get().to(to("http://169.254.169.254/")))
            .route("/file", web::get().to(to("file:///etc/passwd")))
            .route("/rtmp", web::get().to(to("rtmp://127.0.0.1/a/b")))
            .route("/loop", web::get().to(to("/loop")))
            .route("/once", web::get().to(to("/media")))
            .route("/media", web::get().to(|| async { HttpResponse::Ok().body("sound") }))
            .route("/gone", web::get().to(|| async { HttpResponse::Gone().finish() }))
    });
    let server = server.workers(1).bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix::spawn(server);
    let parts = parts(&[Scheme::Http, Scheme::Rtmp], &["127.0.0.1/32"], None);
    for (path, says) in [
        ("/out", "no public address"),
        ("/file", "not an HTTP URL"),
        ("/rtmp", "not an HTTP URL"),
        ("/loop", "more than 3 times"),
        ("/gone", "answered with 410"),
        ("/absent", "answered with 404"),
    ] {
        let refusal = refusal(&parts, &format!("{base}{path}")).await;
        assert!(refusal.contains(says), "{path}: {refusal}");
    }
    let media = source(Input::Url(SourceUrl::new(&format!("{base}/once")).unwrap()));
    let Ok((SourceInput::Pipe, Some(body))) = open(&parts, &media).await else { panic!("redirected once") };
    let body: Vec<Bytes> = body.try_collect().await.unwrap();
    assert_eq!(body.concat(), b"sound");
    handle.stop(false).await;
}

#[test]
fn stream_urls_name_the_checked_address() {
    let address = "203.0.113.7:1935".parse().unwrap();
    let url = SourceUrl::new("rtmp://media.example/app/key?token=a").unwrap();
    let SourceInput::Rtmp { url, tc_url } = rtmp(&url, address) else { panic!("rtmp") };
    assert_eq!(url, "rtmp://203.0.113.7:1935/app/key?token=a");
    assert_eq!(tc_url, "rtmp://media.example:1935/app");
    let url = SourceUrl::new("srt://media.example:1935?streamid=a%26mode%3Dlistener").unwrap();
    let SourceInput::Srt { url } = srt(&url, address) else { panic!("srt") };
    assert_eq!(url, "srt://203.0.113.7:1935?streamid=a%26mode%3Dlistener&mode=caller");
}

#[actix::test]
async fn sealed_urls_open_for_their_source() {
    let (room, now) = (RoomId::new("tea-room").unwrap(), UnixMs(1));
    let sealed = |id: &str, url: &str| {
        let sealed = SealedUrls::of_sources(&secrets()).seal(&room, &id, url, now);
        source(Input::Sealed(SealedUrl { scheme: Scheme::Srt, shown: "srt://8.8.8.8:9000".into(), sealed }))
    };
    let parts = parts(&[Scheme::Srt], &[], None);
    let url = "srt://8.8.8.8:9000?passphrase=geheim";
    let Ok((SourceInput::Srt { url: opened }, None)) = open(&parts, &sealed("anna", url)).await else {
        panic!("srt")
    };
    assert_eq!(opened, format!("{url}&mode=caller"));
    let Err(moved) = open(&parts, &sealed("other", url)).await else { panic!("of another source") };
    assert!(moved.contains("another hls.secret"), "{moved}");
    let Err(other) = open(&parts, &sealed("anna", "http://8.8.8.8/")).await else { panic!("http") };
    assert!(other.contains("does not permit http"), "{other}");
}

async fn open(parts: &SourceParts, source: &Source) -> Result<(SourceInput, Option<Body>), String> {
    parts.open((&RoomId::new("tea-room").unwrap(), &UserId::new("anna").unwrap()), source).await
}

async fn refusal(parts: &SourceParts, url: &str) -> String {
    match open(parts, &source(Input::Url(SourceUrl::new(url).unwrap()))).await {
        Ok(_) => panic!("{url} was opened"),
        Err(refusal) => refusal,
    }
}

fn source(input: Input) -> Source {
    Source::new(input, None, Some(false), UnixMs(0))
}

fn parts(schemes: &[Scheme], networks: &[&str], folder: Option<&Path>) -> SourceParts {
    let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
    let config = SourcesConfig { schemes: schemes.to_vec(), networks, folder: folder.map(Into::into) };
    SourceParts::new(&config, &secrets()).unwrap()
}

fn secrets() -> Secrets {
    let secret = || Secret(vec![7; 32]);
    Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() }
}
