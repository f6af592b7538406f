//! What stands between a network's features and its logits.

use crate::graph::Tensor;
use crate::nn::Layers;
use serde::{Deserialize, Serialize};

/// How the base's output becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean of each channel.
    GlobalAverage,
    /// The largest value of each channel.
    GlobalMax,
    /// All of it, in the order C, H, W. The first dense layer reads the map as it is: nothing is moved.
    Flatten,
}

/// The nonlinearity of the hidden layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x or exp(x) − 1.
    Elu,
}

/// A hidden dense layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hidden {
    /// Name of its parameters: `head.fc1`.
    pub name: String,
    /// Outputs.
    pub width: usize,
    /// Probability of dropping one of its outputs in training.
    pub dropout: f32,
}

/// Pooling, hidden layers, and the layer with as many outputs as there are classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How the base's output becomes a vector.
    pub pooling: Pooling,
    /// The hidden layers.
    pub hidden: Vec<Hidden>,
    /// Their nonlinearity.
    pub activation: Activation,
    /// Name of the last layer's parameters.
    pub out: String,
}

impl Head {
    /// A new head for transfer learning: hidden layers `head.fc1` … of these widths with ReLU and dropout, then `head.out`.
    pub fn new(pooling: Pooling, widths: &[usize], dropout: f32) -> Head {
        let hidden = |(i, width): (usize, &usize)| Hidden { name: format!("head.fc{}", i + 1), width: *width, dropout };
        Head {
            pooling,
            hidden: widths.iter().enumerate().map(hidden).collect(),
            activation: Activation::Relu,
            out: "head.out".into(),
        }
    }

    /// Layers of these names, widths and dropout rates; the last name is the output's.
    pub(super) fn named(pooling: Pooling, hidden: &[(&str, usize, f32)], out: &str) -> Head {
        let layer = |(name, width, dropout): &(&str, usize, f32)| Hidden {
            name: (*name).into(),
            width: *width,
            dropout: *dropout,
        };
        Head { pooling, hidden: hidden.iter().map(layer).collect(), activation: Activation::Relu, out: out.into() }
    }

    /// Names of its layers.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.hidden.iter().map(|h| h.name.as_str()).chain([self.out.as_str()])
    }

    /// Whether a parameter of this name belongs to the head.
    pub fn owns(&self, parameter: &str) -> bool {
        self.layers().any(|n| parameter.strip_prefix(n).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The vector that the dense layers read, or the map itself for [`Pooling::Flatten`].
    pub fn pool<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        match self.pooling {
            Pooling::GlobalAverage => x.global_avg_pool(),
            Pooling::GlobalMax => x.global_max_pool(),
            Pooling::Flatten => x,
        }
    }

    /// Logits [N, classes] of what [`Head::pool`] gave.
    ///
    /// # Panics
    /// When `x` is no image.
    #[track_caller]
    pub fn record<'g>(&self, layers: &Layers, x: Tensor<'g>, classes: usize) -> Tensor<'g> {
        let hidden = |x: Tensor<'g>, h: &Hidden| {
            let y = layers.dense(x, &h.name, h.width);
            let y = match self.activation {
                Activation::Relu => y.relu(),
                Activation::Elu => y.elu(1.0),
            };
            layers.dropout(y, &h.name, h.dropout)
        };
        layers.dense(self.hidden.iter().fold(x, hidden), &self.out, classes)
    }
}
