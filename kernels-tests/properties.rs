//! Random shapes: sizes nobody thought of. A bounded number of cases each, the same in every run; `PROPTEST_CASES` draws more.

use crate::{Test, count, gpu};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use radiograd::ops::{Smoothing, Window};
use radiograd::selftest::cases::{self, After, Case, Tail};
use radiograd::selftest::check;

pub const TESTS: &[Test] = &[
    ("properties::convolutions", convolutions),
    ("properties::dense_layers", dense_layers),
    ("properties::pools", pools),
    ("properties::norms_and_depthwise", norms_and_depthwise),
    ("properties::elementwise", elementwise),
    ("properties::losses", losses),
    ("properties::resizing", resizing),
];

/// Draws `cases` times and checks each case as the table's are checked; proptest shrinks what fails.
fn draw<S: Strategy>(cases: u32, strategy: S, build: impl Fn(S::Value) -> Option<Case>)
where
    S::Value: Clone + std::fmt::Debug,
{
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&strategy, |value| {
        let Some(case) = build(value) else { return Err(TestCaseError::reject("no such shape")) };
        for r in check(gpu(), &case).map_err(|e| TestCaseError::fail(e.to_string()))? {
            prop_assert!(r.ok, "{} / {}: {}", r.name, r.direction, r.note);
        }
        Ok(())
    });
    match result {
        Ok(()) => count("property cases drawn", cases as usize),
        Err(TestError::Fail(reason, value)) => panic!("{reason}\nsmallest: {value:?}"),
        Err(e) => panic!("{e}"),
    }
}

/// Sizes that find mistakes: 1, the neighbours of multiples of 4 and 8, primes.
fn ugly() -> impl Strategy<Value = usize> + Clone {
    prop::sample::select(vec![1usize, 2, 3, 4, 5, 7, 8, 9, 11, 13, 17, 33])
}

fn convolutions() {
    let tail = prop::sample::select(vec![Tail::Plain, Tail::Bias]);
    let image = (1usize..4, ugly(), 1usize..18, 1usize..18);
    let filter = (ugly(), 1usize..6, 1usize..6);
    let geometry = ([1usize..4, 1usize..4], prop::array::uniform4(0usize..5));
    draw(60, (image, filter, geometry, tail), |((n, c, h, w), (k, r, s), (stride, pad), tail)| {
        let pad = [pad[0].min(r), pad[1].min(r), pad[2].min(s), pad[3].min(s)];
        let fits = h + pad[0] + pad[1] >= r && w + pad[2] + pad[3] >= s;
        // f64 by naive loops: the product of sizes stays small.
        (fits && n * c * k * r * s * h * w < 600_000).then(|| cases::conv([n, c, h, w], k, [r, s], stride, pad, tail))
    });
}

fn dense_layers() {
    let sizes = (prop::sample::select(vec![1usize, 2, 3, 7, 16, 17, 33]), ugly(), 1usize..5, 1usize..5, ugly());
    draw(30, sizes, |(n, c, h, w, k)| Some(cases::dense([n, c, h, w], k, Tail::Bias)));
}

fn pools() {
    let image = (1usize..3, prop::sample::select(vec![1usize, 3, 8, 17, 33]), 1usize..14, 1usize..14);
    let window = ([1usize..5, 1usize..5], [1usize..4, 1usize..4], prop::array::uniform4(0usize..4));
    // Window sizes are compiled in, so every draw is a kernel or two: few draws.
    draw(24, (image, window, 0u32..3), |((n, c, h, w), (size, stride, p), kind)| {
        let [r, s] = size;
        let padding = [p[0].min(r - 1), p[1].min(r - 1), p[2].min(s - 1), p[3].min(s - 1)];
        let fits = h + padding[0] + padding[1] >= r && w + padding[2] + padding[3] >= s;
        let window = Window { size, stride, padding };
        fits.then(|| match kind {
            0 => cases::max_pool([n, c, h, w], window),
            1 => cases::avg_pool([n, c, h, w], window, true),
            _ => cases::avg_pool([n, c, h, w], window, false),
        })
    });
}

fn norms_and_depthwise() {
    let channels = prop::sample::select(vec![1usize, 3, 8, 17, 33]);
    // Depthwise filters and strides are compiled in: few of them.
    let filter = prop::sample::select(vec![([3usize, 3usize], [1usize, 1usize]), ([3, 3], [2, 2]), ([2, 3], [1, 2])]);
    let sizes = (1usize..4, channels, 1usize..15, 1usize..15, prop::array::uniform4(0usize..3));
    draw(18, (sizes, filter, 0u32..7), |((n, c, h, w, padding), ([r, s], stride), kind)| {
        let x = [n, c, h, w];
        let fits = h + padding[0] + padding[1] >= r && w + padding[2] + padding[3] >= s;
        match kind {
            0 => Some(cases::batch_norm(x, true, After::Nothing)),
            1 => Some(cases::batch_norm(x, false, After::Nothing)),
            2 => Some(cases::normalize(x, true, After::Nothing)),
            3 => fits.then(|| cases::conv_norm(x, 5, [r, s], stride, padding, After::Nothing)),
            4 => fits.then(|| cases::depthwise(x, 2, [r, s], stride, padding, false)),
            _ => fits.then(|| cases::depthwise(x, 1, [r, s], stride, padding, false)),
        }
    });
}

fn elementwise() {
    draw(30, (1usize..4, ugly(), 1usize..20, 1usize..20, 0u32..5), |(n, c, h, w, kind)| {
        let x = [n, c, h, w];
        Some(match kind {
            0 => cases::relu(x),
            1 => cases::add(x),
            2 => cases::bias(x),
            3 => cases::dropout(x, 0.3),
            _ => cases::global_avg_pool(x),
        })
    });
}

fn losses() {
    let smoothing = prop::sample::select(vec![Smoothing::None, Smoothing::OverAll(0.1), Smoothing::Others(0.12)]);
    let rows = prop::sample::select(vec![1usize, 2, 3, 7, 17, 63, 64, 65, 131]);
    draw(
        30,
        (rows, 2usize..20, any::<bool>(), any::<bool>(), smoothing, any::<bool>()),
        |(n, c, padding, weights, smoothing, soft)| {
            Some(if soft {
                cases::softmax(n, c, 5.0)
            } else {
                cases::cross_entropy(n, c, 5.0, padding, weights, smoothing)
            })
        },
    );
}

fn resizing() {
    let sizes = (
        1usize..3,
        prop::sample::select(vec![1usize, 3, 5, 17]),
        1usize..13,
        1usize..13,
        1usize..20,
        1usize..20,
        any::<bool>(),
    );
    draw(20, sizes, |(n, c, h, w, p, q, align)| Some(cases::resize([n, c, h, w], [p, q], align)));
}
