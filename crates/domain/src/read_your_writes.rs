//! Value of a key that only this module writes, between its write and the watch event that confirms it.

use super::view::StoredValue;

/// Current value of a store key: our own last write until the watch shows that write or a newer one, then the
/// value that the watch shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadYourWrites<T> {
    ahead: Option<Write<T>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Write<T> {
    revision: i64,
    value: Option<T>,
}

impl<T> Default for ReadYourWrites<T> {
    fn default() -> Self {
        Self { ahead: None }
    }
}

impl<T: Clone> ReadYourWrites<T> {
    /// Records that we put `value` (`None`: deleted the key) at `revision`.
    pub fn wrote(&mut self, revision: i64, value: Option<T>) {
        self.ahead = Some(Write { revision, value });
    }

    /// Records that the view contains everything up to `as_of`.
    pub fn seen(&mut self, as_of: i64) {
        if self.ahead.as_ref().is_some_and(|w| w.revision <= as_of) {
            self.ahead = None;
        }
    }

    pub fn current(&self, seen: Option<&StoredValue<T>>) -> Option<StoredValue<T>> {
        match &self.ahead {
            Some(write) => {
                write.value.clone().map(|value| StoredValue { value, mod_revision: write.revision })
            }
            None => seen.cloned(),
        }
    }
}
