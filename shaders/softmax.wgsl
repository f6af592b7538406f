// Softmax over the C channels of a dense activation [N, C] (C small: classes), and the loss on top of it. One thread a row;
// rows are a few numbers long, so all of it is limited by launch overhead.
//   softmax              y = exp(x - max) / sum(exp(x - max))
//   softmax_grad         dx = y * (dy - sum(dy * y))
//   log_softmax          y = x - max - log(sum(exp(x - max)))
//   log_softmax_grad     dx = dy - exp(y) * sum(dy)
//   cross_entropy        per[n] = w[t] * sum_k q[k] * (logsumexp(x) - x[k]), q = the smoothed one-hot of label t;
//                        loss = sum(per) / count, count = labels that are < C (others mark padding of a batch), or with
//                        NORMALIZE the sum of their weights
//   cross_entropy_grad   dx[n, k] = dloss * w[t] * (softmax(x)[k] - q[k]) / count
// Smoothing e: "over_k": q = (1 - e) onehot + e / C; "others": q = 1 - e on the label, e / (C - 1) elsewhere.
// Source: Szegedy et al., arXiv:1512.00567 section 7 (over_k); Zhong, eq. 2 (others).
#import grid
#param WEIGHTS = 0
#param NORMALIZE = 0
#if softmax || softmax_grad || log_softmax || log_softmax_grad
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, rows: u32, classes: u32, pitch: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#end
#if softmax || log_softmax
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#end
#if softmax_grad || log_softmax_grad
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
#end
#if softmax || log_softmax || cross_entropy || cross_entropy_grad
// The largest of the row of x that starts at `at`.
fn row_max(at: u32) -> f32 {
    var top = x[at];
    for (var k = 1u; k < p.classes; k++) { top = max(top, x[at + k]); }
    return top;
}
// sum(exp(x - top)) over that row.
fn row_sum(at: u32, top: f32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < p.classes; k++) { sum += exp(x[at + k] - top); }
    return sum;
}
#end
#if softmax
@compute @workgroup_size(64)
fn softmax(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let n = grid_group(wg) * 64u + l.x;
    if (n >= p.rows) { return; }
    let at = n * p.pitch;
    let top = row_max(at);
    let sum = row_sum(at, top);
    for (var k = 0u; k < p.pitch; k++) {
        if (k < p.classes) { y[at + k] = exp(x[at + k] - top) / sum; } else { y[at + k] = 0.0; }
    }
}
#end
#if log_softmax
@compute @workgroup_size(64)
fn log_softmax(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let n = grid_group(wg) * 64u + l.x;
    if (n >= p.rows) { return; }
    let at = n * p.pitch;
    let top = row_max(at);
    let sum = row_sum(at, top);
    let log_sum = log(sum);
    for (var k = 0u; k < p.pitch; k++) {
        // The difference to the maximum stays exact where logits are large.
        if (k < p.classes) { y[at + k] = (x[at + k] - top) - log_sum; } else { y[at + k] = 0.0; }
    }
}
#end
#if log_softmax_grad
@compute @workgroup_size(64)
fn log_softmax_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let n = grid_group(wg) * 64u + l.x;
    if (n >= p.rows) { return; }
    let at = n * p.pitch;
    var sum = 0.0;
    for (var k = 0u; k < p.classes; k++) { sum += dy[at + k]; }
    for (var k = 0u; k < p.pitch; k++) {
        if (k < p.classes) { dx[at + k] = dy[at + k] - exp(y[at + k]) * sum; } else { dx[at + k] = 0.0; }
    }
}
#end
#if softmax_grad
@compute @workgroup_size(64)
fn softmax_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let n = grid_group(wg) * 64u + l.x;
    if (n >= p.rows) { return; }
    let at = n * p.pitch;
    var dot = 0.0;
    for (var k = 0u; k < p.classes; k++) { dot += dy[at + k] * y[at + k]; }
    for (var k = 0u; k < p.pitch; k++) {
        if (k < p.classes) { dx[at + k] = y[at + k] * (dy[at + k] - dot); } else { dx[at + k] = 0.0; }
    }
}
#end
#if cross_entropy || cross_entropy_grad
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, classes: u32, pitch: u32, on: f32, off: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
#if WEIGHTS
@group(0) @binding(3) var<storage, read> weights: array<f32>;
#end
// What a row counts in the mean.
fn share(label: u32) -> f32 {
#if NORMALIZE
    return weights[label];
#else
    return 1.0;
#end
}
#end
#if cross_entropy
#if WEIGHTS
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> per: array<f32>;
#else
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> per: array<f32>;
#end
// One workgroup for all rows; thread 0 adds the rows' losses in order.
@compute @workgroup_size(64)
fn cross_entropy(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    for (var n = l.x; n < (p.rows + 3u) / 4u * 4u; n += 64u) {
        var value = 0.0;
        if (n < p.rows) {
            let t = labels[n];
            if (t < p.classes) {
                let at = n * p.pitch;
                let top = row_max(at);
                let sum = row_sum(at, top);
                // Differences to the maximum stay exact where logits are large.
                let log_sum = log(sum);
                for (var k = 0u; k < p.classes; k++) {
                    value += select(p.off, p.on, k == t) * (log_sum - (x[at + k] - top));
                }
#if WEIGHTS
                value *= weights[t];
#end
            }
        }
        per[n] = value;
    }
    storageBarrier();
    workgroupBarrier();
    if (l.x == 0u) {
        var total = 0.0;
        var count = 0.0;
        for (var n = 0u; n < p.rows; n++) {
            total += per[n];
            if (labels[n] < p.classes) { count += share(labels[n]); }
        }
        loss[0] = total / select(1.0, count, count > 0.0);
        loss[1] = 0.0;
        loss[2] = 0.0;
        loss[3] = 0.0;
    }
}
#end
#if cross_entropy_grad
#if WEIGHTS
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
#else
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
#end
@compute @workgroup_size(64)
fn cross_entropy_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let n = grid_group(wg) * 64u + l.x;
    if (n >= p.rows) { return; }
    var count = 0.0;
    for (var i = 0u; i < p.rows; i++) {
        if (labels[i] < p.classes) { count += share(labels[i]); }
    }
    let at = n * p.pitch;
    let t = labels[n];
    let top = row_max(at);
    let sum = row_sum(at, top);
    var scale = select(0.0, dloss[0] / select(1.0, count, count > 0.0), t < p.classes);
#if WEIGHTS
    scale *= weights[min(t, p.classes - 1u)];
#end
    for (var k = 0u; k < p.pitch; k++) {
        if (k < p.classes) {
            dx[at + k] = scale * (exp(x[at + k] - top) / sum - select(p.off, p.on, k == t));
        } else {
            dx[at + k] = 0.0;
        }
    }
}
#end
