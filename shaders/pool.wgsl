// Pooling, forward and backward. x [N H W C], y [N P Q C]; window R x S, stride SH x SW, padding top and left (the other
// sides follow from P and Q); kernel and stride may differ. One thread a quad of channels of one pixel (prelude/pixels); max
// pooling: a cell (prelude/cell), and what Params calls quads are cells.
//   max_pool       y = max over the window, padding never wins; `windows` keeps r * S + s of the winner, one byte a channel;
//                  the first of equals wins (PyTorch, cuDNN). NaN wins over everything.
//   max_pool_grad  dx[h, w] = sum over the windows that (h, w) won of dy: a gather, so no atomics. APART: a scatter
//                  instead, each window writes its own pixels. MASK, where a ReLU output was pooled: times (m > 0), where m
//                  is y: a pixel that won is its window's y, so the ReLU's gradient needs a quarter of the loads and
//                  nobody the image that was pooled.
//   avg_pool       y = sum over the window / count; INCLUDE: count = R * S, else the pixels inside the image.
//   avg_pool_grad  dx[h, w] = sum over the windows that hold (h, w) of dy / count. MASK: times (m > 0), where m
//                  is the ReLU output that was pooled.
//   global_avg_pool / global_avg_pool_grad: mean over all pixels of an image, and its gradient.
//   global_max_pool / global_max_pool_grad: maximum over all pixels, and dy at the pixel that won; `won` is that pixel's
//                  row-major index as f32, which is exact below 2^24. The first of equals wins, NaN over everything.
// y of max_pool and avg_pool, and m of max_pool_grad, may be channels of wider images: a stride and an offset.
// Limited by memory bandwidth. Source: PyTorch's MaxPool2d and AvgPool2d documentation for the conventions.
#import pixels
#import cell
#param R = 2
#param S = 2
#param SH = 2
#param SW = 2
#param MASK = 0
#param INCLUDE = 0
#param PADDED = 1
#param APART = 0        // max_pool_grad: no padding, and a stride of the window's size
#param RAGGED = 0       // with APART: the last windows are cut off
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, columns: u32, column_blocks: u32, channel_quads: u32, channel_blocks: u32, lane_bits: u32, repeat: u32,
    other_rows: u32, other_columns: u32, pad_top: u32, pad_left: u32,
#if max_pool_grad && APART
    height: u32, width: u32, // of dx
#end
#if max_pool || avg_pool
    out_stride: u32, out_offset: u32, // pixel i of y is at out_offset + i * out_stride
#end
#if max_pool_grad && MASK
    mask_stride: u32, mask_offset: u32, // likewise of m
#end
}
@group(0) @binding(0) var<uniform> p: Params;

#if max_pool || max_pool_grad
// The winners of a cell: one byte a channel.
#if WIDE
alias Winners = u64;
fn pack_winners(won: array<vec4<u32>, QUADS>) -> Winners {
    return u64(pack_bytes(won[0])) | (u64(pack_bytes(won[1])) << 32u);
}
fn winners(v: Winners) -> array<vec4<u32>, QUADS> {
    return array<vec4<u32>, QUADS>(bytes(u32(v)), bytes(u32(v >> 32u)));
}
#else
alias Winners = u32;
fn pack_winners(won: array<vec4<u32>, QUADS>) -> Winners {
    return pack_bytes(won[0]);
}
fn winners(v: Winners) -> array<vec4<u32>, QUADS> {
    return array<vec4<u32>, QUADS>(bytes(v));
}
#end
fn pack_bytes(v: vec4<u32>) -> u32 {
    return v.x | (v.y << 8u) | (v.z << 16u) | (v.w << 24u);
}
fn bytes(v: u32) -> vec4<u32> {
    return (vec4<u32>(v) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}
#end

#if max_pool
@group(0) @binding(1) var<storage, read> x: array<Cell>;
@group(0) @binding(2) var<storage, read_write> y: array<Cell>;
@group(0) @binding(3) var<storage, read_write> windows: array<Winners>;
@compute @workgroup_size(64)
fn max_pool(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    // Unsigned: a row above the image wraps to a huge number and is outside as well.
    let h = t.row * SH - p.pad_top;
    let line = p.other_columns * p.channel_quads;
    let begin = (t.image * p.other_rows + h) * line + t.quad;
    let pixel = (t.image * p.rows + t.row) * p.columns;
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let w = t.column * SW - p.pad_left;
            let first = begin + w * p.channel_quads;
            var best = Numbers();
            var won: array<vec4<u32>, QUADS>;
#for H in 0..QUADS
            won[{H}] = vec4<u32>(255u);
#end
#for A in 0..R
#for B in 0..S
            {
#if PADDED
                // Without padding a window is never outside, and the branch would cost software Vulkan more than the load.
                if (h + {A}u < p.other_rows && w + {B}u < p.other_columns) {
#end
                    let v = numbers(x[first + {A}u * line + {B}u * p.channel_quads]);
#for H in 0..QUADS
#if !PADDED && A + B == 0
                    best[{H}] = v[{H}];
                    won[{H}] = vec4<u32>(0u);
#else
                    {
#if PADDED
                        let better = (won[{H}] == vec4<u32>(255u)) | (v[{H}] > best[{H}]) | (v[{H}] != v[{H}]);
#else
                        let better = (v[{H}] > best[{H}]) | (v[{H}] != v[{H}]);
#end
                        best[{H}] = select(best[{H}], v[{H}], better);
                        won[{H}] = select(won[{H}], vec4<u32>({A*S+B}u), better);
                    }
#end
#end
#if PADDED
                }
#end
            }
#end
#end
            y[p.out_offset + (pixel + t.column) * p.out_stride + t.quad] = cell(best);
            windows[(pixel + t.column) * p.channel_quads + t.quad] = pack_winners(won);
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if max_pool_grad || avg_pool_grad
#if max_pool_grad
@group(0) @binding(1) var<storage, read> dy: array<Cell>;
@group(0) @binding(2) var<storage, read> windows: array<Winners>;
#if MASK
@group(0) @binding(3) var<storage, read> m: array<Cell>; // y
@group(0) @binding(4) var<storage, read_write> dx: array<Cell>;
#else
@group(0) @binding(3) var<storage, read_write> dx: array<Cell>;
#end
#else
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
#if MASK
@group(0) @binding(2) var<storage, read> m: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
#end
#end
#end

#if max_pool_grad
// dy of cell `quad` of a pixel where the window's maximum passed the ReLU.
fn masked_dy(pixel: u32, quad: u32) -> Numbers {
    var d = numbers(dy[pixel * p.channel_quads + quad]);
#if MASK
    let y = numbers(m[p.mask_offset + pixel * p.mask_stride + quad]);
#for H in 0..QUADS
    d[{H}] = select(vec4<f32>(), d[{H}], y[{H}] > vec4<f32>());
#end
#end
    return d;
}
#end

#if max_pool_grad && !APART
@compute @workgroup_size(64)
fn max_pool_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let h = t.row + p.pad_top;
            let w = t.column + p.pad_left;
            var sum = Numbers();
            // Windows that hold (h, w): rows h / SH and before, as many as overlap.
#for A in 0..(R+SH-1)/SH
#for B in 0..(S+SW-1)/SW
            {
                let row = h / SH - {A}u;
                let column = w / SW - {B}u;
                let r = h - row * SH;
                let s = w - column * SW;
                if (row < p.other_rows && column < p.other_columns && r < R && s < S) {
                    let pixel = (t.image * p.other_rows + row) * p.other_columns + column;
                    let won = winners(windows[pixel * p.channel_quads + t.quad]);
                    let d = masked_dy(pixel, t.quad);
#for H in 0..QUADS
                    sum[{H}] += select(vec4<f32>(), d[{H}], won[{H}] == vec4<u32>(r * S + s));
#end
                }
            }
#end
#end
            let at = ((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad;
            dx[at] = cell(sum);
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if max_pool_grad && APART
// Windows that neither overlap nor are padded: a thread owns a window, reads its dy once and writes all of its dx. rows and
// columns count windows, the last ones cut off where RAGGED: those have no dy, and their pixels get zero.
@compute @workgroup_size(64)
fn max_pool_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    let line = p.width * p.channel_quads;
    let begin = (t.image * p.other_rows + t.row) * p.other_columns;
    let to = (t.image * p.height + t.row * SH) * line + t.quad;
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
#if RAGGED
            let inside = t.row < p.other_rows && t.column < p.other_columns;
            let pixel = select(0u, begin + t.column, inside);
#else
            let pixel = begin + t.column;
#end
            let d = masked_dy(pixel, t.quad);
            let won = winners(windows[pixel * p.channel_quads + t.quad]);
            let first = to + t.column * SW * p.channel_quads;
#for A in 0..R
#for B in 0..S
#if RAGGED
            if (t.row * SH + {A}u < p.height && t.column * SW + {B}u < p.width) {
#else
            {
#end
                let here = first + {A}u * line + {B}u * p.channel_quads;
                var v = Numbers();
#for H in 0..QUADS
                {
                    var mine = won[{H}] == vec4<u32>({A*S+B}u);
#if RAGGED
                    mine &= vec4<bool>(inside);
#end
                    v[{H}] = select(vec4<f32>(), d[{H}], mine);
                }
#end
                dx[here] = cell(v);
            }
#end
#end
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if avg_pool || avg_pool_grad
// How many pixels the window of output (row, column) averages over an image of height x width.
fn count(row: u32, column: u32, height: u32, width: u32) -> f32 {
#if INCLUDE
    return f32(R * S);
#else
    let top = i32(row * SH) - i32(p.pad_top);
    let left = i32(column * SW) - i32(p.pad_left);
    let high = min(top + i32(R), i32(height)) - max(top, 0);
    let wide = min(left + i32(S), i32(width)) - max(left, 0);
    return f32(max(high * wide, 1));
#end
}
#end

#if avg_pool
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn avg_pool(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            var sum = vec4<f32>();
            for (var r = 0u; r < R; r++) {
                for (var s = 0u; s < S; s++) {
                    let h = t.row * SH + r - p.pad_top;
                    let w = t.column * SW + s - p.pad_left;
                    if (h < p.other_rows && w < p.other_columns) {
                        sum += x[((t.image * p.other_rows + h) * p.other_columns + w) * p.channel_quads + t.quad];
                    }
                }
            }
            let pixel = (t.image * p.rows + t.row) * p.columns + t.column;
            y[p.out_offset + pixel * p.out_stride + t.quad] = sum / count(t.row, t.column, p.other_rows, p.other_columns);
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if avg_pool_grad
@compute @workgroup_size(64)
fn avg_pool_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let h = t.row + p.pad_top;
            let w = t.column + p.pad_left;
            var sum = vec4<f32>();
            for (var a = 0u; a < (R + SH - 1u) / SH; a++) {
                for (var b = 0u; b < (S + SW - 1u) / SW; b++) {
                    let row = h / SH - a;
                    let column = w / SW - b;
                    if (row < p.other_rows && column < p.other_columns && h - row * SH < R && w - column * SW < S) {
                        let at = ((t.image * p.other_rows + row) * p.other_columns + column) * p.channel_quads + t.quad;
                        sum += dy[at] / count(row, column, p.rows, p.columns);
                    }
                }
            }
            let at = ((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad;
#if MASK
            dx[at] = select(vec4<f32>(), sum, m[at] > vec4<f32>());
#else
            dx[at] = sum;
#end
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if global_avg_pool
// Here rows x columns is 1 x 1 and other_rows x other_columns the image. A thread sums one quad's pixels in order.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn global_avg_pool(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    let t = spot(wg, l);
    if (t.quad >= p.channel_quads || t.column >= p.columns) { return; }
    let pixels = p.other_rows * p.other_columns;
    var sum = vec4<f32>();
    var at = t.image * pixels * p.channel_quads + t.quad;
    for (var i = 0u; i < pixels; i++) {
        sum += x[at];
        at += p.channel_quads;
    }
    y[t.image * p.channel_quads + t.quad] = sum / f32(pixels);
}
#end

#if global_avg_pool_grad
// Here rows x columns is the image.
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(64)
fn global_avg_pool_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    let g = dy[t.image * p.channel_quads + t.quad] / f32(p.rows * p.columns);
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            dx[((t.image * p.rows + t.row) * p.columns + t.column) * p.channel_quads + t.quad] = g;
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end

#if global_max_pool
// Here rows x columns is 1 x 1 and other_rows x other_columns the image. A thread looks at one quad's pixels in order.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> won: array<vec4<f32>>;
@compute @workgroup_size(64)
fn global_max_pool(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    let t = spot(wg, l);
    if (t.quad >= p.channel_quads || t.column >= p.columns) { return; }
    let pixels = p.other_rows * p.other_columns;
    var at = t.image * pixels * p.channel_quads + t.quad;
    var best = x[at];
    var index = vec4<f32>();
    for (var i = 1u; i < pixels; i++) {
        at += p.channel_quads;
        let v = x[at];
        let better = (v > best) | (v != v);
        best = select(best, v, better);
        index = select(index, vec4<f32>(f32(i)), better);
    }
    y[t.image * p.channel_quads + t.quad] = best;
    won[t.image * p.channel_quads + t.quad] = index;
}
#end

#if global_max_pool_grad
// Here rows x columns is the image.
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> won: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(64)
fn global_max_pool_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var t = spot(wg, l);
    if (t.quad >= p.channel_quads) { return; }
    let g = dy[t.image * p.channel_quads + t.quad];
    let index = won[t.image * p.channel_quads + t.quad];
    for (var i = 0u; i < p.repeat; i++) {
        if (t.column < p.columns) {
            let pixel = t.row * p.columns + t.column;
            dx[(t.image * p.rows * p.columns + pixel) * p.channel_quads + t.quad] =
                select(vec4<f32>(), g, index == vec4<f32>(f32(pixel)));
        }
        t.column += 64u >> p.lane_bits;
    }
}
#end
