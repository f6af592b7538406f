// Four channels in one load. LOAD64 = 1 reads them as two 64-bit words: on Mesa 25's software Vulkan a load costs about
// 16 cycles per component and subgroup, so half the components are half the price (needs SHADER_INT64). Mesa 22 and real
// GPUs prefer vec4<f32>.
#param LOAD64 = 0
#if LOAD64
alias Quad = vec2<u64>;
fn quad(v: Quad) -> vec4<f32> {
    return vec4<f32>(bitcast<f32>(u32(v.x)), bitcast<f32>(u32(v.x >> 32u)), bitcast<f32>(u32(v.y)), bitcast<f32>(u32(v.y >> 32u)));
}
alias Pair = u64;
fn pair(v: Pair) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(u32(v)), bitcast<f32>(u32(v >> 32u)));
}
fn pack(v: vec4<f32>) -> Quad {
    let b = bitcast<vec4<u32>>(v);
    return vec2<u64>(u64(b.x) | (u64(b.y) << 32u), u64(b.z) | (u64(b.w) << 32u));
}
#else
alias Pair = vec2<f32>;
fn pair(v: Pair) -> vec2<f32> {
    return v;
}
alias Quad = vec4<f32>;
fn pack(v: vec4<f32>) -> Quad {
    return v;
}
fn quad(v: Quad) -> vec4<f32> {
    return v;
}
#end
