//! What the simulation does not look at: how long a process may be silent.

use super::*;

const WATCHDOG: Duration = Duration::from_secs(2);

#[test]
fn each_start_in_vain_allows_the_next_one_more_and_a_fragment_ends_that() {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let crashes = Budget { max: 5, window: Duration::from_secs(30) };
    let policy = MixerPolicy { backoff, crashes, watchdog: WATCHDOG, hls_base: String::new() };
    let mut room = MixerRoom::new(ModuleId::new("here").unwrap(), "i".into(), policy);
    let mut running =
        Running { epoch: Epoch(1), since: Duration::ZERO, feed: None, unfit: None, last_fragment: None };
    let mut allowed = Vec::new();
    for _ in 0..7 {
        allowed.push(room.patience(&running));
        room.process = Process::Ending { why: STARVED };
        room.exited(Exit::Other, "signal: 9 (SIGKILL)", Duration::ZERO, 0.5);
    }
    assert_eq!(allowed, [1, 2, 3, 4, 5, 5, 5].map(|times| WATCHDOG * times));
    running.last_fragment = Some(Duration::ZERO);
    assert_eq!(room.patience(&running), WATCHDOG);
}
