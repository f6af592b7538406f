//! The `radiograd` command line.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("radiograd: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}
