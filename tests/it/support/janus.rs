//! A real Janus for a test, on its own ports, stopped with the test.

use std::time::Duration;

use stentor::domain::ids::Pin;
use stentor::domain::ports::{PLAIN_RTP_PORTS, WEBRTC_PORTS};
use stentor::janus::{
    ConnectOptions, JanusClient, LinkEvent, ManagedJanus, ManagedOptions, NewRoom, SESSION_TIMEOUT, Secret,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub const MOMENT: Duration = Duration::from_secs(10);

pub struct TestJanus {
    pub janus: ManagedJanus,
    pub options: ManagedOptions,
    _dir: tempfile::TempDir,
}

impl TestJanus {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ManagedOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        change(&mut options);
        let janus = ManagedJanus::start(&options).await.unwrap();
        Self { janus, options, _dir: dir }
    }

    /// Starts a Janus instance whose answers contain no candidates; it trickles them afterwards.
    pub async fn full_trickle() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/janus_full_trickle.sh");
        Self::start_with(|options| options.binary = script.into()).await
    }

    pub fn connect_options(&self) -> ConnectOptions {
        ConnectOptions {
            url: self.janus.url().to_owned(),
            api_secret: Some(self.options.api_secret.clone()),
            admin_key: Some(self.options.admin_key.clone()),
            request_timeout: Duration::from_secs(5),
            keep_alive: self.options.session_timeout / 3,
        }
    }

    pub async fn client(&self) -> (JanusClient, UnboundedReceiver<LinkEvent>) {
        connect(&self.connect_options()).await
    }
}

pub async fn connect(options: &ConnectOptions) -> (JanusClient, UnboundedReceiver<LinkEvent>) {
    let (sender, events) = unbounded_channel();
    (JanusClient::connect(options, sender).await.unwrap(), events)
}

/// Returns the Janus program under test: from `STENTOR__JANUS__BINARY`, which nodes use too, or the one on
/// the path.
fn binary() -> std::path::PathBuf {
    std::env::var_os("STENTOR__JANUS__BINARY").map_or_else(|| "janus".into(), Into::into)
}

pub fn options(dir: &std::path::Path) -> ManagedOptions {
    ManagedOptions {
        binary: binary(),
        work_dir: dir.join("janus"),
        media_ip: [127, 0, 0, 1].into(),
        ice_interface: None,
        public_ip: None,
        api_secret: Secret("a \"secret\" of the API \\".to_owned()),
        admin_key: Secret("the admin's key".to_owned()),
        webrtc_ports: WEBRTC_PORTS,
        plain_rtp_ports: PLAIN_RTP_PORTS,
        session_timeout: SESSION_TIMEOUT,
        account: None,
        data_limit: 2 << 30,
    }
}

pub fn room(id: u32) -> NewRoom {
    NewRoom {
        janus_room_id: id,
        description: format!("stentor/test/room-{id}/1"),
        pin: pin(),
        secret: secret(),
    }
}

pub fn pin() -> Pin {
    Pin::new("abc123").unwrap()
}

pub fn secret() -> Secret {
    Secret("secret of the room".to_owned())
}
