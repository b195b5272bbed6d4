//! Benchmarks of the whole system. Each figure is shown next to its baseline (column `floor`), such as the
//! same work without Stentor. Both are measured in the same run on the same machine.
//!
//! `make bench` runs the Criterion benches first, then this program, which prints everything as one table and
//! saves it in `target/bench.md`. `cargo bench --bench system -- start hls` runs only the named parts. The
//! numbers are never asserted: the exit code shows only whether all of them could be measured.

// A failed unwrap is a failed measurement. Helpers are `async` even if they need not be, so that all calls
// look alike.
#![allow(clippy::unwrap_used, clippy::unused_async)]

mod anchors;
mod bare;
mod bridge;
mod capacity;
mod channel;
mod hls;
mod house;
mod invitation;
mod micro;
mod page;
mod plain;
mod quiet_janus;
mod recording;
mod restart;
mod segment;
mod speakers;
mod stages;
mod start;
mod stub;
#[allow(dead_code, reason = "the harness of the tests, which use all of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;
#[path = "../../crates/packager/src/synth.rs"]
mod synth;
mod table;
mod tls;
mod upkeep;
mod usage;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use table::{Row, Table};

type Part = (&'static str, fn() -> LocalBoxFuture<'static, Vec<Row>>);

const PARTS: [Part; 17] = [
    ("watch", || watch::measure().boxed_local()),
    ("start", || start::measure().boxed_local()),
    ("segment", || segment::measure().boxed_local()),
    ("page", || page::measure().boxed_local()),
    ("invitation", || invitation::measure().boxed_local()),
    ("hls", || hls::measure().boxed_local()),
    ("tls", || tls::measure().boxed_local()),
    ("plain", || plain::measure().boxed_local()),
    ("upkeep", || upkeep::measure().boxed_local()),
    ("recording", || recording::measure().boxed_local()),
    ("anchors", || anchors::measure().boxed_local()),
    ("channel", || channel::measure().boxed_local()),
    ("restart", || restart::measure().boxed_local()),
    ("speakers", || speakers::measure().boxed_local()),
    ("stages", || stages::measure().boxed_local()),
    ("capacity", || capacity::measure().boxed_local()),
    ("micro", || async { micro::collected() }.boxed_local()),
];

fn main() -> ExitCode {
    if let Some(code) = stub::run_if_asked().or_else(bare::run_if_asked).or_else(upkeep::run_if_asked) {
        return code;
    }
    // Cargo adds its own flags, such as `--bench`.
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut table = Table::default();
    let mut all_taken = true;
    for (name, measure) in PARTS {
        if !named.is_empty() && !named.iter().any(|n| n == name) {
            continue;
        }
        eprintln!("bench: {name} …");
        // Use a separate actix system for each part, so that leftovers of one part do not affect the next.
        match catch_unwind(AssertUnwindSafe(|| actix::System::new().block_on(measure()))) {
            Ok(rows) => table.extend(rows),
            Err(_) => {
                all_taken = false;
                table.extend([Row::new(name, "", "could not be taken, see above", "")]);
            }
        }
    }
    println!("{table}");
    table.keep();
    if all_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
