// relu          y = x where x >= 0, else 0; NaN stays NaN, so that a broken step is seen in the loss.
// relu_grad     dx = dy where y > 0, else 0 (y is the output; the gradient at 0 is 0, as in PyTorch).
// elu           y = x where x >= 0, else alpha (exp(x) - 1)   (Clevert, Unterthiner, Hochreiter, arXiv:1511.07289)
// elu_grad      dx = dy where y > 0, else dy (y + alpha)
// sigmoid       y = 1 / (1 + exp(-x)), of exp(-|x|), which cannot overflow.
// sigmoid_grad  dx = dy y (1 - y)
// Shapes: all the same, any; for sigmoid, which is not 0 at 0, `channel_quads` quads a pixel and `channels` real ones.
// Grid: one workgroup of 256 for 256 EACH cells (prelude/cell; sigmoid: for 1,024 quads). Limited by memory bandwidth.
#if sigmoid
#import elementwise
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, quads: u32, channel_quads: u32, channels: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
fn element(i: u32, channel: u32) {
    let v = a[i];
    let e = exp(-abs(v));
    let s = select(e, vec4<f32>(1.0), v >= vec4<f32>()) / (1.0 + e);
    let lane = vec4<u32>(channel * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    y[i] = select(vec4<f32>(), s, lane < vec4<u32>(p.channels));
}
@compute @workgroup_size(256)
fn sigmoid(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    // One division a thread: the next quads' channel follows by steps of 256.
    let step = 256u % p.channel_quads;
    var k = first % p.channel_quads;
#for I in 0..4
    if (first + {I*256}u < p.quads) { element(first + {I*256}u, k); }
    k += step;
    k -= select(0u, p.channel_quads, k >= p.channel_quads);
#end
}
#else
#import grid
#import cell
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, cells: u32,
#if elu || elu_grad
    alpha: f32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Cell>;
#if relu || elu
@group(0) @binding(2) var<storage, read_write> out: array<Cell>;
#else
@group(0) @binding(2) var<storage, read> y: array<Cell>;
@group(0) @binding(3) var<storage, read_write> out: array<Cell>;
#end

#if elu
// exp(v) - 1 for v <= 0. Near 0 the difference would lose every digit; the Taylor series to v^9 is exact there.
fn expm1(v: vec4<f32>) -> vec4<f32> {
    var s = vec4<f32>(1.0 / 362880.0);
    s = s * v + 1.0 / 40320.0;
    s = s * v + 1.0 / 5040.0;
    s = s * v + 1.0 / 720.0;
    s = s * v + 1.0 / 120.0;
    s = s * v + 1.0 / 24.0;
    s = s * v + 1.0 / 6.0;
    s = s * v + 0.5;
    return select(exp(v) - 1.0, v + v * v * s, v > vec4<f32>(-0.5));
}
#end

fn result(i: u32) -> Cell {
    var v = numbers(a[i]);
#if relu || elu
#else
    let w = numbers(y[i]);
#end
#for H in 0..QUADS
#if relu
    v[{H}] = select(v[{H}], vec4<f32>(), v[{H}] < vec4<f32>());
#end
#if relu_grad
    v[{H}] = select(vec4<f32>(), v[{H}], w[{H}] > vec4<f32>());
#end
#if elu
    v[{H}] = select(v[{H}], p.alpha * expm1(min(v[{H}], vec4<f32>())), v[{H}] < vec4<f32>());
#end
#if elu_grad
    v[{H}] = select(v[{H}] * (w[{H}] + p.alpha), v[{H}], w[{H}] > vec4<f32>());
#end
#if sigmoid_grad
    v[{H}] = v[{H}] * w[{H}] * (1.0 - w[{H}]);
#end
#end
    return cell(v);
}

@compute @workgroup_size(256)
#if relu
fn relu(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if relu_grad
fn relu_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if elu
fn elu(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if elu_grad
fn elu_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if sigmoid_grad
fn sigmoid_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    let first = first_cell(wg, l);
    if (first - l.x + 256u * EACH <= p.cells) {
#for I in 0..EACH
        out[first + {I*256}u] = result(first + {I*256}u);
#end
        return;
    }
#for I in 0..EACH
    if (first + {I*256}u < p.cells) { out[first + {I*256}u] = result(first + {I*256}u); }
#end
}
#end
