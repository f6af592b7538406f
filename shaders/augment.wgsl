// augment   y = noise(saturation(contrast[n] * bilinear(x[n] at (u, v)) + brightness[n])), where
//           u = m0 w + m1 h + m2 (column) and v = m3 w + m4 h + m5 (row) lead from the output's pixel to the input's: one inverse
//           affine map holds rotation, scaling, mirroring, shift and crop. All augmentation of a batch in this one pass.
// Shapes: x, y [N H W C]; warp [N 16]: m0 to m5, brightness, contrast; saturation, noise, probability of salt and pepper, 0; a key of
// four 16-bit numbers (drawn in src/ops/augment/options.rs). Outside lies the nearest pixel of the edge; CONSTANT 1: p.fill;
// REFLECT 1: the mirrored image, the edge twice (d c b a | a b c d | d c b a). GRAY 1: C = 1.
// SATURATION 1 (C = 3): x + s (x - luma). NOISE 1: x + sd * normal, each channel its own number. SALT 1: a pixel is p.pepper
// or p.salt with the given probability. Random numbers follow from the image's key and the pixel alone, not from the batch.
// The identity [1 0 0 0 1 0 0 1 0 0 0 0 ....] changes no bit. What is not asked for is not in the kernel.
// A thread a quad of channels of one pixel (prelude/pixels); image, row and their part of the map are shared by `repeat` columns.
// Limited by memory bandwidth (x is read about once, its four neighbours from cache); with noise on CPUs by the generator's
// integer arithmetic, as dropout is.
#import pixels
#param CONSTANT = 0
#param REFLECT = 0
#param GRAY = 0
#param SATURATION = 0
#param NOISE = 0
#param SALT = 0
#if NOISE || SALT
#import philox
#end
#if NOISE
#import normal
#end
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, columns: u32, column_blocks: u32, channel_quads: u32, channel_blocks: u32, lane_bits: u32, repeat: u32, channels: u32,
#if CONSTANT
    fill: f32,
#end
#if SALT
    pepper: f32, salt: f32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> warp: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

#if REFLECT
// The position in [0, 2 side] that shows the same: the mirrored image repeats. Beyond 2^22 an f32 has no part of a pixel left.
fn fold(at: f32, side: u32) -> f32 {
    let period = f32(2u * side);
    let bounded = clamp(at, -4194304.0, 4194304.0);
    return bounded - period * floor(bounded / period);
}
// The row or column, of `side`, that is seen at `at`, from -1 to 2 side + 1: rounding may end a little beyond the period.
fn inside(at: i32, side: i32) -> i32 {
    let once = select(at, at - 2 * side, at >= 2 * side);
    let back = select(once, 2 * side - 1 - once, once >= side);
    return clamp(select(back, -1 - back, back < 0), 0, side - 1);
}
#else
fn inside(at: i32, side: i32) -> i32 {
    return clamp(at, 0, side - 1);
}
#end

// The input's pixel; rows and columns outside are the edge's, the mirrored image's or the fill colour.
fn pixel(image: u32, row: i32, column: i32, quad: u32) -> vec4<f32> {
    let h = inside(row, i32(p.rows));
    let w = inside(column, i32(p.columns));
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
    let a = warp[t.image * 4u];
    let b = warp[t.image * 4u + 1u];
#if SATURATION || NOISE || SALT
    let c = warp[t.image * 4u + 2u];
#end
#if NOISE || SALT
    let d = vec4<u32>(warp[t.image * 4u + 3u]);
    let key = vec2<u32>(d.x | (d.y << 16u), d.z | (d.w << 16u));
#end
    let h = f32(t.row);
    // Lanes past the last channel stay zero, whatever brightness, fill and noise are.
    let real = vec4<u32>(t.quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.channels);
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let w = f32(t.column);
#if REFLECT
            let u = fold(a.x * w + a.y * h + a.z, p.columns);
            let v = fold(a.w * w + b.x * h + b.y, p.rows);
#else
            // One pixel beyond the edge nothing changes any more; the bound keeps the integers below in range.
            let u = clamp(a.x * w + a.y * h + a.z, -1.0, f32(p.columns));
            let v = clamp(a.w * w + b.x * h + b.y, -1.0, f32(p.rows));
#end
            let column = i32(floor(u));
            let row = i32(floor(v));
            let s = u - floor(u);
            let r = v - floor(v);
            let above = pixel(t.image, row, column, t.quad) * (1.0 - s) + pixel(t.image, row, column + 1, t.quad) * s;
            let below = pixel(t.image, row + 1, column, t.quad) * (1.0 - s) + pixel(t.image, row + 1, column + 1, t.quad) * s;
            let sample = above * (1.0 - r) + below * r;
            var z = sample * b.w + b.z;
#if SATURATION
            // Luma of BT.601 (0.299 R + 0.587 G + 0.114 B) by differences, so that what is gray stays as it is to the bit.
            z += c.x * (z - vec4<f32>(z.y + (0.299 * (z.x - z.y) + 0.114 * (z.z - z.y))));
#end
#if NOISE || SALT
            let place = t.row * p.columns + t.column;
#end
#if NOISE
            z += c.y * normal(philox(vec4<u32>(place, t.quad, 0u, 0u), key));
#end
#if SALT
            // 24 bits decide whether, another which.
            let word = philox(vec4<u32>(place, 0u, 1u, 0u), key).x;
            let extreme = select(p.pepper, p.salt, (word & 1u) == 1u);
            z = select(z, vec4<f32>(extreme), f32(word >> 8u) < c.z * 16777216.0);
#end
            let at = ((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad;
            y[at] = select(vec4<f32>(), z, real);
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end
