// Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167) over the M pixels of an N H W C image, per channel; v = var.
//   batch_stats_partial, batch_stats_total   mean = sum x / M, var = sum (x - mean)^2 / M (biased)
//   batch_norm             y = (x - mean) * gamma / sqrt(v + eps) + beta   (+ skip) (ReLU)
//   normalize              y = (x - mean) * a + beta                       (+ skip) (ReLU): statistics that are given
//   norm_grad_partial, norm_grad_total       dbeta = sum dy, dgamma = sum dy (x - mean)   (SCALED: / sqrt(v + eps))
//   batch_norm_grad_input  dx = gamma / sqrt(v + eps) * (dy - dbeta / M - xhat * dgamma / M), through the statistics too
//   normalize_grad_input   dx = dy * a
//   batch_norm_scale       a = gamma / sqrt(v + eps)
//   running_update         running = (1 - momentum) * running + momentum * batch; the variance times `unbias` = M / (M - 1)
// GAMMA = 0: gamma is 1. Everything is computed from x - mean, never from x * a - mean * a: that would cancel.
// Statistics: a thread reads four pixels, takes their mean and their squared deviations from it, and merges them with what
// it has by Chan's rule (Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance"): one pass over x, and
// exact to rounding however large the mean is. All of it is relative to the first pixel (the totals: to the first slot), so that
// the roundings of the running mean are those of a deviation. Partial results are merged in a fixed order, without atomics.
// Launch grid: a thread owns one quad of channels and walks `rows` consecutive pixels, so that what belongs to the channel
// is loaded once; consecutive threads own consecutive quads. The totals: a workgroup a quad, 64 threads take every 64th
// slot, then thread 0 merges the 64 in order.
// Pixel i of an image is at offset + i * stride (quads): it may be a slice of a wider tensor.
// Limited by memory bandwidth; on software Vulkan by the loads (22 instructions a lane and 6 a component).
#param GAMMA = 1
#param SKIP = 0
#param SCALED = 0
#if batch_stats_partial || batch_stats_total
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, channel_quads: u32, pixels: u32, rows: u32, slots: u32,
#if batch_stats_partial
    x_stride: u32, x_offset: u32,
#end
}
#end
#if batch_norm || normalize
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, channel_quads: u32, pixels: u32, rows: u32, slots: u32,
    x_stride: u32, x_offset: u32, y_stride: u32, y_offset: u32, relu: u32,
#if batch_norm
    epsilon: f32,
#end
#if SKIP
    skip_stride: u32, skip_offset: u32,
#end
}
#end
#if norm_grad_partial || norm_grad_total || batch_norm_grad_input || normalize_grad_input
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, channel_quads: u32, pixels: u32, rows: u32, slots: u32,
#if norm_grad_partial || batch_norm_grad_input
    x_stride: u32, x_offset: u32,
#end
#if !norm_grad_total
    dy_stride: u32, dy_offset: u32,
#end
#if batch_norm_grad_input || normalize_grad_input
    dx_stride: u32, dx_offset: u32,
#end
#if batch_norm_grad_input || SCALED
    epsilon: f32,
#end
}
#end
#if batch_norm_scale
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, channels: u32, epsilon: f32 }
#end
#if running_update
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, channel_quads: u32, momentum: f32, unbias: f32 }
#end
@group(0) @binding(0) var<uniform> p: Params;
#import grid

#if batch_stats_partial || batch_stats_total
// Count, mean and sum of squared deviations of some pixels.
struct Stats { count: f32, mean: vec4<f32>, m2: vec4<f32> }
fn merge(a: Stats, b: Stats) -> Stats {
    let n = a.count + b.count;
    let delta = b.mean - a.mean;
    let part = b.count / max(n, 1.0);
    return Stats(n, a.mean + delta * part, a.m2 + b.m2 + delta * delta * (a.count * part));
}
#end

#if batch_stats_partial
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<vec4<f32>>; // [slots][mean, m2][quads]
@compute @workgroup_size(64)
fn batch_stats_partial(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    let slot = thread / p.channel_quads;
    if (slot >= p.slots) { return; }
    let quad = thread - slot * p.channel_quads;
    let begin = slot * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var at = begin * p.x_stride + p.x_offset + quad;
    var s = Stats(0.0, vec4<f32>(), vec4<f32>());
    let origin = x[at];
    var pixel = begin;
    for (; pixel + 4u <= end; pixel += 4u) {
#for I in 0..4
        let v{I} = x[at + {I}u * p.x_stride] - origin;
#end
        at += 4u * p.x_stride;
        let mean = 0.25 * ((v0 + v1) + (v2 + v3));
#for I in 0..4
        let d{I} = v{I} - mean;
#end
        s = merge(s, Stats(4.0, mean, (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)));
    }
    for (; pixel < end; pixel++) {
        s = merge(s, Stats(1.0, x[at] - origin, vec4<f32>()));
        at += p.x_stride;
    }
    part[2u * slot * p.channel_quads + quad] = s.mean + origin;
    part[(2u * slot + 1u) * p.channel_quads + quad] = s.m2;
}
#end
#if batch_stats_total
@group(0) @binding(1) var<storage, read> part: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> mean: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> variance: array<vec4<f32>>;
var<workgroup> all: array<Stats, 64>;
@compute @workgroup_size(64)
fn batch_stats_total(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let k = grid_group(wg);
    if (k >= p.grid_count) { return; }
    var s = Stats(0.0, vec4<f32>(), vec4<f32>());
    let origin = part[k];
    for (var slot = l.x; slot < p.slots; slot += 64u) {
        let at = 2u * slot * p.channel_quads + k;
        s = merge(s, Stats(f32(min(p.rows, p.pixels - slot * p.rows)), part[at] - origin, part[at + p.channel_quads]));
    }
    all[l.x] = s;
    workgroupBarrier();
    if (l.x == 0u) {
        for (var i = 1u; i < min(64u, p.slots); i++) { s = merge(s, all[i]); }
        mean[k] = s.mean + origin;
        variance[k] = s.m2 / s.count;
    }
}
#end

#if batch_norm || normalize
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> mean: array<vec4<f32>>;
#if batch_norm
@group(0) @binding(3) var<storage, read> variance: array<vec4<f32>>;
#if GAMMA
@group(0) @binding(4) var<storage, read> gamma: array<vec4<f32>>;
#end
@group(0) @binding(4u + GAMMA) var<storage, read> beta: array<vec4<f32>>;
#if SKIP
@group(0) @binding(5u + GAMMA) var<storage, read> skip: array<vec4<f32>>;
#end
@group(0) @binding(5u + GAMMA + SKIP) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(3) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;
#if SKIP
@group(0) @binding(5) var<storage, read> skip: array<vec4<f32>>;
#end
@group(0) @binding(5u + SKIP) var<storage, read_write> y: array<vec4<f32>>;
#end
@compute @workgroup_size(64)
#if batch_norm
fn batch_norm(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#else
fn normalize(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    let thread = grid_group(wg) * 64u + l.x;
    let slot = thread / p.channel_quads;
    if (slot >= p.slots) { return; }
    let quad = thread - slot * p.channel_quads;
    let m = mean[quad];
    let b = beta[quad];
#if batch_norm
#if GAMMA
    let a = gamma[quad] / sqrt(variance[quad] + p.epsilon);
#else
    let a = 1.0 / sqrt(variance[quad] + p.epsilon);
#end
#else
    let a = scale[quad];
#end
    let begin = slot * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var x_at = begin * p.x_stride + p.x_offset + quad;
    var y_at = begin * p.y_stride + p.y_offset + quad;
#if SKIP
    var skip_at = begin * p.skip_stride + p.skip_offset + quad;
#end
    for (var pixel = begin; pixel < end; pixel++) {
        var v = fma(x[x_at] - m, a, b);
#if SKIP
        v += skip[skip_at];
        skip_at += p.skip_stride;
#end
        y[y_at] = select(v, vec4<f32>(), (v < vec4<f32>()) & vec4<bool>(p.relu != 0u)); // NaN stays NaN
        x_at += p.x_stride;
        y_at += p.y_stride;
    }
}
#end

#if norm_grad_partial
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> part: array<vec4<f32>>; // [slots][dgamma, dbeta][quads]
@compute @workgroup_size(64)
fn norm_grad_partial(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    let slot = thread / p.channel_quads;
    if (slot >= p.slots) { return; }
    let quad = thread - slot * p.channel_quads;
    let m = mean[quad];
    let begin = slot * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var x_at = begin * p.x_stride + p.x_offset + quad;
    var dy_at = begin * p.dy_stride + p.dy_offset + quad;
    var dgamma = vec4<f32>();
    var dbeta = vec4<f32>();
    for (var pixel = begin; pixel < end; pixel++) {
        let d = dy[dy_at];
        dbeta += d;
        dgamma = fma(d, x[x_at] - m, dgamma);
        x_at += p.x_stride;
        dy_at += p.dy_stride;
    }
    part[2u * slot * p.channel_quads + quad] = dgamma;
    part[(2u * slot + 1u) * p.channel_quads + quad] = dbeta;
}
#end
#if norm_grad_total
@group(0) @binding(1) var<storage, read> part: array<vec4<f32>>;
#if SCALED
@group(0) @binding(2) var<storage, read> variance: array<vec4<f32>>;
#end
@group(0) @binding(2u + SCALED) var<storage, read_write> dgamma: array<vec4<f32>>;
@group(0) @binding(3u + SCALED) var<storage, read_write> dbeta: array<vec4<f32>>;
struct Sums { dgamma: vec4<f32>, dbeta: vec4<f32> }
var<workgroup> all: array<Sums, 64>;
@compute @workgroup_size(64)
fn norm_grad_total(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let k = grid_group(wg);
    if (k >= p.grid_count) { return; }
    var s = Sums(vec4<f32>(), vec4<f32>());
    for (var slot = l.x; slot < p.slots; slot += 64u) {
        let at = 2u * slot * p.channel_quads + k;
        s.dgamma += part[at];
        s.dbeta += part[at + p.channel_quads];
    }
    all[l.x] = s;
    workgroupBarrier();
    if (l.x == 0u) {
        for (var i = 1u; i < min(64u, p.slots); i++) {
            s.dgamma += all[i].dgamma;
            s.dbeta += all[i].dbeta;
        }
#if SCALED
        s.dgamma /= sqrt(variance[k] + p.epsilon);
#end
        dgamma[k] = s.dgamma;
        dbeta[k] = s.dbeta;
    }
}
#end

#if batch_norm_grad_input
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> variance: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dgamma: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dbeta: array<vec4<f32>>;
#if GAMMA
@group(0) @binding(7) var<storage, read> gamma: array<vec4<f32>>;
#end
@group(0) @binding(7u + GAMMA) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(64)
fn batch_norm_grad_input(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    let slot = thread / p.channel_quads;
    if (slot >= p.slots) { return; }
    let quad = thread - slot * p.channel_quads;
    let m = mean[quad];
    let inverse = 1.0 / sqrt(variance[quad] + p.epsilon);
    let b = dbeta[quad] / f32(p.pixels);
    let c = inverse * dgamma[quad] / f32(p.pixels); // dgamma = sum dy xhat
#if GAMMA
    let a = inverse * gamma[quad];
#else
    let a = inverse;
#end
    let begin = slot * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var x_at = begin * p.x_stride + p.x_offset + quad;
    var dy_at = begin * p.dy_stride + p.dy_offset + quad;
    var dx_at = begin * p.dx_stride + p.dx_offset + quad;
    for (var pixel = begin; pixel < end; pixel++) {
        dx[dx_at] = a * fma(m - x[x_at], c, dy[dy_at] - b);
        x_at += p.x_stride;
        dy_at += p.dy_stride;
        dx_at += p.dx_stride;
    }
}
#end

#if normalize_grad_input
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(64)
fn normalize_grad_input(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    let slot = thread / p.channel_quads;
    if (slot >= p.slots) { return; }
    let quad = thread - slot * p.channel_quads;
    let a = scale[quad];
    let begin = slot * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var dy_at = begin * p.dy_stride + p.dy_offset + quad;
    var dx_at = begin * p.dx_stride + p.dx_offset + quad;
    for (var pixel = begin; pixel < end; pixel++) {
        dx[dx_at] = dy[dy_at] * a;
        dy_at += p.dy_stride;
        dx_at += p.dx_stride;
    }
}
#end

#if batch_norm_scale
#if GAMMA
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;
#end
@group(0) @binding(1u + GAMMA) var<storage, read> variance: array<vec4<f32>>;
@group(0) @binding(2u + GAMMA) var<storage, read_write> a: array<vec4<f32>>;
@compute @workgroup_size(64)
fn batch_norm_scale(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let k = grid_group(wg) * 64u + l.x;
    if (k * 4u >= p.channels) { return; }
#if GAMMA
    let v = gamma[k] / sqrt(variance[k] + p.epsilon);
#else
    let v = 1.0 / sqrt(variance[k] + p.epsilon);
#end
    // Extra lanes stay zero also where gamma is 1.
    a[k] = select(vec4<f32>(), v, vec4<u32>(k * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.channels));
}
#end

#if running_update
@group(0) @binding(1) var<storage, read> running_mean: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> running_var: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> variance: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> new_mean: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> new_var: array<vec4<f32>>;
@compute @workgroup_size(64)
fn running_update(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let k = grid_group(wg) * 64u + l.x;
    if (k >= p.channel_quads) { return; }
    let keep = 1.0 - p.momentum;
    new_mean[k] = keep * running_mean[k] + p.momentum * mean[k];
    new_var[k] = keep * running_var[k] + p.momentum * (variance[k] * p.unbias);
}
#end
