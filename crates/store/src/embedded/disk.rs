//! The file: a redb database that is read at open and afterwards only written.
//!
//! Owns: the file, its lock and its format. Does not answer a read, and does not give up after a failed
//! write. The next write opens the database again and makes the file equal to the state that readers saw.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::keyspace::{Batch, Entry, Keyspace};
use crate::{LeaseId, StoreError};

/// Table: key -> (modification revision, lease or 0, value).
const KEYS: TableDefinition<&str, (i64, i64, &[u8])> = TableDefinition::new("keys");
const META: TableDefinition<&str, i64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
const CURRENT_FORMAT: i64 = 1;
/// Size of redb's page cache in bytes. It is small, because reads are served from the map in memory.
const CACHE_BYTES: usize = 8 << 20;

/// Reason why the store cannot be opened, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    #[error(
        "{} is in use by another node: stop that node, or give this one its own node.data_dir",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "{} cannot be opened: check that its directory exists, that this user may write there and that \
         there is room left",
        path.display()
    )]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} was written by another version of Stentor (format {found}, this one reads {CURRENT_FORMAT}): \
         run that version, or move the file away to start without rooms",
        path.display()
    )]
    Format { path: PathBuf, found: i64 },
    #[error(
        "{} is not a store or is damaged: restore it from a backup, or move it away to start without rooms",
        path.display()
    )]
    Damaged { path: PathBuf, source: Box<redb::Error> },
}

pub(super) struct Disk {
    path: PathBuf,
    /// `None` after a failed write, until the next write opens the database again.
    db: Option<Database>,
}

impl Disk {
    pub fn open(path: &Path) -> Result<(Self, Keyspace), StoreOpenError> {
        let explain = |error| explain(path, error);
        let db = open_database(path).map_err(explain)?;
        let found = prepare(&db).map_err(explain)?;
        if found != CURRENT_FORMAT {
            return Err(StoreOpenError::Format { path: path.to_owned(), found });
        }
        let keys = load(&db).map_err(explain)?;
        Ok((Self { path: path.to_owned(), db: Some(db) }, keys))
    }

    /// Makes `batch` durable on top of `known`.
    ///
    /// # Errors
    /// The batch was not written: the store's contents are still `known`.
    pub fn write(&mut self, known: &Keyspace, batch: &Batch) -> Result<(), StoreError> {
        match self.try_write(known, batch) {
            Ok(db) => {
                self.db = Some(db);
                Ok(())
            }
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "store write failed");
                let remedy = "nothing was changed; writing works again as soon as the file can be written";
                Err(StoreError::Unavailable(format!("cannot write {path}: {error}; {remedy}")))
            }
        }
    }

    /// Writes `batch` and returns the database for the next write. After a failed write redb refuses every
    /// request, so on error the database is dropped.
    fn try_write(&mut self, known: &Keyspace, batch: &Batch) -> Result<Database, redb::Error> {
        let db = match self.db.take() {
            Some(db) => db,
            None => self.reopen(known)?,
        };
        let write = db.begin_write()?;
        {
            let mut keys = write.open_table(KEYS)?;
            for (key, change) in &batch.changes {
                match change {
                    Some(entry) => keys.insert(key.as_str(), row(entry))?,
                    None => keys.remove(key.as_str())?,
                };
            }
            write.open_table(META)?.insert(REVISION, batch.revision)?;
        }
        write.commit()?;
        Ok(db)
    }

    fn reopen(&self, known: &Keyspace) -> Result<Database, redb::Error> {
        let db = open_database(&self.path)?;
        prepare(&db)?;
        if load(&db)?.revision != known.revision {
            restore(&db, known)?;
        }
        tracing::info!(path = %self.path.display(), "store file reopened");
        Ok(db)
    }
}

/// Opens the file. If there is none, creates one that only its owner can read, because the store holds PINs.
fn open_database(path: &Path) -> Result<Database, redb::Error> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let backend = FileBackend::new(file)?;
    Ok(Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

/// Creates the tables of a new file. Returns the format of the file.
fn prepare(db: &Database) -> Result<i64, redb::Error> {
    let write = db.begin_write()?;
    let format = {
        let mut meta = write.open_table(META)?;
        let found = meta.get(FORMAT)?.map(|format| format.value());
        if found.is_none() {
            meta.insert(FORMAT, CURRENT_FORMAT)?;
            meta.insert(REVISION, 0)?;
            write.open_table(KEYS)?;
        }
        found
    };
    match format {
        Some(_) => write.abort()?,
        None => write.commit()?,
    }
    Ok(format.unwrap_or(CURRENT_FORMAT))
}

fn load(db: &Database) -> Result<Keyspace, redb::Error> {
    let read = db.begin_read()?;
    let revision = read.open_table(META)?.get(REVISION)?.map_or(0, |revision| revision.value());
    let mut keys = Keyspace { revision, ..Keyspace::default() };
    for row in read.open_table(KEYS)?.iter()? {
        let (key, row) = row?;
        let (mod_revision, lease, value) = row.value();
        let lease = (lease != 0).then_some(LeaseId(lease));
        let entry = Entry { value: Bytes::copy_from_slice(value), mod_revision, lease };
        keys.entries.insert(key.value().to_owned(), entry);
    }
    Ok(keys)
}

/// Makes the file equal to `known`. This is needed if a write that was reported as failed has reached the
/// file. No reader saw this write, so it is undone.
fn restore(db: &Database, known: &Keyspace) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        let mut keys = write.open_table(KEYS)?;
        keys.retain(|_, _| false)?;
        for (key, entry) in &known.entries {
            keys.insert(key.as_str(), row(entry))?;
        }
        write.open_table(META)?.insert(REVISION, known.revision)?;
    }
    write.commit()?;
    Ok(())
}

fn row(entry: &Entry) -> (i64, i64, &[u8]) {
    (entry.mod_revision, entry.lease.map_or(0, |lease| lease.0), &entry.value)
}

fn explain(path: &Path, error: redb::Error) -> StoreOpenError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreOpenError::Locked { path },
        redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            StoreOpenError::Io { path, source }
        }
        other => StoreOpenError::Damaged { path, source: Box::new(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Txn;
    use crate::embedded::keyspace::StagedBatch;

    fn put(known: &Keyspace, key: &str) -> Batch {
        let mut staging = StagedBatch::new(known);
        staging.txn(Txn::new().put(key, "v"), |_| false).unwrap();
        staging.finish()
    }

    #[test]
    fn failed_write_in_file_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let (mut disk, mut known) = Disk::open(&path).unwrap();
        let kept = put(&known, "/kept");
        disk.write(&known, &kept).unwrap();
        known.apply(kept.revision, kept.changes);

        // Simulates a write that reached the file although it was reported as failed.
        disk.write(&known, &put(&known, "/phantom")).unwrap();
        disk.db = None;

        disk.write(&known, &put(&known, "/next")).unwrap();
        drop(disk);
        let (_, found) = Disk::open(&path).unwrap();
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), ["/kept", "/next"]);
        assert_eq!(found.revision, 2);
    }

    #[test]
    fn a_file_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        drop(Disk::open(&path).unwrap());
        let db = open_database(&path).unwrap();
        let write = db.begin_write().unwrap();
        write.open_table(META).unwrap().insert(FORMAT, CURRENT_FORMAT + 1).unwrap();
        write.commit().unwrap();
        drop(db);
        let refused = Disk::open(&path).err().unwrap();
        assert!(matches!(refused, StoreOpenError::Format { found: 2, .. }), "{refused}");
    }
}
