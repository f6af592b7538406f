// dropout   y = x / (1 - p) where kept, else 0. Element (n, c, h, w) is kept where its random word, shifted right by 8, is at
//           least p * 2^24 (unit >= p). Its own gradient: dx = dropout(dy) with the same counter.
// The word: number c mod 4 of philox(counter = [((n H + h) W + w) ceil(C / 4) + floor(c / 4), step, layer, stream], key = seed).
// So one block of the generator serves one vec4 and its number needs no division, yet the rule speaks of the world's
// n c h w only: other padding of channels would not change a mask.
// Shapes: x, y any; random [4]: seed low, seed high, step, stream. Grid: one workgroup of 256 for 1,024 quads.
// Limited by integer arithmetic on CPUs (some 100 multiplications a quad), by memory bandwidth on GPUs.
// Sources: Srivastava et al. 2014 (scaled at training time, as PyTorch and Keras do); Salmon et al. 2011 for the numbers.
#import elementwise
#import philox
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32, threshold: u32, layer: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> random: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
#if dropout
@compute @workgroup_size(256)
fn dropout(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let r = random[0];
    var at = first_quad(wg, l);
    // A loop and not #for: four copies of ten rounds would take longer to compile than they save.
    for (var i = 0u; i < 4u; i++) {
        if (at < p.quads) {
            let bits = philox(vec4<u32>(at, r.z, p.layer, r.w), r.xy) >> vec4<u32>(8u);
            y[at] = select(vec4<f32>(), x[at] * p.scale, bits >= vec4<u32>(p.threshold));
        }
        at += 256u;
    }
}
#end
