//! `radiograd cache`.

use clap::Args;
use radiograd::Result;
use radiograd::data::cache;

/// Show where decoded images, the features of frozen bases and compiled pipelines are kept and how much they take; or clear
/// them.
///
/// File names there are digests: no name of a patient or of a file is among them. The place is `RADIOGRAD_CACHE`, else
/// the user's cache folder.
#[derive(Args)]
pub struct Arguments {
    /// Remove what this program keeps there, and nothing else.
    #[arg(long)]
    clear: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: &Arguments) -> Result<()> {
    let root = cache::root()?;
    let usage = if a.clear { cache::clear(&root)? } else { cache::describe(&root)? };
    if a.json {
        let parts: Vec<_> = usage
            .parts
            .iter()
            .map(|p| serde_json::json!({"name": p.name, "files": p.files, "bytes": p.bytes}))
            .collect();
        let all = serde_json::json!({"root": usage.root, "cleared": a.clear, "parts": parts});
        return super::print(&format!("{all}\n"));
    }
    let mut text = usage.to_string().trim_end().to_string();
    if a.clear {
        text.push_str("\ncleared");
    }
    super::print(&format!("{text}\n"))
}
