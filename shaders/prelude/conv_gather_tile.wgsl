// Body of conv2d_forward and conv2d_grad_input, core 1. Both operands keep quads along the reduction (or, for the
// filter of forward, along k) as they lie in memory, so nothing is transposed on the way into workgroup memory: the
// tiles are [pixel][reduction quad] and [reduction][k quad] (forward) or [c][reduction quad] (grad_input). The next
// slice is loaded into registers while the present one is multiplied.
    let column = lane % (BN / TN);
    let line = lane / (BN / TN);

    // Which pixel and reduction quad, and which filter quad, each load of this thread brings.
#for L in 0..A_LOADS
    let a_quad{L} = (lane + {L}u * THREADS) % (BK / 4u);
    let a_pixel{L} = (lane + {L}u * THREADS) / (BK / 4u);
    let a_m{L} = m_first + a_pixel{L};
    let a_n{L} = a_m{L} / out_w / out_h;
#if conv2d_forward
    let a_row{L} = i32(a_m{L} / out_w % out_h * p.stride_h) + first_h;
    let a_col{L} = i32(a_m{L} % out_w * p.stride_w) + first_w;
#else
    let a_row{L} = i32(a_m{L} / out_w % out_h) + first_h;
    let a_col{L} = i32(a_m{L} % out_w) + first_w;
#end
    var a{L} = vec4<f32>();
#end
#for L in 0..B_LOADS
#if conv2d_forward
    let b_z{L} = (lane + {L}u * THREADS) / (BN / 4u);
    let b_row{L} = row0 + (lane + {L}u * THREADS) % (BN / 4u);
    let b_at{L} = b_z{L} * p.k_quads + min(b_row{L}, row_quads - 1u);
#else
    let b_z{L} = (lane + {L}u * THREADS) % (BK / 4u);
    let b_c{L} = (lane + {L}u * THREADS) / (BK / 4u);
    let b_at{L} = min(row0 * 4u + b_c{L}, row_quads * 4u - 1u) * p.k_quads + b_z{L};
#end
    var b{L} = vec4<f32>();
#end

#for I in 0..TM
#for J in 0..TN/4
    var s{I}_{J} = vec4<f32>();
#end
#end
    let slices = (z_last - z_first + BK / 4u - 1u) / (BK / 4u);
    let rounds = taps * slices;
    var r = 0u;
    var s = 0u;
    var z = z_first;
    // Round 0 only loads.
    for (var t = 0u; t <= rounds; t++) {
        // Slice t - 1 goes from registers to workgroup memory.
        workgroupBarrier();
#for L in 0..A_LOADS
        tile_a[a_pixel{L} * A_PITCH + a_quad{L}] = a{L};
#end
#for L in 0..B_LOADS
#if conv2d_forward
        tile_b[lane + {L}u * THREADS] = b{L};
#else
        // Column c sits in line (c % 4) * BN / 4 + c / 4: a thread owns four consecutive c, neighbours read neighbours.
        tile_b[(b_c{L} % 4u * (BN / 4u) + b_c{L} / 4u) * A_PITCH + b_z{L}] = b{L};
#end
#end
        workgroupBarrier();
        // Slice t comes from memory.
        if (t < rounds) {
#for L in 0..A_LOADS
            let row{L} = a_row{L} + i32(r);
            let col{L} = a_col{L} + i32(s);
            let ok{L} = u32(row{L}) < in_h && u32(col{L}) < in_w && a_n{L} < p.n && z + a_quad{L} < z_last;
            let at{L} = ((a_n{L} * in_h + u32(row{L})) * in_w + u32(col{L})) * in_pitch + in_first + z + a_quad{L};
            a{L} = select(vec4<f32>(), quad(x[select(0u, at{L}, ok{L})]), ok{L});
#end
            let w_at = w_first + r * w_step_r + s * w_step_s;
#for L in 0..B_LOADS
#if conv2d_forward
            let w_ok{L} = z * 4u + b_z{L} < z_last * 4u;
            b{L} = select(vec4<f32>(), quad(w[select(0u, w_at + z * 4u * p.k_quads + b_at{L}, w_ok{L})]), w_ok{L});
#else
            let w_ok{L} = z + b_z{L} < z_last;
            b{L} = select(vec4<f32>(), quad(w[select(0u, w_at + z + b_at{L}, w_ok{L})]), w_ok{L});
#end
#end
            z += BK / 4u;
            if (z >= z_last) {
                z = z_first;
                s++;
                if (s == taps_s) {
                    s = 0u;
                    r++;
                }
            }
        }
        for (var e = select(0u, BK / 4u, t == 0u); e < BK / 4u; e++) {
#for I in 0..TM
            let x{I} = tile_a[(line + {I}u * (BM / TM)) * A_PITCH + e];
#end
#for J in 0..TN/4
#for C in 0..4
#if conv2d_forward
            {
                let y = tile_b[(e * 4u + {C}u) * (BN / 4u) + {J}u * (BN / TN) + column];
#for I in 0..TM
                s{I}_{J} = fma(vec4<f32>(x{I}[{C}]), y, s{I}_{J});
#end
            }
#else
            {
                let y = tile_b[({C}u * (BN / 4u) + {J}u * (BN / TN) + column) * A_PITCH + e];
#for I in 0..TM
                s{I}_{J}[{C}] = fma(x{I}.w, y.w, fma(x{I}.z, y.z, fma(x{I}.y, y.y, fma(x{I}.x, y.x, s{I}_{J}[{C}]))));
#end
            }
#end
#end
#end
        }
    }

#for I in 0..TM
    {
        let m = m_first + line + {I}u * (BM / TM);
#if conv2d_grad_input && STRIDED
        let i = m / out_w;
        let pixel = (i / out_h * p.h + phase_h + i % out_h * p.stride_h) * p.w + phase_w + m % out_w * p.stride_w;
#else
        let pixel = m;
#end
        let at0 = select(split * p.out_quads + pixel * row_quads, pixel * out_pitch + out_first, whole);
#for J in 0..TN/4
        {
            let t = row0 + {J}u * (BN / TN) + column;
            let at = at0 + t;
            if (m < pixels && t < row_quads) {
                var v = s{I}_{J};
#if conv2d_forward
                let b = select(vec4<f32>(), quad(bias[t]), whole && (p.epilogue & 1u) != 0u);
                let normal = fma(v + b - quad(mean[t]), quad(scale[t]), quad(beta[t]));
                v = select(v + b, normal, whole && (p.epilogue & 2u) != 0u);
#if SKIP
                v += select(vec4<f32>(), quad(skip[pixel * p.skip_pitch + p.skip_first + t]), whole);
#end
                v = select(v, vec4<f32>(), (v < vec4<f32>()) & vec4<bool>(whole && p.relu != 0u)); // NaN stays NaN
#else
#if MASK
#if STRIDED
                let masked = whole && p.masked != 0u;
#else
                let masked = whole;
#end
                let m_at = select(0u, pixel * out_pitch + out_first + t, masked);
                v = select(vec4<f32>(), v, (quad(mask[m_at]) > vec4<f32>()) | vec4<bool>(!masked));
#end
#if ACCUMULATE
                v += select(vec4<f32>(), quad(out[at]), whole);
#end
#end
                out[at] = pack(v);
            }
        }
#end
    }
#end
