// bias_grad: part[z, k] = sum over the pixels z, z + splits, z + 2 splits ... of dy[pixel, k]; gemm_reduce then sums over z.
// dy [N P Q, Kp], part [splits, Kp]. Launch grid: 64 threads a workgroup, thread = (slice, quad of k), neighbours read neighbours.
// Limit: loads (dy is read once). Mesa 25.0.7: 0.3 to 1.0 ms for the layers of DETL at 64 x 64, batch 16; 2 % of a step.
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    pixels: u32,   // N P Q
    k_quads: u32,
    y_pitch: u32,
    y_first: u32,
    splits: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
#import quad
@group(0) @binding(1) var<storage, read> dy: array<Quad>;               // [N, P, Q, Kp]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;   // [splits, k_quads]
#import grid

@compute @workgroup_size(64)
fn bias_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let group = grid_group(wg);
    let i = group * 64u + t;
    if (group >= p.grid_count || i >= p.splits * p.k_quads) {
        return;
    }
    var sum = vec4<f32>();
    for (var pixel = i / p.k_quads; pixel < p.pixels; pixel += p.splits) {
        sum += quad(dy[pixel * p.y_pitch + p.y_first + i % p.k_quads]);
    }
    out[i] = sum;
}
