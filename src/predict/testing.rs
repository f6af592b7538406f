//! Weights files for this module's tests.

use super::{Model, ModelOptions};
use crate::models::{Network, Preprocess};
use crate::weights::{Card, Scaling, save};
use std::path::Path;

/// Random weights of `network` in the file `path`, for images of `side` and with the names of these classes.
pub(super) fn weights(path: &Path, network: &str, side: usize, classes: &[&str], outputs: usize) {
    let network = Network::named(network).unwrap();
    let params = network.init(side, outputs, 7);
    let classes = classes.iter().map(|c| c.to_string()).collect();
    let scaling = Scaling::Channels(Preprocess::Unit);
    let card = Card { network, side, classes, scaling, preprocessing: Default::default() };
    save(path, &params, &card.metadata()).unwrap();
}

/// A small model that tells "normal" from "viral".
pub(super) fn model(dir: &Path) -> Model {
    let path = dir.join("w");
    weights(&path, "gaowang", 16, &["normal", "viral"], 2);
    Model::open(&path, &ModelOptions::default()).unwrap()
}
