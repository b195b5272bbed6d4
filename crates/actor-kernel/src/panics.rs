//! Panic capture with message and source location.
//!
//! Owns the process's panic hook. Inside [`contain`] the panic is recorded for the caller, which logs it
//! with the actor's name; everywhere else the previous hook runs unchanged.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    static RECORD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`. A panic becomes an error with its text, e.g. `index out of bounds at src/x.rs:12`.
///
/// The caller is responsible for unwind safety: after an error it must discard everything that `f` touched.
pub(super) fn contain<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    install_hook();
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CONTAINED.set(outer);
    result.map_err(|payload| {
        let text = RECORD.take().unwrap_or_else(|| payload_text(&*payload));
        // A payload may panic in its own Drop.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        text
    })
}

fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Thread-locals may already be destroyed while a thread ends. A second panic during unwinding
            // aborts the process, so the previous hook must print it.
            let contained = CONTAINED.try_with(Cell::get).unwrap_or(false);
            if !(contained && record(info)) {
                previous(info);
            }
        }));
    });
}

fn record(info: &PanicHookInfo<'_>) -> bool {
    RECORD.with_borrow_mut(|record| {
        if record.is_some() {
            return false;
        }
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        *record = Some(format!("{}{place}", payload_text(info.payload())));
        true
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contain_returns_panic_text_and_place() {
        let text = contain(|| panic!("no {}", "luck")).unwrap_err();
        assert!(text.starts_with("no luck at crates/actor-kernel/src/panics.rs:"), "{text}");
        assert_eq!(contain(|| 7), Ok(7), "the next call starts clean");
    }

    #[test]
    fn nested_contain_keeps_inner_panic() {
        let outer = contain(|| contain(|| panic!("inner")).unwrap_err());
        assert!(outer.unwrap().starts_with("inner"));
        assert!(contain(|| panic!("later")).unwrap_err().starts_with("later"));
    }

    #[test]
    fn contain_survives_non_text_payload() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        assert!(contain(|| std::panic::panic_any(Bomb)).is_err());
        assert!(contain(|| panic!("after")).unwrap_err().starts_with("after"));
    }
}
