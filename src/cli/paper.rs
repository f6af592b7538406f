//! `radiograd paper`.

use super::print;
use clap::Args;
use radiograd::Result;
use radiograd::papers::program;

/// Run a paper's protocol: detl, hernandez, balvinsson, zhong or gao-wang.
///
/// Ends in a table of the paper's figures beside ours: with images divided one by one, as papers do, and with patients and
/// duplicates kept together; and in one report.html with confusion matrices, heat maps, and what accuracy is left without
/// lungs. Without --data the images are synthetic radiographs. The same command goes on with a run that was interrupted.
///
/// Research software, not a medical device.
#[derive(Args)]
#[group(id = "paper-command")] // the library's struct has this one's name
pub struct Arguments {
    #[command(flatten)]
    paper: program::Arguments,
}

pub fn run(a: &Arguments) -> Result<()> {
    let (report, out) = a.paper.run()?;
    eprintln!("{}", out.join("report.html").display());
    print(&a.paper.text(&report)?)
}
