//! The program: arguments -> configuration -> what the subcommand says.
//!
//! Owns: exit codes (0 done, 1 failed, 2 the configuration is wrong). Never does: know an actor.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
