//! `radiograd data preview`.

use super::super::{DeviceArguments, positive, print};
use super::Source;
use clap::Args;
use radiograd::data::audit::{ClassRule, GroupBy};
use radiograd::data::planes::{LoadOptions, Planes, load_planes};
use radiograd::data::split::rng;
use radiograd::files::write_atomic;
use radiograd::ops::AugmentOptions;
use radiograd::report::contact::{SheetRow, sheet};
use radiograd::report::png_bytes;
use radiograd::train::{Samples, augmented};
use radiograd::{Error, Gpu, Result};
use rand::seq::SliceRandom;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Draw a contact sheet: some images of each class, one a patient, as the network gets them (gray, squeezed to a square).
///
/// With --augment each image stands in a row of its own, followed by augmented views of it, made on the GPU by the pass that
/// trainings use. Without it no GPU is needed.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The PNG file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Images of each class; 8, with --augment 3.
    #[arg(long, value_name = "N", value_parser = positive)]
    each: Option<usize>,
    /// Side of each picture in pixels.
    #[arg(long, value_name = "N", default_value = "128", value_parser = positive)]
    side: usize,
    /// Most classes that are drawn, the largest first.
    #[arg(long, value_name = "N", default_value = "12", value_parser = positive)]
    most: usize,
    /// Seed of the draw.
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Show augmented views: a paper's (detl, hernandez, balvinsson, zhong, gao-wang), or changes as in
    /// rotation=10,scale=0.1,shift=0.05,mirror,fill=reflect and crop=0.1,contrast=0.1,brightness=0.1,saturation=0.1,noise=0.02,
    /// salt-pepper=0.01, or both: zhong,noise=0.02. Rotation is in degrees, shift and crop are parts of the side, the others of a
    /// pixel's range; each is the largest change, noise a standard deviation, salt-pepper a probability; fill is nearest, reflect or a
    /// number from 0 to 1.
    #[arg(long, value_name = "SPEC")]
    augment: Option<String>,
    /// Augmented views of each image.
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive, requires = "augment")]
    views: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "With --augment")]
    device: DeviceArguments,
}

/// Images of a class that are drawn.
struct Drawn {
    class: String,
    /// Images of the class.
    count: usize,
    /// Their records.
    items: Vec<usize>,
}

pub fn run(a: &Arguments) -> Result<()> {
    let rule = ClassRule::parse(&a.source.classes)?;
    let augment = a.augment.as_deref().map(AugmentOptions::parse).transpose()?;
    let each = a.each.unwrap_or(if augment.is_some() { 3 } else { 8 });
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
    let all = classes.len();
    let draw = |(class, mut items): (String, Vec<usize>)| {
        let count = items.len();
        items.shuffle(&mut rng(a.seed, &class));
        let mut seen = HashSet::new();
        items.retain(|&i| seen.insert(groups[i]));
        items.truncate(each);
        Drawn { class, count, items }
    };
    let drawn: Vec<Drawn> = classes.into_iter().take(a.most).map(draw).collect();
    if drawn.is_empty() {
        return Err(Error::Data("no image belongs to a class".into()));
    }
    let records = drawn.iter().flat_map(|d| &d.items);
    let files: Vec<PathBuf> = records.map(|&i| reading.data.records[i].file.clone()).collect();
    let planes = load_planes(&reading.data.root, &files, a.side, &LoadOptions::default())?;
    let views = augment.map(|o| views(a, &planes, &o)).transpose()?;
    let shown = drawn.len();
    let mut footer = format!("Drawn at random, seed {}; {shown} of {all} classes.", a.seed);
    if let Some(o) = &augment {
        footer += &format!(" Each image, then {} augmented views of it: {o}.", a.views);
    }
    let rows = rows(&drawn, &planes, views.as_deref());
    let picture = sheet(&rows, a.side, &(footer + " Research software, not a medical device."))?;
    write_atomic(&a.out, &png_bytes(&picture)?)?;
    if a.json {
        let class = |d: &Drawn| {
            let names: Vec<&str> = d.items.iter().map(|&i| reading.names[i].as_str()).collect();
            serde_json::json!({"class": d.class, "images": d.count, "drawn": names})
        };
        let classes: Vec<_> = drawn.iter().map(class).collect();
        let mut all = serde_json::json!({"out": a.out, "side": a.side, "seed": a.seed, "classes": classes});
        if let Some(o) = &augment {
            all["augment"] = serde_json::json!({"text": o.to_string(), "views": a.views, "options": o});
        }
        return print(&format!("{all}\n"));
    }
    print(&format!(
        "{}: {} x {} pixels, {shown} of {all} classes\n",
        a.out.display(),
        picture.width(),
        picture.height()
    ))
}

/// Views of all planes, one view of each after another.
fn views(a: &Arguments, planes: &Planes, o: &AugmentOptions) -> Result<Vec<Vec<f32>>> {
    let gpu = Gpu::with(&a.device.options()?)?;
    let samples = Samples { data: &planes.data, mirrored: None, shape: [1, a.side, a.side], items: &[] };
    let images: Vec<usize> = (0..planes.len()).collect();
    (0..a.views as u32).map(|epoch| augmented(&gpu, &samples, &images, o, a.seed, epoch)).collect()
}

/// A row a class, or, where there are views, a row an image.
fn rows(drawn: &[Drawn], planes: &Planes, views: Option<&[Vec<f32>]>) -> Vec<SheetRow> {
    let mut rows = Vec::new();
    let mut first = 0;
    for d in drawn {
        let title = format!("{} ({} images)", d.class, d.count);
        let own = first..first + d.items.len();
        first = own.end;
        match views {
            None => rows.push(SheetRow { title, pictures: own.map(|k| planes.plane(k).to_vec()).collect() }),
            Some(views) => {
                let size = planes.side * planes.side;
                for (at, k) in own.enumerate() {
                    let others = views.iter().map(|v| v[k * size..][..size].to_vec());
                    let pictures = std::iter::once(planes.plane(k).to_vec()).chain(others).collect();
                    rows.push(SheetRow { title: if at == 0 { title.clone() } else { String::new() }, pictures });
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_stand_beside_their_own_image() {
        let planes = Planes { side: 1, data: vec![1.0, 2.0, 3.0], sizes: vec![(1, 1); 3], ..Planes::default() };
        let drawn = |class: &str, items: &[usize]| Drawn { class: class.into(), count: 9, items: items.to_vec() };
        let drawn = [drawn("a", &[7, 5]), drawn("b", &[8])];
        let views = [vec![10.0, 20.0, 30.0], vec![11.0, 21.0, 31.0]];
        let as_text = |rows: Vec<SheetRow>| -> Vec<String> {
            rows.iter().map(|r| format!("{} {:?}", r.title, r.pictures.concat())).collect()
        };
        assert_eq!(as_text(rows(&drawn, &planes, None)), ["a (9 images) [1.0, 2.0]", "b (9 images) [3.0]"]);
        assert_eq!(
            as_text(rows(&drawn, &planes, Some(&views))),
            ["a (9 images) [1.0, 10.0, 11.0]", " [2.0, 20.0, 21.0]", "b (9 images) [3.0, 30.0, 31.0]"]
        );
    }
}
