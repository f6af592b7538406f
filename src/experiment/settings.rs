//! The settings of a training, as flags, environment (`RADIOGRAD_…`) and a TOML file have them, in this order of precedence;
//! what none of them says has the default named here.

use super::cell::{Cell, Freeze, NewHead, Weighting};
use crate::data::audit::GroupBy;
use crate::data::division::{self, Method};
use crate::data::labels::LabelMap;
use crate::error::{Error, Result};
use crate::models::{Network, Pooling};
use crate::names::nearest;
use crate::nn::{Optimizer, Schedule};
use crate::ops::{AugmentOptions, Smoothing};
use crate::train::{EarlyStopping, Keep, Loss, MicroBatch, Monitor};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All settings; in a TOML file under the names of the flags (`per-class = 100`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Folders and manifests of images; synthetic radiographs without any. Repeat for more.
    #[arg(long, value_name = "PATH", env = "RADIOGRAD_DATA", value_delimiter = ':')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<PathBuf>,
    /// Label map: a built-in one's name or a TOML file [default: normal-disease].
    #[arg(long, value_name = "NAME|FILE", env = "RADIOGRAD_LABELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Images of each class at most, drawn by patient.
    #[arg(long, value_name = "N", env = "RADIOGRAD_PER_CLASS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_class: Option<usize>,
    /// Synthetic patients, about two images each [default: 120].
    #[arg(long, value_name = "N", env = "RADIOGRAD_PATIENTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patients: Option<usize>,
    /// The network [default: detl12].
    #[arg(long, value_name = "NAME", env = "RADIOGRAD_NETWORK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Side of the images in pixels; the network's own without it.
    #[arg(long, value_name = "N", env = "RADIOGRAD_SIDE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// A new head with hidden layers of these widths, as in 128,128; an empty text is no hidden layer. The network's own head
    /// without it.
    #[arg(long, value_name = "WIDTHS", env = "RADIOGRAD_HIDDEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
    /// How the base's output becomes a vector, with --hidden: average, max, flatten; the network's own without it.
    #[arg(long, value_name = "HOW", env = "RADIOGRAD_POOLING")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<String>,
    /// Dropout after each hidden layer of --hidden [default: 0].
    #[arg(long, value_name = "P", env = "RADIOGRAD_DROPOUT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// Weights to begin with, as torchvision, timm, Keras or this program write them; random ones without it.
    #[arg(long, value_name = "FILE", env = "RADIOGRAD_WEIGHTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Rule of random weights: he, or glorot, which is Keras' [default: he].
    #[arg(long, value_name = "RULE", env = "RADIOGRAD_INIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// What stays as it is: none, base, to:LAYER, or patterns such as features.* joined by commas [default: none].
    #[arg(long, value_name = "WHAT", env = "RADIOGRAD_FREEZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<String>,
    /// Trains the head alone for so many epochs first, at 1e-3.
    #[arg(long, value_name = "EPOCHS", env = "RADIOGRAD_HEAD_FIRST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_first: Option<usize>,
    /// Epochs [default: 20].
    #[arg(long, value_name = "N", env = "RADIOGRAD_EPOCHS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Images a step [default: 16].
    #[arg(long, value_name = "N", env = "RADIOGRAD_BATCH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Works on batches in parts: auto, or so many images at once.
    #[arg(long, value_name = "auto|N", env = "RADIOGRAD_MICRO_BATCH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<String>,
    /// Computes cheap results again in the backward pass instead of keeping them.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "RADIOGRAD_RECOMPUTE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute: Option<bool>,
    /// SGD, momentum, Nesterov, Adam, AdamW, Nadam or RMSprop [default: Adam].
    #[arg(long, value_name = "NAME", env = "RADIOGRAD_OPTIMIZER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<String>,
    /// Learning rate at the start [default: 1e-3].
    #[arg(long, value_name = "RATE", env = "RADIOGRAD_LR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// constant, cosine, three-stage, plateau or warmup-cosine [default: cosine].
    #[arg(long, value_name = "NAME", env = "RADIOGRAD_SCHEDULE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The largest norm of all gradients together.
    #[arg(long, value_name = "NORM", env = "RADIOGRAD_CLIP_NORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// L2 weight decay (decoupled for AdamW).
    #[arg(long, value_name = "DECAY", env = "RADIOGRAD_WEIGHT_DECAY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// cross-entropy, or binary: one output with a sigmoid, for two classes [default: cross-entropy].
    #[arg(long, value_name = "NAME", env = "RADIOGRAD_LOSS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// Label smoothing, spread over all classes as in Keras and PyTorch; others:E spreads over the other classes (Zhong).
    #[arg(long, value_name = "E|others:E", env = "RADIOGRAD_SMOOTHING")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<String>,
    /// Weights of the classes in the loss: none, balanced, or numbers joined by commas [default: none].
    #[arg(long, value_name = "WEIGHTS", env = "RADIOGRAD_CLASS_WEIGHTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<String>,
    /// Augmentation: a paper's name, or as in rotation=10,mirror,noise=0.02; none without it.
    #[arg(long, value_name = "SPEC", env = "RADIOGRAD_AUGMENT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<String>,
    /// Classes, joined by commas, of which each training image is augmented once and the copy added; nothing is drawn in epochs then.
    #[arg(long, value_name = "CLASSES", env = "RADIOGRAD_AUGMENT_ONCE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment_once: Option<String>,
    /// With a frozen base, whose features are computed once: so many augmented views of each image.
    #[arg(long, value_name = "N", env = "RADIOGRAD_VIEWS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub views: Option<usize>,
    /// Which epoch's weights are kept: accuracy or loss (the best on validation images), or last [default: accuracy].
    #[arg(long, value_name = "BY", env = "RADIOGRAD_KEEP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Ends after so many epochs without a lower validation loss.
    #[arg(long, value_name = "EPOCHS", env = "RADIOGRAD_PATIENCE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// A file of `data split`; it says which image is in which part and what its class is.
    #[arg(long, value_name = "FILE", env = "RADIOGRAD_SPLIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<PathBuf>,
    /// kfold, holdout or leave-one-source-out [default: holdout].
    #[arg(long, value_name = "NAME", env = "RADIOGRAD_METHOD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Folds of kfold [default: 5].
    #[arg(long, value_name = "K", env = "RADIOGRAD_FOLDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// Share of the test part of holdout [default: 0.2].
    #[arg(long, value_name = "SHARE", env = "RADIOGRAD_TEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<f64>,
    /// Share of the validation part in what is not tested [default: 0.2].
    #[arg(long, value_name = "SHARE", env = "RADIOGRAD_VALIDATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// What may not be separated: patient+duplicates, or image, as in papers that leak [default: patient+duplicates].
    #[arg(long, value_name = "WHAT", env = "RADIOGRAD_GROUP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Lets leaks pass for this reason, which the report prints.
    #[arg(long, value_name = "REASON", env = "RADIOGRAD_ALLOW_LEAK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_leak: Option<String>,
    /// Seed of everything that is drawn [default: 1].
    #[arg(long, value_name = "N", env = "RADIOGRAD_SEED")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Keeps activations as 16-bit floats and scales the loss. The adapter needs SHADER_F16.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "RADIOGRAD_F16")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f16: Option<bool>,
    /// Damaged images are counted instead of ending the run.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "RADIOGRAD_SKIP_BAD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_bad: Option<bool>,
    /// Trains also on what is left without lungs: border, blank centre, thumbnail, and for the source (four more trainings of a fold).
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "RADIOGRAD_SHORTCUTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcuts: Option<bool>,
}

impl Settings {
    /// Reads a TOML file; its relative paths are below its folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] naming what is unknown or of another type.
    pub fn read(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "cannot read"))?;
        let mut s: Settings = toml::from_str(&text).map_err(|e| Error::format(path, e))?;
        let here = path.parent().unwrap_or(Path::new(""));
        s.data.iter_mut().for_each(|p| *p = here.join(&*p));
        for p in [&mut s.weights, &mut s.split].into_iter().flatten() {
            *p = here.join(&*p);
        }
        if let Some(l) = s.labels.as_mut().filter(|l| l.ends_with(".toml")) {
            *l = here.join(&*l).to_string_lossy().into_owned();
        }
        Ok(s)
    }

    /// These, and what they do not say from `other`.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn or(&self, other: &Settings) -> Result<Settings> {
        let mut all = self.table()?;
        for (key, value) in other.table()? {
            all.entry(key).or_insert(value);
        }
        Settings::of(all)
    }

    /// The same with one setting in words, as in `lr=1e-4`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name (with the nearest) or a value of another type.
    pub fn with(&self, name: &str, value: &str) -> Result<Settings> {
        let mut all = self.table()?;
        let bad = |e: &dyn std::fmt::Display| Error::Usage(format!("{name}={value}: {e}"));
        // A number is a number where the setting wants one, and a text otherwise.
        let number = value.parse::<i64>().map(toml::Value::Integer);
        let number = number.or_else(|_| value.parse::<f64>().map(toml::Value::Float));
        let kinds = [number.ok(), value.parse().ok().map(toml::Value::Boolean), Some(value.into())];
        let mut last = None;
        for kind in kinds.into_iter().flatten() {
            all.insert(name.into(), kind);
            match Settings::parse(all.clone()) {
                Ok(s) => return Ok(s),
                Err(e) => last = Some(e),
            }
        }
        let known = Settings::names();
        if !known.iter().any(|k| k == name) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(bad(&format!("no setting '{name}'; {}", nearest(name, &known))));
        }
        Err(bad(&last.map_or_else(String::new, |e| e.message().to_string())))
    }

    /// All names, as in a file: those of the flags.
    fn names() -> Vec<String> {
        let command = <Settings as clap::Args>::augment_args(clap::Command::new("settings"));
        command.get_arguments().filter_map(|a| a.get_long().map(String::from)).collect()
    }

    fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|e| Error::Internal(format!("settings: {e}")))
    }

    fn of(table: toml::Table) -> Result<Settings> {
        Settings::parse(table).map_err(|e| Error::Internal(format!("settings: {e}")))
    }

    fn parse(table: toml::Table) -> std::result::Result<Settings, toml::de::Error> {
        toml::Value::Table(table).try_into()
    }

    /// What is trained and how.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the setting.
    pub fn cell(&self) -> Result<Cell> {
        let name = self.network.as_deref().unwrap_or("detl12");
        let network = Network::named(name)?;
        let (epochs, lr) = (self.epochs.unwrap_or(20), self.lr.unwrap_or(1e-3));
        let mut optimizer = Optimizer::named(self.optimizer.as_deref().unwrap_or("Adam"))?;
        if let Some(norm) = self.clip_norm {
            positive("clip-norm", norm)?;
            optimizer = optimizer.with_clip_norm(norm);
        }
        if let Some(decay) = self.weight_decay {
            if !(decay >= 0.0 && decay.is_finite()) {
                return Err(Error::Usage(format!("weight-decay {decay}: 0 or more")));
            }
            optimizer = optimizer.with_weight_decay(decay);
        }
        Ok(Cell {
            head: self.head()?,
            weights: self.weights.clone(),
            glorot: choose("init", self.init.as_deref().unwrap_or("he"), &[("he", false), ("glorot", true)])?,
            freeze: self.freeze.as_deref().unwrap_or("none").parse::<Freeze>()?,
            head_first: self.head_first.map(|n| (n, 1e-3)),
            epochs,
            batch: self.batch.unwrap_or(16),
            optimizer,
            schedule: Schedule::parse(self.schedule.as_deref().unwrap_or("cosine"), lr, epochs)?,
            loss: self.loss()?,
            class_weights: self.class_weights.as_deref().unwrap_or("none").parse::<Weighting>()?,
            augment: self.augment.as_deref().filter(|a| *a != "none").map(AugmentOptions::parse).transpose()?,
            augment_once: listed(self.augment_once.as_deref()),
            views: self.views.unwrap_or(0),
            keep: self.keep()?,
            early_stopping: self.patience.map(|patience| EarlyStopping {
                on: Monitor::ValidationLoss,
                patience,
                min_delta: 0.0,
            }),
            micro_batch: self
                .micro_batch
                .as_deref()
                .unwrap_or("off")
                .parse::<MicroBatch>()
                .map_err(usage("micro-batch"))?,
            recompute: self.recompute.unwrap_or(false),
            seed: self.seed.unwrap_or(1),
            ..Cell::new(network.name, network.name)
        })
    }

    fn head(&self) -> Result<Option<NewHead>> {
        let Some(text) = &self.hidden else {
            return match self.pooling.is_some() || self.dropout.is_some() {
                true => Err(Error::Usage("pooling and dropout are for a new head: give its widths with hidden".into())),
                false => Ok(None),
            };
        };
        let bad = || Error::Usage(format!("hidden '{text}': widths such as 128,128, or an empty text"));
        let widths = text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(|w| w.parse().map_err(|_| bad()));
        const POOLINGS: [(&str, Pooling); 3] =
            [("average", Pooling::GlobalAverage), ("max", Pooling::GlobalMax), ("flatten", Pooling::Flatten)];
        let pooling = match &self.pooling {
            None => None,
            Some(p) => Some(choose("pooling", p, &POOLINGS)?),
        };
        Ok(Some(NewHead { pooling, widths: widths.collect::<Result<_>>()?, dropout: self.dropout.unwrap_or(0.0) }))
    }

    fn loss(&self) -> Result<Loss> {
        let smoothing = match self.smoothing.as_deref() {
            None => Smoothing::None,
            Some(text) => {
                let bad = |_| Error::Usage(format!("smoothing '{text}': a number such as 0.1, or others:0.1"));
                match text.strip_prefix("others:") {
                    Some(e) => Smoothing::Others(e.trim().parse().map_err(bad)?),
                    None => Smoothing::OverAll(text.trim().parse().map_err(bad)?),
                }
            }
        };
        const LOSSES: [(&str, Loss); 2] = [
            ("cross-entropy", Loss::CrossEntropy { smoothing: Smoothing::None }),
            ("binary", Loss::Binary { positive_weight: None }),
        ];
        match choose("loss", self.loss.as_deref().unwrap_or("cross-entropy"), &LOSSES)? {
            Loss::CrossEntropy { .. } => Ok(Loss::CrossEntropy { smoothing }),
            binary if self.smoothing.is_none() => Ok(binary),
            _ => Err(Error::Usage("smoothing is for the cross entropy, not for the binary loss".into())),
        }
    }

    fn keep(&self) -> Result<Keep> {
        let all = [("accuracy", Keep::BestAccuracy), ("loss", Keep::BestLoss), ("last", Keep::Last)];
        choose("keep", self.keep.as_deref().unwrap_or("accuracy"), &all)
    }

    /// The side of the images.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown network.
    pub fn side(&self) -> Result<usize> {
        let network = Network::named(self.network.as_deref().unwrap_or("detl12"))?;
        Ok(self.side.unwrap_or(network.architecture.side))
    }

    /// The label map.
    ///
    /// # Errors
    /// As [`LabelMap::named`] and [`LabelMap::read`].
    pub fn label_map(&self) -> Result<LabelMap> {
        match self.labels.as_deref().unwrap_or("normal-disease") {
            file if file.ends_with(".toml") => LabelMap::read(Path::new(file)),
            name => LabelMap::named(name),
        }
    }

    /// How the images are divided.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the setting.
    pub fn division(&self) -> Result<(division::Options, GroupBy)> {
        let methods = [Method::Kfold, Method::Holdout, Method::LeaveOneSourceOut].map(|m| (m.name(), m));
        let groups = [GroupBy::PatientAndDuplicates, GroupBy::Image].map(|g| (g.name(), g));
        let method = choose("method", self.method.as_deref().unwrap_or("holdout"), &methods)?;
        let by = choose("group", self.group.as_deref().unwrap_or("patient+duplicates"), &groups)?;
        for (name, share) in [("test", self.test), ("validation", self.validation)] {
            if let Some(v) = share.filter(|v| !(*v > 0.0 && *v <= 0.5)) {
                return Err(Error::Usage(format!("{name} {v}: more than 0 and at most 0.5")));
            }
        }
        let options = division::Options {
            method,
            folds: self.folds.unwrap_or(5),
            test: self.test.unwrap_or(0.2),
            validation: self.validation.unwrap_or(0.2),
            by_image: by == GroupBy::Image,
            seed: self.seed.unwrap_or(1),
        };
        Ok((options, by))
    }
}

/// The value of a name, or the nearest names.
fn choose<T: Copy>(setting: &str, text: &str, all: &[(&str, T)]) -> Result<T> {
    let names: Vec<&str> = all.iter().map(|a| a.0).collect();
    let near = || Error::Usage(format!("{setting} '{text}': {}", nearest(text, &names)));
    all.iter().find(|a| a.0 == text).map(|a| a.1).ok_or_else(near)
}

fn positive(name: &str, v: f64) -> Result<()> {
    match v > 0.0 && v.is_finite() {
        true => Ok(()),
        false => Err(Error::Usage(format!("{name} {v}: above 0"))),
    }
}

/// Names joined by commas.
fn listed(text: Option<&str>) -> Vec<String> {
    text.iter().flat_map(|t| t.split(',')).map(str::trim).filter(|n| !n.is_empty()).map(String::from).collect()
}

fn usage<E: std::fmt::Display>(name: &'static str) -> impl FnOnce(E) -> Error {
    move |e| Error::Usage(format!("{name}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_default() {
        let flags = Settings { lr: Some(1e-4), ..Settings::default() };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "lr = 0.01\nepochs = 7\ndata = [\"images\"]\naugment = \"mirror\"\n").unwrap();
        let all = flags.or(&Settings::read(&path).unwrap()).unwrap();
        assert_eq!((all.lr, all.epochs, all.batch), (Some(1e-4), Some(7), None));
        assert_eq!(all.data, [dir.path().join("images")]);
        let cell = all.cell().unwrap();
        assert_eq!((cell.epochs, cell.batch), (7, 16));
        assert!(cell.augment.is_some_and(|a| a.mirror));
        std::fs::write(&path, "epoch = 7\n").unwrap();
        let e = Settings::read(&path).unwrap_err();
        assert!(e.exit_code() == 5 && e.to_string().contains("epoch"), "{e}");
    }

    #[test]
    fn a_setting_in_words() {
        let s = Settings::default();
        assert_eq!(s.with("lr", "1").unwrap().lr, Some(1.0));
        assert_eq!(s.with("hidden", "128").unwrap().hidden.as_deref(), Some("128"));
        assert_eq!(s.with("recompute", "true").unwrap().recompute, Some(true));
        assert_eq!(s.with("freeze", "base").unwrap().freeze.as_deref(), Some("base"));
        for (name, value, word) in [("lrr", "1", "'lr'"), ("epochs", "many", "epochs"), ("epochs", "1.5", "epochs")] {
            let e = s.with(name, value).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(word), "{e}");
        }
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let s = Settings::default();
        for (name, value) in [
            ("network", "vgg61"),
            ("optimizer", "adan"),
            ("schedule", "cosin"),
            ("loss", "bce"),
            ("keep", "best"),
            ("pooling", "max"),
            ("clip-norm", "0"),
            ("smoothing", "x"),
            ("hidden", "12x"),
            ("augment", "rotatoin=3"),
            ("class-weights", "balance"),
            ("lr", "-1"),
        ] {
            let e = s.with(name, value).unwrap().cell().unwrap_err();
            assert_eq!(e.exit_code(), 2, "{name}={value}: {e}");
        }
        for (name, value) in [("method", "kfolds"), ("test", "0.9"), ("group", "patients")] {
            assert_eq!(s.with(name, value).unwrap().division().unwrap_err().exit_code(), 2, "{name}={value}");
        }
    }
}
