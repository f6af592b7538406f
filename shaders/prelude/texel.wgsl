// Reading an operand through a texture: before the dispatch the plan copies the buffer into an rgba32float texture with
// TEXELS texels a row, so that texel i, counted row by row, is quad i. Mesa 22's software Vulkan runs a storage load lane by
// lane through memory (some 20 cycles a lane and component) but gathers texels for all lanes at once: convolution is 2.7
// times as fast. MUST be called with i inside the operand: what lies behind it is left over from other dispatches.
fn texel(t: texture_2d<f32>, i: u32) -> vec4<f32> {
    return textureLoad(t, vec2<u32>(i % TEXELS, i / TEXELS), 0);
}
