//! Responses per second of the HLS socket, compared with nginx, which serves the same bytes as static files.
//! Both run on all cores of this machine together with the load generator.

use std::path::Path;
use std::process::{Command, Stdio};

use awc::Client;
use stentor::probe::m3u8::Playlist;
use tempfile::TempDir;

use super::house::{Backend, House};
use super::support::kept::KeptProcess;
use super::support::{free_ports, pause_async};
use super::table::Row;

const ROOM: &str = "served";
const ROUNDS: usize = 3;
const SECONDS: &str = "3s";
/// Value of `Accept-Encoding` for uncompressed responses.
const PLAIN: &str = "identity";
const GZIP: &str = "gzip";

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    house.node.room_on_air(ROOM).await;
    let base = format!("{}/hls/rooms/{ROOM}", house.node.hls);
    until_full(&house.http, &base).await;
    let nginx = Nginx::start().await;
    let (mut playlist, mut packed, mut part) = (Duel::default(), Duel::default(), Duel::default());
    let index = format!("{base}/index.m3u8");
    for _ in 0..ROUNDS {
        playlist.round(&nginx, &index, PLAIN, &get(&house.http, &index, PLAIN).await).await;
        packed.round(&nginx, &index, GZIP, &get(&house.http, &index, GZIP).await).await;
        let part_url = format!("{base}/{}", newest_part(&get(&house.http, &index, PLAIN).await));
        part.round(&nginx, &part_url, PLAIN, &get(&house.http, &part_url, PLAIN).await).await;
    }
    vec![playlist.row("playlist"), packed.row("playlist as browsers take it, gzip"), part.row("part")]
}

/// Waits until the playlist has its full length.
async fn until_full(client: &Client, base: &str) {
    while parsed(&get(client, &format!("{base}/index.m3u8"), PLAIN).await).segments.len() < 6 {
        pause_async().await;
    }
}

#[derive(Default)]
struct Duel {
    node: Vec<f64>,
    nginx: Vec<f64>,
    bytes: usize,
}

impl Duel {
    async fn round(&mut self, nginx: &Nginx, url: &str, accepts: &str, body: &[u8]) {
        self.bytes = body.len();
        // A new name each time: nginx caches the open file and would serve its previous length.
        let name = format!("file-{}-{}", body.len(), self.node.len());
        std::fs::write(nginx.dir.path().join(&name), body).expect("a file");
        self.node.push(load(url, accepts).await);
        self.nginx.push(load(&format!("{}/{name}", nginx.url), accepts).await);
    }

    fn row(self, what: &str) -> Row {
        Row::new(
            format!("HLS responses/s, {what} of {} bytes (floor: nginx, static)", self.bytes),
            format!("{:.0}", median(self.nginx)),
            format!("{:.0}", median(self.node)),
            "≥ nginx",
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn newest_part(playlist: &[u8]) -> String {
    let playlist = parsed(playlist);
    let parts = playlist.segments.iter().flat_map(|s| &s.parts);
    parts.last().expect("a part").uri.clone()
}

fn parsed(playlist: &[u8]) -> Playlist {
    Playlist::parse(&String::from_utf8_lossy(playlist)).expect("a playlist")
}

async fn get(client: &Client, url: &str, accepts: &str) -> Vec<u8> {
    let request = client.get(url).no_decompress().insert_header(("accept-encoding", accepts));
    let mut answer = request.send().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    assert_eq!(answer.status(), 200, "{url}");
    answer.body().await.expect("a body").to_vec()
}

/// Returns the number of requests per second that the server answers on 64 connections. Panics if a
/// connection fails or an answer is not a 2xx.
async fn load(url: &str, accepts: &str) -> f64 {
    let accepts = format!("accept-encoding: {accepts}");
    let mut wrk =
        stentor::process::command("wrk", ["-t", "1", "-c", "64", "-d", SECONDS, "-H", &accepts, url]);
    let output = wrk.output().await.expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    rate.and_then(|r| r.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

struct Nginx {
    url: String,
    dir: TempDir,
    _processes: Vec<KeptProcess>,
}

impl Nginx {
    /// Starts one process per core on one port. They have no master process, so each of them ends with this
    /// program in any case.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [port] = free_ports();
        std::fs::write(dir.path().join("file"), "").expect("a file");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let processes = (0..cores).map(|n| process(dir.path(), port, n)).collect();
        let url = format!("http://127.0.0.1:{port}");
        let client = Client::default();
        while client.get(format!("{url}/file")).send().await.is_err() {
            pause_async().await;
        }
        Self { url, dir, _processes: processes }
    }
}

fn process(dir: &Path, port: u16, n: usize) -> KeptProcess {
    let file = dir.join(format!("nginx-{n}.conf"));
    std::fs::write(&file, configuration(dir, port, n)).expect("a file");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(file).args(["-e", "stderr"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    KeptProcess::start(command)
}

/// Returns a configuration for the highest speed: no log, open files cached.
fn configuration(dir: &Path, port: u16, n: usize) -> String {
    let dir = dir.display();
    format!(
        "daemon off; master_process off; pid {dir}/pid-{n};\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;\n\
         types {{ }} default_type application/octet-stream; open_file_cache max=100;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         server {{ listen 127.0.0.1:{port} reuseport backlog=4096; root {dir}; }} }}\n"
    )
}
