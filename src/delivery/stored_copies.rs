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

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::OnceCell;

use crate::storage::{Storage, StorageError};

/// Size of a block in bytes.
const BLOCK: u64 = 1 << 20;
/// Number of blocks that are kept, across all recordings.
const KEPT: usize = 16;

/// Source of the bytes of objects.
#[async_trait]
pub trait Objects: Send + Sync {
    async fn read(&self, object: &str, range: Range<u64>) -> Result<Bytes, StorageError>;
}

#[async_trait]
impl Objects for Storage {
    async fn read(&self, object: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        Storage::read(self, object, range).await
    }
}

/// Object to read, with the version of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub object: String,
    /// Different for each content of the object.
    pub version: u64,
    pub length: u64,
}

pub struct StoredCopies {
    objects: Arc<dyn Objects>,
    /// Blocks in order of their last use; the most recently used one is at the end.
    blocks: Mutex<VecDeque<Block>>,
}

struct Block {
    of: Copy,
    index: u64,
    /// Concurrent requests for the block share one read.
    bytes: Arc<OnceCell<Bytes>>,
}

impl StoredCopies {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects, blocks: Mutex::default() }
    }

    /// Returns a range of the object's bytes; `None` if the object has no such range, or if the storage
    /// fails. A failure is logged.
    pub async fn read(&self, copy: &Copy, range: Range<u64>) -> Option<Bytes> {
        if range.is_empty() || range.end > copy.length {
            return None;
        }
        let mut bytes = BytesMut::new();
        for index in range.start / BLOCK..=(range.end - 1) / BLOCK {
            let block = self.block(copy, index);
            let all = index * BLOCK..((index + 1) * BLOCK).min(copy.length);
            let read = block.get_or_try_init(|| self.objects.read(&copy.object, all.clone())).await;
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
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Object in which each byte is derived from its position. Every other request fails, beginning with the
    /// first.
    struct Numbers(AtomicUsize);

    #[async_trait]
    impl Objects for Numbers {
        async fn read(&self, _: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
            match self.0.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => Err(StorageError::Unknown),
                _ => Ok(range.map(|at| at as u8).collect()),
            }
        }
    }

    #[actix::test]
    async fn blocks_are_read_once() {
        let numbers = Arc::new(Numbers(AtomicUsize::new(0)));
        let copies = StoredCopies::new(numbers.clone());
        let copy = Copy { object: "a".into(), version: 1, length: 2 * BLOCK + 100 };
        let expected = |range: Range<u64>| Some(range.map(|at| at as u8).collect::<Bytes>());
        assert_eq!(copies.read(&copy, 10..20).await, None, "the storage failed");
        assert_eq!(copies.read(&copy, 10..20).await, expected(10..20));
        assert_eq!(copies.read(&copy, 0..BLOCK).await, expected(0..BLOCK));
        assert_eq!(numbers.0.load(Ordering::Relaxed), 2);
        let across = BLOCK - 3..2 * BLOCK + 7;
        assert_eq!(copies.read(&copy, across.clone()).await, None);
        assert_eq!(copies.read(&copy, across.clone()).await, None);
        assert_eq!(copies.read(&copy, across.clone()).await, expected(across));
        assert_eq!(copies.read(&copy, 2 * BLOCK..copy.length).await, expected(0..100));
        assert_eq!(copies.read(&copy, 0..copy.length + 1).await, None, "beyond the end");
        assert_eq!(numbers.0.load(Ordering::Relaxed), 6);
        let other = Copy { version: 2, ..copy };
        copies.read(&other, 0..1).await;
        assert_eq!(numbers.0.load(Ordering::Relaxed), 7, "another content");
    }
}
