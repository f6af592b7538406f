//! The same cases under other modes: unchecked shaders, every row of the tuning table, dispatches cut in pieces.

use crate::{Test, count, gpu, open, say};
use radiograd::GpuOptions;
use radiograd::gpu::Cutting;
use radiograd::gpu::tuning::{Core, TABLE};
use radiograd::ops::Window;
use radiograd::selftest::cases::{
    After, Case, Tail, avg_pool, batch_norm, bias, concat, conv, conv_norm, conv_relu_pool, dense, depthwise,
    global_avg_pool, max_pool, multiply, normalize, relu, residual, resize, slice, table, zero_pad,
};
use radiograd::selftest::{check, compute};

pub const TESTS: &[Test] = &[
    ("modes::unchecked_equals_checked", unchecked_equals_checked),
    ("modes::every_tuning_row", every_tuning_row),
    ("modes::cut_dispatches_give_the_same_bits", cut_dispatches_give_the_same_bits),
    ("modes::weights_larger_than_a_binding", weights_larger_than_a_binding),
    ("modes::batches_larger_than_a_binding", batches_larger_than_a_binding),
];

fn bits(outputs: &[Vec<f32>]) -> Vec<u32> {
    outputs.iter().flatten().map(|v| v.to_bits()).collect()
}

/// Release builds run without bounds checks: same bits, and nothing outside of the buffers is touched.
fn unchecked_equals_checked() {
    let fast = open(GpuOptions { checked: Some(false), guards: true, ..GpuOptions::default() });
    assert!(gpu().checked && !fast.checked);
    for case in table() {
        let (a, b) = (compute(gpu(), &case), compute(&fast, &case));
        let (a, b) = (a.unwrap_or_else(|e| panic!("{e}")), b.unwrap_or_else(|e| panic!("{e}")));
        let differ = a
            .outputs
            .iter()
            .zip(&b.outputs)
            .position(|(a, b)| bits(std::slice::from_ref(a)) != bits(std::slice::from_ref(b)));
        assert_eq!(differ, None, "{}: output {differ:?} differs between checked and unchecked shaders", case.name);
        assert_eq!((a.guards, b.guards), (None, None), "{}", case.name);
        assert_eq!((a.lanes, b.lanes), (None, None), "{}", case.name);
        count("cases bit-equal with checked and unchecked shaders", 1);
    }
}

/// A row that no machine at hand would choose must still compute the right numbers.
fn every_tuning_row() {
    for row in TABLE.iter().filter(|r| r.name != gpu().tuning.name) {
        let long = matches!(row.core, Core::Subgroup { load64: true, .. });
        let narrow = gpu().info.subgroup_min_size == 8 && gpu().info.subgroup_max_size == 8;
        if long && !gpu().features.contains(wgpu::Features::SHADER_INT64)
            || matches!(row.core, Core::Subgroup { .. })
                && !(narrow && gpu().features.contains(wgpu::Features::SUBGROUP))
        {
            say(&format!("tuning row {}: skipped, {} has not what it needs", row.name, gpu().info.name));
            continue;
        }
        let other = open(GpuOptions {
            checked: Some(true),
            guards: true,
            tuning: Some(row.name.into()),
            ..GpuOptions::default()
        });
        let gemm = |c: &Case| ["conv2d", "dense", "fused chains"].contains(&c.family) && !c.bench;
        let large =
            [conv([1, 64, 13, 13], 128, [3, 3], [1, 1], [0; 4], Tail::Bias), dense([2, 2048, 1, 1], 256, Tail::Bias)];
        let mut worst = 0.0f64;
        for case in table().into_iter().filter(gemm).chain(large) {
            for r in check(&other, &case).unwrap_or_else(|e| panic!("{}: {e}", row.name)) {
                assert!(r.ok, "{}: {} / {}: {}", row.name, r.name, r.direction, r.note);
                worst = worst.max(r.worst_error);
                count("operations x directions under other tuning rows", 1);
            }
        }
        say(&format!("tuning row {}: worst error {worst:.2e}", row.name));
    }
}

/// Watchdogs want short dispatches, WebGPU wants grids below 65,536: neither may change a bit.
fn cut_dispatches_give_the_same_bits() {
    let cases = || {
        [
            conv([2, 3, 7, 5], 7, [3, 3], [1, 1], [1; 4], Tail::Bias),
            conv([2, 8, 17, 33], 16, [3, 3], [1, 1], [1; 4], Tail::Plain),
            dense([3, 128, 4, 4], 3, Tail::Bias),
            max_pool([1, 17, 9, 7], radiograd::ops::Window::square(2)),
            bias([3, 33, 17, 13]),
            relu([7, 17, 33, 13]),
        ]
    };
    let settings = [
        // One group a dispatch; two-dimensional grids; both: pieces of a few groups, laid out two wide.
        Cutting { dispatch_ms: 0.0, submit_ms: 0.0, ..Cutting::default() },
        Cutting { groups: 2, ..Cutting::default() },
        Cutting { dispatch_ms: 1e-4, submit_ms: 1e-3, groups: 2, ..Cutting::default() },
    ];
    for cutting in settings {
        let cut = open(GpuOptions { checked: Some(true), guards: true, cutting, ..GpuOptions::default() });
        for case in cases() {
            let (a, b) = (compute(gpu(), &case), compute(&cut, &case));
            let (a, b) = (a.unwrap_or_else(|e| panic!("{e}")), b.unwrap_or_else(|e| panic!("{e}")));
            assert_eq!(bits(&a.outputs), bits(&b.outputs), "{}: {cutting:?} changes the result", case.name);
            assert_eq!(b.guards, None, "{}: {cutting:?}", case.name);
            let dispatches = |l: &str| l.split_whitespace().next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
            let (whole, pieces) = (dispatches(&a.listing), dispatches(&b.listing));
            assert!(
                whole > 0 && pieces >= whole && (cutting.dispatch_ms > 0.0 || pieces > whole),
                "{}: {pieces} of {whole}",
                case.name
            );
            count("cases bit-equal when cut", 1);
        }
    }
}

/// A dense weight larger than a binding is bound part by part: forward, both gradients, bias and ReLU behind the last part.
fn weights_larger_than_a_binding() {
    let cutting = Cutting { binding: 4096, ..Cutting::default() };
    for row in TABLE.iter().filter(|r| matches!(r.core, Core::Workgroup { .. }) || r.name == gpu().tuning.name) {
        let tuning = Some(row.name.to_string());
        let small = open(GpuOptions { checked: Some(true), guards: true, tuning, cutting, ..GpuOptions::default() });
        for case in [
            dense([3, 20, 2, 2], 33, Tail::Relu),
            dense([2, 300, 1, 1], 9, Tail::Bias),
            dense([2, 7, 3, 5], 17, Tail::Plain),
            conv([1, 260, 1, 2], 8, [1, 1], [1, 1], [0; 4], Tail::Bias),
        ] {
            let words: Vec<usize> = case.inputs.iter().map(|i| i.shape.words()).collect();
            assert!(words[1] > 1024 && words[0] <= 1024, "{}: {words:?}", case.name);
            for r in check(&small, &case).unwrap_or_else(|e| panic!("{}: {e}", case.name)) {
                assert!(r.ok, "{} / {}: {}", r.name, r.direction, r.note);
                count("operations x directions with weights larger than a binding", 1);
            }
        }
    }
}

/// A batch larger than a binding goes through window by window, two images at a time and then one: forward, gradients, and
/// gradients that are sums over the batch.
fn batches_larger_than_a_binding() {
    let cutting = Cutting { binding: 1 << 14, ..Cutting::default() };
    let small = open(GpuOptions { checked: Some(true), guards: true, cutting, ..GpuOptions::default() });
    let (x, window) = ([5, 4, 32, 16], Window { size: [2, 2], stride: [2, 2], padding: [0; 4] });
    for case in [
        conv(x, 4, [3, 3], [1, 1], [1; 4], Tail::Relu),
        conv(x, 4, [3, 3], [2, 2], [0, 1, 0, 1], Tail::Bias),
        conv(x, 8, [1, 1], [1, 1], [0; 4], Tail::Plain),
        conv_norm(x, 4, [3, 3], [1, 1], [1; 4], After::Skip),
        conv_relu_pool(x, 4, window, true),
        normalize(x, true, After::Relu),
        depthwise(x, 1, [3, 3], [1, 1], [1; 4], true),
        max_pool(x, Window { size: [3, 3], stride: [2, 2], padding: [1; 4] }),
        avg_pool(x, window, false),
        relu(x),
        bias(x),
        residual(x),
        multiply(x),
        concat([5, 32, 8], [4, 8, 3]),
        slice([5, 8, 32, 8], 4, 4),
        resize(x, [16, 16], false),
        zero_pad(x, [0, 0, 0, 16], false),
        global_avg_pool([5, 64, 8, 8]),
    ] {
        for r in check(&small, &case).unwrap_or_else(|e| panic!("{}: {e}", case.name)) {
            assert!(r.ok, "{} / {}: {}", r.name, r.direction, r.note);
            count("operations x directions with batches larger than a binding", 1);
        }
    }
    // One image must fit, and batch norm's statistics want the whole batch: refused, with the figures.
    for case in [relu([1, 4, 65, 17]), batch_norm(x, true, After::Nothing)] {
        let refused = check(&small, &case).expect_err("more than a binding of 16384 bytes");
        assert!(refused.to_string().contains("16384"), "{refused}");
    }
}
