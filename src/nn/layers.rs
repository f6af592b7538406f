//! Layers: an operation with its parameters, named by scope.

use crate::graph::{Shape, Tensor};
use crate::ops::Geometry;

/// Which parameters train: by patterns of their full names, where `*` stands for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trainable {
    /// All of them.
    #[default]
    All,
    /// Those that match one of these patterns: `["block3.*", "fc*"]`.
    Matching(Vec<String>),
}

impl Trainable {
    /// Whether the parameter of this name trains.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Trainable::All => true,
            Trainable::Matching(patterns) => patterns.iter().any(|p| matches(p, name)),
        }
    }
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
}

impl Layers {
    fn param<'g>(&self, x: Tensor<'g>, part: &str, shape: Shape) -> Tensor<'g> {
        let name = x.graph().path(part);
        x.graph().param(&name, shape, self.trainable.includes(&name))
    }

    /// `name.weight` [K, C, R, S] and `name.bias` [K]: convolution and bias.
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
        let _scope = x.graph().scope(name);
        let (_, c, _, _) = x.nchw();
        let w = self.param(x, "weight", Shape::Filter { k, c, r, s });
        x.conv2d(w, geometry).bias(self.param(x, "bias", Shape::Channels { c: k }))
    }

    /// `name.weight` [K, F] and `name.bias` [K]: dense layer over all of each image, C H W order.
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
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b", "abc") && matches("*", ""));
    }
}
