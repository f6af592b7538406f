// bias_add      y[m, k] = x[m, k] + b[k]   over the M pixels of an N H W K image; fused into conv where the plan allows.
// bias_grad     db[k] = sum over m of dy[m, k], in two kernels and a fixed order:
//   bias_grad_partial   part[chunk, k] = sum of `rows` consecutive rows; a thread owns one quad of channels and one chunk.
//   bias_grad_total     db[k] = sum over chunks; a workgroup a quad, 64 threads take every 64th chunk, then thread 0 adds
//                       the 64 sums in order.
// bias_add's grid: a workgroup of 64 owns LANES cells of channels (a power of two) of 64 / LANES pixels, REPEAT times: the
// bias is loaded once a thread, and one division finds the place.
// Limited by memory bandwidth: dy is read once.
#import grid
#import cell
#param LANES = 8
#param REPEAT = 4
#if bias_add
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, pixels: u32, channel_cells: u32, channel_blocks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Cell>;
@group(0) @binding(2) var<storage, read> b: array<Cell>;
@group(0) @binding(3) var<storage, read_write> y: array<Cell>;
fn sum(x: Cell, bias: Numbers) -> Cell {
    var v = numbers(x);
#for H in 0..QUADS
    v[{H}] += bias[{H}];
#end
    return cell(v);
}
@compute @workgroup_size(64)
fn bias_add(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let group = grid_group(wg);
    let across = group / p.channel_blocks;
    let block = group - across * p.channel_blocks;
    let k = block * LANES + l.x % LANES;
    let first = across * (64u / LANES * REPEAT);
    // A thread's pixels are neighbours, so that eight lanes walk through memory: software Vulkan runs them one after the other
    // through all repeats, and steps of several kilobytes halved the bandwidth.
    let at = (first + l.x / LANES * REPEAT) * p.channel_cells + k;
    let step = p.channel_cells;
    let bias = numbers(b[min(k, p.channel_cells - 1u)]);
    // Unrolled, and without a test a cell where the whole group is inside.
    if (first + 64u / LANES * REPEAT <= p.pixels && (block + 1u) * LANES <= p.channel_cells) {
#for I in 0..REPEAT
        y[at + {I}u * step] = sum(x[at + {I}u * step], bias);
#end
        return;
    }
    let end = p.pixels * p.channel_cells;
    for (var i = 0u; i < REPEAT; i++) {
        // Past the end exactly when its pixel is: it keeps its channel.
        if (k < p.channel_cells && at + i * step < end) {
            y[at + i * step] = sum(x[at + i * step], bias);
        }
    }
}
#end
#if bias_grad_partial
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, channel_cells: u32, pixels: u32, rows: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Cell>;
@group(0) @binding(2) var<storage, read_write> part: array<Cell>;
@compute @workgroup_size(64)
fn bias_grad_partial(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    let chunk = thread / p.channel_cells;
    if (chunk >= p.chunks) { return; }
    let begin = chunk * p.rows;
    let end = min(begin + p.rows, p.pixels);
    var at = begin * p.channel_cells + thread % p.channel_cells;
    var sum = Numbers();
    for (var m = begin; m < end; m++) {
        let v = numbers(dy[at]);
#for H in 0..QUADS
        sum[{H}] += v[{H}];
#end
        at += p.channel_cells;
    }
    part[thread] = cell(sum);
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
