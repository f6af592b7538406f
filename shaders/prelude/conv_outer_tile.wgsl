// Body of conv2d_grad_weight, core 1: dw[e, k] = sum over pixels m of x[m, e] * dy[m, k], e = (r, s, c). Both tiles are
// [pixel][quad], as in memory. units of the reduction are rows of y: split_size rows = split_size * q pixels.
    let column = lane % (BN / TN);
    let line = lane / (BN / TN);
    let elements = p.r * p.s * p.c_quads; // quads
    let col_tiles = (p.k_quads * 4u + BN - 1u) / BN;
    let row_tiles = (elements * 4u + BM - 1u) / BM;
    let k0 = group % col_tiles * (BN / 4u);
    let element0 = group / col_tiles % row_tiles * (BM / 4u);
    let split = group / col_tiles / row_tiles;
    let m_begin = split * p.split_size * p.q;
    let m_end = min((split + 1u) * p.split_size, p.n * p.p) * p.q;

    // THREADS is a multiple of BM / 4 and BN / 4: every load of a thread has the same filter element and the same k.
    let element = min(element0 + lane % (BM / 4u), elements - 1u);
    let tap = element / p.c_quads;
    let down = i32(tap / p.s) - i32(p.pad_top);
    let right = i32(tap % p.s) - i32(p.pad_left);
    let x_from = p.x_first + element % p.c_quads;
    let dy_from = p.y_first + min(k0 + lane % (BN / 4u), p.k_quads - 1u);
#for L in 0..A_LOADS
    var a{L} = vec4<f32>();
#end
#for L in 0..B_LOADS
    var b{L} = vec4<f32>();
#end
#for I in 0..TM
#for J in 0..TN/4
    var s{I}_{J} = vec4<f32>();
#end
#end
    let rounds = (m_end - m_begin + BK - 1u) / BK;
    // Round 0 only loads.
    for (var t = 0u; t <= rounds; t++) {
        workgroupBarrier();
#for L in 0..A_LOADS
        tile_a[lane + {L}u * THREADS] = a{L};
#end
#for L in 0..B_LOADS
        tile_b[lane + {L}u * THREADS] = b{L};
#end
        workgroupBarrier();
        if (t < rounds) {
#for L in 0..A_LOADS
            {
                let m = m_begin + t * BK + (lane + {L}u * THREADS) / (BM / 4u);
                let i = m / p.q;
                let row = i32(i % p.p * p.stride_h) + down;
                let col = i32((m - i * p.q) * p.stride_w) + right;
                let ok = m < m_end && u32(row) < p.h && u32(col) < p.w;
                let at = ((i / p.p * p.h + u32(row)) * p.w + u32(col)) * p.x_pitch + x_from;
                a{L} = select(vec4<f32>(), quad(x[select(0u, at, ok)]), ok);
            }
#end
#for L in 0..B_LOADS
            {
                let m = m_begin + t * BK + (lane + {L}u * THREADS) / (BN / 4u);
                b{L} = select(vec4<f32>(), quad(dy[min(m, m_end - 1u) * p.y_pitch + dy_from]), m < m_end);
            }
#end
        }
        for (var e = select(0u, BK, t == 0u); e < BK; e++) {
#for I in 0..TM/4
            let x{I} = tile_a[e * (BM / 4u) + line + {I}u * (BM / TM)];
#end
#for J in 0..TN/4
            {
                let y = tile_b[e * (BN / 4u) + column + {J}u * (BN / TN)];
#for I in 0..TM
                s{I}_{J} = fma(vec4<f32>(x{I/4}[{I%4}]), y, s{I}_{J});
#end
            }
#end
        }
    }

#for I in 0..TM
#for J in 0..TN/4
    {
        let e = element0 + line + {I/4}u * (BM / TM);
        let k = k0 + column + {J}u * (BN / TN);
        if (e < elements && k < p.k_quads) {
            let at = split * p.out_quads + (e * 4u + {I%4}u) * p.k_quads + k;
#if ACCUMULATE
            out[at] = pack(s{I}_{J} + select(vec4<f32>(), quad(out[at]), p.splits == 1u));
#else
            out[at] = pack(s{I}_{J});
#end
        }
    }
#end
#end
