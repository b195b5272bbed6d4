//! Copies of recordings in object storage, read in blocks.
//!
//! A segment is about 15 kB, and each request to object storage costs time and money. So this module reads
//! blocks of [`BLOCK`] bytes and caches the latest ones: continuous playback needs a request every minute or
//! two.
//!
//! Owns: the cached blocks. Does not interpret the bytes or check permissions.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::OnceCell;

use crate::storage::{Storage, StorageError};

/// Size of a block in bytes.
const BLOCK: u64 = 1 << 20;
/// Number of blocks that are kept, across all recordings.
const KEPT: usize = 16;

/// Object to read, with the version of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub object: String,
    /// Different for each content of the object.
    pub version: u64,
    pub length: u64,
}

pub struct StoredCopies {
    storage: Arc<Storage>,
    blocks: BlockCache,
}

/// Blocks in order of their last use; the most recently used one is at the end.
#[derive(Default)]
struct BlockCache(Mutex<VecDeque<Block>>);

struct Block {
    of: Copy,
    index: u64,
    /// Concurrent requests for the block share one read.
    bytes: Arc<OnceCell<Bytes>>,
}

impl StoredCopies {
    pub fn new(storage: Arc<Storage>) -> Self {
        Self { storage, blocks: BlockCache::default() }
    }

    /// Returns a range of the object's bytes; `None` if the object has no such range, or if the storage
    /// fails. A failure is logged.
    pub async fn read(&self, copy: &Copy, range: Range<u64>) -> Option<Bytes> {
        self.blocks.read(copy, range, |range| self.storage.read(&copy.object, range)).await
    }
}

impl BlockCache {
    /// Returns a range of the object's bytes, as [`StoredCopies::read`]. `fetch` reads a range of the object.
    async fn read<F: Future<Output = Result<Bytes, StorageError>>>(
        &self,
        copy: &Copy,
        range: Range<u64>,
        fetch: impl Fn(Range<u64>) -> F,
    ) -> Option<Bytes> {
        if range.is_empty() || range.end > copy.length {
            return None;
        }
        let mut bytes = BytesMut::new();
        for index in range.start / BLOCK..=(range.end - 1) / BLOCK {
            let block = self.block(copy, index);
            let all = index * BLOCK..((index + 1) * BLOCK).min(copy.length);
            let read = block.get_or_try_init(|| fetch(all.clone())).await;
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(object = copy.object, %error, "cannot read a stored recording");
                    return None;
                }
            };
            let (from, to) = (range.start.max(all.start), range.end.min(all.end));
            let part = read.get((from - all.start) as usize..(to - all.start) as usize)?;
            if from == range.start && to == range.end {
                return Some(read.slice_ref(part));
            }
            bytes.extend_from_slice(part);
        }
        Some(bytes.freeze())
    }

    /// Returns the cell of a block; adds an empty one if there is none.
    fn block(&self, copy: &Copy, index: u64) -> Arc<OnceCell<Bytes>> {
        // A poisoned lock is usable: each change leaves a complete list.
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blocks.iter().position(|block| block.of == *copy && block.index == index);
        let block = known.and_then(|at| blocks.remove(at));
        let block = block.unwrap_or_else(|| Block { of: copy.clone(), index, bytes: Arc::default() });
        let bytes = block.bytes.clone();
        blocks.push_back(block);
        if blocks.len() > KEPT {
            blocks.pop_front();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[actix::test]
    async fn blocks_are_read_once() {
        let (copies, reads) = (BlockCache::default(), AtomicUsize::new(0));
        // Each byte is derived from its position. Every other request fails, beginning with the first.
        let fetch = async |range: Range<u64>| match reads.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Err(StorageError::Unknown),
            _ => Ok(range.map(|at| at as u8).collect()),
        };
        let copy = Copy { object: "a".into(), version: 1, length: 2 * BLOCK + 100 };
        let expected = |range: Range<u64>| Some(range.map(|at| at as u8).collect::<Bytes>());
        assert_eq!(copies.read(&copy, 10..20, fetch).await, None, "the storage failed");
        assert_eq!(copies.read(&copy, 10..20, fetch).await, expected(10..20));
        assert_eq!(copies.read(&copy, 0..BLOCK, fetch).await, expected(0..BLOCK));
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        let across = BLOCK - 3..2 * BLOCK + 7;
        assert_eq!(copies.read(&copy, across.clone(), fetch).await, None);
        assert_eq!(copies.read(&copy, across.clone(), fetch).await, None);
        assert_eq!(copies.read(&copy, across.clone(), fetch).await, expected(across));
        assert_eq!(copies.read(&copy, 2 * BLOCK..copy.length, fetch).await, expected(0..100));
        assert_eq!(copies.read(&copy, 0..copy.length + 1, fetch).await, None, "beyond the end");
        assert_eq!(reads.load(Ordering::Relaxed), 6);
        let other = Copy { version: 2, ..copy };
        copies.read(&other, 0..1, fetch).await;
        assert_eq!(reads.load(Ordering::Relaxed), 7, "another content");
    }
}
