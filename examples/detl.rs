//! DETL end to end (Basu & Mitra, arXiv:2004.10507): pre-training, five-fold cross-validation, Grad-CAM, a report.
//!
//! `cargo run --release --example detl` runs on synthetic radiographs; `-- --data DIR` on real ones; `-- --help` tells more.

use clap::Parser;
use radiograd::papers::detl::{self, Options};
use radiograd::report::text;
use radiograd::train::interrupt;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    interrupt::install();
    match detl::run(&options) {
        Ok(metrics) => {
            println!("{}", text::summary(&metrics));
            println!("written to {}: open {}", options.out.display(), options.out.join("report.html").display());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("detl: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}
