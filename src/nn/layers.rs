//! Layers: an operation with its parameters, named by scope.

use crate::error::{Error, Result};
use crate::graph::{Shape, Tensor};
use crate::nn::params::fnv;
use crate::ops::{Geometry, RunningUpdate};

/// Which parameters train: by patterns of their full names, where `*` stands for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trainable {
    /// All of them.
    #[default]
    All,
    /// Those that match one of these patterns: `["block3.*", "fc*"]`.
    Matching(Vec<String>),
    /// All but those that match one of these patterns, which are frozen: `["features.*"]`.
    Except(Vec<String>),
}

impl Trainable {
    /// Whether the parameter of this name trains. Running statistics of batch norm never do, whatever the patterns say.
    pub fn includes(&self, name: &str) -> bool {
        if is_statistic(name) {
            return false;
        }
        match self {
            Trainable::All => true,
            Trainable::Matching(patterns) => patterns.iter().any(|p| matches(p, name)),
            Trainable::Except(patterns) => !patterns.iter().any(|p| matches(p, name)),
        }
    }

    /// Freezes everything up to the layer or block `last`, itself included, and trains what comes after. `parameters`: the
    /// names of a network's parameters in the order of its layers, as in [`crate::nn::ParamStore`].
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest names when there is no such layer or block.
    pub fn after<'a>(parameters: impl IntoIterator<Item = &'a str>, last: &str) -> Result<Trainable> {
        let all: Vec<&str> = parameters.into_iter().collect();
        let inside = |name: &str| name.strip_prefix(last).is_some_and(|rest| rest.starts_with('.'));
        if let Some(end) = all.iter().rposition(|n| inside(n)) {
            return Ok(Trainable::Except(all[..=end].iter().map(|n| n.to_string()).collect()));
        }
        let mut layers: Vec<&str> = Vec::new();
        for name in all {
            for (dot, _) in name.match_indices('.') {
                if !layers.contains(&&name[..dot]) {
                    layers.push(&name[..dot]);
                }
            }
        }
        let nearest = crate::names::nearest(last, &layers);
        Err(Error::Usage(format!("there is no layer '{last}' to freeze up to; {nearest}")))
    }

    /// Whether a pattern of this freezes or trains nothing of `parameters`: a misspelt name. Returns the first such pattern.
    pub fn idle_pattern<'a>(&self, parameters: impl Iterator<Item = &'a str> + Clone) -> Option<&str> {
        let patterns = match self {
            Trainable::All => return None,
            Trainable::Matching(p) | Trainable::Except(p) => p,
        };
        patterns.iter().map(String::as_str).find(|p| !parameters.clone().any(|n| matches(p, n)))
    }
}

/// Whether a parameter of this name is a running statistic of batch norm: it follows the data, no optimizer moves it.
pub fn is_statistic(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("running_mean" | "running_var"))
}

/// Whether `text` matches `pattern`, where `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(i, _)| i).chain([rest.len()]).any(|i| matches(tail, &rest[i..]))
        }),
    }
}

/// Builds layers and knows which of their parameters train.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Which parameters train.
    pub trainable: Trainable,
    /// Whether the network is recorded for training: batch norm then uses the batch's statistics where it trains.
    pub training: bool,
    /// Whether dropout multiplies by inputs `NAME.mask` (1 or 0) that the host gives, instead of by random masks: to compare
    /// with another engine's training.
    pub given_masks: bool,
}

/// The input that dropout layers share: the integers seed low, seed high, step, stream.
pub const DROPOUT_INPUT: &str = "dropout";

/// Conventions of a batch norm layer; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormOptions {
    /// ε under the root: PyTorch 1e-5, Keras 1e-3 (and others in its networks).
    pub epsilon: f32,
    /// Share of the batch in the running statistics: PyTorch's sense, 0.1; Keras' momentum 0.99 is 0.01 here.
    pub momentum: f32,
    /// Whether the running variance takes the unbiased variance (PyTorch, TensorFlow) or the biased one (Keras 3).
    pub unbiased: bool,
    /// Whether there is a γ (Keras: `scale`).
    pub gamma: bool,
}

impl Default for BatchNormOptions {
    fn default() -> Self {
        BatchNormOptions { epsilon: 1e-5, momentum: 0.1, unbiased: true, gamma: true }
    }
}

impl Layers {
    fn param<'g>(&self, x: Tensor<'g>, part: &str, shape: Shape) -> Tensor<'g> {
        let name = x.graph().path(part);
        x.graph().param(&name, shape, self.trainable.includes(&name))
    }

    /// `name.weight` [K, C, R, S] and `name.bias` \[K\]: convolution and bias.
    ///
    /// # Panics
    /// When the filter does not fit.
    #[track_caller]
    pub fn conv2d<'g>(
        &self,
        x: Tensor<'g>,
        name: &str,
        k: usize,
        [r, s]: [usize; 2],
        geometry: Geometry,
    ) -> Tensor<'g> {
        let y = self.conv2d_unbiased(x, name, k, [r, s], geometry);
        let _scope = x.graph().scope(name);
        y.bias(self.param(x, "bias", Shape::Channels { c: k }))
    }

    /// `name.weight` [K, C, R, S]: convolution without bias, as before a batch norm.
    ///
    /// # Panics
    /// When the filter does not fit.
    #[track_caller]
    pub fn conv2d_unbiased<'g>(
        &self,
        x: Tensor<'g>,
        name: &str,
        k: usize,
        [r, s]: [usize; 2],
        geometry: Geometry,
    ) -> Tensor<'g> {
        let _scope = x.graph().scope(name);
        let (_, c, _, _) = x.nchw();
        x.conv2d(self.param(x, "weight", Shape::Filter { k, c, r, s }), geometry)
    }

    /// Dropout in a network recorded for training, nothing otherwise. The random numbers follow from the integer input
    /// [`DROPOUT_INPUT`] and from the layer's name; see [`Tensor::dropout`].
    ///
    /// # Panics
    /// When p is outside [0, 1).
    #[track_caller]
    pub fn dropout<'g>(&self, x: Tensor<'g>, name: &str, p: f32) -> Tensor<'g> {
        if !self.training || p == 0.0 {
            return x;
        }
        let graph = x.graph();
        let _scope = graph.scope(name);
        if self.given_masks {
            return x.multiply(graph.input(&graph.path("mask"), x.shape())).scale(1.0 / (1.0 - p));
        }
        let random = graph.find_input(DROPOUT_INPUT).unwrap_or_else(|| graph.input_integers(DROPOUT_INPUT, 4));
        x.dropout(p, fnv(&graph.path("")) as u32, random)
    }

    /// `name.weight` [C·multiplier, 1, R, S]: each channel has filters of its own; no bias.
    ///
    /// # Panics
    /// When the filter does not fit.
    #[track_caller]
    pub fn depthwise_conv2d<'g>(
        &self,
        x: Tensor<'g>,
        name: &str,
        multiplier: usize,
        [r, s]: [usize; 2],
        geometry: Geometry,
    ) -> Tensor<'g> {
        let _scope = x.graph().scope(name);
        let (_, c, _, _) = x.nchw();
        x.depthwise_conv2d(self.param(x, "weight", Shape::Filter { k: c * multiplier, c: 1, r, s }), geometry)
    }

    /// Batch normalisation: `name.weight` (γ, where there is one), `name.bias` (β), `name.running_mean`, `name.running_var`,
    /// all \[C\].
    ///
    /// In a network recorded for training, a layer of which γ or β trains uses the batch's statistics and records the update
    /// of its running statistics ([`crate::Graph::assign`]). A frozen layer, and every layer in inference, uses the running
    /// statistics and leaves them alone (the rule of Keras 2 and later).
    ///
    /// # Panics
    /// When `x` is no image, ε is not positive, or an unbiased variance is asked of one pixel a channel.
    #[track_caller]
    pub fn batch_norm<'g>(&self, x: Tensor<'g>, name: &str, options: BatchNormOptions) -> Tensor<'g> {
        let graph = x.graph();
        let _scope = graph.scope(name);
        let (n, c, h, w) = x.nchw();
        let shape = Shape::Channels { c };
        let trains = |part: &str| self.trainable.includes(&graph.path(part));
        let own = self.training && (trains("bias") || options.gamma && trains("weight"));
        let gamma = options.gamma.then(|| self.param(x, "weight", shape));
        let beta = self.param(x, "bias", shape);
        let (mean, var) = (self.param(x, "running_mean", shape), self.param(x, "running_var", shape));
        if !own {
            return x.normalize(mean, var.batch_norm_scale(gamma, options.epsilon), beta);
        }
        let batch = x.batch_stats();
        let BatchNormOptions { epsilon, momentum, unbiased, .. } = options;
        let update = RunningUpdate { momentum, samples: n * h * w, unbiased };
        let next = graph.record(update, &[mean, var, batch.0, batch.1]);
        graph.assign(mean, next[0]);
        graph.assign(var, next[1]);
        x.batch_norm(batch, gamma, beta, epsilon)
    }

    /// `name.weight` [K, F] and `name.bias` \[K\]: dense layer over all of each image, C H W order.
    ///
    /// # Panics
    /// When `x` is no image.
    #[track_caller]
    pub fn dense<'g>(&self, x: Tensor<'g>, name: &str, k: usize) -> Tensor<'g> {
        let _scope = x.graph().scope(name);
        let w = self.param(x, "weight", x.dense_shape(k));
        x.dense(w).bias(self.param(x, "bias", Shape::Channels { c: k }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let t = Trainable::Matching(vec!["block3.*".into(), "fc*".into()]);
        assert!(t.includes("block3.conv1.weight") && t.includes("fc1.bias"));
        assert!(!t.includes("block2.conv1.weight") && !t.includes("xfc1.bias"));
        let t = Trainable::Except(vec!["features.*".into()]);
        assert!(t.includes("classifier.0.bias") && !t.includes("features.0.weight"));
        assert!(!t.includes("head.bn.running_mean"), "a statistic never trains");
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b", "abc") && matches("*", ""));
    }

    #[test]
    fn freezing_up_to_a_block_follows_the_order_of_layers() {
        let all = ["conv1.weight", "layer1.0.conv1.weight", "layer1.10.bias", "layer2.0.bias", "fc.weight", "fc.bias"];
        let trains = |last: &str| {
            let t = Trainable::after(all, last).unwrap();
            all.iter().filter(|n| t.includes(n)).count()
        };
        assert_eq!(["conv1", "layer1", "layer1.0", "layer2", "fc"].map(trains), [5, 3, 4, 2, 0]);
        let e = Trainable::after(all, "layer3").unwrap_err();
        assert!(e.to_string().contains("'layer1' or 'layer2'") && e.exit_code() == 2, "{e}");
        let t = Trainable::Except(vec!["conv*".into(), "layers.*".into()]);
        assert_eq!(t.idle_pattern(all.into_iter()), Some("layers.*"));
        assert_eq!(Trainable::after(all, "layer1").unwrap().idle_pattern(all.into_iter()), None);
    }
}
