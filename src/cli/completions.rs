//! `radiograd completions`.

use super::{Cli, print};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use radiograd::{Error, Result};

/// Print completions for a shell: `radiograd completions bash > ~/.local/share/bash-completion/completions/radiograd`.
#[derive(Args)]
pub struct Arguments {
    /// bash, elvish, fish, powershell or zsh.
    shell: Shell,
}

pub fn run(a: &Arguments) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(a.shell, &mut Cli::command(), "radiograd", &mut text);
    print(&String::from_utf8(text).map_err(|e| Error::Internal(format!("completions: {e}")))?)
}
