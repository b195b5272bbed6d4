//! Reports to the service manager that started the node, through the sd_notify(3) protocol.
//!
//! Owns: the socket, and the check that the node runs. Does not decide on the content of a report.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::time::Duration;

use actix::ArbiterHandle;
use futures::future::join_all;
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::domain::service_state::ServiceState;

/// Interval between the reports if the manager has no watchdog.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Time limit for one report. A service manager that does not read must not block the node.
const SEND_WITHIN: Duration = Duration::from_secs(1);

/// Values that the manager passed in the environment.
#[derive(Debug, Default)]
pub struct Environment {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Environment {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` through `variable`.
    pub fn read(variable: impl Fn(&'static str) -> Option<OsString>) -> Self {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        // If the process id differs, the variables were inherited from a parent process that is itself a
        // service.
        let ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|period| ours && *period > 0);
        Self { socket: variable("NOTIFY_SOCKET"), watchdog: watchdog.map(Duration::from_micros) }
    }
}

/// Connection to the service manager; sends nothing if there is none.
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    every: Duration,
    state: Cell<ServiceState>,
}

impl ServiceManager {
    /// Connects to the socket in the environment. Must be called inside a Tokio runtime. Logs a warning if
    /// the socket cannot be used.
    pub fn connect(environment: Environment) -> Self {
        let socket = environment.socket.and_then(|name| {
            let connected = connect(&name);
            let warn = |error: &io::Error| {
                tracing::warn!(socket = ?name, %error, "cannot reach the service manager at NOTIFY_SOCKET");
            };
            connected.inspect_err(warn).ok()
        });
        let every = environment.watchdog.map_or(REPORT_EVERY, |period| period / 2);
        Self { socket, every, state: Cell::default() }
    }

    /// Reports that the node is ready.
    pub async fn ready(&self) {
        self.send(self.change(ServiceState::ready)).await;
    }

    /// Reports that a reload begins.
    pub async fn reloading(&self) {
        self.send(self.change(ServiceState::reloading)).await;
    }

    /// Reports that a reload is over.
    pub async fn reloaded(&self) {
        self.send(self.change(ServiceState::reloaded)).await;
    }

    /// Reports an ordered shutdown that takes at most `deadline`.
    pub async fn stopping(&self, deadline: Duration) {
        self.send(Some(self.change(|state| state.stopping(deadline)))).await;
    }

    /// Reports once per interval that the node runs, as long as all event loops in `loops` and the event loop
    /// of the caller run. Never returns.
    pub async fn watch(&self, loops: &[ArbiterHandle], missing: impl Fn() -> Vec<String>) -> Infallible {
        if self.socket.is_none() {
            return std::future::pending().await;
        }
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if run(loops, self.every).await {
                self.send(self.state.get().alive(&missing())).await;
            } else {
                tracing::error!("an event loop of the node is blocked; see the oldest messages in /actors");
            }
        }
    }

    fn change<T>(&self, by: impl FnOnce(&mut ServiceState) -> T) -> T {
        let mut state = self.state.get();
        let message = by(&mut state);
        self.state.set(state);
        message
    }

    async fn send(&self, message: Option<String>) {
        let (Some(socket), Some(message)) = (&self.socket, message) else { return };
        let error = match timeout(SEND_WITHIN, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not read".to_owned(),
        };
        tracing::warn!(error, "report to the service manager failed");
    }
}

/// Returns true once each event loop has run a task, and false if that takes longer than `limit`.
async fn run(loops: &[ArbiterHandle], limit: Duration) -> bool {
    let answers = loops.iter().map(|one| {
        let (sender, answer) = oneshot::channel();
        one.spawn(async move {
            let _ = sender.send(());
        });
        answer
    });
    let all = timeout(limit, join_all(answers)).await;
    all.is_ok_and(|answers| answers.iter().all(Result::is_ok))
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = StdUnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix::Arbiter;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            Some(variables.iter().find(|(known, _)| *known == name)?.1.to_owned().into())
        })
    }

    #[test]
    fn watchdog_of_another_process_is_ignored() {
        let us = std::process::id().to_string();
        let watchdog = |pid| environment(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", pid)]).watchdog;
        assert_eq!(watchdog(&us), Some(Duration::from_secs(30)));
        assert_eq!(watchdog("1"), None);
        assert_eq!(environment(&[("WATCHDOG_USEC", "5")]).watchdog, Some(Duration::from_micros(5)));
        assert_eq!(environment(&[("WATCHDOG_USEC", "x")]).watchdog, None);
    }

    #[actix::test]
    async fn abstract_sockets_are_reached() {
        let name = format!("stentor-{}", uuid::Uuid::new_v4());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let received = StdUnixDatagram::bind_addr(&address).unwrap();
        let manager = ServiceManager::connect(environment(&[("NOTIFY_SOCKET", &format!("@{name}"))]));
        manager.ready().await;
        let mut buffer = [0; 64];
        let size = received.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..size], b"READY=1\nSTATUS=ready");
    }

    #[actix::test]
    async fn a_blocked_event_loop_is_noticed() {
        let (free, blocked) = (Arbiter::new(), Arbiter::new());
        let loops = [free.handle(), blocked.handle()];
        assert!(run(&loops, Duration::from_secs(60)).await);
        let (unblock, wait) = mpsc::channel::<()>();
        blocked.spawn(async move {
            let _ = wait.recv();
        });
        assert!(!run(&loops, Duration::from_millis(50)).await);
        drop(unblock);
        assert!(run(&loops, Duration::from_secs(60)).await);
        blocked.stop();
        blocked.join().unwrap();
        assert!(!run(&loops, Duration::from_secs(60)).await, "an ended event loop");
        free.stop();
    }
}
