//! What is known of each network: input, preprocessing of its published weights, parameters, licence.

use super::{Base, Head, Pooling};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::nn::Layers;

/// How pixels become the input of a network with published weights. Pixels in [0, 1] first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preprocess {
    /// As they are, in [0, 1].
    Unit,
    /// 2 x − 1, in [−1, 1].
    Signed,
    /// (x − mean) / deviation with ImageNet's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
    ImageNet,
    /// Blue, green, red in 0 … 255 minus (103.939, 116.779, 123.68).
    Caffe,
}

impl Preprocess {
    /// Factor and shift of each channel for a grey pixel in [0, 1].
    pub fn channels(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Preprocess::Unit => ([1.0; 3], [0.0; 3]),
            Preprocess::Signed => ([2.0; 3], [-1.0; 3]),
            Preprocess::ImageNet => {
                let (mean, deviation) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
                ([0, 1, 2].map(|i| 1.0 / deviation[i]), [0, 1, 2].map(|i| -mean[i] / deviation[i]))
            }
            Preprocess::Caffe => ([255.0; 3], [-103.939, -116.779, -123.68]),
        }
    }

    /// All of them.
    pub const ALL: [Preprocess; 4] = [Preprocess::Unit, Preprocess::Signed, Preprocess::ImageNet, Preprocess::Caffe];

    /// Its name in weights files and on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Preprocess::Unit => "unit",
            Preprocess::Signed => "signed",
            Preprocess::ImageNet => "imagenet",
            Preprocess::Caffe => "caffe",
        }
    }

    /// The one of this [`Preprocess::key`].
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest.
    pub fn named(key: &str) -> Result<Preprocess> {
        let names = Preprocess::ALL.map(Preprocess::key);
        let near = || format!("there is no preprocessing '{key}'; {}", crate::names::nearest(key, &names));
        Preprocess::ALL.into_iter().find(|p| p.key() == key).ok_or_else(|| Error::Usage(near()))
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Preprocess::Unit => "[0, 1]",
            Preprocess::Signed => "[-1, 1]",
            Preprocess::ImageNet => "ImageNet mean and deviation",
            Preprocess::Caffe => "caffe (BGR minus mean)",
        }
    }
}

/// Where published weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The library and its name for them.
    pub source: &'static str,
    /// The licence that the library states.
    pub licence: &'static str,
}

/// Layers and images to features.
type RecordBase = for<'g> fn(&Layers, Tensor<'g>) -> Base<'g>;

/// An architecture.
#[derive(Debug)]
pub struct Architecture {
    /// Its name in files and on the command line.
    pub name: &'static str,
    /// Channels of its input.
    pub channels: usize,
    /// Side of the images of its paper or of its published weights.
    pub side: usize,
    /// Outputs there.
    pub classes: usize,
    /// The smallest side that leaves a pixel at the end.
    pub smallest_side: usize,
    /// How published weights saw pixels.
    pub preprocess: Preprocess,
    /// The layer where Grad-CAM looks by default.
    pub gradcam_layer: &'static str,
    /// Trainable parameters with the head for `classes` at `side`.
    pub parameters: u64,
    /// Parameters of the base, running statistics included.
    pub without_top: u64,
    /// Published weights, if there are any.
    pub published: Option<Published>,
    pub(super) base: RecordBase,
    /// For networks that freeze less than the whole base: what is frozen, and the rest.
    pub(super) before_cut: Option<for<'g> fn(&Layers, Tensor<'g>) -> Tensor<'g>>,
    pub(super) after_cut: Option<RecordBase>,
    pub(super) head: fn() -> Head,
}

const TORCHVISION: &str = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms are for research";
const TIMM: &str = "Apache-2.0 (timm); trained on ImageNet, whose terms are for research";
const KERAS: &str = "Apache-2.0 or MIT (keras.applications); trained on ImageNet, whose terms are for research";

const fn published(source: &'static str, licence: &'static str) -> Option<Published> {
    Some(Published { source, licence })
}

fn vgg_head() -> Head {
    Head::named(Pooling::Flatten, &[("classifier.0", 4096, 0.5), ("classifier.3", 4096, 0.5)], "classifier.6")
}

fn fc() -> Head {
    Head::named(Pooling::GlobalAverage, &[], "fc")
}

/// What the entries below have in common.
const IMAGENET: Architecture = Architecture {
    name: "",
    channels: 3,
    side: 224,
    classes: 1000,
    smallest_side: 32,
    preprocess: Preprocess::ImageNet,
    gradcam_layer: "",
    parameters: 0,
    without_top: 0,
    published: None,
    base: super::vgg::vgg16,
    before_cut: None,
    after_cut: None,
    head: fc,
};

/// All networks. Totals: `parity/architectures.md`, where they are compared with the libraries' own and the papers'.
pub static NETWORKS: &[Architecture] = &[
    Architecture {
        name: "detl12",
        channels: 1,
        classes: 2,
        smallest_side: super::detl::SMALLEST_SIDE,
        preprocess: Preprocess::Unit,
        gradcam_layer: "block3.conv2",
        parameters: 19_194_210,
        without_top: 286_432,
        base: super::detl::features,
        before_cut: Some(super::detl::base),
        after_cut: Some(super::detl::last_block),
        head: super::detl::dense_layers,
        ..IMAGENET
    },
    Architecture {
        name: "hernandez_custom",
        side: 150,
        classes: 1,
        smallest_side: 16,
        preprocess: Preprocess::Unit,
        gradcam_layer: "conv4",
        parameters: 5_550_273,
        without_top: 240_832,
        base: super::small::hernandez_custom,
        head: || Head::named(Pooling::Flatten, &[("fc1", 512, 0.0)], "out"),
        ..IMAGENET
    },
    Architecture {
        name: "zhong_dcnn",
        side: 80,
        classes: 3,
        smallest_side: 16,
        preprocess: Preprocess::Unit,
        gradcam_layer: "block4.conv3",
        parameters: 63_148_835,
        without_top: 877_344,
        base: super::zhong::zhong_dcnn,
        head: || Head {
            activation: super::Activation::Elu,
            ..Head::named(Pooling::Flatten, &[("fc1", 4096, 0.5), ("fc2", 2048, 0.4)], "fc3")
        },
        ..IMAGENET
    },
    Architecture {
        name: "gaowang",
        side: 64,
        classes: 2,
        smallest_side: 8,
        preprocess: Preprocess::Unit,
        gradcam_layer: "conv3",
        parameters: 234_002,
        without_top: 93_248,
        base: super::small::gaowang,
        head: || {
            Head::named(Pooling::Flatten, &[("dense1", 16, 0.0), ("dense2", 64, 0.0), ("dense3", 128, 0.0)], "dense4")
        },
        ..IMAGENET
    },
    Architecture {
        name: "vgg16",
        gradcam_layer: "features.28",
        parameters: 138_357_544,
        without_top: 14_714_688,
        published: published("torchvision vgg16", TORCHVISION),
        base: super::vgg::vgg16,
        head: vgg_head,
        ..IMAGENET
    },
    Architecture {
        name: "vgg19",
        gradcam_layer: "features.34",
        parameters: 143_667_240,
        without_top: 20_024_384,
        published: published("torchvision vgg19", TORCHVISION),
        base: super::vgg::vgg19,
        head: vgg_head,
        ..IMAGENET
    },
    Architecture {
        name: "resnet50",
        gradcam_layer: "layer4.2",
        parameters: 25_557_032,
        without_top: 23_561_152,
        published: published("torchvision resnet50", TORCHVISION),
        base: super::resnet::resnet50,
        ..IMAGENET
    },
    Architecture {
        name: "resnet50_keras",
        preprocess: Preprocess::Caffe,
        gradcam_layer: "layer4.2",
        parameters: 25_583_592,
        without_top: 23_587_712,
        published: published("keras.applications ResNet50", KERAS),
        base: super::resnet::resnet50_keras,
        ..IMAGENET
    },
    Architecture {
        name: "densenet121",
        gradcam_layer: "features.norm5",
        parameters: 7_978_856,
        without_top: 7_037_504,
        published: published("torchvision densenet121", TORCHVISION),
        base: super::densenet::densenet121,
        head: || Head::named(Pooling::GlobalAverage, &[], "classifier"),
        ..IMAGENET
    },
    Architecture {
        name: "densenet121_keras",
        gradcam_layer: "features.norm5",
        parameters: 7_978_856,
        without_top: 7_037_504,
        published: published("keras.applications DenseNet121", KERAS),
        base: super::densenet::densenet121_keras,
        head: || Head::named(Pooling::GlobalAverage, &[], "classifier"),
        ..IMAGENET
    },
    Architecture {
        name: "inception_v3",
        side: 299,
        smallest_side: 75,
        gradcam_layer: "Mixed_7c",
        parameters: 23_834_568,
        without_top: 21_820_000,
        published: published("torchvision inception_v3 (auxiliary head ignored)", TORCHVISION),
        base: super::inception_v3::inception_v3,
        ..IMAGENET
    },
    Architecture {
        name: "inception_v3_keras",
        side: 299,
        smallest_side: 75,
        preprocess: Preprocess::Signed,
        gradcam_layer: "Mixed_7c",
        parameters: 23_817_352,
        without_top: 21_802_784,
        published: published("keras.applications InceptionV3", KERAS),
        base: super::inception_v3::inception_v3_keras,
        ..IMAGENET
    },
    Architecture {
        name: "inception_resnet_v2",
        side: 299,
        smallest_side: 75,
        preprocess: Preprocess::Signed,
        gradcam_layer: "conv2d_7b",
        parameters: 55_843_464,
        without_top: 54_367_008,
        published: published("timm inception_resnet_v2.tf_in1k", TIMM),
        base: super::inception_resnet_v2::inception_resnet_v2,
        head: || Head::named(Pooling::GlobalAverage, &[], "classif"),
        ..IMAGENET
    },
    Architecture {
        name: "inception_resnet_v2_keras",
        side: 299,
        smallest_side: 75,
        preprocess: Preprocess::Signed,
        gradcam_layer: "conv2d_7b",
        parameters: 55_813_192,
        without_top: 54_336_736,
        published: published("keras.applications InceptionResNetV2", KERAS),
        base: super::inception_resnet_v2::inception_resnet_v2_keras,
        head: || Head::named(Pooling::GlobalAverage, &[], "classif"),
        ..IMAGENET
    },
    Architecture {
        name: "xception",
        side: 299,
        smallest_side: 71,
        preprocess: Preprocess::Signed,
        gradcam_layer: "bn4",
        parameters: 22_855_952,
        without_top: 20_861_480,
        published: published("timm legacy_xception.tf_in1k", TIMM),
        base: super::xception::xception,
        ..IMAGENET
    },
    Architecture {
        name: "xception_keras",
        side: 299,
        smallest_side: 71,
        preprocess: Preprocess::Signed,
        gradcam_layer: "bn4",
        parameters: 22_855_952,
        without_top: 20_861_480,
        published: published("keras.applications Xception", KERAS),
        base: super::xception::xception_keras,
        ..IMAGENET
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Shape};
    use crate::models::Network;

    /// Parameters of a recorded network: (trainable, running statistics), of the whole or of the base.
    fn count(network: &Network, base: bool) -> (u64, u64) {
        let graph = Graph::new();
        let a = network.architecture;
        let x = graph.input("images", Shape::image(1, a.channels, a.side, a.side));
        network.record(&graph, x, a.classes, &Layers::default());
        let all = graph.params();
        let of = |statistics: bool| {
            let part = all.iter().filter(|(name, _, _)| {
                (name.contains(".running_")) == statistics && !(base && network.head.owns(name))
            });
            part.map(|(_, shape, _)| shape.elements() as u64).sum()
        };
        (of(false), of(true))
    }

    #[test]
    fn every_network_has_the_published_number_of_parameters() {
        for a in NETWORKS {
            let network = Network::named(a.name).unwrap();
            assert_eq!(count(&network, false).0, a.parameters, "{}", a.name);
            let (trainable, statistics) = count(&network, true);
            assert_eq!(trainable + statistics, a.without_top, "{} without top", a.name);
        }
    }

    #[test]
    fn layers_of_gao_and_wang_have_the_papers_parameters() {
        let store = Network::named("gaowang").unwrap().with_grey(crate::models::Grey::Replicate).init(64, 2, 0);
        let of = |layer: &str| -> usize {
            store.params.iter().filter(|p| p.name.starts_with(layer)).map(|p| p.shape.elements()).sum()
        };
        let layers = ["conv1.", "conv2.", "conv3.", "dense1.", "dense2.", "dense3.", "dense4."];
        assert_eq!(layers.map(of), [896, 18_496, 73_856, 131_088, 1_088, 8_320, 258]);
    }

    #[test]
    fn the_smallest_side_is_the_smallest() {
        for a in NETWORKS {
            let network = Network::named(a.name).unwrap();
            let records = |side: usize| {
                std::panic::catch_unwind(|| {
                    let graph = Graph::new();
                    let x = graph.input("images", Shape::image(1, a.channels, side, side));
                    network.record(&graph, x, 2, &Layers::default());
                })
                .is_ok()
            };
            assert!(records(a.smallest_side), "{} at {}", a.name, a.smallest_side);
            assert!(network.check_side(a.smallest_side - 1).is_err());
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let error = Network::named("resnet5").unwrap_err();
        assert!(error.to_string().contains("resnet50"), "{error}");
    }
}
