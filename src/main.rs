//! The program: parses the arguments, loads the configuration and runs the subcommand.
//!
//! Owns: exit codes (0 success, 1 failure, 2 invalid configuration). Does not access an actor.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
