// add         y = a + b.
// add_scaled  y = a + scale b: InceptionResNetV2's residual scaling.
// multiply    y = a * b.
// scale       y = scale a.
// fill        y = value (the gradient seed 1, for example).
// RELU (add, add_scaled): y = max(y, 0) as in activation.wgsl.
// Shapes: all the same, any. Grid: one workgroup of 256 for 1,024 quads. Limited by memory bandwidth.
#import elementwise
#param RELU = 0
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, quads: u32,
#if add_scaled || scale
    factor: f32,
#end
#if fill
    value: f32, elements: u32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
#if add || add_scaled || multiply
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
#end
#if scale
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#end
#if fill
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
#end

fn element(i: u32) {
#if add
    let v = a[i] + b[i];
#end
#if add_scaled
    let v = a[i] + p.factor * b[i];
#end
#if multiply
    let v = a[i] * b[i];
#end
#if scale
    let v = p.factor * a[i];
#end
#if fill
    // Words past the last element are extra lanes and stay zero.
    let at = vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let v = select(vec4<f32>(), vec4<f32>(p.value), at < vec4<u32>(p.elements));
#end
#if RELU
    y[i] = select(v, vec4<f32>(), v < vec4<f32>());
#else
    y[i] = v;
#end
}

@compute @workgroup_size(256)
#if add
fn add(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if add_scaled
fn add_scaled(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if multiply
fn multiply(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if scale
fn scale(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if fill
fn fill(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    let first = first_quad(wg, l);
    if (grid_group(wg) * 1024u + 1024u <= p.quads) {
#for I in 0..4
        element(first + {I*256}u);
#end
        return;
    }
#for I in 0..4
    if (first + {I*256}u < p.quads) { element(first + {I*256}u); }
#end
}
