// Elementwise kernels: a workgroup of 256 threads takes 1,024 quads (vec4), four a thread, 256 apart, so that neighbouring
// threads touch neighbouring memory and software Vulkan spreads a workgroup's fixed cost (about 75 ns) over 16 kB.
// Usage: `let first = first_quad(wg, l);` then the body for first, first + 256, first + 512, first + 768 where < p.quads.
#import grid
fn first_quad(wg: vec3<u32>, l: vec3<u32>) -> u32 {
    return grid_group(wg) * 1024u + l.x;
}
