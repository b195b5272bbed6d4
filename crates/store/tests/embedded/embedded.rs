//! The conformance cases on the embedded store, and the faults that its file must survive.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use stentor_store::embedded::{EmbeddedOptions, EmbeddedStore, HistoryLimits, StoreOpenError};
use stentor_store::{Revision, Store, StoreError, Txn, WatchEvent};
use tempfile::TempDir;
use tokio::time::timeout;

use super::conformance::{DEADLINE, Subject, committed, events_until, next, until_some};

crate::store_conformance!(fresh, fresh);

struct EmbeddedSubject {
    store: Arc<EmbeddedStore>,
    dir: TempDir,
}

async fn fresh() -> EmbeddedSubject {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedSubject { store: EmbeddedStore::open(&dir.path().join("store.redb")).unwrap(), dir }
}

#[async_trait(?Send)]
impl Subject for EmbeddedSubject {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn prefix(&self) -> String {
        "/case/".into()
    }

    /// Writes until the history no longer reaches back to the revision.
    async fn forget(&self, revision: Revision) {
        until_some(async || {
            let fill = |n| self.store.put("/fill", vec![n as u8; 1_000_000].into());
            join_all((0..8).map(fill)).await;
            matches!(self.store.watch("/", revision).await, Err(StoreError::Compacted { .. })).then_some(())
        })
        .await;
    }
}

impl EmbeddedSubject {
    fn path(&self) -> PathBuf {
        self.dir.path().join("store.redb")
    }

    /// Closes and reopens the store, as a restart does.
    fn reopen(self) -> Self {
        let path = self.path();
        drop(Arc::into_inner(self.store).expect("nobody else holds the store"));
        Self { store: EmbeddedStore::open(&path).unwrap(), dir: self.dir }
    }
}

#[tokio::test]
async fn data_and_revisions_continue_after_a_restart() {
    let node = fresh().await;
    node.store.put("/a", "1".into()).await.unwrap();
    let b = node.store.put("/b", "2".into()).await.unwrap();
    node.store.delete("/a").await.unwrap();
    let before = node.store.list("/").await.unwrap();

    let node = node.reopen();
    let after = node.store.list("/").await.unwrap();
    assert_eq!((after.revision, &after.entries), (before.revision, &before.entries));
    assert_eq!(committed(&*node.store, Txn::new().when("/b", b).put("/b", "3")).await, before.revision + 1);
    let forgotten = node.store.watch("/", before.revision).await.err();
    assert!(matches!(forgotten, Some(StoreError::Compacted { .. })), "history starts at open");
}

#[tokio::test]
async fn leases_do_not_survive_a_restart() {
    let node = fresh().await;
    let lease = node.store.grant(Duration::from_secs(600)).await.unwrap();
    committed(&*node.store, Txn::new().put_leased("/leased", "v", lease).put("/free", "v")).await;
    let before = node.store.list("/").await.unwrap().revision;

    let node = node.reopen();
    let after = node.store.list("/").await.unwrap();
    assert_eq!(after.entries.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["/free"]);
    assert_eq!(after.revision, before + 1);
    assert!(matches!(node.store.keep_alive(lease).await, Err(StoreError::LeaseNotFound)));
}

#[tokio::test]
async fn a_store_has_one_node() {
    let node = fresh().await;
    let error = EmbeddedStore::open(&node.path()).err().unwrap();
    assert!(matches!(error, StoreOpenError::Locked { .. }));
    assert!(error.to_string().contains(node.path().to_str().unwrap()));
    let path = node.path();
    drop(node.store);
    EmbeddedStore::open(&path).expect("closing releases the file");
}

#[tokio::test]
async fn foreign_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "not a store, but somebody's notes").unwrap();
    let error = EmbeddedStore::open(&text).err().unwrap();
    assert!(matches!(error, StoreOpenError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read(&text).unwrap(), b"not a store, but somebody's notes");
    let nowhere = EmbeddedStore::open(&dir.path().join("missing/store.redb")).err().unwrap();
    assert!(matches!(nowhere, StoreOpenError::Io { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn others_cannot_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let node = fresh().await;
    assert_eq!(std::fs::metadata(node.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn waiting_transactions_commit_together() {
    let node = fresh().await;
    let mut watch = node.store.watch("/", 1).await.unwrap();
    let puts = (0..500).map(|n| {
        let store = node.store.clone();
        async move { store.put(&format!("/{n}"), "v".into()).await.unwrap() }
    });
    let mut revisions = join_all(puts).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=500).collect::<Vec<_>>(), "each transaction has its own revision");
    let (mut batches, mut seen) = (0, 0);
    let reading = async {
        while seen < 500 {
            seen += next(&mut watch).await.unwrap().events.len();
            batches += 1;
        }
    };
    timeout(DEADLINE, reading).await.expect("the last event is not delivered");
    assert!(batches < 250, "500 puts came in {batches} batches");
}

#[tokio::test]
async fn slow_watcher_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let limits = HistoryLimits { events: 100, bytes: 1 << 20 };
    let options = EmbeddedOptions { history: limits, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open_with(&dir.path().join("store.redb"), options).unwrap();
    let mut slow = store.watch("/", 1).await.unwrap();
    let mut quick = store.watch("/", 1).await.unwrap();
    for n in 0..300 {
        let revision = store.put("/key", n.to_string().into()).await.unwrap();
        assert_eq!(events_until(&mut quick, revision).await.len(), 1);
    }
    assert!(matches!(next(&mut slow).await, Err(StoreError::Compacted { from: 1 })));
}

#[tokio::test]
async fn closed_store_ends_watches_with_error() {
    let node = fresh().await;
    let mut watch = node.store.watch("/", 1).await.unwrap();
    node.store.put("/last", "v".into()).await.unwrap();
    drop(node.store);
    assert_eq!(next(&mut watch).await.unwrap().events.len(), 1, "a committed event is still delivered");
    assert!(matches!(next(&mut watch).await, Err(StoreError::Unavailable(_))));
}

/// Environment variable with the path of the file that a re-executed test binary writes until it is killed.
const CRASH_FILE: &str = "STENTOR_TEST_CRASH_FILE";

#[tokio::test]
async fn killed_process_keeps_acknowledged_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::writes_until_killed", "--nocapture"])
            .env(CRASH_FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let acknowledged = read_acknowledged(&mut child, 40 + 17 * round);
        let store = EmbeddedStore::open(&path).unwrap();
        let stored = store.get("/counter").await.unwrap().unwrap();
        let stored: u64 = std::str::from_utf8(&stored.value).unwrap().parse().unwrap();
        assert!(stored >= acknowledged, "stored {stored}, acknowledged {acknowledged}");
        assert!(store.list("/pair/").await.unwrap().entries.len() % 2 == 0, "a transaction was torn");
    }
}

/// Kills the child after `enough` acknowledgements and returns the last one that it printed.
fn read_acknowledged(child: &mut std::process::Child, enough: usize) -> u64 {
    use std::io::{BufRead, BufReader};
    let mut acknowledged = 0;
    let mut count = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Some(n) = line.unwrap().strip_prefix("acknowledged ").map(|n| n.parse().unwrap()) else {
            continue;
        };
        acknowledged = n;
        count += 1;
        if count == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(count >= enough, "the writer ended by itself after {count}");
    acknowledged
}

/// Runs in the child process of [`killed_process_keeps_acknowledged_writes`]; does nothing in a plain run.
#[tokio::test]
async fn writes_until_killed() {
    let Some(path) = std::env::var_os(CRASH_FILE) else { return };
    let store = EmbeddedStore::open(&PathBuf::from(path)).unwrap();
    let start = store.list("/pair/").await.unwrap().entries.len();
    for n in start.. {
        let pair = Txn::new().put(format!("/pair/{n}/a"), vec![1; 500]).put(format!("/pair/{n}/b"), "v");
        committed(&*store, pair.put("/counter", n.to_string())).await;
        println!("acknowledged {n}");
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_survived() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting needs root");
        return;
    };
    let store = EmbeddedStore::open(&disk.dir.path().join("store.redb")).unwrap();
    let kept = store.put("/kept", "v".into()).await.unwrap();
    let filler = disk.dir.path().join("filler");
    let mut watch = store.watch("/", kept + 1).await.unwrap();
    let _ = std::fs::write(&filler, vec![0; SmallDisk::BYTES]);

    let refused = store.put("/big", vec![0; 1_000_000].into()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(text) if text.contains("No space left")), "{refused}");
    let now = store.list("/").await.unwrap();
    assert_eq!((now.revision, now.entries.len()), (kept, 1), "the refused write is not visible");
    store.put("/big", vec![0; 1_000_000].into()).await.unwrap_err();

    std::fs::remove_file(&filler).unwrap();
    let room = store.put("/big", vec![0; 1_000_000].into()).await.unwrap();
    assert_eq!(room, kept + 1, "a failed write leaves no trace");
    let events = events_until(&mut watch, room).await;
    assert!(matches!(&events[..], [WatchEvent::Put(kv)] if kv.key == "/big"));
    drop((store, watch));
    let store = EmbeddedStore::open(&disk.dir.path().join("store.redb")).unwrap();
    assert_eq!(store.list("/").await.unwrap().entries.len(), 2);
}

/// A file system of a few megabytes; unmounted when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    const BYTES: usize = 6 << 20;

    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={}", Self::BYTES);
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Unmount lazily, so that the mount disappears even if a failed test has left a store open.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}
