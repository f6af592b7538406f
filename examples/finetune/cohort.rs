//! The images: synthetic ones, or files with one finding each; in two parts that share no patient.

use super::options::Options;
use radiograd::data::cache;
use radiograd::data::phantom::{self, Phantom};
use radiograd::data::planes::{LoadOptions, load_planes};
use radiograd::data::split::{holdout, rng};
use radiograd::data::table::{Dataset, OpenOptions, plain};
use radiograd::train::{Samples, interrupt};
use radiograd::{Error, Result};
use std::path::{Path, PathBuf};

/// Images with classes, in two parts that share no patient.
pub struct Cohort {
    /// Side of the images in pixels.
    pub side: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// To train on: image, class.
    pub train: Vec<(usize, usize)>,
    /// To validate.
    pub validation: Vec<(usize, usize)>,
    pixels: Vec<f32>,
    name: String,
}

/// Images before they are divided.
struct Loaded {
    pixels: Vec<f32>,
    labels: Vec<usize>,
    patients: Vec<usize>,
    classes: Vec<String>,
    name: String,
}

impl Cohort {
    /// The images that the options name, or synthetic ones.
    pub fn load(o: &Options, side: usize) -> Result<Cohort> {
        let all = match &o.data {
            None => synthetic(o, side)?,
            Some(path) => from_files(o, path, side)?,
        };
        let Loaded { pixels, labels, patients, classes, name } = all;
        let names: Vec<&str> = classes.iter().map(String::as_str).collect();
        let (train, validation) = holdout(&labels, &patients, &names, 0.25, &mut rng(o.seed, "validation"))?;
        let items = |part: Vec<usize>| part.into_iter().map(|i| (i, labels[i])).collect();
        Ok(Cohort { side, pixels, train: items(train), validation: items(validation), classes, name })
    }

    pub fn samples<'s>(&'s self, items: &'s [(usize, usize)]) -> Samples<'s> {
        Samples { data: &self.pixels, mirrored: None, shape: [1, self.side, self.side], items }
    }

    pub fn describe(&self) -> String {
        let (n, m) = (self.train.len(), self.validation.len());
        format!("{}: {n} images to train on, {m} to validate; classes {}", self.name, self.classes.join(", "))
    }
}

fn synthetic(o: &Options, side: usize) -> Result<Loaded> {
    if !(phantom::MIN_SIDE..=phantom::MAX_SIDE).contains(&side) {
        let (a, b) = (phantom::MIN_SIDE, phantom::MAX_SIDE);
        return Err(Error::Usage(format!("--side {side}: synthetic radiographs have {a} to {b} pixels")));
    }
    let all: Vec<Phantom> = phantom::generate(o.seed, o.patients(), side);
    Ok(Loaded {
        labels: all.iter().map(|p| p.class).collect(),
        patients: all.iter().map(|p| p.patient as usize).collect(),
        pixels: all.into_iter().flat_map(|p| p.pixels).collect(),
        classes: phantom::CLASSES.map(String::from).to_vec(),
        name: "synthetic radiographs (built in)".into(),
    })
}

/// Frontal images with exactly one finding, of the findings that eight patients or more have.
fn from_files(o: &Options, path: &Path, side: usize) -> Result<Loaded> {
    let data = Dataset::open(path, &OpenOptions::default())?;
    let groups = data.groups();
    let usable = |i: &usize| data.records[*i].is_frontal() && data.records[*i].labels().count() == 1;
    let finding = |i: usize| plain(&data.records[i].finding);
    let usable: Vec<usize> = (0..data.records.len()).filter(usable).collect();
    let mut classes: Vec<String> = usable.iter().map(|i| finding(*i)).collect();
    classes.sort();
    classes.dedup();
    classes.retain(|c| {
        let mut patients: Vec<usize> = usable.iter().filter(|i| finding(**i) == *c).map(|i| groups[*i]).collect();
        patients.sort_unstable();
        patients.dedup();
        patients.len() >= 8
    });
    if classes.len() < 2 {
        return Err(Error::Data(format!("{}: fewer than two findings with eight patients each", path.display())));
    }
    let class = |i: usize| classes.iter().position(|c| *c == finding(i));
    let chosen: Vec<(usize, usize)> = usable.iter().filter_map(|i| Some((*i, class(*i)?))).collect();
    let files: Vec<PathBuf> = chosen.iter().map(|(i, _)| data.records[*i].file.clone()).collect();
    let cache = (!o.no_cache).then(cache::root).transpose()?.map(|r| r.join("planes"));
    let load = LoadOptions {
        cache_dir: cache.as_deref(),
        progress: o.talk.talk().has_bars(),
        cancel: Some(interrupt::flag()),
        ..Default::default()
    };
    Ok(Loaded {
        pixels: load_planes(&data.root, &files, side, &load)?.data,
        labels: chosen.iter().map(|c| c.1).collect(),
        patients: chosen.iter().map(|c| groups[c.0]).collect(),
        name: format!("{} images", chosen.len()),
        classes,
    })
}
