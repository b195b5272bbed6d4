//! Replacements for components of a node: a Janus that the test starts, and a fake FFmpeg.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use stentor::auth::Secrets;
use stentor::config::{self, LoadInput};
use stentor::domain::ids::RoomId;
use stentor::janus::Secret;
use tempfile::TempDir;

use super::janus::TestJanus;
use super::node::Node;

/// Prepares a node, not running yet, that uses this Janus at `url` (a proxy's, or its own).
pub fn on_janus(janus: &TestJanus, url: &str, settings: &[(&str, &str)]) -> Node {
    let mut all = vec![
        ("janus.mode", "external"),
        ("janus.url", url),
        ("janus.api_secret", janus.options.api_secret.0.as_str()),
        ("janus.admin_key", janus.options.admin_key.0.as_str()),
    ];
    all.extend(settings);
    Node::prepare(&all)
}

/// Loads the secrets that the node created in its data directory.
pub fn secrets(node: &Node) -> Secrets {
    let data_dir = ("node.data_dir".to_owned(), node.data_dir().display().to_string());
    let config = config::load(LoadInput { flags: vec![data_dir], ..LoadInput::default() }).unwrap();
    Secrets::load_or_create(&config).unwrap()
}

/// Returns the secret that protects this room on Janus.
pub fn janus_secret(secrets: &Secrets, room: &str) -> Secret {
    Secret(secrets.of_janus_room(&RoomId::new(room).unwrap()))
}

/// A program that prints FFmpeg's version, writes 1.8 s of a recording at once, and then idles. It binds no
/// port and uses no CPU time while idle; its command name is `ffmpeg`, too.
pub struct FakeFfmpeg(TempDir);

impl FakeFfmpeg {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recording = folder.path().join("recording.aac");
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "1.8"])
            .args(["-c:a", "aac", "-f", "adts"])
            .arg(&recording)
            .status();
        assert!(made.unwrap().success());
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = -version ] && exec echo ffmpeg version 0-fake\n\
             cat {}\nwhile :; do sleep 3600; done\n",
            recording.display()
        );
        let fake = Self(folder);
        std::fs::write(fake.path(), script).unwrap();
        // FFmpeg may run as a different user from the tests.
        for open in [fake.path(), fake.0.path().to_owned()] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fake
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("ffmpeg")
    }
}
