//! The embedded backend against the conformance cases, with a clock that the test moves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stentor::presence::Lifetimes;
use stentor::presence::embedded::EmbeddedPresence;

use super::conformance::{Instance, Subject};

crate::presence_conformance!(OnEmbedded::start);

pub struct OnEmbedded {
    presence: Arc<EmbeddedPresence>,
    skipped: Arc<Mutex<Duration>>,
}

impl OnEmbedded {
    pub async fn start() -> Self {
        let skipped = Arc::new(Mutex::new(Duration::ZERO));
        let (start, ahead) = (Instant::now(), skipped.clone());
        let clock = Arc::new(move || start.elapsed() + *ahead.lock().unwrap());
        Self { presence: EmbeddedPresence::with_clock(Lifetimes::default(), clock), skipped }
    }
}

impl Subject for OnEmbedded {
    fn instance(&self) -> Instance {
        Instance { lock: self.presence.clone(), presence: self.presence.clone() }
    }

    fn pass(&self, time: Duration) {
        *self.skipped.lock().unwrap() += time;
    }
}
