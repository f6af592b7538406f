//! What a weights file must say so that it can be used alone: the network with its head, the side, the classes, and what
//! happens to pixels. Its keys are `network`, `side`, `channels`, `classes` (joined by `|`), `preprocessing`, `head` (JSON), and
//! for the pixels `mean` and `scale`, or `input` where each channel has its own scaling. A file without some of them is
//! understood as far as it goes: older ones have no `head`, published ones nothing at all.

use super::Metadata;
use super::names;
use crate::data::preprocessing::Preprocessing;
use crate::error::{Error, Result};
use crate::models::{Grey, Head, Network, Preprocess};
use crate::train::Normalize;
use std::path::Path;

/// How gray pixels in [0, 1] become the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// Every channel alike.
    Same(Normalize),
    /// As published weights of three channels want it.
    Channels(Preprocess),
}

impl Scaling {
    /// What is done to a plane before it goes to the device, and what the network itself does to its three channels.
    /// Where all channels are scaled alike there is nothing left for the network, and its first filter may be summed.
    pub fn split(self) -> (Normalize, Option<Preprocess>) {
        match self {
            Scaling::Same(normalize) => (normalize, None),
            Scaling::Channels(p) => {
                let (scale, shift) = p.channels();
                if scale == [scale[0]; 3] && shift == [shift[0]; 3] {
                    (Normalize { mean: -shift[0] / scale[0], scale: scale[0] }, None)
                } else {
                    (Normalize::NONE, Some(p))
                }
            }
        }
    }
}

/// A weights file's description of itself.
#[derive(Clone, Debug)]
pub struct Card {
    /// The network with its head; for one gray channel if its first filter was trained so.
    pub network: Network,
    /// Side of the images in pixels.
    pub side: usize,
    /// Names of the classes; two for one output, the second is what it speaks for; none where nobody named them.
    pub classes: Vec<String>,
    /// What happens to pixels.
    pub scaling: Scaling,
    /// How a decoded image becomes a square.
    pub preprocessing: Preprocessing,
}

impl Card {
    /// The description as metadata.
    pub fn metadata(&self) -> Metadata {
        let head = serde_json::to_string(&self.network.head).unwrap_or_default();
        let mut all = Metadata::from([
            ("network".into(), self.network.name.into()),
            ("side".into(), self.side.to_string()),
            ("channels".into(), self.network.channels().to_string()),
            ("classes".into(), self.classes.join("|")),
            ("preprocessing".into(), self.preprocessing.words()),
            ("head".into(), head),
        ]);
        match self.scaling {
            Scaling::Same(n) => {
                all.insert("mean".into(), n.mean.to_string());
                all.insert("scale".into(), n.scale.to_string());
            }
            Scaling::Channels(p) => drop(all.insert("input".into(), p.key().into())),
        }
        all
    }

    /// The description in the file `path`, which holds weights of `network`; of a Keras file it is the registry's.
    ///
    /// # Errors
    /// As [`Card::read`] and [`super::metadata`].
    pub fn open(path: &Path, network: &str) -> Result<Card> {
        let metadata = if super::is_hdf5(path)? { Metadata::new() } else { super::metadata(path)? };
        Card::read(path, &metadata, Some(network))
    }

    /// The description in the metadata of `path`. `network` is what the user says it is; what the file does not say is the
    /// registry's.
    ///
    /// # Errors
    /// [`Error::Usage`] when nobody names the network; [`Error::Format`] when the file names another one, or says what cannot
    /// be understood.
    pub fn read(path: &Path, metadata: &Metadata, network: Option<&str>) -> Result<Card> {
        let says = metadata.get("network").map(String::as_str).filter(|n| !n.is_empty());
        let bad = |reason: String| Error::format(path, reason);
        let name = match (says, network) {
            (Some(file), Some(user)) if names::base(file) != names::base(user) => {
                let known = Network::named(user)?.name;
                return Err(bad(format!("holds weights of the network '{file}', asked for were those of '{known}'")));
            }
            (_, Some(user)) => user,
            (Some(file), None) => file,
            (None, None) => {
                return Err(Error::Usage(format!(
                    "{} does not say of which network it holds the weights: name it with --network",
                    path.display()
                )));
            }
        };
        let mut network = Network::named(name).map_err(|e| match network {
            Some(_) => e,
            None => bad(e.to_string()),
        })?;
        if let Some(text) = metadata.get("head") {
            let head: Head = serde_json::from_str(text).map_err(|e| bad(format!("its head is not understood: {e}")))?;
            network = network.with_head(head);
        }
        let number = |key: &str| match metadata.get(key) {
            None => Ok(None),
            Some(text) => match text.parse::<f32>() {
                Ok(v) if v.is_finite() => Ok(Some(v)),
                _ => Err(bad(format!("its {key} is '{text}', needed is a number"))),
            },
        };
        let architecture = network.architecture;
        match metadata.get("channels").map(String::as_str) {
            Some("1") if architecture.channels == 3 => network = network.with_grey(Grey::Fold),
            Some(text) if text != architecture.channels.to_string() => {
                let need = architecture.channels;
                return Err(bad(format!("its images have {text} channels, {} takes {need} or 1", network.name)));
            }
            _ => {}
        }
        let side = match metadata.get("side") {
            None => architecture.side,
            Some(text) => {
                text.parse().map_err(|_| bad(format!("its side is '{text}', needed is a number of pixels")))?
            }
        };
        network.check_side(side).map_err(|e| bad(e.to_string()))?;
        let scaling = match (metadata.get("input"), number("mean")?, number("scale")?) {
            (Some(key), _, _) => Scaling::Channels(Preprocess::named(key).map_err(|e| bad(e.to_string()))?),
            (None, Some(mean), Some(scale)) => Scaling::Same(Normalize { mean, scale }),
            _ => Scaling::Channels(architecture.preprocess),
        };
        let preprocessing = match metadata.get("preprocessing") {
            None => Preprocessing::default(),
            Some(words) => Preprocessing::parse(words)
                .ok_or_else(|| bad(format!("its images were prepared as '{words}', which this version cannot do")))?,
        };
        let classes = metadata.get("classes").map_or(Vec::new(), |text| text.split('|').map(String::from).collect());
        Ok(Card { network, side, classes, scaling, preprocessing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Pooling;

    #[test]
    fn a_description_survives_the_file() {
        let network = Network::named("resnet50").unwrap().with_head(Head::new(Pooling::GlobalAverage, &[128, 64], 0.5));
        let classes: Vec<String> = ["normal", "viral"].map(String::from).to_vec();
        for scaling in [Scaling::Same(Normalize::CENTERED), Scaling::Channels(Preprocess::ImageNet)] {
            let card = Card {
                network: network.clone(),
                side: 96,
                classes: classes.clone(),
                scaling,
                preprocessing: Default::default(),
            };
            let read = Card::read(Path::new("w"), &card.metadata(), None).unwrap();
            assert_eq!((read.side, &read.classes, read.scaling), (96, &classes, scaling));
            assert_eq!((read.network.name, &read.network.head), ("resnet50", &network.head));
        }
        let folded = Card {
            network: network.with_grey(Grey::Fold),
            side: 96,
            classes,
            scaling: Scaling::Channels(Preprocess::Signed),
            preprocessing: Default::default(),
        };
        let read = Card::read(Path::new("w"), &folded.metadata(), None).unwrap();
        assert_eq!((read.network.channels(), read.scaling.split().1), (1, None));
        // A file of before there were heads: what its network has.
        let old = Metadata::from(
            [("network", "detl12"), ("side", "64"), ("mean", "0.5"), ("scale", "4")].map(|(k, v)| (k.into(), v.into())),
        );
        let read = Card::read(Path::new("w"), &old, None).unwrap();
        assert_eq!((read.scaling, read.classes.len()), (Scaling::Same(Normalize::CENTERED), 0));
    }

    #[test]
    fn scaling_alike_is_done_before_the_device() {
        let apply = |n: Normalize, x: f32| (x - n.mean) * n.scale;
        let (n, rest) = Scaling::Channels(Preprocess::Signed).split();
        assert_eq!((apply(n, 0.0), apply(n, 1.0), rest), (-1.0, 1.0, None));
        assert_eq!(Scaling::Channels(Preprocess::Caffe).split(), (Normalize::NONE, Some(Preprocess::Caffe)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let read = |pairs: &[(&str, &str)], user| {
            let m: Metadata = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            Card::read(Path::new("w.safetensors"), &m, user).unwrap_err()
        };
        for (pairs, user, part, code) in [
            (&[][..], None, "name it with --network", 2),
            (&[("network", "vgg61")], None, "did you mean 'vgg16'", 5),
            (&[], Some("resnet5"), "did you mean 'resnet50'", 2),
            (&[("network", "detl12")], Some("vgg16"), "network 'detl12', asked for were those of 'vgg16'", 5),
            (&[("network", "detl12"), ("side", "8")], None, "a side of 8 pixels, possible is 36 to 1024", 5),
            (&[("network", "detl12"), ("side", "x")], None, "its side is 'x'", 5),
            (&[("network", "detl12"), ("channels", "3")], None, "its images have 3 channels", 5),
            (&[("network", "detl12"), ("mean", "nan"), ("scale", "1")], None, "its mean is 'nan'", 5),
            (&[("network", "vgg16"), ("input", "imagent")], None, "did you mean 'imagenet'", 5),
            (&[("network", "vgg16"), ("head", "{}")], None, "its head is not understood", 5),
            (&[("network", "vgg16"), ("preprocessing", "other-1")], None, "'other-1'", 5),
        ] {
            let e = read(pairs, user);
            assert!(e.to_string().contains(part) && e.exit_code() == code, "{e}");
        }
    }
}
