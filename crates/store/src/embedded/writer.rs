//! The one thread that changes the store.
//!
//! It drains its queue and commits all transactions in it together: while one commit waits for the disk, the
//! next batch collects in the queue. Each transaction has its own revision. No transaction is acknowledged or
//! visible to a reader or watcher before its commit is on disk. Owns: the file and the leases. Does not wait
//! for a watcher.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::StoreShared;
use super::disk::Disk;
use super::keyspace::{Batch, StagedBatch};
use super::leases::Leases;
use crate::{LeaseId, Revision, StoreError, Txn, TxnOutcome};

/// Maximum number of commands in one batch. This bounds how long a burst can delay its first transaction.
const MAX_BATCH: usize = 512;
/// Delay before the end of a lease is written again after a failed write.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) enum Command {
    Txn(Txn, Reply<TxnOutcome>),
    Grant(Duration, Reply<LeaseId>),
    KeepAlive(LeaseId, Reply<()>),
    Revoke(LeaseId, Reply<()>),
}

pub(super) struct Writer {
    pub queue: Receiver<Command>,
    pub shared: Arc<StoreShared>,
    pub disk: Disk,
    /// Signals watchers that there is something new to read. When this sender is dropped, the watchers learn
    /// that the store is closed.
    pub committed: watch::Sender<Revision>,
    pub leases: Leases,
}

impl Writer {
    /// Runs until the store is dropped.
    pub fn run(mut self) {
        while let Some(commands) = self.next_commands() {
            self.serve(commands);
            self.end_due_leases();
        }
    }

    /// Waits for commands and returns up to [`MAX_BATCH`]. Returns an empty list if a lease is due first, and
    /// `None` if the store was dropped.
    fn next_commands(&mut self) -> Option<Vec<Command>> {
        let first = match self.leases.next_deadline() {
            None => self.queue.recv().ok()?,
            Some(deadline) => {
                match self.queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        };
        Some(std::iter::once(first).chain(self.queue.try_iter().take(MAX_BATCH - 1)).collect())
    }

    /// Runs `commands`. They may run in any order: none of them was sent after another one was answered.
    /// Keep-alives run first, so that a slow disk cannot let a renewed lease expire.
    fn serve(&mut self, commands: Vec<Command>) {
        let (mut txns, mut revocations) = (Vec::new(), Vec::new());
        for command in commands {
            // A failed send means that the caller is gone and needs no answer.
            match command {
                Command::Txn(txn, reply) => txns.push((txn, reply)),
                Command::Revoke(lease, reply) => revocations.push((lease, reply)),
                Command::Grant(ttl, reply) => {
                    let _ = reply.send(Ok(self.leases.grant(ttl, Instant::now())));
                }
                Command::KeepAlive(lease, reply) => {
                    let _ = reply.send(self.leases.keep_alive(lease, Instant::now()));
                }
            }
        }
        self.commit_txns(txns);
        for (lease, reply) in revocations {
            let _ = reply.send(self.revoke(lease));
        }
    }

    fn commit_txns(&mut self, txns: Vec<(Txn, Reply<TxnOutcome>)>) {
        let mut answers = Vec::with_capacity(txns.len());
        let written = self.commit(|staging, leases| {
            for (txn, reply) in txns {
                answers.push((reply, staging.txn(txn, |lease| leases.contains(lease))));
            }
        });
        for (reply, outcome) in answers {
            let _ = reply.send(written.clone().and(outcome));
        }
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        if !self.leases.contains(lease) {
            return Err(StoreError::LeaseNotFound);
        }
        let keys = self.shared.read().keys.keys_of(lease);
        self.commit(|staging, _| staging.delete_all(keys))?;
        self.leases.remove(lease);
        Ok(())
    }

    fn end_due_leases(&mut self) {
        let due = self.leases.due(Instant::now());
        if due.is_empty() {
            return;
        }
        let keys: Vec<_> = {
            let published = self.shared.read();
            due.iter().map(|lease| published.keys.keys_of(*lease)).collect()
        };
        let written = self.commit(|staging, _| keys.into_iter().for_each(|keys| staging.delete_all(keys)));
        match written {
            Ok(()) => due.into_iter().for_each(|lease| self.leases.remove(lease)),
            Err(_) => self.leases.postpone(&due, EXPIRY_RETRY, Instant::now()),
        }
    }

    /// Stages a batch, writes it and then publishes it.
    fn commit(&mut self, stage: impl FnOnce(&mut StagedBatch, &Leases)) -> Result<(), StoreError> {
        self.shared.set_writing(Some(tokio::time::Instant::now()));
        let written = self.write(stage);
        self.shared.set_writing(None);
        written
    }

    fn write(&mut self, stage: impl FnOnce(&mut StagedBatch, &Leases)) -> Result<(), StoreError> {
        let batch = {
            let published = self.shared.read();
            let mut staging = StagedBatch::new(&published.keys);
            stage(&mut staging, &self.leases);
            let batch = staging.finish();
            if batch.commits.is_empty() {
                return Ok(());
            }
            self.disk.write(&published.keys, &batch)?;
            batch
        };
        self.publish(batch);
        Ok(())
    }

    fn publish(&mut self, batch: Batch) {
        let revision = batch.revision;
        {
            let mut published = self.shared.write();
            published.keys.apply(revision, batch.changes);
            batch.commits.into_iter().for_each(|commit| published.history.push(commit));
        }
        self.committed.send_replace(revision);
    }
}
