// Class activation maps: Grad-CAM (Selvaraju et al., arXiv:1610.02391; Basu & Mitra eq. 1-2) and its relatives. g is the gradient of
// the class score for the features a.
//   cam_map         map[n, h, w] = sum over c of weight[n, c] a[n, h, w, c], RELU: what is positive of it. The weights are
//                   the global average (global_avg_pool) of the class score's gradient for a.
//                   A thread a pixel, 64 a workgroup; channels are added in order.
//   cam_plus_weights  weight[n, c] = sum over pixels of max(g, 0) / (2 + S g), S = sum over pixels of a[n, :, c]: Grad-CAM++
//                   (Chattopadhay et al., arXiv:1710.11063, eq. 19 after cancelling g^2); 0 where the denominator is not
//                   positive. A thread a quad of channels, 64 a workgroup; it walks the pixels twice, in order.
//   cam_product     map[n, h, w] = max(0, sum over c of g[n, h, w, c] a[n, h, w, c]): HiResCAM (Draelos & Carin, arXiv:2011.08891);
//                   positive != 0: of max(g, 0) a: LayerCAM (Jiang et al., IEEE TIP 30, 2021). A thread a pixel.
//   cam_normalize   maximum[n] = the largest positive value of map n, 0 if there is none (an empty map: the class sees nothing);
//                   y = map / maximum where positive, else 0; all 0 for an empty map, nothing is divided by 0.
//                   A workgroup an image; 64 threads take every 64th pixel, then thread 0 compares their 64 maxima.
// Shapes: weight [N C], a and g [N H W C], map and y [N H W 1], maximum [N 1]; the three extra lanes of a map are zero. A NaN stays one.
// Limited by memory bandwidth (a is read once) and, for the few pixels of one image, by latency.
#import grid
#if cam_map
#param RELU = 1
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, pixels: u32, plane: u32, channel_quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn cam_map(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let i = grid_group(wg) * 64u + l.x;
    if (i >= p.pixels) { return; }
    let weight = (i / p.plane) * p.channel_quads;
    let first = i * p.channel_quads;
    var sums = vec4<f32>();
    for (var c = 0u; c < p.channel_quads; c++) {
        sums += weights[weight + c] * a[first + c];
    }
    var sum = (sums.x + sums.y) + (sums.z + sums.w);
#if RELU
    sum = select(sum, 0.0, sum < 0.0);
#end
    y[i] = vec4<f32>(sum, 0.0, 0.0, 0.0);
}
#end
#if cam_plus_weights
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32, plane: u32, channel_quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> weights: array<vec4<f32>>;
@compute @workgroup_size(64)
fn cam_plus_weights(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let i = grid_group(wg) * 64u + l.x;
    if (i >= p.quads) { return; }
    let first = i / p.channel_quads * p.plane * p.channel_quads + i % p.channel_quads;
    var area = vec4<f32>();
    for (var j = 0u; j < p.plane; j++) {
        area += a[first + j * p.channel_quads];
    }
    var sum = vec4<f32>();
    for (var j = 0u; j < p.plane; j++) {
        let slope = g[first + j * p.channel_quads];
        let below = 2.0 + area * slope;
        // A NaN is neither above nor below: it stays one.
        let nothing = (slope <= vec4<f32>()) | (below <= vec4<f32>());
        sum += select(slope / select(below, vec4<f32>(1.0), nothing), vec4<f32>(), nothing);
    }
    weights[i] = sum;
}
#end
#if cam_product
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, pixels: u32, channel_quads: u32, positive: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn cam_product(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let i = grid_group(wg) * 64u + l.x;
    if (i >= p.pixels) { return; }
    let first = i * p.channel_quads;
    var sums = vec4<f32>();
    for (var c = 0u; c < p.channel_quads; c++) {
        let slope = g[first + c];
        sums += select(slope, vec4<f32>(), (slope < vec4<f32>()) & vec4<bool>(p.positive != 0u)) * a[first + c];
    }
    let sum = (sums.x + sums.y) + (sums.z + sums.w);
    y[i] = vec4<f32>(select(sum, 0.0, sum < 0.0), 0.0, 0.0, 0.0);
}
#end
#if cam_normalize
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, plane: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> maximum: array<vec4<f32>>;
var<workgroup> best: array<f32, 64>;
fn larger(a: f32, b: f32) -> f32 {
    return select(a, b, b > a || b != b);
}
@compute @workgroup_size(64)
fn cam_normalize(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let image = grid_group(wg);
    if (image >= p.grid_count) { return; }
    let first = image * p.plane;
    var mine = 0.0;
    for (var i = l.x; i < p.plane; i += 64u) { mine = larger(mine, x[first + i].x); }
    best[l.x] = mine;
    workgroupBarrier();
    if (l.x == 0u) {
        for (var i = 1u; i < 64u; i++) { mine = larger(mine, best[i]); }
        best[0] = mine;
        maximum[image] = vec4<f32>(mine, 0.0, 0.0, 0.0);
    }
    workgroupBarrier();
    let most = best[0];
    for (var i = l.x; i < p.plane; i += 64u) {
        let v = x[first + i].x;
        // WGSL's division may be off by an ulp or two, so that the maximum itself could end above 1.
        let part = v / select(most, 1.0, most == 0.0);
        y[first + i] = vec4<f32>(select(select(part, 1.0, part > 1.0), 0.0, v <= 0.0), 0.0, 0.0, 0.0);
    }
}
#end
