// colormap   rgb = color(map), map clamped to [0, 1].
// overlay    rgb = (1 - a) gray + a color(map), gray and map clamped to [0, 1]; a = alpha, or with BY_VALUE a = alpha * map,
//            so that where the map is 0 the image stays as it is.
// MAP 0: Turbo as a polynomial of degree 5 (A. Mikhailov, "Turbo, an improved rainbow colormap", Google 2019; the coefficients
// are those of its published shader, Copyright 2019 Google LLC, Apache-2.0). MAP 1: Jet, clamp(1.5 - |4 x - 3, 2, 1|, 0, 1).
// Shapes: map, gray [N H W 1], rgb [N H W 3]: one vec4 a pixel in all of them, the fourth lane of rgb zero.
// Grid: one workgroup of 256 for 1,024 pixels. Limited by memory bandwidth.
#import elementwise
#param MAP = 0
#param BY_VALUE = 0
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, quads: u32,
#if overlay
    alpha: f32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#if overlay
@group(0) @binding(2) var<storage, read> gray: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#end

fn color(v: f32) -> vec3<f32> {
#if MAP == 0
    let low = vec4<f32>(1.0, v, v * v, v * v * v);
    let high = low.zw * low.z;
    let rgb = vec3<f32>(
        dot(low, vec4<f32>(0.13572138, 4.61539260, -42.66032258, 132.13108234)) + dot(high, vec2<f32>(-152.94239396, 59.28637943)),
        dot(low, vec4<f32>(0.09140261, 2.19418839, 4.84296658, -14.18503333)) + dot(high, vec2<f32>(4.27729857, 2.82956604)),
        dot(low, vec4<f32>(0.10667330, 12.64194608, -60.58204836, 110.36276771)) + dot(high, vec2<f32>(-89.90310912, 27.34824973)),
    );
    return clamp(rgb, vec3<f32>(0.0), vec3<f32>(1.0));
#else
    return clamp(vec3<f32>(1.5) - abs(vec3<f32>(4.0 * v) - vec3<f32>(3.0, 2.0, 1.0)), vec3<f32>(0.0), vec3<f32>(1.0));
#end
}

#if colormap
@compute @workgroup_size(256)
fn colormap(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    var at = first_quad(wg, l);
    for (var i = 0u; i < 4u; i++) {
        if (at < p.quads) { y[at] = vec4<f32>(color(clamp(x[at].x, 0.0, 1.0)), 0.0); }
        at += 256u;
    }
}
#end

#if overlay
@compute @workgroup_size(256)
fn overlay(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    var at = first_quad(wg, l);
    for (var i = 0u; i < 4u; i++) {
        if (at < p.quads) {
            let v = clamp(x[at].x, 0.0, 1.0);
            let under = vec3<f32>(clamp(gray[at].x, 0.0, 1.0));
#if BY_VALUE
            let a = p.alpha * v;
#else
            let a = p.alpha;
#end
            y[at] = vec4<f32>(under * (1.0 - a) + color(v) * a, 0.0);
        }
        at += 256u;
    }
}
#end
