// silu        y = x * s(x), where s(x) = 1 / (1 + exp(-x)).
// silu_grad   dx = dy * s(x) * (1 + x * (1 - s(x))).      MUST multiply by dy: it is the gradient of everything above.
// Shapes: all the same, any. Grid: one workgroup of 256 for 1,024 vec4 (prelude/elementwise). Limited by memory bandwidth.
// Source: Elfwing, Uchibe, Doya, arXiv:1702.03118.
//
// Four rules that the engine checks when it reads this file, without a GPU:
//   - binding 0 is `var<uniform> p: Params`, then the inputs, then the outputs, as `array<vec4<f32>>` or what fits;
//   - Params begins with grid_first, grid_width, grid_count, which the plan fills in; the others are given by name from Rust;
//   - an expanded file holds one entry point: `#if NAME` is true for the entry point that is asked for;
//   - `#import` brings in a file of shaders/prelude/.
// And one that only a test finds: channels are stored rounded up to a multiple of four, and the extra lanes are zero before and
// after. silu(0) = 0 keeps them so. An operation with f(0) != 0, softplus for example, has to mask them (see `fill` in merge.wgsl).
#import elementwise
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;

// Without overflow for any x: exp of nothing positive.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    let e = exp(-abs(x));
    return select(e, vec4<f32>(1.0), x >= vec4<f32>()) / (vec4<f32>(1.0) + e);
}

#if silu
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(256)
fn silu(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    var at = first_quad(wg, l);
    for (var i = 0u; i < 4u; i++) {
        if (at < p.quads) { y[at] = x[at] * sigmoid(x[at]); }
        at += 256u;
    }
}
#end

#if silu_grad
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(256)
fn silu_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    var at = first_quad(wg, l);
    for (var i = 0u; i < 4u; i++) {
        if (at < p.quads) {
            let v = x[at];
            let s = sigmoid(v);
            dx[at] = dy[at] * s * (vec4<f32>(1.0) + v * (vec4<f32>(1.0) - s));
        }
        at += 256u;
    }
}
#end
