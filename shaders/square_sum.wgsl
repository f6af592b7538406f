// Sums of squares, deterministic, in two stages: for the L2 penalty and for clipping gradients by their global norm.
//   square_sum          part[first + group] = sum of v^2 over the group's 4,096 quads
//   square_sum_total    y = factor * sum(part)
//   square_sum_grad     dx = 2 factor dy x, dy one number
//   clip_coefficient    out = [min(1, max_norm / (sqrt(sum(part)) + epsilon)), sqrt(sum(part)), 0, 0]
// Every sum has one fixed order: a thread's quads in order, then 16 threads add 16 of the 256 sums each, then thread 0 those.
// Grid: square_sum one workgroup of 256 for 4,096 quads; the totals one workgroup. Limited by memory bandwidth.
// Source: Pascanu et al., arXiv:1211.5063 (clipping); torch.nn.utils.clip_grad_norm_ for epsilon 1e-6.
#import elementwise
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
#if square_sum
    quads: u32, first: u32,
#end
#if square_sum_total
    parts: u32, factor: f32,
#end
#if clip_coefficient
    parts: u32, max_norm: f32, epsilon: f32,
#end
#if square_sum_grad
    quads: u32, factor: f32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;

#if square_sum_grad
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(256)
fn square_sum_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    let slope = 2.0 * p.factor * dy[0].x;
#for I in 0..4
    if (first + {I*256}u < p.quads) { dx[first + {I*256}u] = slope * x[first + {I*256}u]; }
#end
}
#else
#import workgroup_sum
#if square_sum
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
#else
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#end

@compute @workgroup_size(256)
#if square_sum
fn square_sum(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if square_sum_total
fn square_sum_total(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if clip_coefficient
fn clip_coefficient(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    let group = grid_group(wg);
    if (group >= p.grid_count) { return; }
    var sum = 0.0;
#if square_sum
    for (var i = group * 4096u + l.x; i < min(group * 4096u + 4096u, p.quads); i += 256u) {
        sum += dot(x[i], x[i]);
    }
#else
    for (var i = l.x; i < p.parts; i += 256u) { sum += part[i]; }
#end
    let total = workgroup_sum(sum, l.x);
    if (l.x == 0u) {
#if square_sum
        part[p.first + group] = total;
#end
#if square_sum_total
        y[0] = vec4<f32>(p.factor * total, 0.0, 0.0, 0.0);
#end
#if clip_coefficient
        let norm = sqrt(total);
        let coefficient = p.max_norm / (norm + p.epsilon);
        // Written so that a NaN norm gives NaN, as PyTorch's does: a broken step must be seen.
        y[0] = vec4<f32>(select(coefficient, 1.0, coefficient > 1.0), norm, 0.0, 0.0);
#end
    }
}
#end
