//! Output of the demo: its steps, then one screen whose last line is kept up to date.
//!
//! Owns: standard output. A closed terminal is not an error: the demo ends on its hangup signal. Does not
//! clear earlier output, or access a room.

use std::io::{IsTerminal, Stdout, Write, stdout};
use std::time::{Duration, Instant};

/// Interval at which an unchanged state is printed again if the output is not a terminal. On a terminal, the
/// line is rewritten instead.
const REPEAT: Duration = Duration::from_secs(30);
/// Maximum length of a line in characters: only a line that fits into a terminal's width can be rewritten.
const LINE: usize = 79;

pub struct Screen {
    out: Stdout,
    terminal: bool,
    /// Start time of the step on the open line.
    step: Option<Instant>,
    told: Option<(String, Instant)>,
}

/// URLs that the demo prints for the user.
pub struct Links {
    pub page: String,
    pub speak: String,
    pub playlist: String,
    pub actors: String,
    pub api: String,
    pub log: String,
}

/// The line that is kept up to date.
pub struct Status {
    /// Part that changes rarely.
    pub state: String,
    /// Part that changes all the time.
    pub figures: String,
}

impl Screen {
    pub fn new() -> Self {
        let out = stdout();
        let terminal = out.is_terminal();
        Self { out, terminal, step: None, told: None }
    }

    /// Prints the start of a step that may take a while. The step ends when the next one is printed.
    pub fn step(&mut self, what: &str) {
        self.step_done();
        self.write(&format!("  {what} … "));
        self.step = Some(Instant::now());
    }

    pub fn note(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }

    pub fn line(&mut self, text: &str) {
        self.write(&format!("  {text}\n"));
    }

    /// Prints the main screen.
    pub fn on_air(&mut self, room: &str, links: &Links) {
        self.step_done();
        let Links { page, speak, playlist, actors, api, log } = links;
        self.write(&format!(
            "\n  The room \"{room}\" is on air.\n\n\
             \x20 Listen in a browser   {page}\n\n\
             \x20 Speak in a browser    {speak}\n\n\
             \x20 In any HLS player     {playlist}\n\n\
             \x20 Watch the actors      {actors}\n\
             \x20 The room as JSON      {api}\n\
             \x20 Log                   {log}\n\n\
             \x20 Ctrl-C ends everything and leaves nothing behind.\n\n"
        ));
    }

    pub fn status(&mut self, status: &Status) {
        let Status { state, figures } = status;
        if self.terminal {
            let line: String = format!("  {state}{figures}").chars().take(LINE).collect();
            self.write(&format!("\r\x1b[K{line}"));
            return;
        }
        let now = Instant::now();
        if self.told.as_ref().is_none_or(|(told, at)| told != state || now >= *at + REPEAT) {
            self.line(&format!("{state}{figures}"));
            self.told = Some((state.clone(), now));
        }
    }

    /// Ends the open line, which shows a step or the status, and leaves its text as it is.
    pub fn cut(&mut self) {
        if self.step.take().is_some() || self.terminal {
            self.write("\n");
        }
    }

    fn step_done(&mut self) {
        if let Some(began) = self.step.take() {
            self.write(&format!("{:.1} s\n", began.elapsed().as_secs_f64()));
        }
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}
