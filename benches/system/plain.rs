//! Number of listeners that one core serves with a plain stream, next to the number for the same room with
//! low-latency HLS (the baseline). Both are computed from the node's own processor time.

use std::io::Read;
use std::time::{Duration, Instant};

use awc::Client;
use futures::future::{join_all, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::house::{Backend, House};
use super::support::pause_async;
use super::table::Row;
use super::usage;

const ROOM: &str = "heard";
const PLAIN: usize = 2000;
const HLS: usize = 200;
const WATCHED: Duration = Duration::from_secs(10);
/// Time from the start of the listeners to the measurement.
const SETTLED: Duration = Duration::from_secs(3);

pub async fn measure() -> Vec<Row> {
    stentor::process::raise_descriptor_limit();
    let house = House::open(Backend::Embedded, &[]).await;
    house.node.room_on_air(ROOM).await;
    let token = house.node.token(ROOM).await;
    let idle = share(&house).await;
    let (by_hls, requests) = hls(&house).await;
    let (by_plain, bytes) = plain(&house, &token).await;
    let per_core = |share: f64, count: usize| count as f64 / (share - idle).max(0.001);
    let (least, most) = (bytes.iter().min().unwrap_or(&0), bytes.iter().max().unwrap_or(&0));
    vec![Row::new(
        format!(
            "listeners on one core: plain stream, {PLAIN} at once (floor: LL-HLS by parts, {HLS} at once)"
        ),
        format!(
            "{:.0} ({:.0} µs per request)",
            per_core(by_hls, HLS),
            (by_hls - idle) * WATCHED.as_secs_f64() * 1e6 / requests as f64
        ),
        format!(
            "{:.0} ({:.0} % of a core for {PLAIN}; the slowest got {least} bytes, the fastest {most})",
            per_core(by_plain, PLAIN),
            by_plain * 100.0
        ),
        "≥ 2,000",
    )]
}

/// Returns the node's processor time as a share of one core.
async fn share(house: &House) -> f64 {
    let (node, begin) = (house.node.pid(), Instant::now());
    let used = usage::cpu(&[node]);
    // Sleep: the time over which processor time is measured.
    tokio::time::sleep(WATCHED).await;
    (usage::cpu(&[node]) - used).as_secs_f64() / begin.elapsed().as_secs_f64()
}

/// Returns the node's share of a core, and the bytes that each listener received meanwhile.
async fn plain(house: &House, token: &str) -> (f64, Vec<usize>) {
    let address = house.node.hls.trim_start_matches("http://").to_owned();
    let request = format!("GET /live/{ROOM}.aac?token={token} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let mut sockets = Vec::new();
    for _ in 0..PLAIN {
        let mut socket = TcpStream::connect(&address).await.expect("a connection");
        socket.write_all(request.as_bytes()).await.expect("a request");
        sockets.push(socket);
    }
    let (counting, _) = watch::channel(false);
    let listeners: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            let counts = counting.subscribe();
            actix::spawn(async move {
                let (mut buffer, mut received) = ([0; 16 * 1024], 0);
                loop {
                    let read = socket.read(&mut buffer).await.expect("the stream goes on");
                    assert!(read > 0, "the stream has ended");
                    // The sender is gone when the measurement is over.
                    match counts.has_changed() {
                        Ok(_) if *counts.borrow() => received += read,
                        Ok(_) => {}
                        Err(_) => return received,
                    }
                }
            })
        })
        .collect();
    // Do not count the bursts at the beginning.
    while house.metric("stentor_listeners").await < 1.0 {
        pause_async().await;
    }
    // Sleep: until the bursts are over.
    tokio::time::sleep(SETTLED).await;
    counting.send_replace(true);
    let share = share(house).await;
    drop(counting);
    let bytes = join_all(listeners).await.into_iter().map(|bytes| bytes.expect("a listener")).collect();
    (share, bytes)
}

/// Returns the node's share of a core, and the number of requests that the listeners made.
async fn hls(house: &House) -> (f64, usize) {
    let base = format!("{}/hls/rooms/{ROOM}", house.node.hls);
    let client =
        Client::builder().connector(awc::Connector::new().limit(0)).timeout(Duration::from_secs(30)).finish();
    let (measuring, _) = watch::channel(());
    let listeners: Vec<_> = (0..HLS)
        .map(|_| {
            let (client, base, mut over) = (client.clone(), base.clone(), measuring.subscribe());
            actix::spawn(async move {
                let requests = std::rc::Rc::new(std::cell::Cell::new(0));
                let listening = Box::pin(listen(client, base, requests.clone()));
                let over = Box::pin(over.changed());
                drop(select(listening, over).await);
                requests.get()
            })
        })
        .collect();
    // Sleep: until all of them follow the live edge.
    tokio::time::sleep(SETTLED).await;
    let share = share(house).await;
    drop(measuring);
    let requests: usize = join_all(listeners).await.into_iter().map(|count| count.expect("a listener")).sum();
    let measured = WATCHED.as_secs_f64() / (WATCHED + SETTLED).as_secs_f64();
    (share, (requests as f64 * measured) as usize)
}

/// Requests each playlist and each part, as hls.js does.
async fn listen(client: Client, base: String, requests: std::rc::Rc<std::cell::Cell<usize>>) {
    let mut query = String::new();
    loop {
        let playlist = get(&client, format!("{base}/index.m3u8{query}")).await;
        let mut text = String::new();
        flate2::read::GzDecoder::new(&playlist[..]).read_to_string(&mut text).expect("gzip");
        let (_, hint) = text.rsplit_once("URI=\"").expect("a hint");
        let (name, _) = hint.split_once('"').expect("a name");
        get(&client, format!("{base}/{name}")).await;
        requests.set(requests.get() + 2);
        let (_, at) = name.trim_end_matches(".ts").split_once('-').expect("a number");
        let (msn, part) = at.split_once('.').expect("a part");
        query = format!("?_HLS_msn={msn}&_HLS_part={part}");
    }
}

async fn get(client: &Client, url: String) -> Vec<u8> {
    let request = client.get(&url).no_decompress().insert_header(("accept-encoding", "gzip"));
    let mut response = request.send().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    assert_eq!(response.status(), 200, "{url}");
    response.body().await.expect("a body").to_vec()
}
