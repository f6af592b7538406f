//! `radiograd data audit`.

use super::super::print;
use super::Source;
use clap::Args;
use radiograd::data::audit::{self, AuditOptions, ClassRule, Ledger, gate};
use radiograd::data::fold_file;
use radiograd::eval::json::to_readable_string;
use radiograd::files::write_atomic;
use radiograd::{Error, Result, report};
use std::path::{Path, PathBuf};

/// Audit a data set: duplicates, patients, splits, label conflicts, views, ages, licences, and what tells the label
/// besides the lungs.
///
/// Every file is hashed (SHA-256), decoded, and its pixels hashed. Copies are found by file, by pixels and by look: brightness,
/// contrast, size and compression do not matter, and negatives and mirror images are found too. The class is guessed from
/// metadata and from thumbnails of 8 x 8 pixels, to show what accuracy is to be had without learning a disease.
///
/// Exit code 5: an image cannot be used (unless --skip-bad), a patient or a duplicate group is in two parts of a split (unless
/// --allow-leak REASON), or --verify found a change. The splits are the one that the tables publish (column split) and
/// those of --split.
///
/// Research software, not a medical device.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Write audit.html, audit.json and digests.json here. digests.json holds file names: keep it beside the data.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare files and pixels with the digests.json of an earlier audit, and do nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "split", "allow_leak"])]
    verify: Option<PathBuf>,
    /// A file of folds, of data split or of the DETL protocol, to be checked for leaks; may be given several times.
    #[arg(long, value_name = "FILE")]
    split: Vec<PathBuf>,
    /// Let leaks pass for this reason, which the report prints.
    #[arg(long, value_name = "REASON")]
    allow_leak: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: &Arguments) -> Result<()> {
    let classes = ClassRule::parse(&a.source.classes)?;
    // What is wrong with the request is said before hours of reading.
    gate(&[], a.allow_leak.as_deref())?;
    let earlier = a.verify.as_deref().map(Ledger::read).transpose()?;
    let reading = a.source.read()?;
    if let Some(earlier) = earlier {
        return verify(a, &earlier, &Ledger::of(&reading));
    }
    let position = reading.positions();
    let mut divisions = Vec::new();
    for path in &a.split {
        let name = path.file_stem().map_or("split".into(), |s| s.to_string_lossy().into_owned());
        for division in fold_file::read_divisions(path, &position, reading.seen.len())? {
            divisions.push(audit::Division { name: format!("{name}, {}", division.name), ..division });
        }
    }
    let options = AuditOptions { classes, divisions, allow_leak: a.allow_leak.clone() };
    let found = audit::audit(&reading, &options)?;
    let json = to_readable_string(&found).map_err(|e| Error::Internal(format!("audit: {e}")))?;
    let mut written = String::new();
    if let Some(dir) = &a.out {
        write_atomic(&dir.join("audit.json"), json.as_bytes())?;
        write_atomic(&dir.join("audit.html"), report::audit::render(&found).as_bytes())?;
        Ledger::of(&reading).write(&dir.join("digests.json"))?;
        written = written_to(dir);
        a.source.talk.talk().say(&written);
    }
    print(&if a.json { json } else { audit::text::summary(&found) })?;
    reading.check_bad(a.source.skip_bad)?;
    gate(&found.leaks, a.allow_leak.as_deref())
        .map_err(|e| if written.is_empty() { e } else { e.and_written(&written) })?;
    Ok(())
}

fn written_to(dir: &Path) -> String {
    let dir = dir.display();
    format!("{dir}/audit.html, {dir}/audit.json, {dir}/digests.json")
}

fn verify(a: &Arguments, earlier: &Ledger, now: &Ledger) -> Result<()> {
    let changes = earlier.compare(now, a.source.show_names);
    if a.json {
        print(&to_readable_string(&changes).map_err(|e| Error::Internal(format!("changes: {e}")))?)?;
    } else if changes.check().is_ok() {
        print(&format!(
            "all {} images are as they were, files and pixels (SHA-256 {})\n",
            changes.unchanged, now.sha256
        ))?;
    }
    changes.check()
}
