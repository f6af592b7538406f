// copy_channels    y[i, y_first + q] = x[i, x_first + q] for whole quads q of channels: a part of a concatenation, or a slice.
// gather_channels  y[i, k] = a[i, k - a_first] where that is a channel of a, else b[i, k - b_first] where TWO, else 0: what does
//                  not start at a quad. Shapes: x, a, b, y [N, C, H, W] with the same pixels i; each may lie in a wider tensor.
// Grid: 64 threads a workgroup; copy: a quad a thread; gather: a quad of y a thread. Limited by memory bandwidth; the planner avoids
// both where memory can be shared (src/plan/slices.rs).
#if copy_channels
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    pixels: u32,
    quads: u32,    // of a pixel, to copy
    x_stride: u32, // quads from one pixel of x to the next
    x_first: u32,
    y_stride: u32,
    y_first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#import grid
@compute @workgroup_size(64)
fn copy_channels(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let i = grid_group(wg) * 64u + t;
    let pixel = i / p.quads;
    if (pixel < p.pixels) {
        let q = i - pixel * p.quads;
        y[pixel * p.y_stride + p.y_first + q] = x[pixel * p.x_stride + p.x_first + q];
    }
}
#end
#if gather_channels
#param TWO = 0
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    pixels: u32,
    channels: u32,   // of y
    y_stride: u32,
    y_offset: u32,
    a_channels: u32,
    a_first: u32,    // the channel of y that is a's channel 0, modulo 2^32: negative for a slice
    a_stride: u32,
    a_offset: u32,
    b_channels: u32,
    b_first: u32,
    b_stride: u32,
    b_offset: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
#if TWO
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#end
#import grid
fn lane(pixel: u32, k: u32) -> f32 {
    if (k < p.channels && k - p.a_first < p.a_channels) {
        return a[(pixel * p.a_stride + p.a_offset) * 4u + k - p.a_first];
    }
#if TWO
    if (k < p.channels && k - p.b_first < p.b_channels) {
        return b[(pixel * p.b_stride + p.b_offset) * 4u + k - p.b_first];
    }
#end
    return 0.0;
}
@compute @workgroup_size(64)
fn gather_channels(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let i = grid_group(wg) * 64u + t;
    let quads = (p.channels + 3u) / 4u;
    let pixel = i / quads;
    if (pixel < p.pixels) {
        let q = i - pixel * quads;
        let k = q * 4u;
        y[pixel * p.y_stride + p.y_offset + q] =
            vec4<f32>(lane(pixel, k), lane(pixel, k + 1u), lane(pixel, k + 2u), lane(pixel, k + 3u));
    }
}
#end
