// Convolution, its two gradients, and dense layers (a convolution with h = w = r = s = 1). Channels last:
// x [N, H, W, Cp], w [R, S, Cp, Kp], y [N, P, Q, Kp], Cp and Kp = channels rounded up to 4, extra lanes zero.
//
//   conv2d_forward      y[n,p,q,k]  = sum_{r,s,c} x[n, p SH + r - pad_top, q SW + s - pad_left, c] w[r,s,c,k]  (+ bias, batch norm, skip, ReLU)
//   conv2d_grad_input   dx[n,h,w,c] = sum_{r,s,k} dy[n, (h + pad_top - r) / SH, (w + pad_left - s) / SW, k] w[r,s,c,k]  (* (m > 0))
//   conv2d_grad_weight  dw[r,s,c,k] = sum_{n,p,q} x[n, p SH + r - pad_top, q SW + s - pad_left, c] dy[n,p,q,k]
//
// One idea: all three are one GEMM with address maps, nothing is copied, padded or transposed. The first two are a gather
// (rows = output pixels, reduction = taps x channels; a stride > 1 of grad_input becomes SH SW stride-1 gathers, one per
// phase of h and w), the third an outer product (rows = (r,s,c), reduction = pixels). The loops over r, s, channels and
// pixels are run-time loops: one pipeline serves every filter size.
// Core 0 (adapters with subgroups of exactly 8 lanes: software Vulkan): one subgroup a workgroup, no workgroup memory;
// each lane loads its share of both operands, subgroupBroadcast hands the shared one round.
// Core 1 (GPUs): BM x BN tiles in workgroup memory, TM x TN registers a thread, the next slice in registers.
// A reduction cut into `splits` slices writes [splits][out_quads] and gemm_reduce sums it in fixed order: no atomics.
//
// Launch grid: one workgroup a tile, linear; channel tiles fastest, then pixel tiles, then phases, then slices.
// Sources: implicit GEMM as in Chetlur et al. 2014, arXiv:1410.0759; register tiles and double buffering as in Volkov &
// Demmel 2008, "Benchmarking GPUs to tune dense linear algebra".
// Limit, software Vulkan: instructions. A load is about 22 instructions a lane (mask, bounds, address, insert: counted in
// the driver's machine code), so about half of the loop is loads.
// Measured, share of a register-only FMA loop in the same run (Mesa 25.0.7, 2 cores Zen 3 with AVX2, N8 C64 56x56 K64 3x3):
// best rounds: forward 48 %, grad_input 45 %, grad_weight 46 %, dense 512^3 42 %; on the shared machine typically 2-5 less. Core 1 is tested for correctness only: no GPU yet.

#param CORE = 0         // 0: subgroup of 8, broadcast, no workgroup memory; 1: workgroup tiles
#param ROWS = 32        // core 0: output channels (grad_weight: filter elements r s c) of a tile, a multiple of 16
#if conv2d_grad_weight
#param PIXELS = 2       // core 0: pixels of a round, even
#else
#param PIXELS = 4       // core 0: pixels of a lane
#end
#param BM = 64          // core 1: tile rows (pixels; grad_weight: filter elements r s c)
#param BN = 64          // core 1: tile columns (output channels; grad_weight: k)
#param BK = 16          // core 1: slice of the reduction in workgroup memory, a multiple of 4
#param TM = 4           // core 1: rows of a thread, a multiple of 4
#param TN = 4           // core 1: columns of a thread, a multiple of 4; threads = (BM / TM) (BN / TN)
#param STRIDED = 0      // grad_input, 1: stride > 1 in either direction
#param BLOCK = 8        // core 0, forward, grad_input: quads of channels that are summed before their sum joins the total
#param C_TRUE = 4       // core 0: 1 = one real channel in the quad (first layer of grey images): forward, grad_weight
#param SKIP = 0         // forward: add skip, an image of y's shape, before the ReLU
#param MASK = 0         // grad_input: multiply by (m > 0), m has the layout of dx (with STRIDED only if p.masked)
#param ACCUMULATE = 0   // grad_input, grad_weight: add to the output instead of writing it
#param TEXELS = 0       // core 0: > 0 = both operands are read as textures of so many texels a row (prelude/texel); ROWS 32
#if CORE == 1
#param M_TILE = BM
#param N_TILE = BN
#param THREADS = BM/TM*(BN/TN)
#param A_LOADS = BM*BK/4/THREADS
#param B_LOADS = BN*BK/4/THREADS
#param A_PITCH = BK/4+1 // one quad more than a line: neighbours' lines fall into different banks
#if conv2d_grad_weight
#param A_QUADS = BM*BK/4
#param B_QUADS = BN*BK/4
#else
#param A_QUADS = BM*A_PITCH
#if conv2d_forward
#param B_QUADS = BN*BK/4
#else
#param B_QUADS = BN*A_PITCH
#end
#end
#else
#param M_TILE = PIXELS*8
#param N_TILE = ROWS
#param THREADS = 8
#end
#if C_TRUE == 1
#param TILE_LOADS = ROWS/4
#else
#param TILE_LOADS = ROWS/16
#end
#import conv_params
#import quad
#if TEXELS
#import texel
#end

@group(0) @binding(0) var<uniform> p: Params;
#if conv2d_forward
#if TEXELS
@group(0) @binding(1) var x: texture_2d<f32>;                    // [N, H, W, Cp]
@group(0) @binding(2) var w: texture_2d<f32>;                    // [R, S, Cp, Kp]
#else
#if C_TRUE == 1
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [N, H, W, 4]
#else
#if CORE == 1
@group(0) @binding(1) var<storage, read> x: array<Quad>;         // [N, H, W, Cp]
#else
@group(0) @binding(1) var<storage, read> x: array<Pair>;         // [N, H, W, Cp]
#end
#end
@group(0) @binding(2) var<storage, read> w: array<Quad>;         // [R, S, Cp, Kp]
#end
// What a convolution does not have is bound to w and not used: a variant would be a pipeline, and in software Vulkan each
// takes the better part of a second to compile.
@group(0) @binding(3) var<storage, read> bias: array<Quad>;  // [Kp]
@group(0) @binding(4) var<storage, read> mean: array<Quad>;  // [Kp]; y = (sum + bias - mean) * scale + beta
@group(0) @binding(5) var<storage, read> scale: array<Quad>; // [Kp]
@group(0) @binding(6) var<storage, read> beta: array<Quad>;  // [Kp]
#if SKIP
@group(0) @binding(7) var<storage, read> skip: array<Quad>;  // [N, P, Q, Kp]
#end
@group(0) @binding(7u + SKIP) var<storage, read_write> out: array<Quad>; // y [N, P, Q, Kp], or the workspace
#end
#if conv2d_grad_input
#if TEXELS
@group(0) @binding(1) var x: texture_2d<f32>;                    // dy [N, P, Q, Kp]
@group(0) @binding(2) var w: texture_2d<f32>;                    // [R, S, Cp, Kp]
#else
#if CORE == 1
@group(0) @binding(1) var<storage, read> x: array<Quad>;         // dy [N, P, Q, Kp]
@group(0) @binding(2) var<storage, read> w: array<Quad>;         // [R, S, Cp, Kp]
#else
@group(0) @binding(1) var<storage, read> x: array<Pair>;         // dy [N, P, Q, Kp]
@group(0) @binding(2) var<storage, read> w: array<Pair>;         // [R, S, Cp, Kp]
#end
#end
#if MASK
@group(0) @binding(3) var<storage, read> mask: array<Quad>; // [N, H, W, Cp]
@group(0) @binding(4) var<storage, read_write> out: array<Quad>; // dx [N, H, W, Cp], or the workspace
#else
@group(0) @binding(3) var<storage, read_write> out: array<Quad>;
#end
#end
#if conv2d_grad_weight
#if TEXELS
@group(0) @binding(1) var x: texture_2d<f32>;                    // [N, H, W, Cp]
@group(0) @binding(2) var dy: texture_2d<f32>;                   // [N, P, Q, Kp]
#else
#if C_TRUE == 1
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [N, H, W, 4]
#else
@group(0) @binding(1) var<storage, read> x: array<Quad>;         // [N, H, W, Cp]
#end
@group(0) @binding(2) var<storage, read> dy: array<Quad>;        // [N, P, Q, Kp]
#end
@group(0) @binding(3) var<storage, read_write> out: array<Quad>; // dw [R, S, Cp, Kp], or the workspace
#end
#import grid
#if CORE == 1
var<workgroup> tile_a: array<vec4<f32>, A_QUADS>;
var<workgroup> tile_b: array<vec4<f32>, B_QUADS>;
#end

#if conv2d_grad_weight && CORE == 0
// Quad i of the operands, however they are bound.
fn dy_quad(i: u32) -> vec4<f32> {
#if TEXELS
    return texel(dy, i);
#else
    return quad(dy[i]);
#end
}
#if C_TRUE == 1
fn x_first_channel(i: u32) -> f32 {
#if TEXELS
    return texel(x, i).x;
#else
    return x[i * 4u];
#end
}
#else
fn x_quad(i: u32) -> vec4<f32> {
#if TEXELS
    return texel(x, i);
#else
    return quad(x[i]);
#end
}
#end
#end

#if conv2d_forward || conv2d_grad_input
@compute @workgroup_size(THREADS)
#if CORE == 1
#if conv2d_forward
fn conv2d_forward(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
#else
fn conv2d_grad_input(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
#end
#else
#if conv2d_forward
fn conv2d_forward(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
#else
fn conv2d_grad_input(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
#end
#end
    let group = grid_group(wg);
    if (group >= p.grid_count) {
        return;
    }
    // The gather: out[m, row] = sum over taps (r, s) and reduction quads z of in[i * step + first + r, ...] * w[tap],
    // where m counts the output pixels (n, i, j).
#if conv2d_forward
    let in_h = p.h;
    let in_w = p.w;
    let in_pitch = p.x_pitch;
    let in_first = p.x_first;
    let in_quads = p.c_quads;
    let row_quads = p.k_quads;
    let out_h = p.p;
    let out_w = p.q;
    let out_pitch = p.y_pitch;
    let out_first = p.y_first;
    let most = p.n * out_h * out_w;
    let phases = 1u;
#else
    let in_h = p.p;
    let in_w = p.q;
    let in_pitch = p.y_pitch;
    let in_first = p.y_first;
    let in_quads = p.k_quads;
    let row_quads = p.c_quads;
    let out_pitch = p.x_pitch;
    let out_first = p.x_first;
#if STRIDED
    let most = p.n * ((p.h + p.stride_h - 1u) / p.stride_h) * ((p.w + p.stride_w - 1u) / p.stride_w);
    let phases = p.stride_h * p.stride_w;
#else
    let out_h = p.h;
    let out_w = p.w;
    let most = p.n * out_h * out_w;
    let phases = 1u;
#end
#end
    let row_tiles = (row_quads * 4u + N_TILE - 1u) / N_TILE;
    let tiles = (most + M_TILE - 1u) / M_TILE;
    let row0 = group % row_tiles * (N_TILE / 4u);
    let tile = group / row_tiles;
    let m_first = tile % tiles * M_TILE;
#if conv2d_forward
    let split = p.split_first + tile / (tiles * phases);
#else
    let split = tile / (tiles * phases);
#end
    let tap_size = p.c_quads * 4u * p.k_quads;
#if conv2d_forward
    let taps_r = p.r;
    let taps_s = p.s;
    let first_h = -i32(p.pad_top);
    let first_w = -i32(p.pad_left);
    let w_first = 0u - p.w_skip;
    let w_step_r = p.s * tap_size;
    let w_step_s = tap_size;
#else
#if STRIDED
    // Rows h = phase_h + stride_h * i meet the taps r = r0 + stride_h * t only: each phase is a stride-1 gather over
    // the taps in falling order. All phases have the tiles of the largest one.
    let phase = tile / tiles % phases;
    let phase_h = phase / p.stride_w;
    let phase_w = phase % p.stride_w;
    let out_h = (p.h - min(phase_h, p.h) + p.stride_h - 1u) / p.stride_h;
    let out_w = (p.w - min(phase_w, p.w) + p.stride_w - 1u) / p.stride_w;
    let r0 = (phase_h + p.pad_top) % p.stride_h;
    let s0 = (phase_w + p.pad_left) % p.stride_w;
    let taps_r = (p.r - min(r0, p.r) + p.stride_h - 1u) / p.stride_h;
    let taps_s = (p.s - min(s0, p.s) + p.stride_w - 1u) / p.stride_w;
    let first_h = i32((phase_h + p.pad_top) / p.stride_h) - i32(taps_r) + 1;
    let first_w = i32((phase_w + p.pad_left) / p.stride_w) - i32(taps_s) + 1;
    let w_first = ((r0 + p.stride_h * (taps_r - 1u)) * p.s + s0 + p.stride_w * (taps_s - 1u)) * tap_size;
    let w_step_r = 0u - p.stride_h * p.s * tap_size;
    let w_step_s = 0u - p.stride_w * tap_size;
    if (m_first >= p.n * out_h * out_w) {
        return;
    }
#else
    let taps_r = p.r;
    let taps_s = p.s;
    let first_h = i32(p.pad_top) - i32(p.r) + 1;
    let first_w = i32(p.pad_left) - i32(p.s) + 1;
    let w_first = (p.r * p.s - 1u) * tap_size;
    let w_step_r = 0u - p.s * tap_size;
    let w_step_s = 0u - tap_size;
#end
#end
    let pixels = p.n * out_h * out_w;
    let taps = taps_r * taps_s;
    let z_first = split * p.split_size;
    let z_last = min(z_first + p.split_size, in_quads);
    // Slices of a split reduction are summed by gemm_reduce, which then owns the epilogue.
    let whole = p.splits == 1u;

#if CORE == 1
#import conv_gather_tile
#else
#import conv_gather_subgroup
#end
}
#end

#if conv2d_grad_weight
@compute @workgroup_size(THREADS)
#if CORE == 1
fn conv2d_grad_weight(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
#else
fn conv2d_grad_weight(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
#end
    let group = grid_group(wg);
    if (group >= p.grid_count) {
        return;
    }
#if CORE == 1
#import conv_outer_tile
#else
#import conv_outer_subgroup
#end
}
#end
