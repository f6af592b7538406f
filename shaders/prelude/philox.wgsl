// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128 bits of counter
// and 64 of key in, 128 random bits out, no state. The same bits as src/ops/philox.rs. WGSL has no 64-bit product: the
// upper half is put together from 16-bit halves, none of whose sums can overflow.
fn philox_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let left = a1 * b0 + ((a0 * b0) >> 16u);
    let right = a0 * b1 + (left & 0xffffu);
    return a1 * b1 + (left >> 16u) + (right >> 16u);
}
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
#for I in 0..10
    c = vec4<u32>(
        philox_high(0xCD9E8D57u, c.z) ^ c.y ^ k.x, c.z * 0xCD9E8D57u,
        philox_high(0xD2511F53u, c.x) ^ c.w ^ k.y, c.x * 0xD2511F53u,
    );
    k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
#end
    return c;
}
