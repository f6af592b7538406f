// Random words as numbers of a normal distribution (mean 0, deviation 1), by integers alone: the same numbers on every device and
// in src/ops/philox.rs. The logarithm, root and cosine of Box and Muller are only good to 2^-11 in WGSL. The sum of a word's
// four bytes is bell-shaped but its tails are thin; an odd polynomial stretches it (Teichroew's method, in Knuth, The Art of
// Computer Programming 2, 3.4.1) so that the moments up to the sixth are the normal's. Multiples of 2^-21, at most 4.53.
fn normal(words: vec4<u32>) -> vec4<f32> {
    let pairs = (words & vec4<u32>(0x00ff00ffu)) + ((words >> vec4<u32>(8u)) & vec4<u32>(0x00ff00ffu));
    let sum = vec4<i32>((pairs & vec4<u32>(0xffffu)) + (pairs >> vec4<u32>(16u))) - vec4<i32>(510);
    let r = vec4<u32>(sum * sum) >> vec4<u32>(3u);
    let stretch = r * 300u + ((r * r) >> vec4<u32>(15u)) * 9528u + 32768u;
    let factor = 13785u + (stretch >> vec4<u32>(16u));
    // Below 2^24: exact.
    return vec4<f32>(sum * vec4<i32>(factor)) * (1.0 / 2097152.0);
}
