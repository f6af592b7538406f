// accumulate  sum = factor g (FIRST) or sum + factor g: the mean of the gradients of several micro-batches, parameter by
// parameter into the gradient arena, so that a parameter's own gradient needs memory only for a moment.
// Grid: one workgroup of 256 for 1,024 quads. Limited by memory bandwidth.
#import elementwise
#param FIRST = 0
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sum: array<vec4<f32>>;
@compute @workgroup_size(256)
fn accumulate(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    // A cut dispatch laid out in two dimensions has surplus groups: they would add the next piece's gradients twice.
    if (grid_group(wg) >= p.grid_count) { return; }
    let first = first_quad(wg, l);
#for I in 0..4
    if (first + {I*256}u < p.quads) {
#if FIRST
        sum[first + {I*256}u] = p.factor * g[first + {I*256}u];
#else
        sum[first + {I*256}u] += p.factor * g[first + {I*256}u];
#end
    }
#end
}
