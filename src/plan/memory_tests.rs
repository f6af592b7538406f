//! How much memory the networks' training steps take an image.

use super::draft::Draft;
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape};
use crate::models::Network;
use crate::nn::{Layers, Optimizer, ParamStore};
use crate::ops::testing::gpu;

/// Bytes of activations of a training step.
fn activations(name: &str, batch: usize, side: usize, classes: usize, recompute: bool) -> (u64, u64) {
    let network = Network::named(name).unwrap();
    let graph = Graph::new();
    let x = graph.input("images", Shape::image(batch, network.channels(), side, side));
    let out = network.record(&graph, x, classes, &Layers { training: true, ..Layers::default() });
    let labels = graph.input_integers("labels", batch);
    let (loss, _) = out.logits.cross_entropy(labels, crate::ops::Smoothing::None, None);
    let weights = ParamStore::init(&graph, 0).upload(gpu()).unwrap();
    let adam = Optimizer::adam();
    let mut spec = adam.step_of(loss);
    spec.recompute = recompute;
    let gpu = Gpu::with(&crate::gpu::GpuOptions { checked: Some(true), guards: false, ..Default::default() }).unwrap();
    let draft = Draft::new(&gpu, &graph, &weights, &spec).unwrap();
    (draft.slots.words.iter().map(|w| *w as u64 * 4).sum(), draft.live * 4)
}

/// Bytes of activations that one image more takes.
fn one_more(name: &str, side: usize, recompute: bool) -> u64 {
    let of = |batch| activations(name, batch, side, 3, recompute).0;
    of(2) - of(1)
}

#[test]
fn an_image_of_resnet50_takes_84_megabytes_at_most() {
    let kept = one_more("resnet50", 224, false);
    assert!(kept <= 84_000_000, "{kept} bytes");
}

#[test]
fn an_image_of_densenet121_takes_92_megabytes_at_most_and_32_with_recomputation() {
    let (kept, again) = (one_more("densenet121", 224, false), one_more("densenet121", 224, true));
    assert!(kept <= 92_000_000 && again <= 32_000_000, "{kept} bytes, {again} with recomputation");
}
