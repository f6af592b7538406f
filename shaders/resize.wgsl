// Bilinear resizing without antialiasing, forward and backward. x [N H W C] -> y [N P Q C].
//   resize        y[p, q] = (1 - s) ((1 - t) x[h, w] + t x[h, w+]) + s ((1 - t) x[h+, w] + t x[h+, w+]), where h + s and w + t
//                 are the positions of p and q in x and h+, w+ the next row and column, at most the last.
//   resize_grad   dx[h, w] = sum over the (p, q) that read (h, w) of their weight * dy[p, q]: a gather over a window that
//                 holds them all, weights by the same function as forward, so no atomics and no drift between the two.
// Position of p: max((p + 0.5) H / P - 0.5, 0), or with aligned corners p (H - 1) / (P - 1); as the exact fraction
// (p * mul + add) / den of integers (host: src/ops/resize.rs). One thread a quad of channels of one pixel (prelude/pixels).
// Limited by memory bandwidth forward, by the number of candidates backward (about (2 P / H + 3) (2 Q / W + 3) a pixel).
// Source: PyTorch's interpolate(mode="bilinear"), both values of align_corners.
#import pixels
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, columns: u32, column_blocks: u32, channel_quads: u32, channel_blocks: u32, lane_bits: u32, repeat: u32,
    other_rows: u32, other_columns: u32,
    row_mul: i32, row_add: i32, row_den: i32, row_inverse: f32,
    column_mul: i32, column_add: i32, column_den: i32, column_inverse: f32,
#if resize_grad
    // Outputs that read row h lie within row_reach of h * row_ratio + row_centre.
    row_ratio: f32, row_centre: f32, row_reach: i32,
    column_ratio: f32, column_centre: f32, column_reach: i32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;

// Which two input elements an output element reads, and the weight of the second.
struct Tap { low: u32, high: u32, t: f32 }

// `size` is the input's. The float quotient may be off by one and the exact remainder corrects it: cheaper than a division
// of integers and, unlike one of floats, exact.
fn tap(output: u32, mul: i32, add: i32, den: i32, inverse: f32, size: u32) -> Tap {
    let numerator = max(i32(output) * mul + add, 0);
    var low = i32(f32(numerator) * inverse);
    var rest = numerator - low * den;
    if (rest < 0) { low -= 1; rest += den; }
    if (rest >= den) { low += 1; rest -= den; }
    return Tap(u32(low), min(u32(low) + 1u, size - 1u), f32(rest) * inverse);
}

#if resize
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn resize(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    let row = tap(t.row, p.row_mul, p.row_add, p.row_den, p.row_inverse, p.other_rows);
    let upper = (t.image * p.other_rows + row.low) * p.other_columns;
    let lower = (t.image * p.other_rows + row.high) * p.other_columns;
    let first = (t.image * p.rows + t.row) * p.columns;
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let column = tap(t.column, p.column_mul, p.column_add, p.column_den, p.column_inverse, p.other_columns);
            let a = x[(upper + column.low) * p.channel_quads + t.quad];
            let b = x[(upper + column.high) * p.channel_quads + t.quad];
            let c = x[(lower + column.low) * p.channel_quads + t.quad];
            let d = x[(lower + column.high) * p.channel_quads + t.quad];
            let above = a * (1.0 - column.t) + b * column.t;
            let below = c * (1.0 - column.t) + d * column.t;
            y[(first + t.column) * p.channel_quads + t.quad] = above * (1.0 - row.t) + below * row.t;
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if resize_grad
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

// What output element `t` takes of input element `at`; at the last element both taps are the same.
fn weight(t: Tap, at: u32) -> f32 {
    return select(0.0, 1.0 - t.t, t.low == at) + select(0.0, t.t, t.high == at);
}

@compute @workgroup_size(64)
fn resize_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    let row_near = i32(floor(f32(t.row) * p.row_ratio + p.row_centre));
    let row_begin = u32(max(row_near - p.row_reach, 0));
    let row_end = u32(clamp(row_near + p.row_reach + 1, 0, i32(p.other_rows)));
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let near = i32(floor(f32(t.column) * p.column_ratio + p.column_centre));
            let begin = u32(max(near - p.column_reach, 0));
            let end = u32(clamp(near + p.column_reach + 1, 0, i32(p.other_columns)));
            var sum = vec4<f32>();
            for (var row = row_begin; row < row_end; row++) {
                let across = weight(tap(row, p.row_mul, p.row_add, p.row_den, p.row_inverse, p.rows), t.row);
                if (across != 0.0) {
                    let line = (t.image * p.other_rows + row) * p.other_columns;
                    var part = vec4<f32>();
                    for (var column = begin; column < end; column++) {
                        let c = tap(column, p.column_mul, p.column_add, p.column_den, p.column_inverse, p.columns);
                        let along = weight(c, t.column);
                        if (along != 0.0) {
                            part += along * dy[(line + column) * p.channel_quads + t.quad];
                        }
                    }
                    sum += across * part;
                }
            }
            dx[((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad] = sum;
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end
