//! `radiograd train` and `radiograd resume`: from settings to a folder with a model, its predictions, and a report.

use super::cell::Cell;
use super::heat;
use super::result::{CellResult, Findings, Report};
use super::run::{Outcome, Run, RunOptions};
use super::settings::Settings;
use super::shortcut::shortcuts;
use super::task::{Synthetic, Task, TaskOptions};
use super::train::Context;
use crate::data::audit::gate;
use crate::data::division::{self, Parts};
use crate::data::fold_file::{self, FoldFile, FoldImage};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::talk::Talk;
use crate::train::{RunFolder, RunStatus};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// A training as the user asked for it.
pub struct Program<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// What is trained on what.
    pub settings: &'a Settings,
    /// The run's folder.
    pub out: &'a Path,
    /// Settings that are tried in all combinations: name and values.
    pub grid: &'a [(String, Vec<String>)],
    /// Of n shards, the one to do (from 1): of the folds, or with a grid of the combinations.
    pub shard: Option<(usize, usize)>,
    /// Root of the caches.
    pub cache: Option<PathBuf>,
    /// Files' own names in tables.
    pub show_names: bool,
    /// How much is said.
    pub talk: Talk,
}

/// The images with their division.
struct Divided {
    task: Task,
    folds: Vec<Parts>,
    /// SHA-256 of the file of folds.
    digest: String,
    /// That file; drawings have none.
    file: Option<FoldFile>,
    /// Why leaks were allowed, where there are some.
    allowed: Option<String>,
}

impl Program<'_> {
    /// Trains, tests, explains and writes; goes on with what an earlier run left in the folder.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that cannot run, before any image is read; [`Error::Data`] (exit code 5) for images and leaks; as
    /// training. An interrupted run says how to go on.
    pub fn run(&self) -> Result<Report> {
        let start = Instant::now();
        let combinations = self.combinations()?;
        for (_, settings) in &combinations {
            settings.cell()?.network()?.check_side(settings.side()?)?;
            settings.division()?;
        }
        gate(&[], self.settings.allow_leak.as_deref())?;
        let side = self.settings.side()?;
        let data = self.divided(self.settings, side)?;
        for (_, settings) in &combinations {
            settings.cell()?.check_whole(settings.side()?, data.task.classes.len())?;
        }
        let configuration = serde_json::json!({
            "settings": self.settings,
            "grid": self.grid,
            "adapter": self.gpu.describe(),
        });
        let folder = Rc::new(RunFolder::open_or_create(self.out, configuration)?);
        if let Some(file) = &data.file {
            file.write(&self.out.join("split.json"))?;
        }
        let done = self.cells(&combinations, (side, data), &folder);
        let findings = match done {
            Ok(findings) => findings,
            Err(e) => {
                let interrupted = matches!(e, Error::Interrupted(_));
                let status = if interrupted { RunStatus::Interrupted } else { RunStatus::Failed };
                // On a full disk this cannot be written either: what is told is why the run ended.
                _ = folder.finish(status, Some(&e.to_string()));
                return Err(match e {
                    Error::Interrupted(m) => {
                        Error::Interrupted(format!("{m}\n`radiograd resume {}` goes on", self.out.display()))
                    }
                    other => other,
                });
            }
        };
        let network = self.settings.network.as_deref().unwrap_or("detl12");
        let title = format!("{network}, trained and tested");
        let mut report = Report::new((network, &title, ""), "", self.gpu.describe(), findings);
        report.seconds = start.elapsed().as_secs_f64();
        report.write(self.out)?;
        folder.finish(RunStatus::Complete, None)?;
        Ok(report)
    }

    /// The settings of each combination of the grid, with a name; one without a name where there is no grid.
    fn combinations(&self) -> Result<Vec<(String, Settings)>> {
        let mut all = vec![(String::new(), self.settings.clone())];
        for (name, values) in self.grid {
            let mut next = Vec::new();
            for (so_far, settings) in &all {
                for value in values {
                    let comma = if so_far.is_empty() { "" } else { "," };
                    next.push((format!("{so_far}{comma}{name}={value}"), settings.with(name, value)?));
                }
            }
            all = next;
        }
        Ok(all)
    }

    fn cells(
        &self,
        combinations: &[(String, Settings)],
        mut divided: (usize, Divided),
        folder: &Rc<RunFolder>,
    ) -> Result<Findings> {
        let grid = combinations.len() > 1;
        let mut findings = Findings::default();
        for (k, (name, settings)) in combinations.iter().enumerate() {
            if grid && self.shard.is_some_and(|(i, n)| k % n != i - 1) {
                continue;
            }
            let side = settings.side()?;
            if divided.0 != side {
                divided = (side, self.divided(settings, side)?);
            }
            let data = &divided.1;
            let cell = settings.cell()?;
            let out = if name.is_empty() { self.out.to_path_buf() } else { self.out.join(folder_name(name)) };
            let cell = if name.is_empty() { cell } else { Cell { name: name.clone(), ..cell } };
            findings.cells.push(self.cell(settings, &cell, data, &out, folder, grid)?);
        }
        if findings.cells.is_empty() {
            return Err(Error::Usage("this shard has nothing to do".into()));
        }
        if grid {
            findings.extras.push(("Grid, by validation accuracy".into(), ranking(&findings.cells)));
        }
        findings.warnings = divided.1.task.notes;
        Ok(findings)
    }

    fn cell(
        &self,
        settings: &Settings,
        cell: &Cell,
        data: &Divided,
        out: &Path,
        folder: &Rc<RunFolder>,
        grid: bool,
    ) -> Result<CellResult> {
        let task = &data.task;
        let context = Context { gpu: self.gpu, cache: self.cache.as_deref(), start: None, talk: self.talk };
        let images = task.digest();
        let options = RunOptions {
            shard: self.shard.filter(|_| !grid),
            observer: Some(folder.clone()),
            ..RunOptions::new(out, [&images, &data.digest])
        };
        let outcome = Run { context, cell, task, folds: &data.folds }.run(&options)?;
        let panel = settings.shortcuts.unwrap_or(false).then(|| {
            let first = &outcome.folds[0].metrics;
            let parts = &data.folds[first.fold as usize - 1];
            shortcuts(&context, cell, task, &[parts], (first.images, first.correct))
        });
        Ok(CellResult {
            name: cell.name.clone(),
            data: task.describe(),
            configuration: cell.describe(),
            image_wise: None,
            heat: heat::summarise(&outcome.heats(), &task.classes)?,
            shortcuts: panel.transpose()?,
            tables: task.tables()?,
            digests: [images, data.digest.clone()],
            leaks: data.allowed.clone(),
            leak_free: outcome,
            note: String::new(),
        })
    }

    fn divided(&self, s: &Settings, side: usize) -> Result<Divided> {
        let options = TaskOptions {
            per_class: s.per_class,
            seed: s.seed.unwrap_or(1),
            skip_bad: s.skip_bad.unwrap_or(false),
            cache: self.cache.clone(),
            show_names: self.show_names,
            talk: self.talk,
            ..TaskOptions::new(side)
        };
        let (how, by) = s.division()?;
        let (task, folds, method) = match (&s.split, s.data.is_empty()) {
            (Some(_), true) => return Err(Error::Usage("split is for images from files: give data".into())),
            (Some(path), false) => {
                let file = FoldFile::read(path)?;
                (Task::of_folds(&s.data, &file, &options)?, file.folds, file.method)
            }
            (None, synthetic) => {
                let task = match synthetic {
                    true => Task::synthetic(&Synthetic::plain(s.patients.unwrap_or(120)), &options)?,
                    false => Task::from_files(&s.data, &s.label_map()?, &options)?,
                };
                let folds = task.divide(&how)?;
                (task, folds, how.method.name().to_string())
            }
        };
        self.talk.say(task.describe());
        task.dropped.iter().for_each(|d| self.talk.say(format_args!("left out: {} x {}", d.rows, d.reason)));
        let found = task.leaks(&folds);
        let allowed = gate(&found, s.allow_leak.as_deref())?;
        let allowed = allowed.filter(|_| !found.is_empty());
        let file = match task.synthetic {
            true => None,
            false => {
                let image = |(f, class): (&super::Facts, &usize)| FoldImage {
                    file: f.file.clone(),
                    source: f.source.clone(),
                    class: *class,
                    group: f.group,
                    sha256: f.sha256.clone(),
                };
                Some(FoldFile {
                    format: fold_file::FORMAT.into(),
                    method,
                    group_by: by.name().into(),
                    seed: how.seed,
                    rules: vec![format!("labels {}", s.labels.as_deref().unwrap_or("normal-disease"))],
                    left_out: task.dropped.clone(),
                    leaks: found,
                    leak_allowed: allowed.clone(),
                    classes: task.classes.clone(),
                    images: task.images.iter().zip(&task.labels).map(image).collect(),
                    folds: folds.clone(),
                })
            }
        };
        let digest = file.as_ref().map_or_else(|| Ok(division::digest(&folds)), FoldFile::sha256)?;
        Ok(Divided { task, folds, digest, file, allowed })
    }
}

/// A combination's name as that of a folder.
fn folder_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "=-,.".contains(c) { c } else { '_' }).collect()
}

/// Mean validation accuracy of each cell, the best first. Test figures do not choose.
fn ranking(cells: &[CellResult]) -> String {
    let mean = |o: &Outcome| {
        let all: Vec<f64> = o.folds.iter().filter_map(|f| f.metrics.training.validation_accuracy).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let mut rows: Vec<(Option<f64>, &CellResult)> = cells.iter().map(|c| (mean(&c.leak_free), c)).collect();
    rows.sort_by(|a, b| b.0.unwrap_or(-1.0).total_cmp(&a.0.unwrap_or(-1.0)));
    let line = |(v, c): &(Option<f64>, &CellResult)| {
        let test = 100.0 * c.leak_free.overall.accuracy;
        format!("{:>6}  test {test:5.1} %  {}\n", v.map_or("-".into(), |v| format!("{:.1} %", 100.0 * v)), c.name)
    };
    rows.iter().map(line).collect()
}
