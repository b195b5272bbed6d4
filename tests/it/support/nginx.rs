//! nginx as a reverse proxy in front of nodes under test.
//!
//! Owns: the process and its folder. Does not stop the nodes.

use std::process::{Command, Stdio};

use super::kept::KeptProcess;
use super::until;

pub struct Nginx {
    _process: KeptProcess,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx and waits until it listens on this port of 127.0.0.1. `http`: directives of the `http`
    /// context, such as upstreams and maps; `server`: those of its only server.
    pub async fn start(port: u16, http: &str, server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             proxy_buffering off; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
             proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             {http}\nserver {{ listen 127.0.0.1:{port};\n{server} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(file).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = KeptProcess::start(command);
        until("nginx listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        Self { _process: process, _folder: folder }
    }
}
