//! Messages to a service manager about the state of the node, in the format of sd_notify(3).

use std::time::Duration;

/// Time that one message adds to the manager's start timeout. A node may wait arbitrarily long for its store,
/// Janus or FFmpeg; the start fails only if the node hangs.
const START_EXTENSION: Duration = Duration::from_secs(60);
/// Time after the node's own deadlines within which the process ends.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// State of the node, as the messages to the service manager report it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceState {
    #[default]
    Starting,
    Ready,
    Reloading,
    Stopping,
}

impl ServiceState {
    /// Returns the message that the node has become ready; `None` if it was ready before.
    pub fn ready(&mut self) -> Option<String> {
        self.pass(Self::Starting, Self::Ready, "READY=1\nSTATUS=ready")
    }

    /// Returns the message that the configuration is being read again. `None` while the manager still waits
    /// for the start, because the `READY=1` that ends a reload would also end the start.
    pub fn reloading(&mut self) -> Option<String> {
        self.pass(Self::Ready, Self::Reloading, "RELOADING=1")
    }

    /// Returns the message that a reload has ended, successful or not; `None` if no reload was reported.
    pub fn reloaded(&mut self) -> Option<String> {
        self.pass(Self::Reloading, Self::Ready, "READY=1")
    }

    /// Returns the message that an orderly shutdown has begun, which takes at most `deadline`.
    pub fn stopping(&mut self, deadline: Duration) -> String {
        *self = Self::Stopping;
        let extension = (deadline + STOP_MARGIN).as_micros();
        format!("STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC={extension}")
    }

    /// Returns the message that the node is alive, with the conditions that it waits for (`missing`). `None`
    /// while the node stops.
    pub fn alive(self, missing: &[String]) -> Option<String> {
        let extension = match self {
            Self::Stopping => return None,
            Self::Starting => format!("\nEXTEND_TIMEOUT_USEC={}", START_EXTENSION.as_micros()),
            Self::Ready | Self::Reloading => String::new(),
        };
        let status = match missing {
            [] => "ready".to_owned(),
            // A line break would begin the next assignment.
            missing => format!("not ready: {}", missing.join("; ").replace('\n', " ")),
        };
        Some(format!("WATCHDOG=1\nSTATUS={status}{extension}"))
    }

    fn pass(&mut self, from: Self, to: Self, message: &str) -> Option<String> {
        (*self == from).then(|| {
            *self = to;
            message.to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_starts_reloads_and_stops() {
        let mut state = ServiceState::default();
        assert_eq!(state.ready().as_deref(), Some("READY=1\nSTATUS=ready"));
        assert_eq!(state.ready(), None);
        assert_eq!(state.reloading().as_deref(), Some("RELOADING=1"));
        assert_eq!(state.reloaded().as_deref(), Some("READY=1"));
        let stop = state.stopping(Duration::from_secs(20));
        assert_eq!(stop, "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=30000000");
        assert_eq!((state.alive(&[]), state.ready(), state.reloading()), (None, None, None));
    }

    #[test]
    fn an_early_reload_ends_no_start() {
        let mut state = ServiceState::default();
        assert_eq!((state.reloading(), state.reloaded()), (None, None));
        assert!(state.ready().is_some());
    }

    #[test]
    fn a_reload_ends_no_stop() {
        let mut state = ServiceState::Ready;
        assert!(state.reloading().is_some());
        state.stopping(Duration::ZERO);
        assert_eq!(state.reloaded(), None);
    }

    #[test]
    fn alive_extends_only_the_start() {
        let missing = ["store: does not answer".to_owned(), "janus: a\nREADY=1".to_owned()];
        let waits = "WATCHDOG=1\nSTATUS=not ready: store: does not answer; janus: a READY=1";
        assert_eq!(
            ServiceState::Starting.alive(&missing).unwrap(),
            format!("{waits}\nEXTEND_TIMEOUT_USEC=60000000")
        );
        assert_eq!(ServiceState::Ready.alive(&missing).unwrap(), waits);
        assert_eq!(ServiceState::Ready.alive(&[]).unwrap(), "WATCHDOG=1\nSTATUS=ready");
    }
}
