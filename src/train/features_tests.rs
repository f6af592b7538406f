//! Features from the cache are the bits that would have been computed, and a head that trains on them comes out the same.

use super::{FeatureOptions, Features, FitOptions, Normalize, Samples, features, fit};
use crate::data::cache;
use crate::models::Network;
use crate::nn::{ParamStore, Trainable};
use crate::ops::AugmentOptions;
use crate::ops::testing::{gpu, numbers};
use std::path::{Path, PathBuf};

const SIDE: usize = 10;
const ITEMS: [(usize, usize); 5] = [(4, 0), (0, 1), (2, 2), (1, 0), (5, 1)];

fn pixels() -> Vec<f32> {
    numbers(3, 6 * SIDE * SIDE).iter().map(|v| 0.5 * v + 0.5).collect()
}

fn options(cache: Option<&Path>) -> FeatureOptions<'_> {
    FeatureOptions { batch: 2, normalize: Normalize::CENTERED, cache, talk: crate::Talk::Quiet, ..Default::default() }
}

/// Weights with running statistics that are not those of a fresh network.
fn weights(seed: u64) -> ParamStore {
    let mut store = Network::tiny().init(SIDE, 3, seed);
    for (i, p) in store.params.iter_mut().enumerate().filter(|(_, p)| p.name.contains("running")) {
        let drawn = numbers(i as u32 + 90, p.values.len());
        let var = p.name.ends_with("var");
        p.values.iter_mut().zip(drawn).for_each(|(v, d)| *v = if var { 1.0 + 0.5 * d } else { 0.2 * d });
    }
    store
}

fn compute(pixels: &[f32], store: &ParamStore, o: &FeatureOptions) -> Features {
    let samples = Samples { data: pixels, mirrored: None, shape: [1, SIDE, SIDE], items: &ITEMS };
    features(gpu(), &Network::tiny(), store, &samples, o).unwrap()
}

/// Rows as bits, with those of all views.
fn bits(f: &Features) -> Vec<u32> {
    let s = f.samples(&ITEMS);
    s.data.iter().chain(s.mirrored.unwrap_or_default()).map(|v| v.to_bits()).collect()
}

fn counts(f: &Features) -> (usize, usize, usize) {
    (f.computed, f.from_cache, f.repaired)
}

fn packs(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root.join("features")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> =
        folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())).collect();
    all.sort();
    all
}

#[test]
fn what_the_cache_gives_is_what_was_computed_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (pixels, store) = (pixels(), weights(1));
    let plain = compute(&pixels, &store, &options(None));
    let o = options(Some(dir.path()));
    let (cold, warm) = (compute(&pixels, &store, &o), compute(&pixels, &store, &o));
    assert_eq!([&plain, &cold, &warm].map(counts), [(5, 0, 0), (5, 0, 0), (0, 5, 0)]);
    assert!(bits(&plain) == bits(&cold) && bits(&cold) == bits(&warm));
    assert!(plain.samples(&ITEMS).data.iter().any(|v| *v != 0.0));
    // Everything that a row follows from makes another row.
    let mut other = pixels.clone();
    other[2 * SIDE * SIDE] += 0.125;
    assert_eq!(counts(&compute(&other, &store, &o)), (1, 4, 0));
    assert_eq!(counts(&compute(&pixels, &weights(2), &o)), (5, 0, 0));
    assert_eq!(counts(&compute(&pixels, &store, &FeatureOptions { normalize: Normalize::NONE, ..o })), (5, 0, 0));
    // The head is no part of the base.
    let mut head = store.clone();
    head.params.iter_mut().filter(|p| p.name.starts_with("head.")).for_each(|p| p.values.fill(0.5));
    assert_eq!(counts(&compute(&pixels, &head, &o)), (0, 5, 0));
    let usage = cache::describe(dir.path()).unwrap();
    assert_eq!((usage.files() as usize, usage.bytes() > 4 * 5 * 150), (packs(dir.path()).len(), true));
    assert_eq!(cache::clear(dir.path()).unwrap(), usage);
    assert_eq!(counts(&compute(&pixels, &store, &o)), (5, 0, 0));
}

#[test]
fn damaged_files_are_found_and_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (pixels, store) = (pixels(), weights(1));
    let o = options(Some(dir.path()));
    let good = bits(&compute(&pixels, &store, &o));
    let pack = packs(dir.path()).remove(0);
    let bytes = std::fs::read(&pack).unwrap();
    for at in [0, 9, 20, 60, 400, bytes.len() / 2, bytes.len() - 1] {
        for cut in [false, true] {
            let mut b = bytes.clone();
            if cut {
                b.truncate(at)
            } else {
                b[at] ^= 0x20
            }
            packs(dir.path()).iter().for_each(|p| std::fs::remove_file(p).unwrap());
            std::fs::write(&pack, b).unwrap();
            let again = compute(&pixels, &store, &o);
            assert!(again.computed > 0 && bits(&again) == good, "byte {at}");
            assert_eq!(counts(&compute(&pixels, &store, &o)), (0, 5, 0), "byte {at}");
        }
    }
}

#[test]
fn views_are_drawn_once_and_leave_the_images_own_features_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (pixels, store) = (pixels(), weights(1));
    let plain = options(Some(dir.path()));
    let augment = AugmentOptions { rotation_degrees: 15.0, mirror: true, brightness: 0.1, ..Default::default() };
    let with = |views: usize, seed: u64| FeatureOptions { views, augment, seed, ..plain };
    let own = compute(&pixels, &store, &plain);
    let two = compute(&pixels, &store, &with(2, 1));
    // The images' own rows were there.
    assert_eq!(counts(&two), (10, 5, 0));
    let fresh = compute(&pixels, &store, &FeatureOptions { cache: None, ..with(2, 1) });
    assert_eq!(bits(&fresh), bits(&two));
    assert_eq!(two.samples(&ITEMS).views(), 3);
    let n = bits(&own).len();
    assert_eq!(bits(&two)[..n], bits(&own));
    assert!(bits(&two)[n..2 * n] != bits(&own) && bits(&two)[n..2 * n] != bits(&two)[2 * n..]);
    assert_eq!(counts(&compute(&pixels, &store, &with(3, 1))), (5, 15, 0));
    assert_eq!(counts(&compute(&pixels, &store, &with(1, 2))), (5, 5, 0));
    // The mirrored view is the mirrored image's own row, and comes before those that are drawn.
    let flipped: Vec<f32> = pixels.chunks(SIDE).flat_map(|line| line.iter().rev().copied()).collect();
    let other = compute(&flipped, &store, &plain);
    let both = compute(&pixels, &store, &FeatureOptions { mirrored: true, ..plain });
    assert_eq!(both.samples(&ITEMS).mirrored.unwrap(), other.samples(&ITEMS).data);
    let all = compute(&pixels, &store, &FeatureOptions { mirrored: true, ..with(2, 1) });
    let drawn = &all.samples(&ITEMS).mirrored.unwrap()[other.samples(&ITEMS).data.len()..];
    assert_eq!(drawn, two.samples(&ITEMS).mirrored.unwrap());
    // Views of features would be views of nothing.
    let views = two.samples(&ITEMS);
    assert_eq!(features(gpu(), &Network::tiny(), &store, &views, &plain).unwrap_err().exit_code(), 2);
}

#[test]
fn writers_at_the_same_time_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (pixels, store) = (pixels(), weights(1));
    let o = options(Some(dir.path()));
    let all: Vec<Vec<u32>> = std::thread::scope(|s| {
        let run = |_| s.spawn(|| bits(&compute(&pixels, &store, &o)));
        let threads: Vec<_> = (0..3).map(run).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(all.iter().all(|b| *b == all[0]));
    assert_eq!(counts(&compute(&pixels, &store, &o)), (0, 5, 0));
}

#[test]
fn a_head_on_cached_features_is_the_head_on_a_frozen_base() {
    let dir = tempfile::tempdir().unwrap();
    let (pixels, start) = (pixels(), weights(1));
    let o = options(Some(dir.path()));
    compute(&pixels, &start, &o);
    let cached = compute(&pixels, &start, &o);
    assert_eq!(cached.from_cache, 5);
    let network = Network::tiny();
    let images = Samples { data: &pixels, mirrored: None, shape: [1, SIDE, SIDE], items: &ITEMS[..4] };
    let check = Samples { items: &ITEMS[4..], ..images };
    let given = |normalize| FitOptions {
        epochs: 6,
        batch: 3,
        trainable: Trainable::Matching(vec!["head.*".into()]),
        normalize,
        talk: crate::Talk::Quiet,
        ..Default::default()
    };
    let through = fit(gpu(), &network, &start, 3, (&images, &check), &given(Normalize::CENTERED)).unwrap();
    let rows = (cached.samples(&ITEMS[..4]), cached.samples(&ITEMS[4..]));
    let head = network.head_only();
    let on = fit(gpu(), &head, &start, 3, (&rows.0, &rows.1), &given(Normalize::NONE)).unwrap();
    assert_ne!(on.params.digest(), start.digest());
    assert_eq!(on.params.digest(), through.params.digest());
    assert!(on.history[5].train_loss < on.history[0].train_loss);
    // Nothing of the base moved, its running statistics least of all.
    for (a, b) in start.params.iter().zip(&through.params.params).filter(|(p, _)| !p.name.starts_with("head.")) {
        assert_eq!(a.values, b.values, "{}", a.name);
    }
}
