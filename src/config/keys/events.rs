//! Keys of the section `events`.

use super::*;

pub(super) fn events(r: &mut Reader) -> EventsConfig {
    EventsConfig {
        retention: r.read(
            "events.retention",
            "168h",
            "How long the event ledger keeps an event; 100,000 events are kept at most.",
            duration("1h", "2160h"),
        ),
    }
}
