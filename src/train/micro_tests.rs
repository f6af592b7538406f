//! A step on micro batches is the step on the batch.

use super::{CheckpointOptions, Fit, FitOptions, MicroBatch, Samples, fit};
use crate::gpu::{Gpu, GpuOptions};
use crate::models::Network;
use crate::nn::{Optimizer, Schedule};
use crate::ops::AugmentOptions;
use crate::ops::testing::{gpu, numbers};
use crate::{Error, Result};
use std::path::Path;

const SIDE: usize = 12;

/// Eleven training images in batches of eight: a whole one and a short one an epoch.
const TRAIN: [(usize, usize); 11] =
    [(4, 0), (0, 1), (2, 2), (1, 0), (5, 1), (3, 1), (6, 2), (7, 2), (8, 0), (9, 1), (10, 1)];

fn options(micro_batch: MicroBatch) -> FitOptions {
    FitOptions {
        epochs: 1,
        batch: 8,
        optimizer: Optimizer::sgd(0.9),
        schedule: Schedule::Constant { lr: 0.02 },
        augment: Some(AugmentOptions { rotation_degrees: 10.0, shift: 0.1, mirror: true, ..Default::default() }),
        class_weights: Some(vec![0.5, 2.0, 1.25]),
        micro_batch,
        talk: crate::Talk::Quiet,
        ..Default::default()
    }
}

fn train(gpu: &Gpu, network: &Network, options: &FitOptions) -> Result<Fit> {
    let data: Vec<f32> = numbers(11, TRAIN.len() * SIDE * SIDE).iter().map(|v| 0.5 * v + 0.5).collect();
    let of = |items| Samples { data: &data, mirrored: None, shape: [1, SIDE, SIDE], items };
    fit(gpu, network, &network.init(SIDE, 3, 5), 3, (&of(&TRAIN), &of(&[])), options)
}

/// The largest difference of a weight, relative to the largest change that training made to any.
fn difference(a: &Fit, b: &Fit) -> f64 {
    let start = Network::plain().init(SIDE, 3, 5);
    let values = |p: &crate::nn::ParamStore| p.params.iter().flat_map(|p| p.values.clone()).collect::<Vec<f32>>();
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    let (a, b) = (values(&a.params), values(&b.params));
    largest(&a, &b) / largest(&a, &values(&start))
}

#[test]
fn the_weights_are_those_of_the_whole_batch() {
    let network = Network::plain();
    let whole = train(gpu(), &network, &options(MicroBatch::Off)).unwrap();
    // Parts of 8 and of 3 images: 4, 4 and 3, 0; 3, 3, 2 and 3, 0, 0; one by one.
    for n in [4, 3, 1] {
        let split = train(gpu(), &network, &options(MicroBatch::Of(n))).unwrap();
        let d = difference(&whole, &split);
        assert!(d < 1e-5, "micro batches of {n}: {d}");
        let loss = |f: &Fit| f.history[0].train_loss.unwrap();
        assert!((loss(&whole) - loss(&split)).abs() < 1e-5, "{} {}", loss(&whole), loss(&split));
        assert_eq!(whole.history[0].train_accuracy, split.history[0].train_accuracy);
    }
    // A batch that need not be split is not, to the bit.
    for same in [MicroBatch::Auto, MicroBatch::Of(8), MicroBatch::Of(100)] {
        assert_eq!(train(gpu(), &network, &options(same)).unwrap().params.digest(), whole.params.digest());
    }
    // Gradients that are accumulated over batches too: an update for both batches of the epoch, the mean of their means.
    let accumulated = |micro_batch| {
        let optimizer = Optimizer::sgd(0.9).with_accumulation(2);
        train(gpu(), &network, &FitOptions { optimizer, ..options(micro_batch) }).unwrap()
    };
    let d = difference(&accumulated(MicroBatch::Off), &accumulated(MicroBatch::Of(3)));
    assert!(d < 1e-5, "{d}");
    assert_eq!(train(gpu(), &network, &options(MicroBatch::Of(0))).map(|_| ()).unwrap_err().exit_code(), 2);
}

#[test]
fn a_batch_that_does_not_fit_is_split() {
    let network = Network::plain();
    let with = |memory| Gpu::with(&GpuOptions { memory: Some(memory), ..Default::default() }).unwrap();
    let whole = train(&with(1 << 30), &network, &options(MicroBatch::Off)).unwrap();
    let small = with(whole.plan_bytes * 3 / 4);
    let refused = train(&small, &network, &options(MicroBatch::Off)).map(|_| ()).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, Error::Memory(_)), "{text}");
    for part in ["batch 8 does not fit; the largest that does is ", "largest ", "--micro-batch auto"] {
        assert!(text.contains(part), "'{part}' is missing in {text}");
    }
    let split = train(&small, &network, &options(MicroBatch::Auto)).unwrap();
    assert!(split.plan_bytes <= whole.plan_bytes * 3 / 4);
    let d = difference(&whole, &split);
    assert!(d < 1e-5, "{d}");
    // Where not even one image fits there is nothing to split.
    let text = train(&with(10_000), &network, &options(MicroBatch::Auto)).map(|_| ());
    let text = text.unwrap_err().to_string();
    assert!(text.contains("no smaller one does") && text.contains("micro batches of one image need "), "{text}");
}

#[test]
fn a_split_training_goes_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    // Batch norm, dropout, augmentation, another budget when it goes on.
    let network = Network::tiny();
    let path = dir.path().join("c.safetensors");
    let keeping = |path: &Path, micro_batch, stop_after| {
        let checkpoint = Some(CheckpointOptions { every_steps: Some(1), ..CheckpointOptions::resuming(path) });
        FitOptions { epochs: 3, checkpoint, stop_after, optimizer: Optimizer::adam(), ..options(micro_batch) }
    };
    let whole = train(gpu(), &network, &keeping(&dir.path().join("w"), MicroBatch::Of(3), None)).unwrap();
    for (steps, auto) in [(1, MicroBatch::Of(3)), (2, MicroBatch::Auto)] {
        let part = train(gpu(), &network, &keeping(&path, auto, Some(steps))).unwrap();
        assert!(part.interrupted());
    }
    let e = train(gpu(), &network, &keeping(&path, MicroBatch::Of(4), None)).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("was 'micro batch = 3' and is 'micro batch = 4'"), "{e}");
    let resumed = train(gpu(), &network, &keeping(&path, MicroBatch::Auto, None)).unwrap();
    assert_eq!(resumed.params.digest(), whole.params.digest());
    // Recomputation changes no bit, and neither does resuming with it.
    let again = FitOptions { recompute: true, ..keeping(&dir.path().join("r"), MicroBatch::Of(3), None) };
    assert_eq!(train(gpu(), &network, &again).unwrap().params.digest(), whole.params.digest());
}
