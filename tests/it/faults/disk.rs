//! The disk under the embedded store is full.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::Mode;
use tempfile::TempDir;

use crate::rooms::tuned_in;
use crate::support::fault_table::recovered;
use crate::support::node::Node;
use crate::support::studio::Studio;
use crate::support::until;

/// Size of the disk. The store starts with 1.5 MB; Janus and the secrets need little.
const SIZE_MB: u32 = 12;
const CONVERGED: Duration = Duration::from_secs(2);
/// More rooms than the free pages inside the store's file can hold.
const MANY: usize = 20_000;

#[actix::test]
async fn full_disk_keeps_rooms_on_air() {
    let disk = SmallDisk::mount(SIZE_MB);
    let node = Node::start(&[("node.data_dir", disk.path().to_str().unwrap())]).await;
    node.room_on_air("live").await;
    let _speaker = Studio::managed(&node).await.speak(&node, "live", 440).await;
    let mut listener = tuned_in(&node.target("live").await, Mode::Parts, 440.0).await;

    let filler = disk.fill();
    let mut refused = None;
    for n in 0..MANY {
        let made = node.post("/api/rooms", json!({ "roomId": format!("room-{n}") })).await;
        if made.status != 201 {
            refused = Some(made);
            break;
        }
    }
    let refused = refused.expect("the disk was full");
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let heard = listener.hear(Duration::from_secs(4)).await.unwrap();
    assert_eq!((heard.gaps, heard.violations), (vec![], vec![]), "heard throughout");
    assert_eq!(node.get("/api/rooms/live").await.json()["room"]["status"], "onair");
    let named = |line: &String| line.to_lowercase().contains("no space left on device");
    until("the log names the cause", async || node.problems().iter().any(named)).await;

    std::fs::remove_file(filler).unwrap();
    let since = Instant::now();
    until("changes are taken again", async || {
        node.post("/api/rooms", json!({ "roomId": "after" })).await.status == 201
    })
    .await;
    recovered(
        "disk full under the embedded store",
        "changes: 503 meanwhile; no media",
        since.elapsed(),
        CONVERGED,
    );
    assert_eq!(node.post("/api/rooms/after/start", json!({})).await.status, 200);
    node.until_status("after", "onair").await;
    let heard = listener.hear(Duration::from_secs(1)).await.unwrap();
    assert_eq!((heard.gaps, heard.violations), (vec![], vec![]));
}

/// A tmpfs for the test, which only root may mount. Unmounted when dropped.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn mount(megabytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", folder.path().to_str().unwrap()]);
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the disk to the last byte and returns the path of the file used.
    pub fn fill(&self) -> std::path::PathBuf {
        let filler = self.path().join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if std::io::Write::write_all(&mut file, &vec![0; size]).is_err() {
                size /= 2;
            }
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Unmount lazily: the node, which ends after this, still has open files in it.
        run("umount", &["--lazy", self.path().to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).status().unwrap();
    assert!(done.success(), "{program} {args:?}: {done}; this test needs root");
}
