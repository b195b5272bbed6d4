//! A server of connections that do nothing, in a separate process: the baseline for memory per connection.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use actix::{Actor, StreamHandler};
use actix_web::web::Bytes;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use futures::{StreamExt, stream};

/// Argument that makes this program the server.
const BARE: &str = "bare-connections";

/// This program, run as the server. It ends when this value is dropped.
pub struct BareServer {
    process: Child,
    address: String,
}

impl BareServer {
    pub fn start() -> Self {
        let own = std::env::current_exe().expect("our own path");
        let mut process =
            Command::new(own).arg(BARE).stdout(Stdio::piped()).spawn().expect("this program runs");
        let mut address = String::new();
        let mut out = BufReader::new(process.stdout.take().expect("its output is ours"));
        out.read_line(&mut address).expect("its address");
        Self { process, address: address.trim().to_owned() }
    }

    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct IdleSocket;

impl Actor for IdleSocket {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.text("{}");
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for IdleSocket {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}
}

async fn websocket(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, actix_web::Error> {
    ws::start(IdleSocket, &request, payload)
}

async fn events() -> HttpResponse {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: first\n\n"))]);
    HttpResponse::Ok().content_type("text/event-stream").streaming(first.chain(stream::pending()))
}

/// Runs the bare server if the arguments request it.
pub fn run_if_asked() -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some(BARE) {
        return None;
    }
    let served = actix::System::new().block_on(async {
        let server = HttpServer::new(|| {
            App::new().route("/ws", web::get().to(websocket)).route("/events", web::get().to(events))
        });
        let server = server.workers(1).bind("127.0.0.1:0")?;
        println!("{}", server.addrs()[0]);
        server.run().await
    });
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
