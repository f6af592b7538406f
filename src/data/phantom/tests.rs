use super::*;
use std::collections::{BTreeMap, HashSet};

#[test]
fn same_seed_same_bytes_whatever_the_number_of_threads() {
    let all = generate(7, 8, 48);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
    assert_eq!(all, pool.install(|| generate(7, 8, 48)));
    let fewer = generate(7, 4, 48);
    assert_eq!(all[..fewer.len()], fewer[..], "a patient depends on how many there are");
    assert_ne!(all[0].pixels, generate(8, 1, 48)[0].pixels, "the seed changes nothing");
}

#[test]
fn values_and_masks_are_in_range() {
    for phantom in generate(3, 48, 64) {
        let n = phantom.side * phantom.side;
        assert_eq!((phantom.pixels.len(), phantom.lesion.len(), phantom.lungs.len()), (n, n, n));
        assert!(phantom.pixels.iter().all(|v| (0.0..=1.0).contains(v)));
        let (low, high) = phantom.pixels.iter().fold((1.0_f32, 0.0_f32), |(l, h), &v| (l.min(v), h.max(v)));
        assert!(high - low > 0.4, "a flat image: {low} to {high}");
        let lungs = phantom.lungs.iter().filter(|&&m| m).count() as f32 / n as f32;
        assert!((0.10..0.55).contains(&lungs), "lung fields cover {lungs} of the image");
        let lesion = phantom.lesion.iter().filter(|&&m| m).count();
        assert_eq!(lesion == 0, phantom.class == 0, "class {} with a lesion of {lesion} pixels", phantom.class);
        assert!(lesion < n / 3, "a lesion of {lesion} of {n} pixels");
    }
}

#[test]
fn opacities_lie_in_the_lungs() {
    for phantom in generate(5, 32, 64).iter().filter(|p| p.class == 1 || p.class == 3) {
        let inside = phantom.lesion.iter().zip(&phantom.lungs).filter(|&(&lesion, &lung)| lesion && lung).count();
        let all = phantom.lesion.iter().filter(|&&m| m).count();
        assert!(inside as f32 >= 0.95 * all as f32, "{inside} of {all} lesion pixels lie in the lungs");
    }
}

#[test]
fn covid_is_bilateral_and_pneumonia_is_not() {
    let (mut both, mut one) = ([0; 2], [0; 2]);
    for phantom in generate(11, 64, 64).iter().filter(|p| p.class == 1 || p.class == 3) {
        let half = |right: bool| {
            let mask = phantom.lesion.iter().enumerate();
            mask.filter(|&(i, &m)| m && (i % phantom.side >= phantom.side / 2) == right).count()
        };
        let (a, b) = (half(false), half(true));
        let count = if phantom.class == 3 { &mut both } else { &mut one };
        count[usize::from(a.min(b) * 10 > a.max(b))] += 1;
    }
    assert!(both[1] > 4 * both[0], "COVID-like, one-sided and two-sided: {both:?}");
    assert!(one[0] > 9 * one[1], "pneumonia, one-sided and two-sided: {one:?}");
}

#[test]
fn classes_are_balanced_and_belong_to_the_patient() {
    let mut class = BTreeMap::new();
    let phantoms = generate(1, 40, 32);
    for phantom in &phantoms {
        assert_eq!(*class.entry(phantom.patient).or_insert(phantom.class), phantom.class);
    }
    for c in 0..4 {
        assert_eq!(class.values().filter(|&&v| v == c).count(), 10);
    }
    assert!(phantoms.len() > 50 && phantoms.len() <= 160, "{} images of 40 patients", phantoms.len());
}

#[test]
fn pre_training_patients_are_other_patients() {
    let four = generate(1, 12, 32);
    let two = generate_binary(1, 12, 32);
    let known: HashSet<u64> = four.iter().map(|p| p.patient).collect();
    assert!(two.iter().all(|p| !known.contains(&p.patient) && p.class < 2));
    let patients = |class| two.iter().filter(|p| p.class == class).map(|p| p.patient).collect::<HashSet<_>>().len();
    assert_eq!((patients(0), patients(1)), (6, 6));
    assert!(two.iter().all(|p| (p.class == 0) == p.lesion.iter().all(|&m| !m)));
    assert!(four.iter().all(|a| two.iter().all(|b| a.pixels != b.pixels)));
}

#[test]
fn images_of_a_patient_differ() {
    let phantoms = generate(2, 16, 32);
    let pair = phantoms.windows(2).find(|w| w[0].patient == w[1].patient).expect("a patient with two images");
    assert_ne!(pair[0].pixels, pair[1].pixels);
}

#[test]
#[should_panic(expected = "phantom side 8")]
fn a_side_too_small_is_refused() {
    generate(1, 1, 8);
}
