// Depthwise convolution: every input channel c has its own M = MULTIPLIER filters, output channel k = c M + j (PyTorch's groups).
// x [N, H, W, Cp], w [R, S, 4, Kp] of which only the first of the four rows is not zero, y [N, P, Q, Kp].
//   depthwise_forward             y[n,p,q,k]  = sum_{r,s} x[n, p SH + r - pad_top, q SW + s - pad_left, k / M] w[r,s,k]
//   depthwise_grad_input          dx[n,h,w,c] = sum_{j,r,s} dy[n, (h + pad_top - r) / SH, (w + pad_left - s) / SW, c M + j]
//                                               w[r,s,c M + j]   (* (m > 0))
//   depthwise_grad_weight_partial, depthwise_grad_weight_total
//                                 dw[r,s,k]   = sum_{n,p,q} x[n, p SH + r - pad_top, q SW + s - pad_left, k / M] dy[n,p,q,k]
// Nothing is shared between channels, so this is bound by loads, and each kernel is a way not to load twice:
// - forward with SH = 1: a thread owns one quad of channels of COLS columns and walks down `walk_rows` rows of y. It keeps the
//   filter and R rows of sums; each row of x is loaded once and added to all of them, then the oldest sum is complete.
//   The input gradient with stride 1 and M = 1 is the same kernel with the filter turned round (and padding R - 1 - pad_top).
// - forward with SH > 1: the same without the walk. The other input gradients: a gather over the windows that hold a pixel.
// - filter gradient: a thread owns one quad of k and a run of lines (image, row of y), keeps R S sums and an R x S window of x
//   that moves along the line: R loads of x and one of dy a pixel for R S multiply-adds. Partial sums are added in order.
// Launch grid: threads in linear order, the quad fastest, so that neighbours load neighbours.
// Measured, software Vulkan (Mesa 25.0.7, 2 busy cores of a Zen 3), 3x3 N4 C728 19x19: forward, input and filter gradient each
// take about twice the time of an `add` of that size; 2 or 4 columns are alike, walks of 8 rows cost a third more than of 16.
// Source: Chollet 2017, arXiv:1610.02357 (Xception). Pixel i of an image is at offset + i * stride (quads).
#param R = 3
#param S = 3
#param SH = 1
#param SW = 1
#param MULTIPLIER = 1
#param MASK = 0
#param COLS = 2
#if depthwise_forward && SH == 1 || depthwise_grad_input && SH == 1 && SW == 1 && MULTIPLIER == 1
#param ROLL = 1
#else
#param ROLL = 0
#end
#if depthwise_grad_input && ROLL
#param FLIP = 1
#else
#param FLIP = 0
#end
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    threads: u32,
#if !depthwise_grad_weight_total
    // The image that is written (x for the filter gradient) and the other one; `blocks` of columns, `chunks` of rows.
    in_h: u32, in_w: u32, out_h: u32, out_w: u32, pad_top: i32, pad_left: i32,
    in_stride: u32, in_offset: u32, out_stride: u32, out_offset: u32,
#end
    k_quads: u32,
#if depthwise_forward || depthwise_grad_input
    out_quads: u32, blocks: u32, chunks: u32, walk_rows: u32,
#end
#if MASK
    mask_stride: u32, mask_offset: u32,
#end
#if depthwise_grad_weight_partial
    lines: u32, walk_lines: u32,
#end
#if depthwise_grad_weight_total
    chunks: u32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
#import grid

#if depthwise_forward || depthwise_grad_input
// `x` is what is read: x, or dy.
#if MULTIPLIER == 1
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#if depthwise_forward
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read> w: array<f32>;
#end
#end
#if MASK
@group(0) @binding(3) var<storage, read> mask: array<vec4<f32>>;
#end
@group(0) @binding(3u + MASK) var<storage, read_write> out: array<vec4<f32>>;
#end
#if depthwise_grad_weight_partial
#if MULTIPLIER == 1
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#end
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> part: array<vec4<f32>>; // [chunks][R S][k_quads]
#end

#if depthwise_forward || depthwise_grad_weight_partial || ROLL
// The channels of x that belong to quad `quad` of y, at row h and column w of image n; zero outside of the image.
fn load(n: u32, h: u32, w: u32, quad: u32) -> vec4<f32> {
    // Unsigned: a row above the image wraps to a huge number and is outside as well.
    let ok = h < p.in_h && w < p.in_w;
    let pixel = select(0u, (n * p.in_h + h) * p.in_w + w, ok) * p.in_stride + p.in_offset;
#if MULTIPLIER == 1
    return select(vec4<f32>(), x[pixel + quad], ok);
#else
    let k = vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    // An extra lane of y reads channel C at most, which exists: where C is a multiple of 4, y has no extra lanes.
    let at = pixel * 4u + k / MULTIPLIER;
    return select(vec4<f32>(), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), ok);
#end
}
#end

#if depthwise_forward || depthwise_grad_input
@compute @workgroup_size(64)
#if depthwise_forward
fn depthwise_forward(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#else
fn depthwise_grad_input(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    let thread = grid_group(wg) * 64u + l.x;
    if (thread >= p.threads) { return; }
    let spot = thread / p.out_quads;
    let quad = thread - spot * p.out_quads;
    let line = spot / p.blocks;
    let column0 = (spot - line * p.blocks) * COLS;
    let image = line / p.chunks;
    let row0 = (line - image * p.chunks) * p.walk_rows;
    let row_end = min(row0 + p.walk_rows, p.out_h);
#if depthwise_forward || ROLL
#for T in 0..R*S
#if FLIP
    let w{T} = w[{R*S-1-T}u * 4u * p.k_quads + quad];
#else
    let w{T} = w[{T}u * 4u * p.k_quads + quad];
#end
#end
#for J in 0..COLS
#for A in 0..R
    var s{A}_{J} = vec4<f32>();
#end
#end
#if ROLL
    // Row `step` of the walk is row row0 + step - pad_top of x; s{A} is the sum of output row row0 + step - A so far.
    for (var step = 0u; step < row_end - row0 + (R - 1u); step++) {
        let h = row0 + step - u32(p.pad_top);
#for B in 0..(COLS-1)*SW+S
        let v{B} = load(image, h, column0 * SW + {B}u - u32(p.pad_left), quad);
#end
#for A in 0..R
#for J in 0..COLS
#for B in 0..S
        s{A}_{J} = fma(v{J*SW+B}, w{A*S+B}, s{A}_{J});
#end
#end
#end
        let row = row0 + step - (R - 1u);
        if (step >= R - 1u) {
#for A in R-1..R
#for J in 0..COLS
            store(image, row, column0 + {J}u, quad, s{A}_{J});
#end
#end
        }
#for A in 1..R
#for J in 0..COLS
        s{R-A}_{J} = s{R-A-1}_{J};
#end
#end
#for J in 0..COLS
        s0_{J} = vec4<f32>();
#end
    }
#else
    for (var row = row0; row < row_end; row++) {
#for A in 0..R
        {
            let h = row * SH + {A}u - u32(p.pad_top);
#for B in 0..(COLS-1)*SW+S
            let v{B} = load(image, h, column0 * SW + {B}u - u32(p.pad_left), quad);
#end
#for J in 0..COLS
#for B in 0..S
            s0_{J} = fma(v{J*SW+B}, w{A*S+B}, s0_{J});
#end
#end
        }
#end
#for J in 0..COLS
        store(image, row, column0 + {J}u, quad, s0_{J});
        s0_{J} = vec4<f32>();
#end
    }
#end
#else
    // Windows that hold (row, column): rows (row + pad_top) / SH and before, as many as overlap.
    for (var row = row0; row < row_end; row++) {
        for (var column = column0; column < min(column0 + COLS, p.out_w); column++) {
            let h = row + u32(p.pad_top);
            let w_ = column + u32(p.pad_left);
            var sum = vec4<f32>();
            for (var a = 0u; a < (R + SH - 1u) / SH; a++) {
                for (var b = 0u; b < (S + SW - 1u) / SW; b++) {
                    let i = h / SH - a;
                    let j = w_ / SW - b;
                    let r = h - i * SH;
                    let s = w_ - j * SW;
                    if (i < p.in_h && j < p.in_w && r < R && s < S) {
                        let pixel = ((image * p.in_h + i) * p.in_w + j) * p.in_stride + p.in_offset;
                        let tap = (r * S + s) * 4u * p.k_quads;
#if MULTIPLIER == 1
                        sum = fma(x[pixel + quad], w[tap + quad], sum);
#else
                        // Channel c of the last quad may be an extra lane; its outputs are past the last true one.
                        for (var e = 0u; e < MULTIPLIER; e++) {
                            let k = (vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u)) * MULTIPLIER + vec4<u32>(e);
                            let ok = k < vec4<u32>(p.k_quads * 4u);
                            let at = select(vec4<u32>(), k, ok);
                            let d = pixel * 4u + at;
                            let f = tap * 4u + at;
                            let v = vec4<f32>(x[d.x], x[d.y], x[d.z], x[d.w]) * vec4<f32>(w[f.x], w[f.y], w[f.z], w[f.w]);
                            sum += select(vec4<f32>(), v, ok);
                        }
#end
                    }
                }
            }
            store(image, row, column, quad, sum);
        }
    }
#end
}
fn store(image: u32, row: u32, column: u32, quad: u32, v: vec4<f32>) {
    if (column < p.out_w) {
        let pixel = (image * p.out_h + row) * p.out_w + column;
        let at = pixel * p.out_stride + p.out_offset + quad;
#if MASK
        out[at] = select(vec4<f32>(), v, mask[pixel * p.mask_stride + p.mask_offset + quad] > vec4<f32>());
#else
        out[at] = v;
#end
    }
}
#end

#if depthwise_grad_weight_partial
@compute @workgroup_size(64)
fn depthwise_grad_weight_partial(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    if (thread >= p.threads) { return; }
    let chunk = thread / p.k_quads;
    let quad = thread - chunk * p.k_quads;
    let first = chunk * p.walk_lines;
    let last = min(first + p.walk_lines, p.lines);
    var image = first / p.out_h;
    var row = first - image * p.out_h;
#for T in 0..R*S
    var s{T} = vec4<f32>();
    var v{T} = vec4<f32>();
#end
    for (var line = first; line < last; line++) {
        let h = row * SH - u32(p.pad_top);
        // What the move before column 0 takes over.
#for A in 0..R
#for B in SW..S
        v{A*S+B} = load(image, h + {A}u, {B-SW}u - u32(p.pad_left), quad);
#end
#end
        var at = line * p.out_w * p.out_stride + p.out_offset + quad;
        for (var column = 0u; column < p.out_w; column++) {
            let d = dy[at];
            at += p.out_stride;
#for A in 0..R
#for B in 0..S
#if B + SW < S
            v{A*S+B} = v{A*S+B+SW};
#else
            v{A*S+B} = load(image, h + {A}u, column * SW + {B}u - u32(p.pad_left), quad);
#end
            s{A*S+B} = fma(v{A*S+B}, d, s{A*S+B});
#end
#end
        }
        row++;
        if (row == p.out_h) {
            row = 0u;
            image++;
        }
    }
#for T in 0..R*S
    part[(chunk * (R * S) + {T}u) * p.k_quads + quad] = s{T};
#end
}
#end

#if depthwise_grad_weight_total
@group(0) @binding(1) var<storage, read> part: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4<f32>>; // [R S][4][k_quads], rows 1 to 3 zero
@compute @workgroup_size(64)
fn depthwise_grad_weight_total(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let thread = grid_group(wg) * 64u + l.x;
    if (thread >= p.threads) { return; }
    let tap = thread / p.k_quads;
    let quad = thread - tap * p.k_quads;
    var sum = part[thread];
    for (var chunk = 1u; chunk < p.chunks; chunk++) {
        sum += part[chunk * p.threads + thread];
    }
    dw[tap * 4u * p.k_quads + quad] = sum;
#for C in 1..4
    dw[(tap * 4u + {C}u) * p.k_quads + quad] = vec4<f32>();
#end
}
#end
