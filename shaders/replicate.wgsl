// replicate  y[n, k] = scale[k] x[n, 0] + shift[k] for k < 3: a grey image for a network that expects colours, each channel normalised
// as its published weights saw it. Shapes: x [N, 1, H, W], y [N, 3, H, W]. Grid: 256 threads a workgroup, a pixel a thread.
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    pixels: u32,
    scale_r: f32,
    scale_g: f32,
    scale_b: f32,
    shift_r: f32,
    shift_g: f32,
    shift_b: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [N, H, W, 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [N, H, W, 4]
#import grid
@compute @workgroup_size(256)
fn replicate(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let i = grid_group(wg) * 256u + t;
    if (i < p.pixels) {
        let v = x[i * 4u];
        let scale = vec4<f32>(p.scale_r, p.scale_g, p.scale_b, 0.0);
        y[i] = scale * v + vec4<f32>(p.shift_r, p.shift_g, p.shift_b, 0.0);
    }
}
