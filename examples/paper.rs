//! A paper's protocol from the library: `cargo run --release --example paper -- zhong --data DIR --scale small`, as
//! `radiograd paper` runs it. Research software, not a medical device.

use clap::Parser;
use radiograd::papers::program::Arguments;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "paper", version)]
struct Program {
    #[command(flatten)]
    paper: Arguments,
}

fn main() -> ExitCode {
    let Program { paper } = Program::parse();
    match paper.run().and_then(|(report, out)| Ok((paper.text(&report)?, out))) {
        Ok((text, out)) => {
            println!("{text}\nwritten to {}: open {}", out.display(), out.join("report.html").display());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("paper: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}
