//! Pictures for the tests of the data audit, in the library and of the program.

/// A picture of its own for each seed: bumps at pseudo-random places.
pub fn picture(seed: u32, side: u32) -> image::GrayImage {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1u32 << 24)
    };
    let bumps: Vec<[f64; 4]> = (0..40).map(|_| [draw(), draw(), 0.03 + 0.1 * draw(), draw() - 0.5]).collect();
    image::GrayImage::from_fn(side, side, |x, y| {
        let (x, y) = ((f64::from(x) + 0.5) / f64::from(side), (f64::from(y) + 0.5) / f64::from(side));
        let sum: f64 =
            bumps.iter().map(|[a, b, s, h]| h * (-((x - a).powi(2) + (y - b).powi(2)) / (2.0 * s * s)).exp()).sum();
        image::Luma([(128.0 + 90.0 * sum).clamp(0.0, 255.0) as u8])
    })
}
