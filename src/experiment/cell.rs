//! One cell of a paper's table: a network, what of it trains, and how.

use crate::error::{Error, Result};
use crate::models::{Activation, Head, Network, Pooling};
use crate::names::nearest;
use crate::nn::{Optimizer, ParamStore, Schedule, Trainable};
use crate::ops::AugmentOptions;
use crate::train::{EarlyStopping, Keep, Loss, MicroBatch};
use std::path::PathBuf;

/// What of a network stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Freeze {
    /// Nothing: all of it trains.
    #[default]
    Nothing,
    /// The convolutional base; the head trains.
    Base,
    /// Everything up to this layer or block, itself included.
    UpTo(String),
    /// Parameters that match one of these patterns (`features.*`).
    Matching(Vec<String>),
}

impl std::str::FromStr for Freeze {
    type Err = Error;

    /// `none`, `base`, `to:LAYER`, or patterns of parameters joined by commas.
    fn from_str(text: &str) -> Result<Freeze> {
        let text = text.trim();
        Ok(match (text, text.strip_prefix("to:")) {
            ("none" | "", _) => Freeze::Nothing,
            ("base", _) => Freeze::Base,
            (_, Some(layer)) => Freeze::UpTo(layer.trim().into()),
            _ => Freeze::Matching(text.split(',').map(|p| p.trim().to_string()).collect()),
        })
    }
}

impl std::fmt::Display for Freeze {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Freeze::Nothing => f.write_str("none"),
            Freeze::Base => f.write_str("base"),
            Freeze::UpTo(layer) => write!(f, "to:{layer}"),
            Freeze::Matching(patterns) => f.write_str(&patterns.join(",")),
        }
    }
}

/// Weights of the classes in the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Weighting {
    /// All 1.
    #[default]
    Equal,
    /// By the inverse of their frequency among the training images ([`crate::train::balanced`]).
    Balanced,
    /// These, a class each.
    Given(Vec<f32>),
}

impl std::str::FromStr for Weighting {
    type Err = Error;

    /// `none`, `balanced`, or numbers joined by commas, in the order of the classes.
    fn from_str(text: &str) -> Result<Weighting> {
        match text.trim() {
            "none" => Ok(Weighting::Equal),
            "balanced" => Ok(Weighting::Balanced),
            list => {
                let bad = || Error::Usage(format!("class weights '{text}': none, balanced, or numbers such as 10,3,1"));
                let one = |w: &str| w.trim().parse::<f32>().ok().filter(|w| *w >= 0.0 && w.is_finite()).ok_or_else(bad);
                list.split(',').map(one).collect::<Result<Vec<_>>>().map(Weighting::Given)
            }
        }
    }
}

impl std::fmt::Display for Weighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Weighting::Equal => f.write_str("none"),
            Weighting::Balanced => f.write_str("balanced"),
            Weighting::Given(w) => f.write_str(&w.iter().map(f32::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

/// The head that replaces a network's own.
#[derive(Clone, Debug, PartialEq)]
pub struct NewHead {
    /// How the base's output becomes a vector; the network's own pooling without it.
    pub pooling: Option<Pooling>,
    /// Widths of the hidden layers.
    pub widths: Vec<usize>,
    /// Dropout after each.
    pub dropout: f32,
}

/// What is trained and how: all that a result follows from besides images and their division.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its name in tables and folders, as in `vgg19-512-ft`.
    pub name: String,
    /// The network's name.
    pub network: String,
    /// A new head; the network's own without it.
    pub head: Option<NewHead>,
    /// Weights to begin with; random ones without them.
    pub weights: Option<PathBuf>,
    /// Random weights by Keras' rule (Glorot) instead of He's.
    pub glorot: bool,
    /// What stays as it is.
    pub freeze: Freeze,
    /// Trains the head alone first, for so many epochs at this rate, where more than the head trains: a random head's gradients
    /// would spoil the base.
    pub head_first: Option<(usize, f64)>,
    /// Epochs.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Learning rate by epoch.
    pub schedule: Schedule,
    /// What is minimised.
    pub loss: Loss,
    /// Weights of the classes.
    pub class_weights: Weighting,
    /// Augmentation of training images, drawn anew in each epoch.
    pub augment: Option<AugmentOptions>,
    /// Classes of which each training image is instead augmented once, before training, and the copy added; none with no class.
    pub augment_once: Vec<String>,
    /// With a frozen base, whose features are computed once: so many augmented views of each image.
    pub views: usize,
    /// Which epoch's weights are kept.
    pub keep: Keep,
    /// When training ends before its last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// Batches worked on in parts.
    pub micro_batch: MicroBatch,
    /// Cheap results computed twice instead of kept.
    pub recompute: bool,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Cell {
    /// Ten epochs of Adam at 1e-3 in batches of 16, of all of the network, with its own head.
    pub fn new(name: &str, network: &str) -> Cell {
        Cell {
            name: name.into(),
            network: network.into(),
            head: None,
            weights: None,
            glorot: false,
            freeze: Freeze::Nothing,
            head_first: None,
            epochs: 10,
            batch: 16,
            optimizer: Optimizer::adam(),
            schedule: Schedule::Constant { lr: 1e-3 },
            loss: Loss::default(),
            class_weights: Weighting::Equal,
            augment: None,
            augment_once: Vec::new(),
            views: 0,
            keep: Keep::default(),
            early_stopping: None,
            micro_batch: MicroBatch::Off,
            recompute: false,
            seed: 1,
        }
    }

    /// The network with the cell's head.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown network or an impossible head.
    pub fn network(&self) -> Result<Network> {
        let network = Network::named(&self.network)?;
        let Some(head) = &self.head else { return Ok(network) };
        if !(0.0..1.0).contains(&head.dropout) || head.widths.iter().any(|w| !(1..=65_536).contains(w)) {
            let m = format!("head of widths {:?} with dropout {}", head.widths, head.dropout);
            return Err(Error::Usage(format!(
                "{}: {m}: widths are 1 to 65536, dropout 0 or more and below 1",
                self.name
            )));
        }
        let own = network.head.pooling;
        Ok(network.with_head(Head::new(head.pooling.unwrap_or(own), &head.widths, head.dropout)))
    }

    /// Outputs of the network for so many classes: one, before a sigmoid, for the binary loss.
    ///
    /// # Errors
    /// [`Error::Usage`] for a binary loss over more than two classes.
    pub fn outputs(&self, classes: usize) -> Result<usize> {
        match self.loss {
            Loss::Binary { .. } if classes == 2 => Ok(1),
            Loss::Binary { .. } => {
                Err(Error::Usage(format!("{}: a sigmoid output tells 2 classes apart, not {classes}", self.name)))
            }
            _ => Ok(classes),
        }
    }

    /// What trains of these parameters; `base` are the names of the base's.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest names when a pattern or a layer is none of the network's, or nothing would train.
    pub fn trainable(&self, params: &ParamStore, base: &[String]) -> Result<Trainable> {
        let names = || params.params.iter().map(|p| p.name.as_str());
        let trainable = match &self.freeze {
            Freeze::Nothing => Trainable::All,
            Freeze::Base => Trainable::Except(base.to_vec()),
            Freeze::UpTo(layer) => Trainable::after(names(), layer)?,
            Freeze::Matching(patterns) => Trainable::Except(patterns.clone()),
        };
        if let Some(pattern) = trainable.idle_pattern(names()) {
            let mut layers: Vec<&str> = names().filter_map(|n| n.rsplit_once('.').map(|p| p.0)).collect();
            layers.dedup();
            return Err(Error::Usage(format!(
                "{}: '{pattern}' freezes no parameter of {}; {}",
                self.name,
                self.network,
                nearest(pattern, &layers)
            )));
        }
        match names().any(|n| trainable.includes(n)) {
            true => Ok(trainable),
            false => Err(Error::Usage(format!("{}: everything is frozen: there is nothing to train", self.name))),
        }
    }

    /// The augmentation that is drawn in each epoch.
    pub fn live_augment(&self) -> Option<AugmentOptions> {
        self.augment.filter(|_| self.augment_once.is_empty())
    }

    /// Positions among `classes` of those that [`Cell::augment_once`] names.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is none of them (with the nearest), or without an augmentation to apply.
    pub fn copied(&self, classes: &[String]) -> Result<Vec<usize>> {
        if !self.augment_once.is_empty() && self.augment.is_none() {
            return Err(Error::Usage(format!("{}: augment-once needs augment, which says how", self.name)));
        }
        let known: Vec<&str> = classes.iter().map(String::as_str).collect();
        let position = |name: &String| {
            let none = || format!("{}: augment-once: no class '{name}'; {}", self.name, nearest(name, &known));
            known.iter().position(|c| c == name).ok_or_else(|| Error::Usage(none()))
        };
        self.augment_once.iter().map(position).collect()
    }

    /// Refuses what cannot run, before anything is computed.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what is wrong.
    pub fn check(&self, side: usize, classes: usize) -> Result<()> {
        let no = |m: String| Err(Error::Usage(format!("{}: {m}", self.name)));
        if self.epochs == 0 || !(1..=1024).contains(&self.batch) {
            return no(format!(
                "{} epochs in batches of {}: 1 or more epochs and batches of 1 to 1024",
                self.epochs, self.batch
            ));
        }
        if classes < 2 {
            return no(format!("{classes} classes, needed are 2 or more"));
        }
        if let Weighting::Given(w) = &self.class_weights
            && w.len() != classes
        {
            return no(format!("{} class weights for {classes} classes", w.len()));
        }
        self.outputs(classes)?;
        self.network()?.check_side(side)
    }

    /// As [`Cell::check`], and that what is frozen leaves something to train; draws the network's weights for their names.
    ///
    /// # Errors
    /// As [`Cell::check`] and [`Cell::trainable`].
    pub fn check_whole(&self, side: usize, classes: usize) -> Result<()> {
        self.check(side, classes)?;
        let network = self.network()?;
        let params = network.init(side, self.outputs(classes)?, 0);
        self.trainable(&params, &network.base_parameters(side)).map(|_| ())
    }

    /// All of it but the name, a line each: two trainings with the same lines, images and division give the same weights on
    /// the same adapter.
    pub fn describe(&self) -> Vec<(String, String)> {
        let head = match &self.head {
            None => "the network's own".to_string(),
            Some(h) => {
                let pooling = match h.pooling {
                    None => "own pooling",
                    Some(Pooling::GlobalAverage) => "global average pooling",
                    Some(Pooling::GlobalMax) => "global max pooling",
                    Some(Pooling::Flatten) => "flatten",
                };
                let widths: Vec<String> = h.widths.iter().map(usize::to_string).collect();
                let hidden =
                    if widths.is_empty() { "no hidden layer".into() } else { format!("hidden {}", widths.join(", ")) };
                format!("{pooling}, {hidden}, {:?}, dropout {}", Activation::Relu, h.dropout)
            }
        };
        let weights = match &self.weights {
            None if self.glorot => "random (Glorot)".to_string(),
            None => "random (He)".to_string(),
            Some(p) => p.file_name().unwrap_or(p.as_os_str()).to_string_lossy().into_owned(),
        };
        let pairs = [
            ("network", self.network.clone()),
            ("head", head),
            ("initial weights", weights),
            ("frozen", self.freeze.to_string()),
            ("head first", self.head_first.map_or("no".into(), |(n, lr)| format!("{n} epochs at {lr}"))),
            ("epochs", self.epochs.to_string()),
            ("batch", self.batch.to_string()),
            ("optimizer", format!("{:?}", self.optimizer.rule)),
            ("schedule", format!("{:?}", self.schedule)),
            ("loss", format!("{:?}", self.loss)),
            ("class weights", self.class_weights.to_string()),
            ("augmentation", self.augment.map_or("none".into(), |a| format!("{a:?}"))),
            ("augmented once", if self.augment_once.is_empty() { "no".into() } else { self.augment_once.join(", ") }),
            ("views of cached features", self.views.to_string()),
            ("weights kept", format!("{:?}", self.keep)),
            ("early stopping", self.early_stopping.map_or("none".into(), |e| format!("{e:?}"))),
            ("seed", self.seed.to_string()),
        ];
        pairs.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for text in ["none", "base", "to:layer3", "features.*,fc.*"] {
            assert_eq!(text.parse::<Freeze>().unwrap().to_string(), text);
        }
        for text in ["none", "balanced", "10,3,1"] {
            assert_eq!(text.parse::<Weighting>().unwrap().to_string(), text);
        }
        for bad in ["balance", "1,x", "1,-2", "1,inf"] {
            assert_eq!(bad.parse::<Weighting>().unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        let ok = Cell::new("cell", "detl12");
        ok.check(64, 4).unwrap();
        let head = |widths: &[usize], dropout| Some(NewHead { pooling: None, widths: widths.to_vec(), dropout });
        for (bad, side, classes, word) in [
            (Cell { epochs: 0, ..ok.clone() }, 64, 4, "epochs"),
            (Cell { batch: 0, ..ok.clone() }, 64, 4, "batches"),
            (ok.clone(), 8, 4, "side"),
            (ok.clone(), 64, 1, "1 classes"),
            (Cell { class_weights: Weighting::Given(vec![1.0]), ..ok.clone() }, 64, 4, "class weights"),
            (Cell { loss: Loss::Binary { positive_weight: None }, ..ok.clone() }, 64, 3, "sigmoid"),
            (Cell { head: head(&[0], 0.0), ..ok.clone() }, 64, 4, "widths"),
            (Cell { head: head(&[4], 1.0), ..ok.clone() }, 64, 4, "dropout"),
            (Cell { network: "vgg61".into(), ..ok.clone() }, 64, 4, "vgg16"),
        ] {
            let e = bad.check(side, classes).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(word), "{e}");
        }
    }

    #[test]
    fn copies_are_of_classes_that_there_are() {
        let classes = ["normal", "covid19"].map(String::from);
        let cell = |augment, names: &[&str]| Cell {
            augment,
            augment_once: names.iter().map(|n| n.to_string()).collect(),
            ..Cell::new("cell", "detl12")
        };
        let how = Some(AugmentOptions::BALVINSSON);
        assert_eq!(cell(how, &["covid19"]).copied(&classes).unwrap(), [1]);
        assert!(cell(how, &["covid19"]).live_augment().is_none() && cell(how, &[]).live_augment() == how);
        for (bad, word) in
            [(cell(how, &["covid"]), "covid19"), (cell(None, &["covid19"]), "augment-once needs augment")]
        {
            let e = bad.copied(&classes).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(word), "{e}");
        }
    }

    #[test]
    fn freezing_knows_its_network() {
        let cell = |freeze: &str| Cell { freeze: freeze.parse().unwrap(), ..Cell::new("cell", "detl12") };
        let network = cell("none").network().unwrap();
        let (params, base) = (network.init(64, 2, 1), network.base_parameters(64));
        let trains = |freeze: &str| {
            let t = cell(freeze).trainable(&params, &base).unwrap();
            params.params.iter().filter(|p| t.includes(&p.name)).count()
        };
        assert_eq!(trains("none"), params.params.len());
        assert_eq!(trains("base"), params.params.len() - base.len());
        assert!(trains("to:block1") < trains("none") && trains("block1.*") == trains("to:block1"));
        for bad in ["to:blokc1", "feature.*", "*"] {
            assert_eq!(cell(bad).trainable(&params, &base).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
