// zero_pad   y[n, h + top, w + left] = x[n, h, w], zero elsewhere.
// crop       y[n, h, w] = x[n, h + top, w + left]: the gradient of zero_pad, and the other way round.
// x [N, other_rows, other_columns, C'], y [N, rows, columns, C']; the other two sides follow from the sizes.
// One thread a quad of channels of one pixel of y (prelude/pixels). Limited by memory bandwidth. Keras' ZeroPadding2D.
#import pixels
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, columns: u32, column_blocks: u32, channel_quads: u32, channel_blocks: u32, lane_bits: u32, repeat: u32,
    other_rows: u32, other_columns: u32, pad_top: u32, pad_left: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
#if zero_pad
fn zero_pad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#else
fn crop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
#if zero_pad
            // Unsigned: a row above the image wraps to a huge number and is outside as well.
            let h = t.row - p.pad_top;
            let w = t.column - p.pad_left;
#else
            let h = t.row + p.pad_top;
            let w = t.column + p.pad_left;
#end
            var v = vec4<f32>();
            if (h < p.other_rows && w < p.other_columns) {
                v = x[((t.image * p.other_rows + h) * p.other_columns + w) * p.channel_quads + t.quad];
            }
            y[((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad] = v;
        }
        t.column += 64u >> p.lane_bits;
    }
}
