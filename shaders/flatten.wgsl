// flatten    y[n, f] = x[n, c, h, w] with f = (c H + h) W + w (the order of PyTorch), or f = (h W + w) C + c (Keras) where CHANNELS_LAST.
// unflatten  the inverse. Shapes: image [N, C, H, W], flat [N, C H W, 1, 1].
// Grid: 64 threads a workgroup, a quad of the output a thread. Reads are scattered in PyTorch's order: meant for the small maps
// before dense layers. A dense layer alone needs no flatten (its filter is as large as its input).
#param CHANNELS_LAST = 0
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    images: u32,
    channels: u32,
    pixels: u32,     // H W
    quads: u32,      // of the output, in all
    row_quads: u32,  // of an image of the output (flatten) or of a pixel of the output (unflatten)
    in_pitch: u32,   // words from one image (flatten: pixel) of the input to the next
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#import grid

#if flatten
fn lane(image: u32, f: u32) -> f32 {
    if (f >= p.channels * p.pixels) {
        return 0.0;
    }
#if CHANNELS_LAST
    let pixel = f / p.channels;
    let c = f - pixel * p.channels;
#else
    let c = f / p.pixels;
    let pixel = f - c * p.pixels;
#end
    return x[(image * p.pixels + pixel) * p.in_pitch + c];
}
@compute @workgroup_size(64)
fn flatten(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let i = grid_group(wg) * 64u + t;
    if (i < p.quads) {
        let image = i / p.row_quads;
        let f = (i - image * p.row_quads) * 4u;
        y[i] = vec4<f32>(lane(image, f), lane(image, f + 1u), lane(image, f + 2u), lane(image, f + 3u));
    }
}
#end
#if unflatten
fn lane(image: u32, pixel: u32, c: u32) -> f32 {
    if (c >= p.channels) {
        return 0.0;
    }
#if CHANNELS_LAST
    return x[image * p.in_pitch + pixel * p.channels + c];
#else
    return x[image * p.in_pitch + c * p.pixels + pixel];
#end
}
@compute @workgroup_size(64)
fn unflatten(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let i = grid_group(wg) * 64u + t;
    if (i < p.quads) {
        let at = i / p.row_quads;
        let c = (i - at * p.row_quads) * 4u;
        let image = at / p.pixels;
        let pixel = at - image * p.pixels;
        y[i] = vec4<f32>(lane(image, pixel, c), lane(image, pixel, c + 1u), lane(image, pixel, c + 2u), lane(image, pixel, c + 3u));
    }
}
#end
