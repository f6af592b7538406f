//! What the papers' protocols have in common: their options, how they take up images, how they run a cell, and the table
//! that each ends in.

use crate::data::audit::gate;
use crate::data::division::{self, Method, Parts};
use crate::data::labels::{LabelMap, Labelled};
use crate::data::preprocessing::Preprocessing;
use crate::data::table::Dataset;
use crate::error::{Error, Result};
use crate::experiment::heat::{self, Extent};
use crate::experiment::shortcut::shortcuts;
use crate::experiment::train::{Context, Labels, train};
use crate::experiment::{Cell, CellResult, Outcome, Run, RunOptions, Synthetic, Task, TaskOptions};
use crate::gpu::Gpu;
use crate::nn::ParamStore;
use crate::talk::Talk;
use crate::train::RunFolder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How much of a paper is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scale {
    /// Minutes, to see that everything works; its figures mean nothing.
    #[default]
    Smoke,
    /// Within an hour without a GPU, by a reduction that the table states.
    Small,
    /// The paper's own protocol.
    Full,
}

impl Scale {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Smoke => "smoke",
            Scale::Small => "small",
            Scale::Full => "full",
        }
    }

    /// The value for this scale.
    pub fn pick<T>(self, smoke: T, small: T, full: T) -> T {
        match self {
            Scale::Smoke => smoke,
            Scale::Small => small,
            Scale::Full => full,
        }
    }
}

/// What a user chooses.
#[derive(Clone, Debug, Default)]
pub struct PaperOptions {
    /// Folders and manifests; synthetic radiographs without any.
    pub data: Vec<PathBuf>,
    /// How much is run.
    pub scale: Scale,
    /// Where everything is written.
    pub out: PathBuf,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Weights of networks' bases, by the network's name; random ones for the others.
    pub weights: BTreeMap<String, PathBuf>,
    /// Root of the caches.
    pub cache: Option<PathBuf>,
    /// Damaged images are counted instead of ending the run.
    pub skip_bad: bool,
    /// Files' own names in tables.
    pub show_names: bool,
    /// Leaves the shortcut panel out.
    pub no_shortcuts: bool,
    /// Of n shards of the folds, the one to do.
    pub shard: Option<(usize, usize)>,
    /// How much is said.
    pub talk: Talk,
}

/// How a cell is divided and looked at.
#[derive(Clone, Debug)]
pub struct Plan {
    /// k-fold or hold-out.
    pub method: Method,
    /// Folds of k-fold.
    pub folds: usize,
    /// Folds that are run; fewer than `folds` is a reduction.
    pub run: usize,
    /// Share of the test part of a hold-out.
    pub test: f64,
    /// Share of validation in what is left.
    pub validation: f64,
    /// Also divided image by image, as the paper does.
    pub image_wise: bool,
    /// The shortcut panel is made.
    pub probes: bool,
    /// How much is explained.
    pub extent: Extent,
    /// The folds' weights are written.
    pub weights: bool,
}

impl Plan {
    /// A hold-out of 20 % for the test and 20 % of the rest for validation, with panel.
    pub fn holdout() -> Plan {
        Plan {
            method: Method::Holdout,
            folds: 5,
            run: 5,
            test: 0.2,
            validation: 0.2,
            image_wise: true,
            probes: true,
            extent: Extent { images: 24, panels: 2, contour: false },
            weights: true,
        }
    }

    /// k folds, of which `run` are run.
    pub fn kfold(folds: usize, run: usize) -> Plan {
        Plan { method: Method::Kfold, folds, run, ..Plan::holdout() }
    }
}

/// The device and the options of a paper's run.
pub struct Lab<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// What the user chose.
    pub options: &'a PaperOptions,
    /// The run's folder on disk.
    pub folder: Rc<RunFolder>,
}

impl Lab<'_> {
    /// The images: those of the options with the classes of the built-in label map `labels`, or synthetic ones.
    ///
    /// # Errors
    /// As [`Task::from_files`] and [`Task::synthetic`].
    pub fn task(&self, labels: &str, synthetic: &Synthetic, side: usize, per_class: Option<usize>) -> Result<Task> {
        self.cut_task(labels, synthetic, side, per_class, Preprocessing::default())
    }

    /// The same with images that become planes by another rule.
    ///
    /// # Errors
    /// As [`Lab::task`].
    pub fn cut_task(
        &self,
        labels: &str,
        synthetic: &Synthetic,
        side: usize,
        per_class: Option<usize>,
        preprocessing: Preprocessing,
    ) -> Result<Task> {
        let o = self.options;
        let options = TaskOptions { preprocessing, ..self.task_options(side, per_class) };
        let task = match o.data.is_empty() {
            true => Task::synthetic(synthetic, &options),
            false => Task::from_files(&o.data, &LabelMap::named(labels)?, &options),
        }?;
        Ok(self.told(task))
    }

    /// The images of the options' files with the classes that `label` gives to records.
    ///
    /// # Errors
    /// As [`Task::labelled`].
    pub fn chosen(&self, side: usize, label: impl FnOnce(&Dataset) -> Result<Labelled>) -> Result<Task> {
        Ok(self.told(Task::labelled(&self.options.data, &self.task_options(side, None), label)?))
    }

    fn task_options(&self, side: usize, per_class: Option<usize>) -> TaskOptions {
        let o = self.options;
        TaskOptions {
            per_class,
            seed: o.seed,
            skip_bad: o.skip_bad,
            cache: o.cache.clone(),
            show_names: o.show_names,
            talk: o.talk,
            ..TaskOptions::new(side)
        }
    }

    fn told(&self, task: Task) -> Task {
        self.options.talk.say(task.describe());
        task
    }

    /// `cell` with the weights that the user gave for its network.
    pub fn with_weights(&self, cell: Cell) -> Cell {
        Cell { weights: self.options.weights.get(&cell.network).cloned(), ..cell }
    }

    /// What trainings share.
    pub fn context<'c>(&'c self, start: Option<&'c ParamStore>) -> Context<'c> {
        Context { gpu: self.gpu, cache: self.options.cache.as_deref(), start, talk: self.options.talk }
    }

    /// Weights that a first stage trains, which no part of the task tests; it goes on from a checkpoint in the cell's folder.
    ///
    /// # Errors
    /// As [`train`]; [`Error::Interrupted`] naming the checkpoint.
    pub fn first_stage(&self, cell: &Cell, task: &Task, parts: &Parts) -> Result<ParamStore> {
        let checkpoint = self.below(&cell.name).join("checkpoint.safetensors");
        let labels =
            Labels { label: cell.name.clone(), checkpoint: Some(&checkpoint), observer: Some(self.folder.clone()) };
        let fit = train(&self.context(None), cell, task, &task.planes, parts, labels)?.fit;
        match fit.interrupted() {
            true => {
                let (name, at) = (&cell.name, checkpoint.display());
                Err(Error::Interrupted(format!("{name}: interrupted; it goes on from {at}")))
            }
            false => Ok(fit.params),
        }
    }

    /// A folder below the run's.
    pub fn below(&self, name: &str) -> PathBuf {
        self.options.out.join(name)
    }

    /// Runs `cell` on `task` as `plan` says.
    ///
    /// # Errors
    /// As [`Run::run`] and [`shortcuts`]; [`Error::Data`] when a division by patient leaks.
    pub fn cell(&self, task: &Task, cell: &Cell, plan: &Plan, start: Option<&ParamStore>) -> Result<CellResult> {
        let folder = self.below(&cell.name);
        let options = |by_image| division::Options {
            method: plan.method,
            folds: plan.folds,
            test: plan.test,
            validation: plan.validation,
            by_image,
            seed: self.options.seed,
        };
        let mut parts = task.divide(&options(false))?;
        parts.truncate(plan.run);
        gate(&task.leaks(&parts), None)?;
        let digest = division::digest(&parts);
        let data = task.digest();
        let leak_free = self.run(task, cell, &parts, plan, start, (&folder.join("by-patient"), [&data, &digest]))?;
        let image_wise = match plan.image_wise && task.has_groups() {
            false => None,
            true => {
                let mut parts = task.divide(&options(true))?;
                parts.truncate(plan.run);
                // The paper's own way; the table says so in its heading.
                gate(&task.leaks(&parts), Some("the paper divides image by image"))?;
                let digest = division::digest(&parts);
                Some(self.run(task, cell, &parts, plan, start, (&folder.join("by-image"), [&data, &digest]))?)
            }
        };
        // The panel is made on the first fold: three or four more trainings.
        let made = (plan.probes && !self.options.no_shortcuts).then(|| {
            let first = &leak_free.folds[0].metrics;
            shortcuts(&self.context(start), cell, task, &[&parts[0]], (first.images, first.correct))
        });
        Ok(CellResult {
            name: cell.name.clone(),
            data: task.describe(),
            configuration: cell.describe(),
            heat: heat::summarise(&leak_free.heats(), &task.classes)?,
            tables: task.tables()?,
            digests: [data, digest],
            image_wise,
            leak_free,
            shortcuts: made.transpose()?,
            leaks: None,
            note: String::new(),
        })
    }

    fn run(
        &self,
        task: &Task,
        cell: &Cell,
        folds: &[Parts],
        plan: &Plan,
        start: Option<&ParamStore>,
        (out, digests): (&Path, [&str; 2]),
    ) -> Result<Outcome> {
        let options = RunOptions {
            extent: plan.extent,
            shard: self.options.shard,
            observer: Some(self.folder.clone()),
            weights: plan.weights,
            ..RunOptions::new(out, digests)
        };
        Run { context: self.context(start), cell, task, folds }.run(&options)
    }
}

/// `NAME=FILE` pairs of `--weights`, each name a network's.
///
/// # Errors
/// [`Error::Usage`] for a text without `=`, a name that is no network (with the nearest), or a name given twice.
pub fn weights_by_name(pairs: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    for pair in pairs {
        let bad = || Error::Usage(format!("--weights {pair}: NAME=FILE is needed, as in vgg19=vgg19.safetensors"));
        let (name, file) = pair.split_once('=').filter(|(n, f)| !n.is_empty() && !f.is_empty()).ok_or_else(bad)?;
        let name = crate::models::Network::named(name)?.name.to_string();
        if all.insert(name, PathBuf::from(file)).is_some() {
            return Err(Error::Usage(format!("--weights {pair}: weights of this network are given twice")));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_given_by_network() {
        let pairs = ["vgg19=a.safetensors".to_string(), "resnet50=b".into()];
        assert_eq!(weights_by_name(&pairs).unwrap().len(), 2);
        for bad in [vec!["vgg19"], vec!["vgg91=x"], vec!["vgg19=a", "vgg19=b"], vec!["=a"]] {
            let bad: Vec<String> = bad.into_iter().map(String::from).collect();
            assert_eq!(weights_by_name(&bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
