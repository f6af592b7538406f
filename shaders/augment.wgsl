// augment   y[n, h, w] = contrast[n] * bilinear(x[n] at (u, v)) + brightness[n], where
//           u = m0 w + m1 h + m2 (column) and v = m3 w + m4 h + m5 (row) lead from the output's pixel to the input's: one inverse
//           affine map holds rotation, scaling, mirroring and shift. All augmentation of a batch in this one pass.
// Shapes: x, y [N H W C]; warp [N 8]: m0 to m5, brightness, contrast (drawn in src/ops/augment.rs). CONSTANT 0: outside, the
// nearest pixel of the edge; 1: p.fill. GRAY 1: C = 1. The identity [1 0 0 0 1 0 0 1] changes no bit.
// A thread a quad of channels of one pixel (prelude/pixels); image, row and their part of the map are shared by `repeat` columns.
// Limited by memory bandwidth (x is read about once, its four neighbours from cache).
#import pixels
#param CONSTANT = 0
#param GRAY = 0
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, columns: u32, column_blocks: u32, channel_quads: u32, channel_blocks: u32, lane_bits: u32, repeat: u32, channels: u32,
#if CONSTANT
    fill: f32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> warp: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

// The input's pixel; rows and columns outside are the edge's or the fill colour.
fn pixel(image: u32, row: i32, column: i32, quad: u32) -> vec4<f32> {
    let h = clamp(row, 0, i32(p.rows) - 1);
    let w = clamp(column, 0, i32(p.columns) - 1);
#if GRAY
    // One channel: the other three lanes are zero, and on software Vulkan a load is paid by component.
    let v = vec4<f32>(x[(image * p.rows + u32(h)) * p.columns + u32(w)].x, 0.0, 0.0, 0.0);
#else
    let v = x[((image * p.rows + u32(h)) * p.columns + u32(w)) * p.channel_quads + quad];
#end
#if CONSTANT
    return select(vec4<f32>(p.fill), v, h == row && w == column);
#else
    return v;
#end
}

#if augment
@compute @workgroup_size(64)
fn augment(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    let a = warp[t.image * 2u];
    let b = warp[t.image * 2u + 1u];
    let h = f32(t.row);
    // Lanes past the last channel stay zero, whatever brightness and fill are.
    let real = vec4<u32>(t.quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.channels);
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let w = f32(t.column);
            // One pixel beyond the edge nothing changes any more; the bound keeps the integers below in range.
            let u = clamp(a.x * w + a.y * h + a.z, -1.0, f32(p.columns));
            let v = clamp(a.w * w + b.x * h + b.y, -1.0, f32(p.rows));
            let column = i32(floor(u));
            let row = i32(floor(v));
            let s = u - floor(u);
            let r = v - floor(v);
            let above = pixel(t.image, row, column, t.quad) * (1.0 - s) + pixel(t.image, row, column + 1, t.quad) * s;
            let below = pixel(t.image, row + 1, column, t.quad) * (1.0 - s) + pixel(t.image, row + 1, column + 1, t.quad) * s;
            let sample = above * (1.0 - r) + below * r;
            let at = ((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad;
            y[at] = select(vec4<f32>(), sample * b.w + b.z, real);
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end
