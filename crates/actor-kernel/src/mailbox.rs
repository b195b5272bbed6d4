//! Mailbox and the reference to it.
//!
//! The kernel has its own bounded queue: actix's queue is lost with the actor, and `do_send` ignores its
//! limit. The mailbox belongs to the actor's name, not to an incarnation: waiting messages survive a restart,
//! and a reference stays valid until the parent removes the child. actix only sees coalesced wake-ups.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::behaviour::Message;
use super::cell::{ActorCell, locked};

/// Reason why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    #[error("the actor's mailbox is full")]
    Full,
    #[error("the actor is gone")]
    Gone,
}

/// Address of an actor; stays valid across its restarts.
pub struct ActorRef<M>(Arc<dyn Port<M>>);

/// Receiver behind an [`ActorRef`].
trait Port<M>: Send + Sync {
    fn tell(&self, message: M) -> Result<(), TellError>;
    fn tell_latest(&self, slot: &'static str, message: M) -> Result<(), TellError>;
    fn is_alive(&self) -> bool;
    fn path(&self) -> &str;
}

impl<M: Message> ActorRef<M> {
    pub(super) fn new(mailbox: Arc<Mailbox<M>>) -> Self {
        Self(mailbox)
    }

    /// Creates a reference that passes every message to a function, for instance to wrap it for another
    /// actor. Messages sent with `tell_latest` are passed on like any other.
    pub fn from_fn(deliver: impl Fn(M) -> Result<(), TellError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(FnPort(deliver)))
    }

    /// Creates a reference for tests of senders, and the probe that collects the messages sent to it.
    pub fn probe() -> (Self, Probe<M>) {
        let probe = Probe { received: Arc::default() };
        let received = probe.received.clone();
        let actor = Self::from_fn(move |message| {
            locked(&received).push_back(message);
            Ok(())
        });
        (actor, probe)
    }

    /// Queues the message. Messages of one sender stay in order.
    ///
    /// # Errors
    /// [`TellError::Full`] if the mailbox is full, [`TellError::Gone`] if the actor has ended permanently.
    pub fn tell(&self, message: M) -> Result<(), TellError> {
        self.0.tell(message)
    }

    /// Queues the message, or replaces the waiting message of the same `slot` in place. Use it if only the
    /// newest value of a state matters.
    ///
    /// # Errors
    /// [`TellError::Gone`] if the actor has ended permanently. Only a reference made with [`Self::from_fn`]
    /// returns [`TellError::Full`] here.
    pub fn tell_latest(&self, slot: &'static str, message: M) -> Result<(), TellError> {
        self.0.tell_latest(slot, message)
    }

    /// Returns true if messages are still accepted, even while the actor waits for its restart.
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({})", self.0.path())
    }
}

/// Collector of the messages sent to an [`ActorRef::probe`].
pub struct Probe<M> {
    received: Arc<Mutex<VecDeque<M>>>,
}

impl<M> Probe<M> {
    /// Removes and returns the oldest collected message; `None` if there is none.
    pub fn next(&self) -> Option<M> {
        locked(&self.received).pop_front()
    }

    /// Removes and returns all collected messages, the oldest first.
    pub fn drain(&self) -> Vec<M> {
        locked(&self.received).drain(..).collect()
    }
}

struct FnPort<F>(F);

impl<M: Message, F: Fn(M) -> Result<(), TellError> + Send + Sync> Port<M> for FnPort<F> {
    fn tell(&self, message: M) -> Result<(), TellError> {
        self.0(message)
    }

    fn tell_latest(&self, _slot: &'static str, message: M) -> Result<(), TellError> {
        self.0(message)
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn path(&self) -> &str {
        "fn"
    }
}

pub(super) struct Mailbox<M> {
    pub cell: Arc<ActorCell>,
    queue: Mutex<Queue<M>>,
}

/// Parent's view of a mailbox, independent of its message type.
pub(super) trait Inbox: Send + Sync {
    /// Refuses all further messages and drops the waiting ones.
    fn close(&self);
}

struct Queue<M> {
    entries: VecDeque<Entry<M>>,
    /// Sequence number of the front entry.
    front: u64,
    /// Slots and sequence numbers of the waiting messages that were sent with `tell_latest`.
    slots: Vec<(&'static str, u64)>,
    closed: bool,
}

struct Entry<M> {
    message: M,
    /// Time of arrival, in kernel nanoseconds.
    since: u64,
    coalescing: bool,
}

impl<M: Message> Mailbox<M> {
    pub fn new(cell: Arc<ActorCell>) -> Arc<Self> {
        let queue = Queue { entries: VecDeque::new(), front: 0, slots: Vec::new(), closed: false };
        Arc::new(Self { cell, queue: Mutex::new(queue) })
    }

    /// Removes and returns the next message.
    pub fn take(&self) -> Option<M> {
        let mut queue = locked(&self.queue);
        let entry = queue.entries.pop_front()?;
        let seq = queue.front;
        queue.front += 1;
        if entry.coalescing {
            queue.slots.retain(|(_, at)| *at != seq);
        }
        queue.shrink_after_flood();
        self.publish(&queue);
        Some(entry.message)
    }

    fn push(&self, queue: &mut Queue<M>, message: M, coalescing: bool) {
        queue.entries.push_back(Entry { message, since: self.cell.kernel.nanos(), coalescing });
        self.publish(queue);
    }

    fn publish(&self, queue: &Queue<M>) {
        self.cell.mail.depth.store(queue.entries.len(), Relaxed);
        self.cell.mail.oldest.store(queue.entries.front().map_or(0, |entry| entry.since), Relaxed);
    }

    fn count(&self, of_actor: &AtomicU64, of_kind: &AtomicU64) {
        of_actor.fetch_add(1, Relaxed);
        of_kind.fetch_add(1, Relaxed);
    }
}

impl<M> Queue<M> {
    /// Returns the waiting message of this slot.
    fn waiting(&mut self, slot: &'static str) -> Option<&mut M> {
        let (_, seq) = self.slots.iter().find(|(name, _)| *name == slot)?;
        let index = usize::try_from(seq - self.front).ok()?;
        self.entries.get_mut(index).map(|entry| &mut entry.message)
    }

    fn shrink_after_flood(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
    }
}

impl<M: Message> Port<M> for Mailbox<M> {
    fn tell(&self, message: M) -> Result<(), TellError> {
        let mut queue = locked(&self.queue);
        if queue.closed || self.cell.is_killed() {
            return Err(TellError::Gone);
        }
        if queue.entries.len() - queue.slots.len() >= self.cell.capacity {
            self.count(&self.cell.mail.refused, &self.cell.stats.refused);
            return Err(TellError::Full);
        }
        self.push(&mut queue, message, false);
        drop(queue);
        self.cell.wake();
        Ok(())
    }

    fn tell_latest(&self, slot: &'static str, message: M) -> Result<(), TellError> {
        let mut queue = locked(&self.queue);
        if queue.closed || self.cell.is_killed() {
            return Err(TellError::Gone);
        }
        if let Some(waiting) = queue.waiting(slot) {
            let replaced = std::mem::replace(waiting, message);
            drop(queue);
            drop(replaced);
            self.count(&self.cell.mail.coalesced, &self.cell.stats.coalesced);
            return Ok(());
        }
        let seq = queue.front + queue.entries.len() as u64;
        queue.slots.push((slot, seq));
        self.push(&mut queue, message, true);
        drop(queue);
        self.cell.wake();
        Ok(())
    }

    fn is_alive(&self) -> bool {
        !locked(&self.queue).closed && !self.cell.is_killed()
    }

    fn path(&self) -> &str {
        &self.cell.path
    }
}

impl<M: Message> Inbox for Mailbox<M> {
    fn close(&self) {
        let mut queue = locked(&self.queue);
        queue.closed = true;
        queue.slots = Vec::new();
        let waiting = std::mem::take(&mut queue.entries);
        self.publish(&queue);
        drop(queue);
        // This is done outside the lock, because dropping a message may send another one, even to this actor.
        if let Err(panic) = super::panics::contain(|| drop(waiting)) {
            tracing::error!(actor = %self.cell.path, panic, "queued message panicked when dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Kernel;

    #[derive(Debug, PartialEq)]
    struct N(u32);
    impl Message for N {
        fn kind(&self) -> &'static str {
            "n"
        }
    }

    fn mailbox(capacity: usize) -> (Arc<Mailbox<N>>, ActorRef<N>) {
        let mailbox = Mailbox::new(ActorCell::new(Kernel::new(), None, "a".into(), "a", capacity));
        (mailbox.clone(), ActorRef::new(mailbox))
    }

    #[test]
    fn full_mailbox_refuses_tells_accepts_offers() {
        let (mailbox, actor) = mailbox(2);
        assert_eq!(
            [actor.tell(N(1)), actor.tell(N(2)), actor.tell(N(3))],
            [Ok(()), Ok(()), Err(TellError::Full)]
        );
        assert_eq!(actor.tell_latest("state_changed", N(4)), Ok(()));
        assert_eq!(mailbox.cell.mail.refused.load(Relaxed), 1);
        assert_eq!(mailbox.cell.mail.depth.load(Relaxed), 3);
    }

    #[test]
    fn offer_replaces_earlier_offer_in_place() {
        let (mailbox, actor) = mailbox(8);
        actor.tell(N(1)).unwrap();
        for n in 10..20 {
            actor.tell_latest("a", N(n)).unwrap();
            actor.tell_latest("b", N(n + 100)).unwrap();
        }
        actor.tell(N(2)).unwrap();
        let order: Vec<u32> = std::iter::from_fn(|| mailbox.take()).map(|n| n.0).collect();
        assert_eq!(order, [1, 19, 119, 2]);
        assert_eq!(mailbox.cell.mail.coalesced.load(Relaxed), 18);
        actor.tell_latest("a", N(5)).unwrap();
        assert_eq!(mailbox.take(), Some(N(5)), "a slot is free after its delivery");
    }

    #[test]
    fn closed_mailbox_is_gone_and_empty() {
        let (mailbox, actor) = mailbox(8);
        actor.tell(N(1)).unwrap();
        mailbox.close();
        assert_eq!(actor.tell(N(2)), Err(TellError::Gone));
        assert_eq!(actor.tell_latest("a", N(2)), Err(TellError::Gone));
        assert!(!actor.is_alive() && mailbox.take().is_none());
    }

    #[test]
    fn probe_collects_messages() {
        let (actor, probe) = ActorRef::probe();
        actor.tell(N(1)).unwrap();
        actor.tell_latest("a", N(2)).unwrap();
        assert_eq!(probe.next(), Some(N(1)));
        assert_eq!(probe.drain(), [N(2)]);
    }
}
