//! A training that is stopped, killed and resumed gives the bits of one that never was.

use super::{CheckpointOptions, Fit, FitOptions, Normalize, Predictor, Samples, fit};
use crate::Storage;
use crate::error::Error;
use crate::gpu::Gpu;
use crate::models::Network;
use crate::nn::{Convention, Optimizer, Rule, Schedule, Trainable};
use crate::ops::AugmentOptions;
use crate::ops::testing::{gpu, numbers};
use crate::plan::LossScaling;
use crate::weights::Checkpoint;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

const SIDE: usize = 10;
const IMAGES: usize = 17;

/// Seven training images in batches of three: two whole ones and a padded one an epoch.
struct Data {
    pixels: Vec<f32>,
    train: Vec<(usize, usize)>,
    validation: Vec<(usize, usize)>,
}

impl Data {
    fn new() -> Data {
        let item = |i: usize| (i, i % 3);
        Data {
            pixels: numbers(11, IMAGES * SIDE * SIDE).iter().map(|v| 0.5 * v + 0.5).collect(),
            train: (0..7).map(item).collect(),
            validation: (7..IMAGES).map(item).collect(),
        }
    }

    fn samples<'a>(&'a self, items: &'a [(usize, usize)]) -> Samples<'a> {
        Samples { data: &self.pixels, mirrored: None, shape: [1, SIDE, SIDE], items }
    }
}

fn options() -> FitOptions {
    FitOptions {
        epochs: 4,
        batch: 3,
        optimizer: Optimizer::adam().with_weight_decay(1e-3),
        schedule: Schedule::Cosine { max: 0.02, min: 0.0, epochs: 4 },
        augment: Some(AugmentOptions { rotation_degrees: 10.0, shift: 0.1, mirror: true, ..Default::default() }),
        seed: 0x1_0000_0007,
        talk: crate::Talk::Quiet,
        ..Default::default()
    }
}

fn train(options: &FitOptions) -> crate::Result<Fit> {
    train_on(gpu(), options)
}

fn train_on(gpu: &Gpu, options: &FitOptions) -> crate::Result<Fit> {
    let (network, data) = (Network::tiny(), Data::new());
    let start = network.init(SIDE, 3, 5);
    fit(gpu, &network, &start, 3, (&data.samples(&data.train), &data.samples(&data.validation)), options)
}

fn keeping(path: &Path, options: FitOptions) -> FitOptions {
    let checkpoint = CheckpointOptions { path: path.into(), every_steps: Some(1), every: None, resume: true };
    FitOptions { checkpoint: Some(checkpoint), ..options }
}

/// Weights, best epoch, its accuracy, and the history without times.
type Facts = (String, Option<u32>, Option<u64>, Vec<[Option<u64>; 5]>);

/// Everything that must be the same.
fn facts(fit: &Fit) -> Facts {
    let bits = |v: Option<f64>| v.map(f64::to_bits);
    let record = |r: &crate::eval::EpochRecord| {
        let rate = Some(r.learning_rate.to_bits());
        [bits(r.train_loss), bits(r.train_accuracy), bits(r.validation_loss), bits(r.validation_accuracy), rate]
    };
    let history = fit.history.iter().map(record).collect();
    (fit.params.digest(), fit.best_epoch, bits(fit.validation_accuracy), history)
}

/// The weights of a checkpoint: the current ones, not the best.
fn weights(path: &Path) -> (String, u64, u64) {
    let c = Checkpoint::read(path).unwrap();
    let mut store = Network::tiny().init(SIDE, 3, 1);
    c.restore(&mut store).unwrap();
    (store.digest(), c.epoch, c.step)
}

#[test]
fn a_training_that_was_stopped_anywhere_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let whole_path = dir.path().join("whole.safetensors");
    let whole = train(&keeping(&whole_path, options())).unwrap();
    assert!(!whole.interrupted() && whole.history.len() == 4);
    // Keeping checkpoints changes nothing.
    assert_eq!(facts(&train(&options()).unwrap()), facts(&whole));
    let end = weights(&whole_path);
    assert_eq!((end.1, end.2), (4, 0));
    // In the middle of an epoch, before its padded batch, at its end, and one step at a time.
    for (name, slices) in [("a", vec![1]), ("b", vec![2, 3]), ("c", vec![3, 1]), ("d", vec![1; 12]), ("e", vec![11])] {
        let path = dir.path().join(format!("{name}.safetensors"));
        for (i, steps) in slices.iter().enumerate() {
            let part = train(&FitOptions { stop_after: Some(*steps), ..keeping(&path, options()) }).unwrap();
            assert!(part.interrupted() || slices.len() == 12 && i == 11, "{name}");
        }
        let resumed = train(&keeping(&path, options())).unwrap();
        assert_eq!(facts(&resumed), facts(&whole), "slices {slices:?}");
        assert_eq!(weights(&path), end, "slices {slices:?}");
    }
    // Prolonging it by the epochs that were left out is the same, too.
    let path = dir.path().join("short.safetensors");
    train(&FitOptions { epochs: 2, ..keeping(&path, options()) }).unwrap();
    assert_eq!(facts(&train(&keeping(&path, options())).unwrap()), facts(&whole));
    // Without resuming it begins again, and gives the same of course; the next seed does not.
    assert_ne!(train(&FitOptions { seed: 8, ..options() }).unwrap().params.digest(), whole.params.digest());
}

#[test]
fn every_optimizer_resumes_and_accumulated_gradients_are_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let nadam = Optimizer::new(Rule::Nadam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 });
    let optimizers = [
        nadam.with_convention(Convention::Keras),
        Optimizer::sgd(0.9).with_clip_norm(0.5),
        Optimizer::adam().with_accumulation(2),
    ];
    for (i, optimizer) in optimizers.into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.safetensors"));
        let given = FitOptions { optimizer, augment: None, ..options() };
        let whole = train(&given).unwrap();
        for steps in [1, 2, 3] {
            train(&FitOptions { stop_after: Some(steps), ..keeping(&path, given.clone()) }).unwrap();
        }
        // With accumulation a stop waits for the update.
        let (_, epoch, step) = weights(&path);
        assert_eq!(epoch * 3 + step, if i == 2 { 2 + 2 + 4 } else { 1 + 2 + 3 });
        assert_eq!(facts(&train(&keeping(&path, given)).unwrap()), facts(&whole), "optimizer {i}");
    }
}

#[test]
fn a_training_with_f16_goes_on_with_its_loss_scale() {
    let half = match Gpu::new().and_then(|g| g.with_storage(Storage::F16)) {
        Ok(gpu) => gpu,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("half.safetensors");
    // It comes down from too much, and grows again, within the twelve steps.
    let scaling = LossScaling { initial: 1e7, interval: 3, ..LossScaling::default() };
    let given = FitOptions { optimizer: Optimizer::adam().with_loss_scaling(scaling), ..options() };
    let whole = train_on(&half, &given).unwrap();
    let scale = whole.loss_scale.unwrap();
    assert!(scale.skipped() > 0 && scale.applied() > 3, "{scale:?}");
    for steps in [1, 2, 3, 1] {
        train_on(&half, &FitOptions { stop_after: Some(steps), ..keeping(&path, given.clone()) }).unwrap();
    }
    let resumed = train_on(&half, &keeping(&path, given.clone())).unwrap();
    assert_eq!((facts(&resumed), resumed.loss_scale), (facts(&whole), whole.loss_scale));
    let e = train(&keeping(&path, given)).unwrap_err().to_string();
    assert!(e.contains("'storage = F16' and is 'storage = F32'"), "{e}");
    // Without numbers of the user's own the loss is scaled all the same.
    let given = FitOptions { epochs: 1, ..options() };
    assert!(train_on(&half, &given).unwrap().loss_scale.is_some() && train(&given).unwrap().loss_scale.is_none());
}

#[test]
fn another_run_or_a_damaged_file_is_refused_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    train(&FitOptions { stop_after: Some(2), ..keeping(&path, options()) }).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let refused = |o: FitOptions, needle: &str| {
        let e = train(&keeping(&path, o)).unwrap_err();
        assert!(e.to_string().contains(needle), "{e}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a refused file stays as it was");
        e
    };
    let e = refused(FitOptions { batch: 4, ..options() }, "the configuration was 'batch = 3' and is 'batch = 4'");
    assert_eq!(e.exit_code(), 2);
    refused(FitOptions { seed: 1, ..options() }, "seed = 1");
    refused(FitOptions { optimizer: Optimizer::sgd(0.9), ..options() }, "Sgd");
    refused(FitOptions { trainable: Trainable::Matching(vec!["head.*".into()]), ..options() }, "trainable = ");
    let (network, mut data) = (Network::tiny(), Data::new());
    data.pixels[3] += 0.25;
    let start = network.init(SIDE, 3, 5);
    let o = keeping(&path, options());
    let parts = |d: &Data| fit(gpu(), &network, &start, 3, (&d.samples(&d.train), &d.samples(&d.validation)), &o);
    let e = parts(&data).unwrap_err().to_string();
    assert!(e.contains("data digest") && !e.contains("configuration"), "{e}");
    for at in [9, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(train(&keeping(&path, options())), Err(Error::Format { .. })), "byte {at}");
    }
}

#[test]
fn validation_uses_the_running_statistics_that_training_recorded() {
    let (network, data) = (Network::tiny(), Data::new());
    let start = network.init(SIDE, 3, 5);
    let done = train(&options()).unwrap();
    let moved = |name: &str| done.params.get(name).unwrap().values != start.get(name).unwrap().values;
    assert!(["bn1.running_mean", "bn1.running_var", "bn2.running_mean", "bn2.running_var"].into_iter().all(moved));
    assert!(["bn1.weight", "bn2.bias", "conv1.weight", "head.fc1.weight"].into_iter().all(moved));
    // With the batch's statistics, or with dropout, an image's scores would depend on what stands beside it.
    let weights = Rc::new(done.params.upload(gpu()).unwrap());
    let samples = data.samples(&data.validation);
    let scores = |batch: usize| {
        let sizes = (&samples, 3, batch);
        let mut p = Predictor::new(gpu(), &network, &weights, sizes, Normalize::CENTERED).unwrap();
        p.logits(gpu(), &samples).unwrap()
    };
    let (one, four) = (scores(1), scores(4));
    for (a, b) in one.iter().flatten().zip(four.iter().flatten()) {
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} {b}");
    }
    // And they are what the fit saw when it chose these weights.
    let (accuracy, loss) = super::accuracy_and_loss(&one, &data.validation);
    let record = &done.history[done.best_epoch.unwrap() as usize - 1];
    assert_eq!(record.validation_accuracy, Some(accuracy));
    assert!((record.validation_loss.unwrap() - loss).abs() < 1e-5);
}

/// Where a killed child writes its checkpoint; set for the child only.
const CHILD: &str = "RADIOGRAD_TEST_CHECKPOINT";

/// The child of [`a_killed_training_goes_on_with_the_same_bits`]; as a test of its own it does nothing.
#[test]
fn child_that_trains_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    train(&keeping(&PathBuf::from(path), long())).unwrap();
}

fn long() -> FitOptions {
    FitOptions { epochs: 40, ..options() }
}

#[test]
fn a_killed_training_goes_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("killed.safetensors");
    let program = std::env::current_exe().unwrap();
    let place = |path: &Path| Checkpoint::read(path).map(|c| c.epoch * 3 + c.step).unwrap_or(0);
    let mut reached = 0;
    for kill in 1..=3 {
        let mut child = Command::new(&program)
            .args(["--exact", "train::resume_tests::child_that_trains_until_it_is_killed", "--quiet"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // SIGKILL at an arbitrary moment once it has come a few steps further.
        let start = Instant::now();
        while place(&path) < reached + 4 + kill {
            assert!(start.elapsed() < Duration::from_secs(120), "the child makes no progress");
            assert!(child.try_wait().unwrap().is_none(), "the child ended before it could be killed");
            std::thread::sleep(Duration::from_millis(3));
        }
        child.kill().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
        reached = place(&path);
    }
    assert!(reached < 120, "it was killed before its end");
    let resumed = train(&keeping(&path, long())).unwrap();
    let whole = train(&long()).unwrap();
    assert_eq!(facts(&resumed), facts(&whole));
}

#[test]
fn a_lost_device_ends_with_its_exit_code_and_names_the_checkpoint_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lost.safetensors");
    let other = Gpu::new().unwrap();
    let (network, data) = (Network::tiny(), Data::new());
    let start = network.init(SIDE, 3, 5);
    let kept = keeping(&path, long());
    let lost = std::thread::scope(|s| {
        s.spawn(|| {
            let start = Instant::now();
            while !path.exists() && start.elapsed() < Duration::from_secs(120) {
                std::thread::sleep(Duration::from_millis(1));
            }
            other.destroy();
        });
        fit(&other, &network, &start, 3, (&data.samples(&data.train), &data.samples(&data.validation)), &kept)
    });
    let e = lost.map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::DeviceLost(_)), "{e:?}");
    assert_eq!(e.exit_code(), 7);
    assert!(e.to_string().contains("lost.safetensors"), "{e}");
    // Nothing can be done with it any more, and nothing panics.
    let e = start.upload(&other).map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::DeviceLost(_)), "{e:?}");
    let whole = train(&long()).unwrap();
    assert_eq!(facts(&train(&keeping(&path, long())).unwrap()), facts(&whole));
}
