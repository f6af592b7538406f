// Body of conv2d_grad_weight, core 0.
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
            let x{J}_{T} = select(0.0, x_first_channel(select(0u, row{T} + u32(at{J}_{T}) * p.x_pitch, ok{J}_{T})), ok{J}_{T});
#else
            let x{J}_{T} = select(vec4<f32>(), x_quad(select(0u, row{T} + u32(at{J}_{T}) * p.x_pitch, ok{J}_{T})), ok{J}_{T});
#end
#end
#end
#for J in 0..PIXELS
            let y{J} = select(vec4<f32>(), dy_quad(dy_row + min(j + {J}u, p.q - 1u) * p.y_pitch), j + {J}u < p.q);
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

    // One store in a loop whose bound is no constant (conv_gather_subgroup.wgsl says why). With one true channel a tap
    // has one real row of dw and three rows of zeros, the channels that only fill the quad.
#if C_TRUE == 1
    let rows = min(ROWS, elements - element0) * 4u;
#else
    let rows = min(ROWS / 4u, elements - element0) * 4u;
#end
    for (var e = 0u; e < rows; e++) {
        var v = s0;
#if C_TRUE == 1
#for I in 1..ROWS
        v = select(v, s{I}, e == {I*4}u);
#end
        v = select(vec4<f32>(), v, e % 4u == 0u);
#else
#for I in 1..ROWS
        v = select(v, s{I}, e == {I}u);
#end
#end
        if (col < p.k_quads) {
            let at = split * p.out_quads + (element0 * 4u + e) * p.k_quads + col;
#if ACCUMULATE
            v += select(vec4<f32>(), quad(out[at]), p.splits == 1u);
#end
            out[at] = pack(v);
        }
    }
