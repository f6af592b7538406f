//! How much memory a training step of a network takes for each image.

use super::{MemoryReport, Target, forecast};
use crate::graph::{Graph, Shape};
use crate::models::Network;
use crate::nn::{Layers, Optimizer};
use crate::ops::Smoothing;

/// The memory of a training step with Adam.
fn step(name: &str, batch: usize, side: usize, recompute: bool) -> MemoryReport {
    step_on(&Target::portable(), name, batch, side, recompute)
}

fn step_on(target: &Target, name: &str, batch: usize, side: usize, recompute: bool) -> MemoryReport {
    let network = Network::named(name).expect("a network");
    let graph = Graph::new();
    let x = graph.input("images", Shape::image(batch, network.channels(), side, side));
    let out = network.record(&graph, x, 3, &Layers { training: true, ..Layers::default() });
    let labels = graph.input_integers("labels", batch);
    let (loss, _) = out.logits.cross_entropy(labels, Smoothing::None, None);
    let adam = Optimizer::adam();
    let mut spec = adam.step_of(loss);
    spec.recompute = recompute;
    forecast(target, &graph, &spec).expect("a plan")
}

/// Bytes of activations that one image more takes.
fn one_more(name: &str, side: usize, recompute: bool) -> u64 {
    let of = |batch| step(name, batch, side, recompute).activations;
    of(2) - of(1)
}

#[test]
fn an_image_of_resnet50_takes_84_megabytes_at_most() {
    let kept = one_more("resnet50", 224, false);
    assert!(kept <= 84_000_000, "{kept} bytes");
}

#[test]
fn an_image_of_densenet121_takes_92_megabytes_at_most_and_30_with_recomputation() {
    let (kept, again) = (one_more("densenet121", 224, false), one_more("densenet121", 224, true));
    assert!(kept <= 92_000_000 && again <= 30_000_000, "{kept} bytes, {again} with recomputation");
}

#[test]
fn zhong_trains_32_images_in_2_gigabytes() {
    let all = step("zhong_dcnn", 32, 80, false);
    assert!(all.total() <= 2_000_000_000, "{all}");
}

#[test]
fn f16_halves_the_activations() {
    let (whole, half) = (Target::portable(), Target::portable().with_storage(crate::Storage::F16));
    for (name, side) in [("resnet50", 224), ("densenet121", 96), ("zhong_dcnn", 80)] {
        let of = |target, batch| step_on(target, name, batch, side, false).activations;
        let (whole, small) = (of(&whole, 2) - of(&whole, 1), of(&half, 2) - of(&half, 1));
        println!("{name} {side}x{side}: {whole} bytes an image, {small} with f16");
        assert!(small as f64 <= 0.53 * whole as f64, "{name}: {small} bytes an image, {whole} with f32");
    }
}
