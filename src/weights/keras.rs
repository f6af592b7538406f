//! Flatten in Keras' order. Keras keeps activations as H W C and flattens them so; here, as in PyTorch, a dense layer's
//! weight counts its features in the order C H W (it is a filter as large as its input, and flattening costs nothing). The two
//! orders differ by a permutation of the weight's columns, which is applied once when weights are read or written.

use crate::error::{Error, Result};

/// How Keras' kernel index follows from ours: calls `f(index in (K, C·H·W), index in Keras' (H·W·C, K))`.
fn each([c, h, w]: [usize; 3], units: usize, mut f: impl FnMut(usize, usize)) {
    for k in 0..units {
        for (ch, px) in (0..c).flat_map(|ch| (0..h * w).map(move |px| (ch, px))) {
            f((k * c + ch) * h * w + px, (px * c + ch) * units + k);
        }
    }
}

fn check(len: usize, [c, h, w]: [usize; 3], units: usize) -> Result<()> {
    let want = [c, h, w, units].into_iter().try_fold(1usize, usize::checked_mul);
    if want == Some(len) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "a dense layer of {units} units on C {c}, H {h}, W {w} has {c}·{h}·{w}·{units} weights, given were {len}"
    )))
}

/// Keras' dense kernel (H·W·C, units), row-major as in its files, as the weight (units, C·H·W) of this crate and of
/// PyTorch; `input` is the flattened activation's [C, H, W]. With H = W = 1 it is a plain transposition.
///
/// # Errors
/// [`Error::Usage`] when the number of weights is another.
pub fn keras_dense_to_chw(kernel: &[f32], input: [usize; 3], units: usize) -> Result<Vec<f32>> {
    check(kernel.len(), input, units)?;
    let mut weight = vec![0.0; kernel.len()];
    each(input, units, |ours, keras| weight[ours] = kernel[keras]);
    Ok(weight)
}

/// The inverse of [`keras_dense_to_chw`].
///
/// # Errors
/// [`Error::Usage`] when the number of weights is another.
pub fn chw_dense_to_keras(weight: &[f32], input: [usize; 3], units: usize) -> Result<Vec<f32>> {
    check(weight.len(), input, units)?;
    let mut kernel = vec![0.0; weight.len()];
    each(input, units, |ours, keras| kernel[keras] = weight[ours]);
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dense_layer_gives_what_keras_gives() {
        let ([c, h, w], units) = ([3, 2, 5], 4);
        let number = |i: usize| ((i * 7919) % 101) as f32 / 64.0 - 0.75;
        // An activation in Keras' order, flattened there, times Keras' kernel.
        let x: Vec<f32> = (0..h * w * c).map(number).collect();
        let kernel: Vec<f32> = (0..h * w * c * units).map(|i| number(i + 13)).collect();
        let keras: Vec<f32> = (0..units).map(|k| (0..h * w * c).map(|i| x[i] * kernel[i * units + k]).sum()).collect();
        // The same activation in C H W times the permuted weight.
        let chw = |i: usize| x[(i % (h * w)) * c + i / (h * w)];
        let weight = keras_dense_to_chw(&kernel, [c, h, w], units).unwrap();
        let ours: Vec<f32> =
            (0..units).map(|k| (0..c * h * w).map(|i| chw(i) * weight[k * c * h * w + i]).sum()).collect();
        for (a, b) in keras.iter().zip(&ours) {
            assert!((a - b).abs() < 1e-4, "{keras:?} {ours:?}");
        }
        assert_eq!(chw_dense_to_keras(&weight, [c, h, w], units).unwrap(), kernel);
    }

    #[test]
    fn without_pixels_it_is_a_transposition() {
        let weight = keras_dense_to_chw(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 1, 1], 2).unwrap();
        assert_eq!(weight, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn another_size_is_refused() {
        for (len, input, units) in [(5, [3, 1, 1], 2), (0, [usize::MAX, 2, 1], 1)] {
            let said = keras_dense_to_chw(&vec![0.0; len], input, units).unwrap_err().to_string();
            assert!(said.contains("units on C"), "{said}");
            assert!(chw_dense_to_keras(&vec![0.0; len], input, units).is_err());
        }
    }
}
