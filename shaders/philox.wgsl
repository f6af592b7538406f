// philox   The generator of prelude/philox.wgsl by itself, so that self tests can compare its bits with the host's.
// blocks: six words each, counter 0 to 3, then key 0 and 1. y: eight numbers a block, the lower and the upper 16 bits of each
// of its four words; halves because f32 holds 16-bit integers exactly. Grid: 64 blocks a workgroup, one a thread.
// Limited by integer arithmetic (ten rounds of ten multiplications). Source: Salmon et al. 2011.
#import grid
#import philox
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#if philox_words
@compute @workgroup_size(64)
fn philox_words(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let i = grid_group(wg) * 64u + l.x;
    if (i >= p.blocks) { return; }
    let at = i * 6u;
    let w = philox(vec4<u32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]), vec2<u32>(x[at + 4u], x[at + 5u]));
    let low = vec4<f32>(w & vec4<u32>(0xffffu));
    let high = vec4<f32>(w >> vec4<u32>(16u));
    y[i * 2u] = vec4<f32>(low.x, high.x, low.y, high.y);
    y[i * 2u + 1u] = vec4<f32>(low.z, high.z, low.w, high.w);
}
#end
