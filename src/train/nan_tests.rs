//! A loss that is not finite is traced to the first layer, parameter or image that is not.

use super::{CheckpointOptions, Fit, FitOptions, MicroBatch, Samples, fit};
use crate::Storage;
use crate::gpu::Gpu;
use crate::models::Network;
use crate::nn::{Optimizer, ParamStore, Schedule};
use crate::ops::testing::{gpu, numbers};
use crate::plan::LossScaling;
use crate::{Error, Result};

const SIDE: usize = 10;
const IMAGES: usize = 12;

fn pixels() -> Vec<f32> {
    numbers(11, IMAGES * SIDE * SIDE).iter().map(|v| 0.5 * v + 0.5).collect()
}

fn options(schedule: Schedule) -> FitOptions {
    FitOptions {
        epochs: 5,
        batch: 3,
        optimizer: Optimizer::sgd(0.0),
        schedule,
        talk: crate::Talk::Quiet,
        ..Default::default()
    }
}

/// Seven images train, three steps an epoch; five are for validation.
fn train_on(pixels: &[f32], start: &ParamStore, options: &FitOptions) -> Result<Fit> {
    train_with(gpu(), pixels, start, options)
}

fn train_with(gpu: &Gpu, pixels: &[f32], start: &ParamStore, options: &FitOptions) -> Result<Fit> {
    let items: Vec<(usize, usize)> = (0..IMAGES).map(|i| (i, i % 3)).collect();
    let of = |items| Samples { data: pixels, mirrored: None, shape: [1, SIDE, SIDE], items };
    fit(gpu, &Network::plain(), start, 3, (&of(&items[..7]), &of(&items[7..])), options)
}

fn start() -> ParamStore {
    Network::plain().init(SIDE, 3, 5)
}

/// The message of a fit that must fail for its numbers.
fn message(result: Result<Fit>) -> String {
    let e = result.map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::Numerics(_)), "{e:?}");
    assert_eq!(e.exit_code(), 6);
    e.to_string()
}

fn says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "'{part}' is missing in: {text}"));
}

#[test]
fn a_huge_learning_rate_is_traced_to_the_layer_that_overflows() {
    // Weights of some 1e28: products of two are beyond f32, a single one is not.
    let huge = options(Schedule::Constant { lr: 1e30 });
    let text = message(train_on(&pixels(), &start(), &huge));
    says(
        &text,
        &[
            "epoch 1, step 2: the loss is not finite; the first value that is not is the output of conv2 (conv2d_forward)",
        ],
    );
    // In micro batches, and with updates of two steps: those of steps 1 and 2 come after step 2.
    let split = FitOptions { micro_batch: MicroBatch::Of(2), ..huge.clone() };
    says(&message(train_on(&pixels(), &start(), &split)), &["epoch 1, step 2", "the output of conv2 (conv2d_forward)"]);
    let both = FitOptions { optimizer: Optimizer::sgd(0.0).with_accumulation(2), ..huge };
    says(&message(train_on(&pixels(), &start(), &both)), &["epoch 1, step 3", "the output of conv2 (conv2d_forward)"]);
}

#[test]
fn with_f16_the_layer_is_found_and_a_gradient_that_is_left_out_is_no_fault() {
    let half = match Gpu::new().and_then(|g| g.with_storage(Storage::F16)) {
        Ok(gpu) => gpu,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    // The first steps are left out, as the scaled gradients overflow; then weights of some 1e3, beyond f16 after two layers.
    let scaling = LossScaling { initial: 1e9, ..LossScaling::default() };
    let optimizer = Optimizer::sgd(0.0).with_loss_scaling(scaling);
    let given = FitOptions { epochs: 30, optimizer, ..options(Schedule::Constant { lr: 1e5 }) };
    let text = message(train_with(&half, &pixels(), &start(), &given));
    says(&text, &["the first value that is not is the output of conv", ", which f16 cannot hold"]);
}

#[test]
fn late_ones_are_traced_from_the_epoch_s_start_or_from_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let late = options(Schedule::Steps { rates: vec![(0, 0.01), (3, 1e30)] });
    for optimizer in [Optimizer::sgd(0.9), Optimizer::adam()] {
        let path = dir.path().join(format!("{:?}.safetensors", optimizer.rule).replace([' ', ':', '{', '}'], ""));
        let given = FitOptions { optimizer, ..late.clone() };
        let text = message(train_on(&pixels(), &start(), &given));
        says(&text, &["epoch 4, step 2: ", "the output of conv2 (conv2d_forward)"]);
        let checkpoint = Some(CheckpointOptions { every_steps: Some(4), ..CheckpointOptions::resuming(&path) });
        let kept = FitOptions { checkpoint, ..given };
        says(&message(train_on(&pixels(), &start(), &kept)), &[&text, &path.display().to_string()]);
        // And when the run went on from a checkpoint.
        says(&message(train_on(&pixels(), &start(), &kept)), &[&text]);
    }
}

#[test]
fn a_weight_that_overflows_in_the_update_is_named() {
    // Infinity as f32: gradients are finite, the first update is not.
    let text = message(train_on(&pixels(), &start(), &options(Schedule::Constant { lr: 1e39 })));
    says(&text, &["epoch 1, step 2", "the parameter conv1.weight after the update in epoch 1, step 1"]);
}

#[test]
fn a_gradient_that_overflows_is_named_though_the_loss_was_finite() {
    // Features of some 1e-37, a dense layer of some 1e38 above them: scores are small, the gradient of the features is not.
    let mut start = start();
    let mut scale = |name: &str, by: f32| {
        let p = start.params.iter_mut().find(|p| p.name == name).unwrap();
        p.values.iter_mut().for_each(|v| *v *= by);
    };
    scale("conv2.weight", 1e-36);
    scale("head.fc1.weight", 1e38);
    scale("head.out.weight", 1e3);
    let text = message(train_on(&pixels(), &start, &options(Schedule::Constant { lr: 1e-3 })));
    says(&text, &["epoch 1, step 2", "the gradient of head.fc1 (", "in epoch 1, step 1"]);
}

#[test]
fn scores_of_validation_images_are_traced_as_well() {
    // One step an epoch: what it spoils is seen by validation first.
    let given = FitOptions { batch: 7, ..options(Schedule::Constant { lr: 1e30 }) };
    let text = message(train_on(&pixels(), &start(), &given));
    says(
        &text,
        &["after epoch 1: the scores of validation image 7 are not finite", "the output of conv2 (conv2d_forward)"],
    );
}

#[test]
fn a_pixel_that_is_not_a_number_is_named_by_its_image() {
    for (image, bad) in [(4, f32::NAN), (0, f32::INFINITY), (9, f32::NEG_INFINITY)] {
        let mut pixels = pixels();
        pixels[image * SIDE * SIDE + 17] = bad;
        let text = message(train_on(&pixels, &start(), &options(Schedule::Constant { lr: 0.01 })));
        says(&text, &[&format!("image {image} has a pixel that is not a finite number")]);
    }
    // One that nothing refers to does no harm.
    let mut more = pixels();
    more.extend(vec![f32::NAN; SIDE * SIDE]);
    assert!(train_on(&more, &start(), &options(Schedule::Constant { lr: 0.01 })).is_ok());
}
