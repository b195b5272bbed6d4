//! Cache of the M4A layouts of recordings and clips.
//!
//! Owns: the choice of the layouts that stay. Does not make a layout.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::recordings::JoinedRecording;
use crate::domain::clip::Clip;
use crate::packager::RecordedM4a;

/// Number of layouts that are kept without being in use. The layout of an hour takes 700 kB.
const UNUSED: usize = 8;

/// Layouts, the newest last.
#[derive(Default)]
pub struct Layouts(Mutex<VecDeque<Layout>>);

/// M4A layout of a recording or clip. It is made once, regardless of the number of requests for the file.
struct Layout {
    of: Arc<JoinedRecording>,
    clip: Clip,
    made: Arc<OnceCell<Arc<RecordedM4a>>>,
}

impl Layout {
    fn is_used(&self) -> bool {
        let layout = self.made.get();
        Arc::strong_count(&self.made) > 1 || layout.is_some_and(|made| Arc::strong_count(made) > 1)
    }
}

impl Layouts {
    /// Returns the cell for the layout of this clip; adds an empty cell if there is none.
    pub(super) fn of(&self, joined: &Arc<JoinedRecording>, clip: Clip) -> Arc<OnceCell<Arc<RecordedM4a>>> {
        // A poisoned lock is usable: each change leaves a complete list.
        let mut layouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |layout: &&Layout| layout.clip == clip && *layout.of == **joined;
        if let Some(known) = layouts.iter().find(is_it) {
            return known.made.clone();
        }
        let made = Arc::new(OnceCell::new());
        layouts.push_back(Layout { of: joined.clone(), clip, made: made.clone() });
        evict(&mut layouts);
        made
    }
}

/// Removes the oldest layouts that nobody uses. A layout in use stays: its users keep it in memory anyway,
/// and the next request would otherwise have to make the layout again.
fn evict(layouts: &mut VecDeque<Layout>) {
    let unused = layouts.iter().filter(|layout| !layout.is_used()).count();
    let mut surplus = unused.saturating_sub(UNUSED);
    layouts.retain(|layout| {
        let stays = surplus == 0 || layout.is_used();
        surplus -= usize::from(!stays);
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::recordings::tests::joined;
    use crate::domain::ids::{RoomId, UnixMs};
    use crate::packager::{M4aBuilder, M4aTags};

    fn layout(etag: usize) -> Arc<RecordedM4a> {
        let (room, started) = (RoomId::new("demo").unwrap(), UnixMs(1));
        let mut file = M4aBuilder::default();
        file.silence(9);
        let file = file.finish(started, &M4aTags::default()).unwrap();
        Arc::new(RecordedM4a { room, started, etag: etag.to_string(), complete: true, file })
    }

    #[test]
    fn layouts_in_use_are_not_evicted() {
        let layouts = Layouts::default();
        let joined = Arc::new(joined(0..3));
        let clip = |n: usize| Clip::new(n as f64, n as f64 + 1.0).unwrap();
        let get = |n: usize| {
            let cell = layouts.of(&joined, clip(n));
            let is_new = cell.set(layout(n)).is_ok();
            (cell.get().unwrap().clone(), is_new)
        };
        let used = get(0).0;
        (1..30).for_each(|n| drop(get(n)));
        assert!(!get(0).1, "in use");
        assert!(!get(29).1 && get(1).1, "only the newest of the others stay");
        drop(used);
        (30..60).for_each(|n| drop(get(n)));
        assert!(get(0).1, "not in use any more");
    }

    #[test]
    fn equal_lists_share_a_layout() {
        let layouts = Layouts::default();
        let of = |list| layouts.of(&Arc::new(joined(list)), Clip::WHOLE);
        assert!(Arc::ptr_eq(&of(0..3), &of(0..3)) && !Arc::ptr_eq(&of(0..3), &of(0..4)));
    }
}
