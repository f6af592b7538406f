//! THE table of cases: which operations, on which shapes, with which random inputs. Forward, gradient, bounds and
//! determinism tests, `radiograd selftest` and `cargo bench` all read it. A case is data and a recipe that records it;
//! what is done with it is `src/selftest/`'s business.
//!
//! Adding an operation: write a function in `recipes.rs` (or beside it) that returns its [`Case`] for given sizes and call it in [`table`] with ugly
//! ones (1, 2, 3, 7, 17, 33, primes); if it belongs in the benchmarks, call it in [`bench_table`] with the shapes of the
//! papers' networks as well.

mod recipes;
mod recipes_elementwise;
mod recipes_norm;

pub use recipes::*;
pub use recipes_elementwise::*;
pub use recipes_norm::*;

use crate::graph::shape::Shape;
use crate::graph::{Graph, Tensor};
use crate::ops::{Augment, BinaryCrossEntropy, Border, Colors, Smoothing, Window};

/// Which random numbers an input holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Uniform in ± this.
    Unit(f32),
    /// A random order of numbers 2⁻⁹ apart, half of them negative, none 0: no ties for max, no kink for ReLU.
    Apart,
    /// Uniform in [0.5, 1.5): class weights.
    Positive,
    /// Uniform in ± this, and no derivative is taken: an operation for pictures, or numbers that are given.
    Fixed(f32),
    /// Rows of [`crate::ops::WARP`] numbers for augmentation: uniform in ±1, the key's whole and below 2¹⁶.
    Warp,
    /// Random integers below 2²⁰: seeds and counters.
    Words,
    /// Labels below `classes`; with `padding`, every third is `classes` or more and marks padding of the batch.
    Labels {
        /// How many classes.
        classes: usize,
        /// Whether some rows are padding.
        padding: bool,
    },
}

/// An input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name: `x`, `w`, `b`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// What it holds.
    pub kind: Kind,
}

/// From where the tolerance of a case follows. u = 2⁻²⁴ is the unit roundoff of f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Sums of products: |error| ≤ γₙ Σ|terms| with γₙ = n u / (1 − n u) for n rounding errors in a row, in any order of
    /// summation (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1). Σ|terms| is the reference on
    /// absolute values.
    Sums {
        /// n of the result.
        forward: usize,
        /// The largest n of its gradients.
        backward: usize,
    },
    /// |error| ≤ so many u, where results are at most about 1: the case's function says why.
    Absolute {
        /// Of the result.
        forward: f64,
        /// Of its gradients.
        backward: f64,
    },
    /// |error| ≤ so many u: of a result and of the gradients of images, absolute; of gradients of \[C\], relative to the number of
    /// pixels that they are sums over. The case's function says why.
    Channels {
        /// Of results.
        forward: f64,
        /// Of gradients of images.
        image: f64,
        /// Of gradients of \[C\], for each pixel.
        channel: f64,
    },
    /// Softmax over `classes` numbers within ± `range`; WGSL allows exp an error of 3 + 2|x| ulp, log 2⁻²¹ near 1 and
    /// 3 ulp elsewhere, division 2.5 ulp (WGSL §15.7.4).
    Softmax {
        /// How many classes.
        classes: usize,
        /// The largest logit.
        range: f64,
    },
    /// Cross entropy on top of it, the mean over `rows`.
    CrossEntropy {
        /// How many classes.
        classes: usize,
        /// The largest logit.
        range: f64,
        /// Rows that are summed.
        rows: usize,
    },
}

/// Records a case on its inputs and returns its results; gradients are those of the first.
pub type Build = Box<dyn for<'g> Fn(&'g Graph, &[Tensor<'g>]) -> Vec<Tensor<'g>> + Send + Sync>;

/// A case of the table.
pub struct Case {
    /// Its name, unique in the table: operation and sizes.
    pub name: String,
    /// The family of operations, for summaries: `conv2d`.
    pub family: &'static str,
    /// Its inputs, in the order `build` takes them.
    pub inputs: Vec<Input>,
    /// Records it.
    pub build: Build,
    /// Its tolerance.
    pub bound: Bound,
    /// Whether it stands for a shape of a published network.
    pub bench: bool,
}

/// All that can happen to an image.
const EVERYTHING: Augment =
    Augment { border: Border::Nearest, saturation: true, noise: true, salt_pepper: Some([-2.0, 2.0]) };

/// Every case that `radiograd selftest` and the tests run.
pub fn table() -> Vec<Case> {
    use Tail::{Bias, Plain, Relu};
    let window = |size, stride, padding| Window { size, stride, padding };
    let mut all = vec![
        conv([1, 1, 1, 1], 1, [1, 1], [1, 1], [0; 4], Plain),
        conv([2, 3, 7, 5], 7, [3, 3], [1, 1], [1; 4], Bias),
        conv([2, 1, 9, 11], 17, [3, 3], [1, 1], [0; 4], Relu),
        conv([1, 1, 33, 7], 33, [5, 3], [1, 1], [2, 2, 1, 1], Bias),
        conv([2, 3, 13, 12], 4, [7, 7], [2, 2], [3; 4], Bias),
        conv([3, 5, 5, 9], 3, [1, 7], [1, 1], [0, 0, 3, 3], Plain),
        conv([1, 4, 9, 5], 5, [7, 1], [1, 1], [3, 3, 0, 0], Relu),
        conv([1, 2, 3, 2], 33, [3, 3], [1, 1], [2; 4], Plain),
        conv([1, 17, 17, 13], 2, [5, 5], [3, 3], [2; 4], Bias),
        conv([2, 7, 8, 11], 9, [3, 2], [2, 1], [2, 0, 0, 1], Plain),
        conv([1, 5, 7, 8], 6, [2, 2], [3, 3], [0; 4], Plain),
        conv([2, 5, 7, 6], 3, [1, 1], [2, 2], [0; 4], Bias),
        conv([2, 1, 8, 7], 8, [3, 3], [2, 2], [0, 1, 0, 1], Bias),
        conv([3, 33, 1, 1], 17, [3, 3], [1, 1], [1; 4], Plain),
        conv([7, 33, 3, 1], 10, [1, 1], [1, 1], [0; 4], Plain),
        conv([2, 8, 17, 33], 16, [3, 3], [1, 1], [1; 4], Relu),
        dense([1, 1, 1, 1], 1, Plain),
        dense([2, 67, 1, 1], 9, Bias),
        dense([17, 33, 1, 1], 2, Relu),
        dense([5, 3, 3, 5], 7, Bias),
        dense([2, 1, 7, 3], 33, Plain),
        dense([3, 128, 4, 4], 3, Bias),
        conv_relu_conv([2, 3, 7, 5], 5, 6, [1, 1]),
        conv_relu_conv([1, 1, 11, 7], 9, 3, [2, 2]),
        conv_norm([1, 1, 1, 1], 1, [1, 1], [1, 1], [0; 4], After::Nothing),
        conv_norm([2, 3, 7, 5], 7, [3, 3], [1, 1], [1; 4], After::Relu),
        conv_norm([2, 1, 9, 7], 17, [3, 3], [2, 2], [0, 1, 0, 1], After::Nothing),
        conv_norm([1, 33, 5, 3], 34, [1, 1], [1, 1], [0; 4], After::Skip),
        conv_norm([1, 67, 3, 3], 5, [3, 3], [1, 1], [1; 4], After::Skip),
        depthwise([1, 1, 1, 1], 1, [1, 1], [1, 1], [0; 4], false),
        depthwise([2, 5, 7, 6], 1, [3, 3], [1, 1], [1; 4], false),
        depthwise([1, 33, 19, 11], 1, [3, 3], [1, 1], [1; 4], true),
        depthwise([3, 7, 17, 3], 1, [5, 3], [1, 1], [0, 4, 2, 0], false),
        depthwise([2, 4, 8, 7], 1, [3, 3], [2, 2], [0, 1, 0, 1], true),
        depthwise([1, 17, 9, 13], 1, [3, 3], [1, 2], [1; 4], false),
        depthwise([1, 3, 11, 7], 1, [2, 3], [3, 1], [1, 0, 1, 1], false),
        depthwise([2, 3, 6, 6], 2, [3, 3], [1, 1], [1; 4], false),
        depthwise([1, 5, 5, 7], 3, [3, 3], [2, 2], [1; 4], false),
        conv_relu_pool([2, 2, 9, 7], 5, Window::square(2), true),
        conv_relu_pool([1, 3, 8, 8], 6, window([3, 3], [2, 2], [1; 4]), true),
        conv_relu_pool([1, 3, 7, 9], 5, window([3, 3], [2, 2], [1; 4]), false),
        residual([2, 5, 7, 6]),
        concat([2, 3, 5], [4, 8, 3]),
        concat([1, 7, 1], [3, 33, 2]),
        concat([3, 1, 1], [1, 1, 1]),
        flatten([2, 5, 3, 7], false),
        flatten([1, 17, 2, 1], true),
        flatten([3, 8, 3, 3], true),
        replicate([2, 7, 33]),
        slice([2, 17, 3, 5], 4, 8),
        slice([2, 17, 3, 5], 8, 9),
        slice([1, 7, 5, 2], 3, 2),
        dense_block([2, 8, 6, 5], 12, 2),
        dense_block([1, 4, 7, 3], 4, 3),
        max_pool([2, 3, 7, 5], Window::square(2)),
        max_pool([1, 17, 9, 7], window([3, 3], [2, 2], [1; 4])),
        max_pool([3, 1, 8, 8], window([3, 3], [2, 2], [0, 1, 0, 1])),
        max_pool([1, 2, 11, 13], window([2, 2], [3, 3], [0; 4])),
        max_pool([1, 33, 7, 33], window([3, 2], [1, 2], [1, 2, 0, 1])),
        max_pool([1, 260, 3, 2], Window::square(2)),
        max_pool([1, 7, 1, 1], Window::square(1)),
        avg_pool([2, 3, 7, 5], Window::square(2), true),
        avg_pool([1, 17, 9, 7], window([3, 3], [1, 1], [1; 4]), false),
        avg_pool([2, 1, 7, 11], window([3, 3], [2, 2], [1, 2, 2, 0]), true),
        avg_pool([1, 33, 5, 7], window([2, 3], [3, 2], [1, 0, 0, 2]), false),
        avg_pool([1, 260, 2, 3], Window::square(2), false),
        global_avg_pool([2, 3, 7, 5]),
        global_avg_pool([1, 17, 1, 1]),
        global_avg_pool([3, 260, 2, 33]),
        global_max_pool([1, 1, 1, 1]),
        global_max_pool([2, 3, 7, 5]),
        global_max_pool([1, 17, 17, 19]),
        global_max_pool([3, 260, 3, 2]),
        zero_pad([1, 1, 1, 1], [0, 1, 2, 0], false),
        zero_pad([2, 3, 7, 5], [3; 4], false),
        zero_pad([1, 33, 5, 17], [0, 1, 0, 1], false),
        zero_pad([2, 17, 7, 9], [1, 2, 3, 4], true),
        bias([1, 1, 1, 1]),
        bias([2, 7, 17, 33]),
        bias([3, 33, 5, 7]),
        batch_norm([1, 1, 1, 1], true, After::Nothing),
        batch_norm([2, 3, 1, 1], false, After::Nothing),
        batch_norm([3, 7, 5, 3], true, After::Nothing),
        batch_norm([2, 33, 7, 9], true, After::Relu),
        batch_norm([1, 17, 13, 11], false, After::Skip),
        batch_norm([2, 5, 3, 1], true, After::Skip),
        batch_norm([2, 2, 71, 61], true, After::Nothing),
        normalize([1, 1, 1, 1], true, After::Nothing),
        normalize([3, 7, 5, 3], false, After::Nothing),
        normalize([2, 33, 7, 9], true, After::Relu),
        normalize([1, 17, 13, 11], true, After::Skip),
        running_update(1, true),
        running_update(7, false),
        running_update(33, true),
        relu([1, 1, 1, 1]),
        relu([2, 17, 13, 11]),
        elu([1, 1, 1, 1], 1.0),
        elu([2, 17, 13, 11], 1.0),
        elu([1, 3, 33, 7], 0.3),
        sigmoid([1, 1, 1, 1], 8.0),
        sigmoid([2, 17, 13, 11], 8.0),
        sigmoid([7, 3, 1, 1], 90.0),
        add_scaled([1, 1, 1, 1], 0.17, false),
        add_scaled([2, 17, 13, 11], 0.1, false),
        add_scaled([2, 3, 5, 3], 0.3, true),
        add_relu([1, 7, 3, 5]),
        scale([1, 1, 1, 1], -2.5),
        scale([2, 17, 13, 11], 0.17),
        l2_penalty(Shape::Filter { k: 5, c: 7, r: 3, s: 1 }),
        l2_penalty(Shape::Channels { c: 17 }),
        l2_penalty(Shape::flat(33_333)),
        add([1, 7, 1, 3]),
        add([2, 17, 13, 11]),
        multiply([1, 3, 1, 1]),
        multiply([2, 17, 13, 11]),
        dropout([1, 1, 1, 1], 0.5),
        dropout([3, 5, 7, 3], 0.25),
        dropout([2, 33, 17, 7], 0.9),
        resize([1, 1, 1, 1], [3, 2], false),
        resize([2, 3, 7, 7], [28, 28], false),
        resize([1, 5, 11, 9], [5, 6], false),
        resize([1, 17, 3, 2], [7, 13], true),
        grad_cam([1, 1, 1, 1], true),
        grad_cam([2, 33, 7, 9], true),
        grad_cam([3, 7, 3, 5], false),
        cam_product([1, 1, 1, 1], false),
        cam_product([2, 33, 7, 9], true),
        cam_product([3, 7, 3, 5], false),
        cam_plus_weights([1, 1, 1, 1]),
        cam_plus_weights([2, 33, 7, 9]),
        cam_normalize(3, 7, 9),
        overlay(2, 7, 17, Colors::Turbo),
        overlay(1, 3, 33, Colors::Jet),
        augment([3, 1, 17, 13], Border::Nearest),
        augment([2, 5, 7, 3], Border::Constant(2.0)),
        augment([2, 3, 17, 13], Augment { border: Border::Reflect, ..EVERYTHING }),
        augment([1, 1, 1, 1], Border::Reflect),
        augment([2, 3, 17, 7], Border::Reflect),
        augment([2, 1, 13, 33], Augment { noise: true, ..Border::Reflect.into() }),
        augment([3, 3, 7, 17], Augment { saturation: true, ..Border::Constant(2.0).into() }),
        augment([2, 5, 3, 7], Augment { noise: true, salt_pepper: Some([-2.0, 2.0]), ..Border::Constant(1.0).into() }),
        augment([3, 1, 7, 33], Augment { salt_pepper: Some([0.0, 1.0]), ..Border::Nearest.into() }),
        augment([3, 1, 17, 13], EVERYTHING),
        fill(1),
        fill(7),
        softmax(1, 2, 1.0),
        softmax(4, 5, 4.0),
        softmax(65, 3, 10.0),
        softmax(7, 33, 20.0),
        log_softmax(1, 1, 1.0),
        log_softmax(65, 3, 10.0),
        log_softmax(7, 33, 20.0),
        binary_cross_entropy(1, 4.0, false, BinaryCrossEntropy::default()),
        binary_cross_entropy(67, 8.0, true, BinaryCrossEntropy { weights: [1.0, 3.0], smoothing: 0.0 }),
        binary_cross_entropy(17, 90.0, false, BinaryCrossEntropy { weights: [0.5, 1.5], smoothing: 0.1 }),
        cross_entropy(1, 2, 3.0, false, false, Smoothing::None),
        cross_entropy(7, 3, 3.0, false, true, Smoothing::None),
        cross_entropy(17, 4, 5.0, true, false, Smoothing::OverAll(0.1)),
        cross_entropy(67, 3, 3.0, true, true, Smoothing::Others(0.12)),
        cross_entropy(5, 17, 40.0, false, true, Smoothing::OverAll(0.1)),
        cross_entropy_normalized(67, 3, 3.0, true),
    ];
    all.extend(detl(1, 64, Bias));
    all
}

/// The shapes that `cargo bench` times: DETL's layers with a training batch, and layers of the papers' other networks.
pub fn bench_table() -> Vec<Case> {
    use Tail::{Bias, Plain, Relu};
    let window = |size, stride, padding| Window { size, stride, padding };
    let mut all = vec![
        // The bars of the peers' harness.
        conv([8, 64, 56, 56], 64, [3, 3], [1, 1], [1; 4], Plain),
        conv([8, 128, 28, 28], 128, [3, 3], [1, 1], [1; 4], Plain),
        dense([512, 512, 1, 1], 512, Plain),
        // VGG-16 (Simonyan & Zisserman, arXiv:1409.1556): first, middle, last block.
        conv([4, 3, 224, 224], 64, [3, 3], [1, 1], [1; 4], Relu),
        conv([4, 256, 56, 56], 256, [3, 3], [1, 1], [1; 4], Relu),
        conv([4, 512, 14, 14], 512, [3, 3], [1, 1], [1; 4], Relu),
        // ResNet-50 (He et al., arXiv:1512.03385): stem, 1×1 and strided 3×3.
        conv([8, 3, 224, 224], 64, [7, 7], [2, 2], [3; 4], Plain),
        conv([8, 256, 56, 56], 64, [1, 1], [1, 1], [0; 4], Plain),
        conv([8, 128, 56, 56], 128, [3, 3], [2, 2], [1; 4], Plain),
        // Inception v3 (Szegedy et al., arXiv:1512.00567): the factorised 7×7.
        conv([8, 192, 17, 17], 192, [1, 7], [1, 1], [0, 0, 3, 3], Plain),
        dense([16, 2048, 1, 1], 1000, Bias),
        max_pool([8, 64, 112, 112], window([3, 3], [2, 2], [1; 4])),
        avg_pool([8, 256, 28, 28], Window::square(2), true),
        global_avg_pool([8, 2048, 7, 7]),
        // Xception (Chollet, arXiv:1610.02357): entry and middle flow.
        depthwise([4, 128, 147, 147], 1, [3, 3], [1, 1], [1; 4], false),
        depthwise([4, 728, 19, 19], 1, [3, 3], [1, 1], [1; 4], true),
        conv_norm([1, 64, 56, 56], 256, [1, 1], [1, 1], [0; 4], After::Skip),
        batch_norm([8, 64, 56, 56], true, After::Nothing),
        normalize([8, 64, 56, 56], true, After::Relu),
        // 64 MiB each, more than a cache holds.
        relu([16, 64, 128, 128]),
        add([16, 64, 128, 128]),
        bias([16, 64, 128, 128]),
        max_pool([16, 64, 128, 128], Window::square(2)),
        softmax(256, 1000, 4.0),
        augment([16, 1, 224, 224], Border::Nearest),
        augment([16, 1, 224, 224], EVERYTHING),
        augment([16, 3, 224, 224], Border::Nearest),
        augment([16, 3, 224, 224], EVERYTHING),
    ];
    all.iter_mut().for_each(|c| c.bench = true);
    all.extend(detl(16, 64, Relu));
    all
}
