//! `radiograd data preview`.

use super::super::{positive, print};
use super::Source;
use clap::Args;
use radiograd::data::audit::{ClassRule, GroupBy};
use radiograd::data::planes::{LoadOptions, load_planes};
use radiograd::data::split::rng;
use radiograd::files::write_atomic;
use radiograd::report::contact::{SheetRow, sheet};
use radiograd::report::png_bytes;
use radiograd::{Error, Result};
use rand::seq::SliceRandom;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Draw a contact sheet: some images of each class, one a patient, as the network gets them (gray, squeezed to a square).
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The PNG file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Images of each class.
    #[arg(long, value_name = "N", default_value = "8", value_parser = positive)]
    each: usize,
    /// Side of each picture in pixels.
    #[arg(long, value_name = "N", default_value = "128", value_parser = positive)]
    side: usize,
    /// Most classes that are drawn, the largest first.
    #[arg(long, value_name = "N", default_value = "12", value_parser = positive)]
    most: usize,
    /// Seed of the draw.
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: &Arguments) -> Result<()> {
    let rule = ClassRule::parse(&a.source.classes)?;
    let reading = a.source.read()?;
    reading.check_bad(a.source.skip_bad)?;
    let groups = reading.groups(GroupBy::PatientAndDuplicates);
    let mut by: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for i in reading.usable() {
        if let Some(class) = rule.of(&reading.data.records[i]) {
            by.entry(class).or_default().push(i);
        }
    }
    let mut classes: Vec<(String, Vec<usize>)> = by.into_iter().collect();
    classes.sort_by_key(|(_, items)| std::cmp::Reverse(items.len()));
    let (shown, all) = (classes.len().min(a.most), classes.len());
    let (mut rows, mut drawn) = (Vec::new(), Vec::new());
    for (class, mut items) in classes.into_iter().take(a.most) {
        let count = items.len();
        items.shuffle(&mut rng(a.seed, &class));
        let mut seen = HashSet::new();
        items.retain(|&i| seen.insert(groups[i]));
        items.truncate(a.each);
        let files: Vec<PathBuf> = items.iter().map(|&i| reading.data.records[i].file.clone()).collect();
        let planes = load_planes(&reading.data.root, &files, a.side, &LoadOptions::default())?;
        let pictures: Vec<Vec<f32>> = (0..planes.len()).map(|k| planes.plane(k).to_vec()).collect();
        let names: Vec<&str> = items.iter().map(|&i| reading.names[i].as_str()).collect();
        drawn.push(serde_json::json!({"class": class, "images": count, "drawn": names}));
        rows.push(SheetRow { title: format!("{class} ({count} images)"), pictures });
    }
    if rows.is_empty() {
        return Err(Error::Data("no image belongs to a class".into()));
    }
    let footer =
        format!("Drawn at random, seed {}; {shown} of {all} classes. Research software, not a medical device.", a.seed);
    let picture = sheet(&rows, a.side, &footer)?;
    write_atomic(&a.out, &png_bytes(&picture)?)?;
    if a.json {
        let all = serde_json::json!({"out": a.out, "side": a.side, "seed": a.seed, "classes": drawn});
        return print(&format!("{all}\n"));
    }
    print(&format!(
        "{}: {} x {} pixels, {shown} of {all} classes\n",
        a.out.display(),
        picture.width(),
        picture.height()
    ))
}
