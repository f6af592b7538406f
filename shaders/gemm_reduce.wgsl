// gemm_reduce: out[i, k] (+)= epilogue(sum over slices z, in rising order, of part[z, i, k]); epilogue = + bias[k],
// (- mean[k]) * scale[k] + beta[k], + skip, ReLU, * (mask > 0).
// part [splits, I, Kp], out [I, Kp] (or a channel slice of a wider tensor). Launch grid: 64 threads a workgroup, one quad a thread.
// The second half of every split reduction (conv.wgsl, bias_grad.wgsl). Limit: memory bandwidth.
#param BIAS = 0
#param NORM = 0
#param SKIP = 0
#param MASK = 0
#param ACCUMULATE = 0
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    splits: u32,
    out_quads: u32,  // quads of one slice
    row_quads: u32,  // channel quads of a pixel
    out_pitch: u32,  // quads from one pixel of out to the next (row_quads if dense)
    out_first: u32,  // first quad of out in its binding
    relu: u32,
#if SKIP
    skip_pitch: u32, // the same for the residual
    skip_first: u32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part: array<vec4<f32>>;        // [splits, out_quads]
#if BIAS
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [row_quads]
#end
#if NORM
@group(0) @binding(2u + BIAS) var<storage, read> mean: array<vec4<f32>>; // [row_quads]
@group(0) @binding(3u + BIAS) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(4u + BIAS) var<storage, read> beta: array<vec4<f32>>;
#end
#if SKIP
@group(0) @binding(2u + BIAS + 3u * NORM) var<storage, read> skip: array<vec4<f32>>;
#end
#if MASK
@group(0) @binding(2) var<storage, read> mask: array<vec4<f32>>;        // as out
#end
@group(0) @binding(2u + BIAS + 3u * NORM + SKIP + MASK) var<storage, read_write> out: array<vec4<f32>>;
#import grid

@compute @workgroup_size(64)
fn gemm_reduce(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let group = grid_group(wg);
    let i = group * 64u + t;
    if (group >= p.grid_count || i >= p.out_quads) {
        return;
    }
    var v = part[i];
    for (var z = 1u; z < p.splits; z++) {
        v += part[z * p.out_quads + i];
    }
    let pixel = i / p.row_quads;
    let k = i - pixel * p.row_quads;
    let at = pixel * p.out_pitch + p.out_first + k;
#if BIAS
    v += bias[k];
#end
#if NORM
    v = fma(v - mean[k], scale[k], beta[k]);
#end
#if SKIP
    v += skip[pixel * p.skip_pitch + p.skip_first + k];
#end
    v = select(v, vec4<f32>(), (v < vec4<f32>()) & vec4<bool>(p.relu != 0u)); // NaN stays NaN
#if MASK
    v = select(vec4<f32>(), v, mask[at] > vec4<f32>());
#end
#if ACCUMULATE
    v += out[at];
#end
    out[at] = v;
}
