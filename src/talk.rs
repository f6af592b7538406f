//! How much a program says on standard error while it works. Results are standard output's, and errors are always said.

use std::io::IsTerminal;

/// How much is said of work in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// Nothing.
    Quiet,
    /// Progress, and what the work comes to.
    #[default]
    Normal,
    /// Also the adapter, how large plans are, what caches had, and with [`crate::files::tell_written`] every file. Lines in place
    /// of bars.
    Verbose,
}

impl Talk {
    /// Whether nothing is said.
    pub fn is_quiet(self) -> bool {
        self == Talk::Quiet
    }

    /// Whether progress is a bar: lines of others would tear one.
    pub fn has_bars(self) -> bool {
        self == Talk::Normal && std::io::stderr().is_terminal()
    }

    /// A line, unless it is to be quiet.
    pub fn say(self, line: impl std::fmt::Display) {
        if self >= Talk::Normal {
            eprintln!("{line}");
        }
    }

    /// A line of those that only a verbose program says.
    pub fn detail(self, line: impl FnOnce() -> String) {
        if self >= Talk::Verbose {
            eprintln!("{}", line());
        }
    }
}

/// `--quiet` and `--verbose` of a command.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct TalkArguments {
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
    /// Say more on standard error: the adapter, how large plans are, what caches had, and each file that is written.
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
}

impl TalkArguments {
    /// What they ask for. Files are told from here on if it is [`Talk::Verbose`]: for programs, not for libraries.
    pub fn talk(self) -> Talk {
        match (self.quiet, self.verbose) {
            (true, _) => Talk::Quiet,
            (false, false) => Talk::Normal,
            (false, true) => {
                crate::files::tell_written();
                Talk::Verbose
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        talk: TalkArguments,
    }

    #[test]
    fn more_is_said_with_v_and_nothing_with_q_but_not_both() {
        let of = |flags: &[&str]| <Program as clap::Parser>::try_parse_from([&["x"], flags].concat());
        assert_eq!(of(&[]).unwrap().talk.talk(), Talk::Normal);
        assert!(of(&["-q"]).unwrap().talk.talk().is_quiet() && of(&["--quiet"]).unwrap().talk.talk().is_quiet());
        let loud = of(&["-v"]).unwrap().talk;
        assert!(loud.verbose && !loud.quiet);
        assert!(of(&["-q", "-v"]).is_err());
        assert!(Talk::Quiet < Talk::Normal && Talk::Normal < Talk::Verbose && !Talk::Verbose.has_bars());
        let mut said = 0;
        [Talk::Quiet, Talk::Normal, Talk::Verbose].iter().for_each(|t| {
            t.detail(|| {
                said += 1;
                "a detail, once".into()
            });
        });
        assert_eq!(said, 1);
    }
}
