// bias_add      y[m, k] = x[m, k] + b[k]   over the M pixels of an N H W K image; fused into conv where the plan allows.
// bias_grad     db[k] = sum over m of dy[m, k], in two kernels and a fixed order:
//   bias_grad_partial   part[chunk, k] = sum of `rows` consecutive rows; a thread owns one quad of channels and one chunk.
//   bias_grad_total     db[k] = sum over chunks; a workgroup a quad, 64 threads take every 64th chunk, then thread 0 adds
//                       the 64 sums in order.
// Limited by memory bandwidth: dy is read once.
#import elementwise
#if bias_add
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32, channel_quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(256)
fn bias_add(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    // One division a thread: the next quads' channel follows by steps of 256.
    let step = 256u % p.channel_quads;
    var k = first % p.channel_quads;
#for I in 0..4
    if (first + {I*256}u < p.quads) { y[first + {I*256}u] = x[first + {I*256}u] + b[k]; }
    k += step;
    k -= select(0u, p.channel_quads, k >= p.channel_quads);
#end
}
#end
#if bias_grad_partial
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, channel_quads: u32, pixels: u32, rows: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<vec4<f32>>;
@compute @workgroup_size(64)
fn bias_grad_partial(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    let chunk = thread / p.channel_quads;
    if (chunk >= p.chunks) { return; }
    let begin = chunk * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var at = begin * p.channel_quads + thread % p.channel_quads;
    var sum = vec4<f32>();
    for (var m = begin; m < end; m++) {
        sum += dy[at];
        at += p.channel_quads;
    }
    part[thread] = sum;
}
#end
#if bias_grad_total
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, channel_quads: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> db: array<vec4<f32>>;
var<workgroup> sums: array<vec4<f32>, 64>;
@compute @workgroup_size(64)
fn bias_grad_total(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let k = grid_group(wg);
    if (k >= p.grid_count) { return; }
    var sum = vec4<f32>();
    for (var c = l.x; c < p.chunks; c += 64u) {
        sum += part[c * p.channel_quads + k];
    }
    sums[l.x] = sum;
    workgroupBarrier();
    if (l.x == 0u) {
        var total = sums[0];
        for (var i = 1u; i < 64u; i++) { total += sums[i]; }
        db[k] = total;
    }
}
#end
