//! Losses, the epoch that is kept, early stopping, plateaus and observers, in whole trainings.

use super::events::Start;
use super::run_folder::{RunFolder, RunStatus};
use super::{
    CheckpointOptions, EarlyStopping, Ended, Fit, FitOptions, Keep, Loss, MicroBatch, Monitor, Normalize, Observer,
    Predictor, Samples, fit, probabilities,
};
use crate::eval::EpochRecord;
use crate::models::Network;
use crate::nn::{Optimizer, ParamStore, Schedule};
use crate::ops::Smoothing;
use crate::ops::testing::{gpu, numbers};
use crate::{Error, Result};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

const SIDE: usize = 10;
const IMAGES: usize = 16;

struct Data {
    pixels: Vec<f32>,
    items: Vec<(usize, usize)>,
}

impl Data {
    /// Noise; the labels follow nothing.
    fn new(classes: usize) -> Data {
        let pixels = numbers(11, IMAGES * SIDE * SIDE).iter().map(|v| 0.5 * v + 0.5).collect();
        Data { pixels, items: (0..IMAGES).map(|i| (i, i * i % 7 % classes)).collect() }
    }

    fn samples(&self, range: std::ops::Range<usize>) -> Samples<'_> {
        Samples { data: &self.pixels, mirrored: None, shape: [1, SIDE, SIDE], items: &self.items[range] }
    }

    /// Nine for training, the others for validation.
    fn fit(&self, start: &ParamStore, classes: usize, options: &FitOptions) -> Result<Fit> {
        let parts = (&self.samples(0..9), &self.samples(9..IMAGES));
        fit(gpu(), &Network::plain(), start, classes, parts, options)
    }
}

fn options() -> FitOptions {
    FitOptions {
        epochs: 6,
        batch: 4,
        optimizer: Optimizer::sgd(0.9),
        schedule: Schedule::Constant { lr: 0.05 },
        talk: crate::Talk::Quiet,
        ..Default::default()
    }
}

fn keeping(path: &Path, options: FitOptions) -> FitOptions {
    let checkpoint = Some(CheckpointOptions { every_steps: Some(1), ..CheckpointOptions::resuming(path) });
    FitOptions { checkpoint, ..options }
}

fn logits(params: &ParamStore, samples: &Samples, outputs: usize) -> Vec<Vec<f32>> {
    let weights = Rc::new(params.upload(gpu()).unwrap());
    let sizes = (samples, outputs, 4);
    let mut p = Predictor::new(gpu(), &Network::plain(), &weights, sizes, Normalize::CENTERED).unwrap();
    p.logits(gpu(), samples).unwrap()
}

#[test]
fn each_loss_is_the_one_that_its_name_says() {
    let eps = 0.12f32;
    let binary = |positive_weight| Loss::Binary { positive_weight };
    let smooth = |smoothing| Loss::CrossEntropy { smoothing };
    // Classes, loss, class weights, target of label and other classes, weight of an image by its class.
    type Row = (usize, Loss, Option<Vec<f32>>, (f64, f64), [f64; 3]);
    let e = f64::from(eps);
    let rows: [Row; 7] = [
        (3, Loss::default(), None, (1.0, 0.0), [1.0; 3]),
        (3, smooth(Smoothing::Others(eps)), None, (1.0 - e, e / 2.0), [1.0; 3]),
        (3, smooth(Smoothing::OverAll(eps)), None, (1.0 - e + e / 3.0, e / 3.0), [1.0; 3]),
        (3, smooth(Smoothing::Others(eps)), Some(vec![3.0, 1.0, 10.0]), (1.0 - e, e / 2.0), [3.0, 1.0, 10.0]),
        (2, binary(None), None, (1.0, 0.0), [1.0; 3]),
        (2, binary(Some(2.5)), None, (1.0, 0.0), [1.0, 2.5, 0.0]),
        (2, binary(Some(2.0)), Some(vec![0.5, 3.0]), (1.0, 0.0), [0.5, 6.0, 0.0]),
    ];
    for (classes, loss, class_weights, (on, off), weight) in rows {
        let data = Data::new(classes);
        let outputs = loss.outputs(classes);
        assert_eq!(outputs, if classes == 2 { 1 } else { 3 });
        let start = Network::plain().init(SIDE, outputs, 5);
        // All images in one step of plain gradient descent.
        let (lr, schedule) = (0.01, Schedule::Constant { lr: 0.01 });
        let optimizer = Optimizer::sgd(0.0);
        let given = FitOptions { epochs: 1, batch: 9, optimizer, schedule, loss, class_weights, ..options() };
        let done = data.fit(&start, classes, &given).unwrap();
        let train = data.samples(0..9);
        let (mut want, mut slope) = (0.0, vec![0.0; classes]);
        for (l, (_, t)) in logits(&start, &train, outputs).iter().zip(train.items) {
            for (k, p) in probabilities(l).into_iter().enumerate() {
                let q = if k == *t { on } else { off };
                want -= weight[*t] * q * p.ln() / 9.0;
                slope[k] += weight[*t] * (p - q) / 9.0;
            }
        }
        let got = done.history[0].train_loss.unwrap();
        assert!((got - want).abs() < 1e-5 * want, "{loss:?}: {got}, expected {want}");
        // The bias of a score moves against its gradient; the only one is that of class 1.
        let bias = |p: &ParamStore| p.params.last().unwrap().values.clone();
        assert_eq!(done.params.params.last().unwrap().name, "head.out.bias");
        let slope = if outputs == 1 { &slope[1..] } else { &slope[..] };
        for ((a, b), slope) in bias(&done.params).iter().zip(bias(&start)).zip(slope) {
            let (moved, want) = (f64::from(a - b), -lr * slope);
            assert!((moved - want).abs() < 1e-7 + 1e-4 * want.abs(), "{loss:?}: {moved}, expected {want}");
        }
        // Validation is the plain loss of these weights, whatever training made small.
        let validation = data.samples(9..IMAGES);
        let all = logits(&done.params, &validation, outputs);
        let plain = |(l, (_, t)): (&Vec<f32>, &(usize, usize))| -probabilities(l)[*t].ln();
        let mean = all.iter().zip(validation.items).map(plain).sum::<f64>() / validation.items.len() as f64;
        assert!((done.validation_loss.unwrap() - mean).abs() < 1e-5);
    }
}

#[test]
fn one_output_learns_to_tell_two_classes() {
    let mut data = Data::new(2);
    // Bright and dark: what one output must be able to tell.
    for (image, class) in &data.items {
        data.pixels[image * SIDE * SIDE..][..SIDE * SIDE].iter_mut().for_each(|v| *v = 0.7 * *v + 0.3 * *class as f32);
    }
    let start = Network::plain().init(SIDE, 1, 5);
    let loss = Loss::Binary { positive_weight: None };
    let given = FitOptions { epochs: 12, loss, keep: Keep::BestLoss, ..options() };
    let done = data.fit(&start, 2, &given).unwrap();
    assert_eq!(done.validation_accuracy, Some(1.0), "{:?}", done.history);
    assert_eq!(done.history.last().unwrap().train_accuracy, Some(1.0));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    data.fit(&start, 2, &FitOptions { stop_after: Some(7), ..keeping(&path, given.clone()) }).unwrap();
    assert_eq!(data.fit(&start, 2, &keeping(&path, given.clone())).unwrap().params.digest(), done.params.digest());
    // Another loss, or another rule for what is kept, is another run.
    for other in [
        FitOptions { loss: Loss::Binary { positive_weight: Some(2.0) }, ..given.clone() },
        FitOptions { keep: Keep::Last, ..given.clone() },
    ] {
        assert_eq!(data.fit(&start, 2, &keeping(&path, other)).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let data = Data::new(3);
    let start = Network::plain().init(SIDE, 3, 5);
    let plateau = Schedule::parse("plateau", 0.01, 10).unwrap();
    let smoothing = |e| Loss::CrossEntropy { smoothing: Smoothing::OverAll(e) };
    for (bad, part) in [
        (FitOptions { loss: Loss::Binary { positive_weight: None }, ..options() }, "two classes, there are 3"),
        (FitOptions { loss: smoothing(1.0), ..options() }, "smoothing by 1"),
        (FitOptions { loss: smoothing(f32::NAN), ..options() }, "smoothing by NaN"),
        (FitOptions { class_weights: Some(vec![1.0, 2.0]), ..options() }, "for 3 classes"),
        (FitOptions { schedule: Schedule::Constant { lr: f64::NAN }, ..options() }, "learning rates are finite"),
        (
            FitOptions {
                early_stopping: Some(EarlyStopping { min_delta: -1.0, ..EarlyStopping::patience(1) }),
                ..options()
            },
            "min_delta -1",
        ),
    ] {
        let e = data.fit(&start, 3, &bad).map(|_| ()).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains(part), "{e}");
    }
    // Without validation images nothing can be watched.
    let parts = (&data.samples(0..9), &data.samples(0..0));
    for bad in [
        FitOptions { early_stopping: Some(EarlyStopping::patience(1)), ..options() },
        FitOptions { schedule: plateau, ..options() },
    ] {
        let e = fit(gpu(), &Network::plain(), &start, 3, parts, &bad).map(|_| ()).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains("validation images, and there are none"), "{e}");
    }
}

/// What must be the same in a run that went on.
fn facts(fit: &Fit) -> (String, Option<u32>, Option<u64>, Ended, Vec<[u64; 3]>) {
    let bits = |v: Option<f64>| v.unwrap().to_bits();
    let record = |r: &EpochRecord| [bits(r.train_loss), bits(r.validation_loss), r.learning_rate.to_bits()];
    let loss = fit.validation_loss.map(f64::to_bits);
    (fit.params.digest(), fit.best_epoch, loss, fit.ended, fit.history.iter().map(record).collect())
}

#[test]
fn early_stopping_and_plateau_decide_the_same_after_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let data = Data::new(3);
    let start = Network::plain().init(SIDE, 3, 5);
    let plateau = Schedule::Plateau { lr: 0.05, factor: 0.5, patience: 1, min_delta: 0.0, min_lr: 1e-4 };
    let schedule = Schedule::Warmup { epochs: 2, then: Box::new(plateau) };
    let early_stopping = Some(EarlyStopping { on: Monitor::ValidationLoss, patience: 4, min_delta: 0.0 });
    let given = FitOptions { epochs: 30, schedule, early_stopping, keep: Keep::BestLoss, ..options() };
    let whole = data.fit(&start, 3, &given).unwrap();
    // Labels that follow nothing cannot be learnt: the loss of other images rises soon.
    assert_eq!(whole.ended, Ended::EarlyStopping);
    let (epochs, best) = (whole.history.len(), whole.best_epoch.unwrap() as usize);
    assert!(epochs < 30 && best + 4 == epochs, "{best} of {epochs}");
    let loss = |e: usize| whole.history[e - 1].validation_loss.unwrap();
    assert!((1..=epochs).all(|e| loss(e) >= loss(best)) && whole.validation_loss == Some(loss(best)));
    let rates: Vec<f64> = whole.history.iter().map(|r| r.learning_rate).collect();
    assert!((rates[0] - 0.05 / 6.0).abs() < 1e-12 && rates.contains(&0.025), "{rates:?}");
    // The weights are those of the best epoch, not the last ones.
    let check = data.samples(9..IMAGES);
    let (_, again) = super::accuracy_and_loss(&logits(&whole.params, &check, 3), check.items);
    assert!((again - loss(best)).abs() < 1e-5);
    for (i, slices) in [vec![2, 1], vec![7, 5], vec![3 * best as u64, 4], vec![3 * epochs as u64]].iter().enumerate() {
        let path = dir.path().join(format!("{i}.safetensors"));
        for steps in slices {
            let part = FitOptions { stop_after: Some(*steps), ..keeping(&path, given.clone()) };
            data.fit(&start, 3, &part).unwrap();
        }
        let resumed = data.fit(&start, 3, &keeping(&path, given.clone())).unwrap();
        assert_eq!(facts(&resumed), facts(&whole), "{slices:?}");
        // Once more: it has ended, and stays so.
        assert_eq!(facts(&data.fit(&start, 3, &keeping(&path, given.clone())).unwrap()), facts(&whole));
    }
    // With more patience the same run goes on from where it ended.
    let path = dir.path().join("3.safetensors");
    let more = FitOptions { early_stopping: Some(EarlyStopping::patience(6)), ..given.clone() };
    let prolonged = data.fit(&start, 3, &keeping(&path, more.clone())).unwrap();
    assert_eq!(facts(&prolonged), facts(&data.fit(&start, 3, &more).unwrap()));
    assert!(prolonged.history.len() > epochs);
    // The last epoch's weights are others; interrupted runs return the best so far.
    let last = data.fit(&start, 3, &FitOptions { keep: Keep::Last, ..given.clone() }).unwrap();
    assert_eq!(last.best_epoch, Some(epochs as u32));
    assert_ne!(last.params.digest(), whole.params.digest());
    let stopped = FitOptions { stop_after: Some(3 * (best as u64 + 2) + 1), ..given };
    let stopped = data.fit(&start, 3, &stopped).unwrap();
    assert_eq!((stopped.ended, stopped.best_epoch), (Ended::Interrupted, whole.best_epoch));
    assert_eq!(stopped.params.digest(), whole.params.digest());
}

/// Writes everything down; has a fault when it is told.
#[derive(Debug, Default)]
struct Diary {
    lines: RefCell<Vec<String>>,
    losses: RefCell<Vec<f64>>,
    full_after: Option<u32>,
}

impl Observer for Diary {
    fn begin(&self, label: &str, s: Start) {
        let n = s.history.len();
        self.lines.borrow_mut().push(format!("{label}: begin {n} {:?} {}/{}", s.best_epoch, s.step, s.steps));
    }

    fn step(&self, _: &str, epoch: usize, step: usize, loss: f64) {
        self.lines.borrow_mut().push(format!("step {epoch}.{step}"));
        self.losses.borrow_mut().push(loss);
    }

    fn epoch(&self, _: &str, record: &EpochRecord, best: bool) {
        self.lines.borrow_mut().push(format!("epoch {} {best}", record.epoch));
    }

    fn note(&self, text: &str) {
        self.lines.borrow_mut().push(text.into());
    }

    fn fault(&self) -> Option<Error> {
        let last = self.lines.borrow().last().cloned().unwrap_or_default();
        let full = self.full_after.is_some_and(|n| last.starts_with(&format!("epoch {n} ")));
        full.then(|| Error::Io {
            path: "diary".into(),
            action: "cannot write",
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }
}

#[test]
fn observers_hear_everything_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let data = Data::new(3);
    let start = Network::plain().init(SIDE, 3, 5);
    let run = |given: &FitOptions| {
        let diary = Rc::new(Diary::default());
        let told = FitOptions { observer: Some(diary.clone()), label: "a".into(), keep: Keep::Last, ..given.clone() };
        let done = data.fit(&start, 3, &told).unwrap();
        (diary, done)
    };
    let two = FitOptions { epochs: 2, ..options() };
    let (diary, done) = run(&two);
    let steps = |e: usize| (0..3).map(move |s| format!("step {e}.{s}"));
    let mut want: Vec<String> = vec!["a: begin 0 None 0/3".into()];
    want.extend(steps(0).chain(["epoch 1 true".into()]).chain(steps(1)).chain(["epoch 2 true".into()]));
    assert_eq!(*diary.lines.borrow(), want);
    // Nine images in batches of four: the mean over them is the epoch's loss.
    let losses = diary.losses.borrow().clone();
    let mean = (4.0 * losses[3] + 4.0 * losses[4] + losses[5]) / 9.0;
    assert!((mean - done.history[1].train_loss.unwrap()).abs() < 1e-12);
    // Micro batches are parts of a step, not steps: the last one has no part of its last batch.
    let (micro, _) = run(&FitOptions { micro_batch: MicroBatch::Of(2), ..two.clone() });
    assert_eq!(*micro.lines.borrow(), want);
    assert!(micro.losses.borrow().iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-5));
    // Nobody who listens changes a bit.
    let silent = FitOptions { keep: Keep::Last, ..two.clone() };
    assert_eq!(data.fit(&start, 3, &silent).unwrap().params.digest(), done.params.digest());
    // A run that is stopped in its second epoch, and goes on.
    let kept = keeping(&path, two.clone());
    let (first, _) = run(&FitOptions { stop_after: Some(4), ..kept.clone() });
    assert_eq!(first.lines.borrow().last().unwrap(), "a: stopped at epoch 2, step 2");
    let (second, _) = run(&kept);
    let lines = ["a: goes on at epoch 2, step 2", "a: begin 1 Some(1) 1/3", "step 1.1", "step 1.2", "epoch 2 true"];
    assert_eq!(*second.lines.borrow(), lines);
}

#[test]
fn an_observer_that_cannot_write_ends_the_run_after_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let data = Data::new(3);
    let start = Network::plain().init(SIDE, 3, 5);
    let checkpoint = Some(CheckpointOptions { every_steps: None, every: None, ..CheckpointOptions::resuming(&path) });
    let given = FitOptions { epochs: 4, checkpoint, ..options() };
    let diary = Rc::new(Diary { full_after: Some(2), ..Default::default() });
    let e = data.fit(&start, 3, &FitOptions { observer: Some(diary), ..given.clone() }).map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::Io { .. }) && e.to_string().contains("diary: cannot write"), "{e}");
    let whole = data.fit(&start, 3, &FitOptions { checkpoint: None, ..given.clone() }).unwrap();
    let resumed = data.fit(&start, 3, &given).unwrap();
    assert_eq!(facts(&resumed), facts(&whole));
    assert_eq!(crate::weights::Checkpoint::read(&path).unwrap().epoch, 4);
}

#[test]
fn a_run_folder_has_what_the_fit_returned_also_after_a_kill() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, path) = (tmp.path().join("run"), tmp.path().join("c.safetensors"));
    let data = Data::new(3);
    let start = Network::plain().init(SIDE, 3, 5);
    let run = |folder: RunFolder, epochs, stop_after| {
        let folder = Rc::new(folder);
        let given =
            FitOptions { observer: Some(folder.clone()), epochs, stop_after, label: "a, b".into(), ..options() };
        (data.fit(&start, 3, &keeping(&path, given)).unwrap(), folder)
    };
    // Six epochs, of which nothing but a checkpoint in the second is left: what the folder knows of the others is void.
    run(RunFolder::create(&dir, serde_json::json!({ "seed": 1 })).unwrap(), 6, Some(4));
    let early = std::fs::read(&path).unwrap();
    run(RunFolder::open(&dir).unwrap(), 6, None);
    std::fs::write(&path, early).unwrap();
    let (done, folder) = run(RunFolder::open(&dir).unwrap(), 4, None);
    folder.finish(RunStatus::Complete, None).unwrap();
    let text = std::fs::read_to_string(dir.join("history.csv")).unwrap();
    let rows: Vec<String> = text.lines().skip(1).map(String::from).collect();
    let want = |r: &EpochRecord| {
        let [a, b, c, d] = [r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy]
            .map(|v| format!("{:?}", v.unwrap()));
        let kept = u8::from(Some(r.epoch) == done.best_epoch);
        format!("\"a, b\",{},{a},{b},{c},{d},{:?},{:?},{kept}", r.epoch, r.learning_rate, r.seconds)
    };
    assert_eq!(rows, done.history.iter().map(want).collect::<Vec<_>>());
    assert_eq!(rows.len(), 4);
}
