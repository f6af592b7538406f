//! Networks for tests of training, with a hundredth of the numbers of a real one.

use super::{Architecture, Base, Grey, Head, Network, Part, Pooling, Preprocess};
use crate::graph::Tensor;
use crate::nn::{BatchNormOptions, Layers};
use crate::ops::{Geometry, Window};

/// Batch norm that trains, and dropout.
static TINY: Architecture = Architecture {
    name: "tiny",
    channels: 1,
    side: 16,
    classes: 3,
    smallest_side: 8,
    preprocess: Preprocess::Unit,
    gradcam_layer: "conv2",
    parameters: 0,
    without_top: 0,
    published: None,
    base,
    before_cut: None,
    after_cut: None,
    head,
};

/// Neither of them: what a batch gives is the mean over its images.
static PLAIN: Architecture = Architecture { name: "plain", base: plain_base, head: plain_head, ..TINY };

fn plain_base<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let y = layers.conv2d(x, "conv1", 5, [3, 3], Geometry::same(3, 3)).relu().max_pool(Window::square(2));
    let features = layers.conv2d(y, "conv2", 6, [3, 3], Geometry::same(3, 3)).relu();
    Base { features, output: features }
}

fn plain_head() -> Head {
    Head::new(Pooling::Flatten, &[8], 0.0)
}

fn base<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let y = layers.conv2d_unbiased(x, "conv1", 5, [3, 3], Geometry::same(3, 3));
    let y = layers.batch_norm(y, "bn1", BatchNormOptions::default()).relu().max_pool(Window::square(2));
    let y = layers.conv2d_unbiased(y, "conv2", 6, [3, 3], Geometry::same(3, 3));
    let features = layers.batch_norm(y, "bn2", BatchNormOptions::default()).relu();
    Base { features, output: features }
}

fn head() -> Head {
    Head::new(Pooling::Flatten, &[8], 0.4)
}

impl Network {
    /// Two convolutions with batch norm, one hidden layer with dropout.
    pub(crate) fn tiny() -> Network {
        Network::of_tests(&TINY)
    }

    /// The same without batch norm and dropout.
    pub(crate) fn plain() -> Network {
        Network::of_tests(&PLAIN)
    }

    fn of_tests(architecture: &'static Architecture) -> Network {
        Network {
            name: architecture.name,
            architecture,
            head: (architecture.head)(),
            grey: Grey::Replicate,
            preprocess: None,
            part: Part::Whole,
        }
    }
}
