//! The operations, one file a family: equation, shape rule, f64 reference, kernel launches, gradient.
//!
//! Adding one touches three places: `shaders/x.wgsl`, `src/ops/x.rs`, `kernels-tests/cases.rs`. Shapes in comments are the
//! world's: x [N, C, H, W], y [N, K, P, Q], filters [K, C, R, S].

mod activation;
mod augment;
mod batch_norm;
mod bce;
mod bias;
mod cam;
mod channels;
mod colormap;
mod conv;
mod depthwise;
mod dropout;
mod flatten;
mod global_pool;
mod loss;
mod merge;
mod pad;
pub mod philox;
mod pixels;
mod pool;
mod replicate;
mod resize;
mod softmax;
pub(crate) mod square_sum;
#[cfg(test)]
pub(crate) mod testing;

pub use activation::{Elu, EluGrad, Relu, ReluGrad, Sigmoid, SigmoidGrad};
pub use augment::{Augment, AugmentOptions, Border, PRESETS as AUGMENT_PRESETS, ScaledAugment, WARP};
pub use batch_norm::{
    BatchNorm, BatchNormGradInput, BatchNormGradSums, BatchNormScale, BatchStats, Normalize, NormalizeGradInput,
    NormalizeGradSums, RunningUpdate,
};
pub use bce::{BinaryCrossEntropy, BinaryCrossEntropyGrad};
pub use bias::{Bias, BiasGrad};
pub use cam::{CamMap, CamMethod, CamNormalize, CamPlusWeights, CamProduct};
pub use channels::{Concat, PadChannels, SliceChannels};
pub use colormap::{Colormap, Colors, Overlay};
pub use conv::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Geometry};
pub use depthwise::{DepthwiseConv2d, DepthwiseConv2dGradInput, DepthwiseConv2dGradWeight};
pub use dropout::Dropout;
pub use flatten::{Flatten, Unflatten};
pub use global_pool::{GlobalAvgPool, GlobalAvgPoolGrad, GlobalMaxPool, GlobalMaxPoolGrad};
pub use loss::{CrossEntropy, CrossEntropyGrad, Smoothing};
pub use merge::{Add, AddScaled, Fill, Multiply, Scale};
pub use pad::{Crop, ZeroPad};
pub use philox::PhiloxWords;
pub use pool::{AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, Window};
pub use replicate::Replicate;
pub use resize::{Resize, ResizeGrad};
pub use softmax::{LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad};
pub use square_sum::{L2Penalty, L2PenaltyGrad};

use crate::graph::{Tensor, autograd};

impl<'g> Tensor<'g> {
    /// Gradients of this loss (a single number) for each of `wrt`; `None` where it does not depend on one.
    ///
    /// # Panics
    /// When this is no single number.
    #[track_caller]
    pub fn gradients(self, wrt: &[Tensor<'g>]) -> Vec<Option<Tensor<'g>>> {
        assert!(self.shape().elements() == 1, "a loss is one number, this is {}", self.shape());
        let one = self.graph().record(Fill { shape: self.shape(), value: 1.0 }, &[])[0];
        self.gradients_with(one, wrt)
    }

    /// Gradients of Σ `upstream` · this for each of `wrt`.
    ///
    /// # Panics
    /// When `upstream` has another shape.
    #[track_caller]
    pub fn gradients_with(self, upstream: Tensor<'g>, wrt: &[Tensor<'g>]) -> Vec<Option<Tensor<'g>>> {
        autograd::gradients(self, upstream, wrt, |a, b| a.add(b))
    }
}

/// Embeds `shaders/NAME` next to the code that launches it.
macro_rules! shader {
    ($file:literal) => {
        $crate::gpu::Source { file: $file, text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file)) }
    };
}
pub(crate) use shader;

/// "expected N inputs" with the count, for `Op::shapes`.
pub(crate) fn arity(x: &[crate::graph::Shape], n: usize) -> Result<(), String> {
    if x.len() == n { Ok(()) } else { Err(format!("expected {n} inputs, given were {}", x.len())) }
}

/// N, C, H, W of an image shape, or what it is instead.
pub(crate) fn image(s: crate::graph::Shape) -> Result<(usize, usize, usize, usize), String> {
    match s {
        crate::graph::Shape::Image { n, c, h, w } => Ok((n, c, h, w)),
        other => Err(format!("expected an image [N, C, H, W], given was {other}")),
    }
}
