// What a streaming kernel moves at once. WIDE = 0: a quad, four numbers. WIDE = 1: two quads as four 64-bit integers. A load
// or store costs software Vulkan about 22 instructions a lane plus 6 a component, so eight numbers cost what four do; the
// shifts that take them apart run for eight lanes at once. WIDE wants SHADER_INT64 and an even number of quads.
// A cell is worked on as QUADS quads: `var v = numbers(x[i]);` then v[{H}] for H in 0..QUADS, then `y[i] = cell(v);`.
#import grid
#param WIDE = 0
#param QUADS = WIDE+1
// Cells a thread takes, 256 apart. With WIDE, one: 256 cells are 8 kB then, and several streams with that stride meet in one
// set of the first-level cache.
#param EACH = 4-3*WIDE
fn first_cell(wg: vec3<u32>, l: vec3<u32>) -> u32 {
    return grid_group(wg) * (256u * EACH) + l.x;
}
alias Numbers = array<vec4<f32>, QUADS>;
#if WIDE
alias Cell = vec4<u64>;
fn numbers(c: Cell) -> Numbers {
    let a = bitcast<vec4<f32>>(vec4<u32>(u32(c.x), u32(c.x >> 32u), u32(c.y), u32(c.y >> 32u)));
    let b = bitcast<vec4<f32>>(vec4<u32>(u32(c.z), u32(c.z >> 32u), u32(c.w), u32(c.w >> 32u)));
    return Numbers(a, b);
}
fn cell(v: Numbers) -> Cell {
    let a = bitcast<vec4<u32>>(v[0]);
    let b = bitcast<vec4<u32>>(v[1]);
    return vec4<u64>(
        u64(a.x) | (u64(a.y) << 32u), u64(a.z) | (u64(a.w) << 32u),
        u64(b.x) | (u64(b.y) << 32u), u64(b.z) | (u64(b.w) << 32u),
    );
}
#else
alias Cell = vec4<f32>;
fn numbers(c: Cell) -> Numbers {
    return Numbers(c);
}
fn cell(v: Numbers) -> Cell {
    return v[0];
}
#end
