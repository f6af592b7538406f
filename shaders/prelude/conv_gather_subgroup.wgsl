// Body of conv2d_forward and conv2d_grad_input, core 0. A lane owns PIXELS output pixels x ROWS output channels. It loads
// its own pixels (two reduction channels at a time) and a share of the filter, which subgroupBroadcast hands to all.
// Two channels and 32 rows, not four and 16: the same multiply-adds a round, a third fewer load instructions.
// A sum of n terms, one after the other, is off by about sqrt(n / 2) roundings. So BLOCK quads of channels (and what is left of
// a tap) are summed in s, and these sums in u: for n = 728 a quarter of the error for one addition in 32.
    // A lane's PIXELS consecutive output pixels; past the last pixel the image index is out of range and reads give zero.
    let m0 = m_first + lane * PIXELS;
    var j_next = m0 % out_w;
    var i_next = m0 / out_w % out_h;
    var n_next = m0 / out_w / out_h;
#for J in 0..PIXELS
    let n{J} = n_next;
#if conv2d_forward
    let in_row{J} = i32(i_next * p.stride_h) + first_h;
    let in_col{J} = i32(j_next * p.stride_w) + first_w;
#else
    let in_row{J} = i32(i_next) + first_h;
    let in_col{J} = i32(j_next) + first_w;
#end
    j_next = select(j_next + 1u, 0u, j_next + 1u == out_w);
    i_next = select(i_next, i_next + 1u, j_next == 0u);
    n_next = select(n_next, n_next + 1u, i_next == out_h);
    i_next = select(i_next, 0u, i_next == out_h);
#end

    // The filter share of this lane (channels past the end repeat the last: never written).
#if conv2d_forward
#if C_TRUE == 1 || TEXELS
#for T in 0..ROWS/32
    let w_lane{T} = min(row0 + lane + {T*8}u, row_quads - 1u); // 8 quads of k
#end
#else
#for T in 0..ROWS/16
    let w_lane{T} = (lane / 4u) * p.k_quads + min(row0 + lane % 4u + {T*4}u, row_quads - 1u); // 2 c x 4 quads of k
#end
#end
#else
#for T in 0..ROWS/8
#if TEXELS
    let w_lane{T} = min(row0 * 4u + lane + {T*8}u, row_quads * 4u - 1u) * p.k_quads; // 8 c x 4 k
#else
    let w_lane{T} = min(row0 * 4u + lane + {T*8}u, row_quads * 4u - 1u) * p.k_quads * 2u; // 8 c x 2 k
#end
#end
#end

#for I in 0..ROWS
#for J in 0..PIXELS
    var s{I}_{J} = 0.0;
#if C_TRUE == 1
#else
    var u{I}_{J} = 0.0;
#end
#end
#end
#if C_TRUE == 1
#else
    var block = 0u; // quads of channels in s
#end
    var r = 0u;
    var s = 0u;
    for (var t = 0u; t < taps; t++) {
#for J in 0..PIXELS
        let row{J} = in_row{J} + i32(r);
        let col{J} = in_col{J} + i32(s);
        let ok{J} = u32(row{J}) < in_h && u32(col{J}) < in_w && n{J} < p.n;
        let from{J} = select(0u, ((n{J} * in_h + u32(row{J})) * in_w + u32(col{J})) * in_pitch + in_first, ok{J});
#end
        let w_from = w_first + r * w_step_r + s * w_step_s;
#if conv2d_forward && C_TRUE == 1
#for J in 0..PIXELS
#if TEXELS
        let x{J} = select(0.0, texel(x, from{J}).x, ok{J});
#else
        let x{J} = select(0.0, x[from{J} * 4u], ok{J});
#end
#end
#for T in 0..ROWS/32
#if TEXELS
        let w{T} = texel(w, w_from + w_lane{T});
#else
        let w{T} = quad(w[w_from + w_lane{T}]);
#end
#end
#for I in 0..ROWS
        let f{I} = subgroupBroadcast(w{I/32}[{I%4}], {I%32/4}u);
#for J in 0..PIXELS
        s{I}_{J} = fma(f{I}, x{J}, s{I}_{J});
#end
#end
#else
        var z_begin = z_first;
        while (z_begin < z_last) {
        let z_end = min(z_begin + BLOCK, z_last);
#if TEXELS
        // A texel is four channels whether they are wanted or not, so a round takes four.
        for (var z = z_begin; z < z_end; z++) {
#for J in 0..PIXELS
            let x{J} = select(vec4<f32>(), texel(x, from{J} + z), ok{J});
#end
#if conv2d_forward
#for T in 0..ROWS/32
#for C in 0..4
            let w{T}_{C} = texel(w, w_from + (z * 4u + {C}u) * p.k_quads + w_lane{T});
#end
#end
#else
#for T in 0..ROWS/8
            let w{T} = texel(w, w_from + z + w_lane{T});
#end
#end
#for I in 0..ROWS
#for C in 0..4
#if conv2d_forward
            let f{I}_{C} = subgroupBroadcast(w{I/32}_{C}[{I%4}], {I%32/4}u);
#else
            let f{I}_{C} = subgroupBroadcast(w{I/8}[{C}], {I%8}u);
#end
#for J in 0..PIXELS
            s{I}_{J} = fma(f{I}_{C}, x{J}[{C}], s{I}_{J});
#end
#end
#end
        }
#else
#if conv2d_forward
        var w_at = w_from + z_begin * 4u * p.k_quads;
#else
        var w_at = (w_from + z_begin) * 2u;
#end
        for (var z = z_begin * 2u; z < z_end * 2u; z++) {
#for J in 0..PIXELS
            let x{J} = select(vec2<f32>(), pair(x[from{J} * 2u + z]), ok{J});
#end
#if conv2d_forward
#for T in 0..ROWS/16
            let w{T} = quad(w[w_at + w_lane{T}]);
#end
            w_at += 2u * p.k_quads;
#else
#for T in 0..ROWS/8
            let w{T} = pair(w[w_at + w_lane{T}]);
#end
            w_at++;
#end
#for I in 0..ROWS
#for C in 0..2
#if conv2d_forward
            let f{I}_{C} = subgroupBroadcast(w{I/16}[{I%4}], {C*4+I%16/4}u);
#else
            let f{I}_{C} = subgroupBroadcast(w{I/8}[{C}], {I%8}u);
#end
#for J in 0..PIXELS
            s{I}_{J} = fma(f{I}_{C}, x{J}[{C}], s{I}_{J});
#end
#end
#end
        }
#end
        block += z_end - z_begin;
        z_begin = z_end;
        if (block >= BLOCK || (t + 1u == taps && z_end == z_last)) {
            block = 0u;
#for I in 0..ROWS
#for J in 0..PIXELS
            u{I}_{J} += s{I}_{J};
            s{I}_{J} = 0.0;
#end
#end
        }
        }
#end
        s++;
        let wrap = s == taps_s;
        r += select(0u, 1u, wrap);
        s = select(s, 0u, wrap);
    }
#if C_TRUE == 1
#else
#for I in 0..ROWS
#for J in 0..PIXELS
    s{I}_{J} = u{I}_{J};
#end
#end
#end

#if conv2d_forward
    // Before the stores: there each quad would load its numbers. The sums are rounded at the size of the mean anyway, so
    // beta - mean * scale loses nothing.
    let add_bias = whole && (p.epilogue & 1u) != 0u;
    let normalize = whole && (p.epilogue & 2u) != 0u;
#for T in 0..(ROWS+31)/32
    let k{T} = min(row0 + lane + {T*8}u, row_quads - 1u);
    let b{T} = select(vec4<f32>(), quad(bias[k{T}]), add_bias);
    let a{T} = select(vec4<f32>(1.0), quad(scale[k{T}]), normalize);
    let c{T} = select(b{T}, fma(b{T} - quad(mean[k{T}]), a{T}, quad(beta[k{T}])), normalize);
#end
#for I in 0..ROWS
    let a_{I} = subgroupBroadcast(a{I/32}[{I%4}], {I%32/4}u);
    let c_{I} = subgroupBroadcast(c{I/32}[{I%4}], {I%32/4}u);
#for J in 0..PIXELS
    s{I}_{J} = fma(s{I}_{J}, a_{I}, c_{I});
#end
#end
#end
    // One store in a loop with chains of selects, not ROWS * PIXELS / 4 stores: in software Vulkan a store is longer
    // code than 64 multiply-adds, and a tile of stores took three quarters of the compile time.
    // Its bound is no constant, or LLVM unrolls it.
    let quads = min(ROWS / 4u, row_quads - row0);
    for (var e = 0u; e < PIXELS * quads; e++) {
        let j = e / quads;
        let t = e - j * quads;
        let pick = j * (ROWS / 4u) + t;
        var v = vec4<f32>(s0_0, s1_0, s2_0, s3_0);
#for J in 0..PIXELS
#for T in 0..ROWS/4
        v = select(v, vec4<f32>(s{T*4}_{J}, s{T*4+1}_{J}, s{T*4+2}_{J}, s{T*4+3}_{J}), pick == {J*(ROWS/4)+T}u);
#end
#end
        let m = m0 + j;
        if (m < pixels) {
#if conv2d_grad_input && STRIDED
            let i = m / out_w;
            let pixel = (i / out_h * p.h + phase_h + i % out_h * p.stride_h) * p.w + phase_w + m % out_w * p.stride_w;
#else
            let pixel = m;
#end
            let at = select(split * p.out_quads + pixel * row_quads, pixel * out_pitch + out_first, whole) + row0 + t;
#if conv2d_forward
#if SKIP
            v += select(vec4<f32>(), quad(skip[pixel * p.skip_pitch + p.skip_first + row0 + t]), whole);
#end
            v = select(v, vec4<f32>(), (v < vec4<f32>()) & vec4<bool>(whole && p.relu != 0u)); // NaN stays NaN
#else
#if MASK
#if STRIDED
            let masked = whole && p.masked != 0u;
#else
            let masked = whole;
#end
            let m_at = select(0u, pixel * out_pitch + out_first + row0 + t, masked);
            v = select(vec4<f32>(), v, (quad(mask[m_at]) > vec4<f32>()) | vec4<bool>(!masked));
#end
#if ACCUMULATE
            v += select(vec4<f32>(), quad(out[at]), whole);
#end
#end
            out[at] = pack(v);
        }
    }
