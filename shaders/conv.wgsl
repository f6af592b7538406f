#param ROWS = 16        // output channels of a tile (register rows), a multiple of 8
#param PIXELS = 4       // pixels in a lane's strip (forward, grad_input) or pixels per round (grad_weight, even)
#param STRIDED = 0      // 1: stride > 1 in either direction
#param C_TRUE = 4       // 1: one real channel in the quad (first layer of grey images): forward, grad_weight
#param BIAS = 0         // forward: add bias[k]
#param MASK = 0         // grad_input: multiply by (m > 0), m has the layout of dx
#param ACCUMULATE = 0   // grad_input, grad_weight: add to the output instead of writing it
#if C_TRUE == 1
#param TILE_LOADS = ROWS/4
#else
#param TILE_LOADS = ROWS/16
#end
#import conv_params
#import quad

@group(0) @binding(0) var<uniform> p: Params;
#if conv2d_forward
#if C_TRUE == 1
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [N, H, W, 4]
#else
@group(0) @binding(1) var<storage, read> x: array<Quad>;         // [N, H, W, Cp]
#end
@group(0) @binding(2) var<storage, read> w: array<Quad>;         // [R, S, Cp, Kp]
#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>; // [Kp]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>; // y [N, P, Q, Kp], or the workspace
#else
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
#end
#end
#if conv2d_grad_input
@group(0) @binding(1) var<storage, read> x: array<Quad>;         // dy [N, P, Q, Kp]
@group(0) @binding(2) var<storage, read> w: array<Quad>;         // [R, S, Cp, Kp]
#if MASK
@group(0) @binding(3) var<storage, read> mask: array<vec4<f32>>; // [N, H, W, Cp]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>; // dx [N, H, W, Cp], or the workspace
#else
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
#end
#end
#if conv2d_grad_weight
#if C_TRUE == 1
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [N, H, W, 4]
#else
@group(0) @binding(1) var<storage, read> x: array<Quad>;         // [N, H, W, Cp]
#end
@group(0) @binding(2) var<storage, read> dy: array<Quad>;        // [N, P, Q, Kp]
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // dw [R, S, Cp, Kp], or the workspace
#end
#import grid

#if conv2d_forward || conv2d_grad_input
// The pixel `at` columns into the row that starts at quad `row`, channel quad `cq`; zero outside the image.
#if C_TRUE == 1
fn tap(inside: bool, row: u32, at: i32, width: u32, pitch: u32, cq: u32) -> f32 {
    let ok = inside && u32(at) < width;
    return select(0.0, x[select(0u, row + u32(at) * pitch + cq, ok) * 4u], ok);
}
#else
fn tap(inside: bool, row: u32, at: i32, width: u32, pitch: u32, cq: u32) -> vec4<f32> {
    let ok = inside && u32(at) < width;
    return select(vec4<f32>(), quad(x[select(0u, row + u32(at) * pitch + cq, ok)]), ok);
}
#end

@compute @workgroup_size(8)
#if conv2d_forward
fn conv2d_forward(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
#else
fn conv2d_grad_input(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
#end
    let group = grid_group(wg);
    if (group >= p.grid_count) {
        return;
    }
    // The gather: out[i, j, row] = sum over taps (r, s) and reduction quads z of in[i * step + first + r, ...] * w[tap].
#if conv2d_forward
    let in_h = p.h;
    let in_w = p.w;
    let in_pitch = p.x_pitch;
    let in_first = p.x_first;
    let in_quads = p.c_quads;
    let row_quads = p.k_quads;
    let row_tiles = (row_quads + ROWS / 4u - 1u) / (ROWS / 4u);
    let tile = group / row_tiles;
    let row0 = (group % row_tiles) * (ROWS / 4u);
    let out_h = p.p;
    let out_w = p.q;
    let strips_w = (out_w + PIXELS - 1u) / PIXELS;
    let strips = p.n * out_h * strips_w;
    let tiles = (strips + 7u) / 8u;
    let split = tile / tiles;
    let strip0 = (tile % tiles) * 8u;
    let taps_r = p.r;
    let taps_s = p.s;
    let first_h = -i32(p.pad_top);
    let first_w = -i32(p.pad_left);
    let tap_size = p.c_quads * 4u * p.k_quads;
    let w_first = 0u;
    let w_step_r = p.s * tap_size;
    let w_step_s = tap_size;
    let out_pitch = p.y_pitch;
    let out_first = p.y_first;
#else
    let in_h = p.p;
    let in_w = p.q;
    let in_pitch = p.y_pitch;
    let in_first = p.y_first;
    let in_quads = p.k_quads;
    let row_quads = p.c_quads;
    let row_tiles = (row_quads + ROWS / 4u - 1u) / (ROWS / 4u);
    let tile = group / row_tiles;
    let row0 = (group % row_tiles) * (ROWS / 4u);
    let tap_size = p.c_quads * 4u * p.k_quads;
#if STRIDED
    // Rows h = phase_h + stride_h * i meet the taps r = r0 + stride_h * t only: each phase is a stride-1 gather.
    let most_h = (p.h + p.stride_h - 1u) / p.stride_h;
    let most_w = (p.w + p.stride_w - 1u) / p.stride_w;
    let tiles = (p.n * most_h * ((most_w + PIXELS - 1u) / PIXELS) + 7u) / 8u;
    let phases = p.stride_h * p.stride_w;
    let split = tile / (tiles * phases);
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
#else
    let out_h = p.h;
    let out_w = p.w;
    let taps_r = p.r;
    let taps_s = p.s;
    let first_h = i32(p.pad_top) - i32(p.r) + 1;
    let first_w = i32(p.pad_left) - i32(p.s) + 1;
    let w_first = (p.r * p.s - 1u) * tap_size;
    let w_step_r = 0u - p.s * tap_size;
    let w_step_s = 0u - tap_size;
    let tiles = (p.n * out_h * ((out_w + PIXELS - 1u) / PIXELS) + 7u) / 8u;
    let split = tile / tiles;
#end
    let strips_w = (out_w + PIXELS - 1u) / PIXELS;
    let strips = p.n * out_h * strips_w;
    let strip0 = (tile % tiles) * 8u;
    if (strip0 >= strips) {
        return;
    }
    let out_pitch = p.x_pitch;
    let out_first = p.x_first;
#end
    let live = strip0 + lane < strips;
    let strip = min(strip0 + lane, strips - 1u);
    let j0 = strip % strips_w * PIXELS;
    let i0 = strip / strips_w % out_h;
    let n = strip / strips_w / out_h;
#if conv2d_forward && STRIDED
    let in_row0 = i32(i0 * p.stride_h) + first_h;
    let in_col0 = i32(j0 * p.stride_w) + first_w;
#else
    let in_row0 = i32(i0) + first_h;
    let in_col0 = i32(j0) + first_w;
#end
    let z_first = split * p.split_size;
    let z_last = min(z_first + p.split_size, in_quads);

    // Which filter quad this lane loads (row quads past the end repeat the last: never written).
#if conv2d_forward
#if C_TRUE == 1
#for T in 0..ROWS/32
    let w_lane{T} = min(row0 + lane + {T*8}u, row_quads - 1u);
#end
#else
#for T in 0..ROWS/8
    let w_lane{T} = (lane / 2u) * p.k_quads + min(row0 + lane % 2u + {T*2}u, row_quads - 1u);
#end
#end
    let w_step_z = 4u * p.k_quads;
#else
#for T in 0..ROWS/8
    let w_lane{T} = min(row0 * 4u + lane + {T*8}u, row_quads * 4u - 1u) * p.k_quads;
#end
    let w_step_z = 1u;
#end

#for I in 0..ROWS
#for J in 0..PIXELS
    var s{I}_{J} = 0.0;
#end
#end
    for (var r = 0u; r < taps_r; r++) {
        let in_row = in_row0 + i32(r);
        let inside = u32(in_row) < in_h;
        let row = (n * in_h + u32(in_row)) * in_w * in_pitch + in_first;
        let w_row = w_first + r * w_step_r;
        for (var z = z_first; z < z_last; z++) {
            var w_at = w_row + z * w_step_z;
            // A tap to the right is the neighbour's pixel: the strip slides along the row and loads one pixel a tap.
#for J in 0..PIXELS
#if J == 0 || (conv2d_forward && STRIDED)
            var x{J} = tap(false, row, 0, in_w, in_pitch, z);
#else
            var x{J} = tap(inside, row, in_col0 + {J-1}, in_w, in_pitch, z);
#end
#end
            for (var s = 0u; s < taps_s; s++) {
#for J in 0..PIXELS
#if conv2d_forward && STRIDED
                x{J} = tap(inside, row, in_col0 + i32(s + {J}u * p.stride_w), in_w, in_pitch, z);
#else
#if J + 1 < PIXELS
                x{J} = x{J+1};
#else
                x{J} = tap(inside, row, in_col0 + i32(s) + {J}, in_w, in_pitch, z);
#end
#end
#end
#if conv2d_forward && C_TRUE == 1
#for T in 0..ROWS/32
                let w{T} = quad(w[w_at + w_lane{T}]);
#end
#for I in 0..ROWS
                {
                    let f = subgroupBroadcast(w{I/32}[{I%4}], {I/4%8}u);
#for J in 0..PIXELS
                    s{I}_{J} = fma(f, x{J}, s{I}_{J});
#end
                }
#end
#else
#for T in 0..ROWS/8
                let w{T} = quad(w[w_at + w_lane{T}]);
#end
#for I in 0..ROWS
#for C in 0..4
                {
#if conv2d_forward
                    let f = subgroupBroadcast(w{I/8}[{I%4}], {C*2+I%8/4}u);
#else
                    let f = subgroupBroadcast(w{I/8}[{C}], {I%8}u);
#end
#for J in 0..PIXELS
                    s{I}_{J} = fma(f, x{J}[{C}], s{I}_{J});
#end
                }
#end
#end
#end
                w_at += w_step_s;
            }
        }
    }

    let epilogue = p.splits == 1u;
#for J in 0..PIXELS
    if (live && j0 + {J}u < out_w) {
#if conv2d_grad_input && STRIDED
        let pixel = (n * p.h + phase_h + i0 * p.stride_h) * p.w + phase_w + (j0 + {J}u) * p.stride_w;
        let dense = split * p.out_quads + pixel * p.c_quads + row0;
#else
        let pixel = (n * out_h + i0) * out_w + j0 + {J}u;
        let dense = split * p.out_quads + pixel * row_quads + row0;
#end
        let at = select(dense, pixel * out_pitch + out_first + row0, epilogue);
#for T in 0..ROWS/4
        if (row0 + {T}u < row_quads) {
            var v = vec4<f32>(s{T*4}_{J}, s{T*4+1}_{J}, s{T*4+2}_{J}, s{T*4+3}_{J});
            if (epilogue) {
#if conv2d_forward
#if BIAS
                v += bias[row0 + {T}u];
#end
                v = select(v, vec4<f32>(), (v < vec4<f32>()) & vec4<bool>(p.relu != 0u)); // NaN stays NaN
#else
#if MASK
                v = select(vec4<f32>(), v, mask[pixel * row_quads + row0 + {T}u] > vec4<f32>());
#end
#if ACCUMULATE
                v += out[at + {T}u];
#end
#end
            }
            out[at + {T}u] = v;
        }
#end
    }
#end
}
#end

#if conv2d_grad_weight
@compute @workgroup_size(8)
fn conv2d_grad_weight(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let group = grid_group(wg);
    if (group >= p.grid_count) {
        return;
    }
    // A tile is ROWS rows of dw (elements (r, s, c) or, for one true channel, taps (r, s)) by 32 columns k. A load of x
    // serves 4 row elements (quads, or taps) of 2 pixels.
#if C_TRUE == 1
    let elements = p.r * p.s;
    let element0_step = ROWS;
#else
    let elements = p.r * p.s * p.c_quads;
    let element0_step = ROWS / 4u;
#end
    let row_tiles = (elements + element0_step - 1u) / element0_step;
    let col_tiles = (p.k_quads + 7u) / 8u;
    let col = group % col_tiles * 8u + lane;
    let k = min(col, p.k_quads - 1u);
    let row_tile = group / col_tiles % row_tiles;
    let split = group / col_tiles / row_tiles;
    let element0 = row_tile * element0_step;
    let lane_pixel = lane / 4u;

#for T in 0..TILE_LOADS
    let e{T} = min(element0 + {T*4}u + lane % 4u, elements - 1u);
#if C_TRUE == 1
    let c{T} = 0u;
    let tap{T} = e{T};
#else
    let c{T} = e{T} % p.c_quads;
    let tap{T} = e{T} / p.c_quads;
#end
    let down{T} = i32(tap{T} / p.s) - i32(p.pad_top);
    let right{T} = i32(tap{T} % p.s + lane_pixel * p.stride_w) - i32(p.pad_left);
#end

#for I in 0..ROWS
    var s{I} = vec4<f32>();
#end
    let first = split * p.split_size;
    let last = min(first + p.split_size, p.n * p.p);
    var n = first / p.p;
    var i = first % p.p;
    for (var line = first; line < last; line++) {
#for T in 0..TILE_LOADS
        let h{T} = i32(i * p.stride_h) + down{T};
        let inside{T} = u32(h{T}) < p.h;
        let row{T} = (n * p.h + u32(h{T})) * p.w * p.x_pitch + p.x_first + c{T};
#end
        let dy_row = line * p.q * p.y_pitch + p.y_first + k;
        for (var j = 0u; j < p.q; j += PIXELS) {
            let left = i32(j * p.stride_w);
#for J in 0..PIXELS/2
#for T in 0..TILE_LOADS
            let at{J}_{T} = left + i32({J*2}u * p.stride_w) + right{T};
            let ok{J}_{T} = inside{T} && u32(at{J}_{T}) < p.w;
#if C_TRUE == 1
            let x{J}_{T} = select(0.0, x[select(0u, row{T} + u32(at{J}_{T}) * p.x_pitch, ok{J}_{T}) * 4u], ok{J}_{T});
#else
            let x{J}_{T} = select(vec4<f32>(), quad(x[select(0u, row{T} + u32(at{J}_{T}) * p.x_pitch, ok{J}_{T})]), ok{J}_{T});
#end
#end
#end
#for J in 0..PIXELS
            let y{J} = select(vec4<f32>(), quad(dy[dy_row + min(j + {J}u, p.q - 1u) * p.y_pitch]), j + {J}u < p.q);
#end
#for I in 0..ROWS
#for J in 0..PIXELS
#if C_TRUE == 1
            s{I} = fma(vec4<f32>(subgroupBroadcast(x{J/2}_{I/4}, {J%2*4+I%4}u)), y{J}, s{I});
#else
            s{I} = fma(vec4<f32>(subgroupBroadcast(x{J/2}_{I/16}[{I%4}], {J%2*4+I/4%4}u)), y{J}, s{I});
#end
#end
#end
        }
        i++;
        if (i == p.p) {
            i = 0u;
            n++;
        }
    }

    if (col < p.k_quads) {
#for I in 0..ROWS
#if C_TRUE == 1
        if (element0 + {I}u < elements) {
            let at = split * p.out_quads + (element0 + {I}u) * 4u * p.k_quads + col;
            store(at, s{I});
            store(at + p.k_quads, vec4<f32>());
            store(at + 2u * p.k_quads, vec4<f32>());
            store(at + 3u * p.k_quads, vec4<f32>());
        }
#else
        if (element0 + {I/4}u < elements) {
            store(split * p.out_quads + (element0 * 4u + {I}u) * p.k_quads + col, s{I});
        }
#end
#end
    }
}

fn store(at: u32, v: vec4<f32>) {
#if ACCUMULATE
    if (p.splits == 1u) {
        out[at] += v;
        return;
    }
#end
    out[at] = v;
}
#end
