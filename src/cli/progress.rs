//! Waits until the installation is in a certain state, and shows the progress on the terminal.
//!
//! Owns: the poll interval, deadlines and the progress line. Does not change anything.

use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

const POLL_EVERY: Duration = Duration::from_millis(200);

/// Result of one poll.
pub enum Look<T> {
    Done(T),
    /// Condition that is still missing, for the progress line.
    Waiting(String),
}

/// Calls `look` until it returns [`Look::Done`]. On a terminal, a line with a spinner shows the missing
/// condition.
///
/// # Errors
/// `look` fails, or `deadline` passes; the text then names the missing condition and `remedy`.
pub async fn wait_until<T>(
    deadline: Duration,
    remedy: &str,
    look: impl AsyncFn() -> anyhow::Result<Look<T>>,
) -> anyhow::Result<T> {
    let bar = spinner();
    let end = Instant::now() + deadline;
    loop {
        match look().await? {
            Look::Done(value) => {
                bar.finish_and_clear();
                return Ok(value);
            }
            Look::Waiting(missing) if Instant::now() >= end => {
                bar.finish_and_clear();
                bail!("{missing} after {} s; {remedy}", deadline.as_secs());
            }
            Look::Waiting(missing) => bar.set_message(missing),
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Returns a bar that fills within `seconds`, with a message. The bar is drawn on standard error, and only if
/// standard error is a terminal. Its task ends with the bar.
pub fn countdown(message: String, seconds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seconds);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}") {
        bar.set_style(style);
    }
    bar.set_message(message);
    let (ticking, began) = (bar.downgrade(), Instant::now());
    actix_web::rt::spawn(async move {
        while let Some(bar) = ticking.upgrade().filter(|bar| !bar.is_finished()) {
            bar.set_position(began.elapsed().as_secs().min(seconds));
            drop(bar);
            tokio::time::sleep(POLL_EVERY).await;
        }
    });
    bar
}

/// Returns a line with a spinner, a message and the elapsed time. The line is drawn on standard error, and
/// only if standard error is a terminal.
pub fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(POLL_EVERY);
    bar
}
