// The two ceilings that every share in benches/RESULTS.md refers to, measured in the same run.
//   fma_peak   a register-only loop of multiply-adds: 16 accumulators of vec4, ROUNDS times; a workgroup of WIDTH.
//   copy_peak  y = x in quads, four a thread, 256 wide, the pattern of prelude/elementwise. WIDE: as vec4<u64>, 8 words a
//              load, one a thread: what software Vulkan copies fastest with.
#import elementwise
#param WIDTH = 8
#param ROUNDS = 2000
#param WIDE = 0
#if fma_peak
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, seed: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(WIDTH)
fn fma_peak(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let at = grid_group(wg) * WIDTH + l.x;
    let m = vec4<f32>(p.seed);
    let d = vec4<f32>(f32(l.x) * 1e-3 + 0.1);
#for I in 0..4
    // Four different components: equal ones would be computed once.
    var a{I} = vec4<f32>(f32(at + {I}u)) * vec4<f32>(1e-6, 2e-6, 3e-6, 5e-6);
#end
    for (var i = 0u; i < ROUNDS; i++) {
#for J in 0..4
#for I in 0..4
        a{I} = fma(a{I}, m, d);
#end
#end
    }
    y[at] = a0 + a1 + a2 + a3;
}
#end
#if copy_peak
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#if WIDE
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u64>>;
#else
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#end
@compute @workgroup_size(256)
fn copy_peak(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#if WIDE
    let i = grid_group(wg) * 256u + l.x;
    if (i < p.quads / 2u) { y[i] = x[i]; }
#else
    let first = first_quad(wg, l);
#for I in 0..4
    if (first + {I*256}u < p.quads) { y[first + {I*256}u] = x[first + {I*256}u]; }
#end
#end
}
#end
