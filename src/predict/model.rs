//! A weights file with its network: everything that is needed to predict.

use super::stream::Frame;
use crate::data::planes::Preprocessing;
use crate::error::{Error, Result};
use crate::models::{Grey, Network, Pooling, Preprocess};
use crate::nn::ParamStore;
use crate::train::{Normalize, probabilities};
use crate::weights::{self, Card, LoadOptions, Metadata, Scaling, WeightsFile, names};
use std::path::Path;

/// What the user says of a weights file, for what it does not say itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelOptions {
    /// The network.
    pub network: Option<String>,
    /// Side of the images.
    pub side: Option<usize>,
    /// How gray images meet a first filter of three channels.
    pub grey: Option<Grey>,
    /// How pixels are scaled.
    pub preprocess: Option<Preprocess>,
}

/// A network with weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network, for gray images.
    pub network: Network,
    /// Its parameters.
    pub params: ParamStore,
    /// Side of the images.
    pub side: usize,
    /// How a decoded image becomes a square.
    pub preprocessing: Preprocessing,
    /// What is done to a plane in [0, 1] before it goes to the device.
    pub normalize: Normalize,
    /// Outputs of the network.
    pub outputs: usize,
    /// Names of the classes, one a column of probabilities.
    pub classes: Vec<String>,
}

impl Model {
    /// Reads `path`: a file of ours alone is enough, of a published one `options` name the network.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that do not go together or with this file; [`Error::Format`] for a damaged file, the
    /// weights of another network and what the file says and does not hold; [`Error::Io`].
    pub fn open(path: &Path, options: &ModelOptions) -> Result<Model> {
        let hdf5 = weights::is_hdf5(path)?;
        let file = if hdf5 { None } else { Some(WeightsFile::open(path)?) };
        let metadata = file.as_ref().map_or_else(Metadata::new, |f| f.metadata().clone());
        let mut card = Card::read(path, &metadata, options.network.as_deref())?;
        if let Some(preprocess) = options.preprocess {
            card.scaling = Scaling::Channels(preprocess);
        }
        card.side = side(&card, &metadata, options)?;
        let stored = |parameter: &str| file.as_ref().and_then(|f| dims(f, card.network.name, parameter));
        let table = names::table(card.network.name);
        let first = stored(&format!("{}.weight", table.first_conv)).and_then(|d| d.get(1).copied());
        let outputs = stored(&format!("{}.weight", card.network.head.out)).and_then(|d| d.first().copied());
        // A file without the last layer has its key report from the loader.
        let outputs = outputs.filter(|n| *n > 0).unwrap_or(card.network.architecture.classes);
        let (normalize, rest) = card.scaling.split();
        let mut load = LoadOptions::of(card.network.name);
        card.network = grey(&card.network, first, rest, options, &mut load)?;
        if let Some(preprocess) = rest {
            card.network = card.network.with_preprocess(preprocess);
        }
        let classes = classes(path, &card.classes, outputs)?;
        let mut params = card.network.init(card.side, outputs, 0);
        weights::load_with(path, &mut params, &load)?;
        Ok(Model {
            network: card.network,
            params,
            side: card.side,
            preprocessing: card.preprocessing,
            normalize,
            outputs,
            classes,
        })
    }

    /// The class of this name.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest names.
    pub fn class(&self, name: &str) -> Result<usize> {
        let names: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        let unknown = || format!("these weights have no class '{name}'; {}", crate::names::nearest(name, &names));
        names.iter().position(|n| *n == name).ok_or_else(|| Error::Usage(unknown()))
    }

    /// What it wants of a decoded image.
    pub(super) fn frame(&self) -> Frame {
        // Card::read refuses files that were trained on anything else.
        Frame { preprocessing: self.preprocessing, side: self.side }
    }

    /// Probability of each class: softmax of the logits, or the sigmoid of the only one.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        probabilities(logits)
    }
}

/// The side: the user's, the file's, the registry's.
fn side(card: &Card, metadata: &Metadata, options: &ModelOptions) -> Result<usize> {
    let Some(wish) = options.side.filter(|s| *s != card.side) else { return Ok(card.side) };
    card.network.check_side(wish)?;
    let known = metadata.contains_key("side") || card.network.architecture.published.is_some();
    if known && card.network.head.pooling == Pooling::Flatten {
        let (name, side) = (card.network.name, card.side);
        return Err(Error::Usage(format!(
            "--side {wish}: the dense layers of this {name} read the whole last map, which needs images of side {side}"
        )));
    }
    Ok(wish)
}

/// The network for gray images, and how its first filter is loaded; `rest` is what must be done to each channel.
fn grey(
    network: &Network,
    stored: Option<usize>,
    rest: Option<Preprocess>,
    options: &ModelOptions,
    load: &mut LoadOptions,
) -> Result<Network> {
    let name = network.name;
    let one = network.channels() == 1 || network.architecture.channels == 3 && stored == Some(1);
    if one {
        if let Some(wish) = options.grey {
            let wish = if wish == Grey::Fold { "fold" } else { "replicate" };
            return Err(Error::Usage(format!(
                "--grey {wish}: the first filter of these {name} weights has one channel"
            )));
        }
        let fold = network.architecture.channels == 3;
        return Ok(if fold { network.clone().with_grey(Grey::Fold) } else { network.clone() });
    }
    if options.grey != Some(Grey::Fold) {
        return Ok(network.clone().with_grey(Grey::Replicate));
    }
    if let Some(p) = rest {
        return Err(Error::Usage(format!(
            "--grey fold: summing the first filter gives the same scores only where all channels are scaled alike, and these \
             {name} weights want {}; take --grey replicate",
            p.name()
        )));
    }
    load.fold_grayscale = true;
    Ok(network.clone().with_grey(Grey::Fold))
}

/// The dimensions of the tensor that becomes `parameter`.
fn dims(file: &WeightsFile, network: &str, parameter: &str) -> Option<Vec<usize>> {
    let table = names::table(network);
    file.tensors().into_iter().find(|t| table.rename(&t.name, |n| n == parameter) == parameter).map(|t| t.dims)
}

/// A name for every column of probabilities.
fn classes(path: &Path, named: &[String], outputs: usize) -> Result<Vec<String>> {
    match (outputs, named) {
        (1, []) => Ok(["negative", "positive"].map(String::from).to_vec()),
        (1, [one]) => Ok(vec![format!("not {one}"), one.clone()]),
        (1, [_, _]) => Ok(named.to_vec()),
        (n, []) => Ok((0..n).map(|i| i.to_string()).collect()),
        (n, all) if all.len() == n => Ok(all.to_vec()),
        (n, all) => {
            let reason = format!("names {} classes ({}), its network has {n} outputs", all.len(), all.join(", "));
            Err(Error::format(path, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::testing;

    fn write(dir: &Path, name: &str, side: usize, classes: &[&str], outputs: usize) -> std::path::PathBuf {
        let path = dir.join(format!("{name}-{side}-{outputs}.safetensors"));
        testing::weights(&path, name, side, classes, outputs);
        path
    }

    #[test]
    fn a_file_alone_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "gaowang", 16, &["bacterial", "viral"], 2);
        let model = Model::open(&path, &ModelOptions::default()).unwrap();
        assert_eq!((model.side, model.outputs, model.classes.len()), (16, 2, 2));
        assert_eq!(model.params.digest(), Network::named("gaowang").unwrap().init(16, 2, 7).digest());
        assert_eq!(model.probabilities(&[0.0, 0.0]), [0.5, 0.5]);
        // One output speaks for the second class.
        let path = write(dir.path(), "hernandez_custom", 16, &["normal", "covid"], 1);
        let model = Model::open(&path, &ModelOptions::default()).unwrap();
        let p = model.probabilities(&[2.0]);
        assert!((p[1] - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-15 && (p[0] + p[1] - 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_does_not_fit_the_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "gaowang", 16, &["a", "b"], 2);
        let detl = write(dir.path(), "detl12", 36, &["a", "b"], 2);
        let three = write(dir.path(), "gaowang", 24, &["a", "b"], 3);
        let none = ModelOptions::default();
        let cases = [
            (&path, ModelOptions { network: Some("vgg16".into()), ..none.clone() }, "network 'gaowang'", 5),
            (&path, ModelOptions { side: Some(32), ..none.clone() }, "needs images of side 16", 2),
            (&path, ModelOptions { side: Some(4), ..none.clone() }, "possible is 8 to 1024", 2),
            (&three, none.clone(), "names 2 classes (a, b), its network has 3 outputs", 5),
            (&detl, ModelOptions { grey: Some(Grey::Fold), ..none.clone() }, "has one channel", 2),
            (
                &path,
                ModelOptions { grey: Some(Grey::Fold), preprocess: Some(Preprocess::ImageNet), ..none },
                "scaled alike",
                2,
            ),
        ];
        for (path, options, part, code) in cases {
            let e = Model::open(path, &options).unwrap_err();
            assert!(e.to_string().contains(part) && e.exit_code() == code, "{e}");
        }
    }
}
