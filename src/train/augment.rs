//! Augmented images themselves: to look at, and to train on as further images ("augment once", Balvinsson et al.).

use super::batches::Samples;
use super::interrupt;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape};
use crate::ops::{Augment, AugmentOptions, WARP};
use crate::plan::{Feed, Plan, PlanSpec, Weights};
use std::rc::Rc;

/// Bytes of images that go to the device at once, at most, if that is an image or more.
const AT_ONCE: usize = 16 << 20;

/// The epoch for which [`augment_once`] draws: no epoch of a training.
const ONCE: u32 = u32::MAX;

/// A view of each of `images` (numbers in `samples.data`, which holds pixels in [0, 1]), by the operation and the numbers that a
/// training with this seed would show them by in `epoch`: `[images.len(), C, H, W]`. Values are not cut to [0, 1].
///
/// # Errors
/// [`Error::Usage`] for options that [`AugmentOptions::check`] refuses and images that are not there; [`Error::Memory`];
/// [`Error::Interrupted`] at Ctrl-C; device errors.
pub fn augmented(
    gpu: &Gpu,
    samples: &Samples,
    images: &[usize],
    options: &AugmentOptions,
    seed: u64,
    epoch: u32,
) -> Result<Vec<f32>> {
    options.check()?;
    let (one, [_, h, w]) = (samples.size(), samples.shape);
    let there = samples.data.len() / one.max(1);
    if let Some(i) = images.iter().find(|i| **i >= there) {
        return Err(Error::Usage(format!("augmentation: image {i} is asked for, there are {there} (from 0)")));
    }
    let mut all = Vec::with_capacity(images.len() * one);
    if images.is_empty() {
        return Ok(all);
    }
    let scaled = options.scaled(0.0, 1.0);
    let n = (AT_ONCE / (one * 4)).clamp(1, images.len());
    let graph = Graph::new();
    let x = graph.input("images", samples.batch_shape(n));
    let warp = graph.input("augmentation", Shape::flat(n * WARP));
    let spec = PlanSpec { outputs: vec![x.augment(warp, scaled.op())], ..Default::default() };
    let weights = Rc::new(Weights::upload(gpu, std::iter::empty::<(&str, Shape, bool, &[f32])>())?);
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec)?;
    for part in images.chunks(n) {
        if interrupt::requested() {
            return Err(Error::Interrupted("interrupted while images were augmented".into()));
        }
        let mut pixels: Vec<f32> = part.iter().flat_map(|i| &samples.data[i * one..][..one]).copied().collect();
        let ids: Vec<u32> = part.iter().map(|i| *i as u32).collect();
        let mut numbers = scaled.draw(seed, epoch, &ids, [h, w]);
        // The last batch is filled up with black images.
        pixels.resize(n * one, 0.0);
        numbers.extend(Augment::IDENTITY.repeat(n - part.len()));
        let got = plan.run(gpu, &[(x, Feed::F32(&pixels)), (warp, Feed::F32(&numbers))])?;
        all.extend_from_slice(&got[0][..part.len() * one]);
    }
    Ok(all)
}

/// The images of chosen classes, augmented once each, as they are added to a training set before it begins: of the items of
/// `samples` whose class is among `classes`, in their order, `[chosen, C, H, W]`. A copy belongs to the patient (and the split, and
/// the fold) of its original; validation and test sets never get any. Balvinsson et al. doubled their COVID-19 images so
/// ([`AugmentOptions::BALVINSSON`]). The same seed gives the same copies; values are not cut to [0, 1].
///
/// # Errors
/// [`Error::Data`] when no item is of these classes; otherwise as [`augmented`].
pub fn augment_once(
    gpu: &Gpu,
    samples: &Samples,
    classes: &[usize],
    options: &AugmentOptions,
    seed: u64,
) -> Result<Vec<f32>> {
    let chosen: Vec<usize> = samples.items.iter().filter(|(_, class)| classes.contains(class)).map(|i| i.0).collect();
    if chosen.is_empty() {
        return Err(Error::Data(format!(
            "augmentation: none of {} images is of class {classes:?}",
            samples.items.len()
        )));
    }
    augmented(gpu, samples, &chosen, options, seed, ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::ops::testing::{gpu, numbers};

    const SHAPE: [usize; 3] = [1, 9, 13];

    fn all() -> AugmentOptions {
        AugmentOptions::parse("gao-wang,crop=0.2,noise=0.05,salt-pepper=0.1,fill=0.5").unwrap()
    }

    #[test]
    fn chosen_classes_are_augmented_once_each_in_the_order_of_the_items() {
        let data: Vec<f32> = numbers(5, 6 * 9 * 13).iter().map(|v| 0.5 + 0.5 * v).collect();
        let items = [(4, 0), (0, 2), (2, 1), (1, 0), (5, 2)];
        let samples = Samples { data: &data, mirrored: None, shape: SHAPE, items: &items };
        let got = augment_once(gpu(), &samples, &[0, 1], &all(), 7).unwrap();
        // What each would be by itself, by the reference.
        let (one, scaled) = (9 * 13, all().scaled(0.0, 1.0));
        for (image, view) in [4, 2, 1].into_iter().zip(got.chunks(one)) {
            let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            let warp = wide(&scaled.draw(7, ONCE, &[image as u32], [9, 13]));
            let shapes = [Shape::image(1, 1, 9, 13), Shape::flat(WARP)];
            let want =
                scaled.op().reference(&[&wide(&data[image * one..][..one]), &warp], &shapes, &shapes[..1]).remove(0);
            let off = view.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-4, "image {image}: {off}");
            assert!(view.iter().zip(&data[image * one..]).filter(|(a, b)| (**a - **b).abs() > 0.01).count() > one / 2);
        }
        assert_eq!(got.len(), 3 * one);
        assert_eq!(got, augment_once(gpu(), &samples, &[1, 0], &all(), 7).unwrap());
        assert_ne!(got, augment_once(gpu(), &samples, &[0, 1], &all(), 8).unwrap());
        // Alone or with others: the same.
        let alone = augmented(gpu(), &samples, &[2], &all(), 7, ONCE).unwrap();
        assert_eq!(alone, got[one..2 * one]);
    }

    #[test]
    fn what_cannot_be_augmented_is_refused() {
        let samples = Samples { data: &[0.5; 4], mirrored: None, shape: [1, 2, 2], items: &[(0, 1)] };
        let none = AugmentOptions::NONE;
        assert_eq!(augment_once(gpu(), &samples, &[1], &none, 0).unwrap(), [0.5; 4]);
        assert_eq!(augment_once(gpu(), &samples, &[0], &none, 0).unwrap_err().exit_code(), 5);
        assert_eq!(augmented(gpu(), &samples, &[1], &none, 0, 0).unwrap_err().exit_code(), 2);
        let scale = AugmentOptions { scale: 1.0, ..none };
        assert_eq!(augmented(gpu(), &samples, &[0], &scale, 0, 0).unwrap_err().exit_code(), 2);
        assert_eq!(augmented(gpu(), &samples, &[], &none, 0, 0).unwrap(), [0.0f32; 0]);
    }
}
