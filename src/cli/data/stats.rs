//! `radiograd data stats`.

use super::super::print;
use super::Source;
use clap::Args;
use radiograd::data::audit::{ClassRule, sections};
use radiograd::{Error, Result};

/// Count a data set: sources, classes, patients, views, ages, sizes, gray values.
///
/// For duplicates, leaks and confounding see data audit.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: &Arguments) -> Result<()> {
    let rule = ClassRule::parse(&a.source.classes)?;
    let reading = a.source.read()?;
    reading.check_bad(a.source.skip_bad)?;
    let class_of: Vec<Option<String>> = reading.data.records.iter().map(|r| rule.of(r)).collect();
    let (sources, classes) = (sections::sources(&reading), sections::classes(&reading, &class_of));
    let patients = sections::patients(&reading, &class_of);
    let (views, ages) = (sections::views(&reading), sections::ages(&reading));
    let index = sections::ClassIndex::new(&reading, &class_of);
    let table = index.table("source", &|i| reading.data.records[i].source.clone())?;
    let images = reading.usable().len();
    if a.json {
        let all = serde_json::json!({"images": images, "dropped": reading.data.dropped, "notes": reading.data.notes,
            "unusable": reading.bad().count(), "class_rule": rule.describe(), "sources": sources, "classes": classes,
            "patients": patients, "views": views, "ages": ages, "class_by_source": table});
        let text = radiograd::eval::json::to_readable_string(&all);
        return print(&text.map_err(|e| Error::Internal(format!("stats: {e}")))?);
    }
    let mut out = format!("{images} images in {} sources, {} classes\n", sources.len(), classes.len());
    reading.data.dropped.iter().for_each(|(why, n)| out += &format!("left out: {n} x {why}\n"));
    reading.data.notes.iter().for_each(|n| out += &format!("note: {n}\n"));
    let width = sources.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).max(6) + 2;
    out += &format!(
        "\n{:<width$}{:>8}{:>10}{:>14}{:>11}{:>11}  format\n",
        "source", "images", "patients", "longer side", "gray mean", "deviation"
    );
    for s in &sources {
        let side =
            if s.side[0] == s.side[1] { s.side[0].to_string() } else { format!("{} to {}", s.side[0], s.side[1]) };
        let formats: Vec<&str> = s.formats.iter().map(|f| f.name.as_str()).collect();
        out += &format!(
            "{:<width$}{:>8}{:>10}{side:>14}{:>11.4}{:>11.4}  {}\n",
            s.name,
            s.images,
            s.patients,
            s.gray[0],
            s.gray[1],
            formats.join(", ")
        );
    }
    out += &format!("\nClass by source ({})\n{table}", rule.describe());
    out += &format!(
        "\nPatients: {} known, {} with several images (at most {}), {} images without\n",
        patients.known, patients.with_several, patients.most, patients.unknown
    );
    for (name, counts) in [("Views", &views.counts), ("Ages", &ages.counts)] {
        let list: Vec<String> = counts.iter().map(|c| format!("{} {}", c.name, c.images)).collect();
        out += &format!("{name}: {}\n", list.join(", "));
    }
    print(&out)
}
