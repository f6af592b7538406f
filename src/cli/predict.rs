//! `radiograd predict`.
use clap::Args;
use radiograd::Result;
/// Predict.
#[derive(Args)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> Result<()> { Ok(()) }
