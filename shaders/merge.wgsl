// add         y = a + b.
// add_scaled  y = a + factor b: InceptionResNetV2's residual scaling.
// multiply    y = a * b.
// scale       y = factor a.
// fill        y = value (the gradient seed 1, for example).
// RELU (add, add_scaled): y = max(y, 0) as in activation.wgsl.
// Shapes: all the same, any. Grid: one workgroup of 256 for 256 EACH cells (prelude/cell; fill: 1,024 quads). Limited by memory bandwidth.
#param RELU = 0
#if fill
#import elementwise
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32, value: f32, elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(256)
fn fill(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
#for I in 0..4
    if (first + {I*256}u < p.quads) {
        // Words past the last element are extra lanes and stay zero.
        let at = vec4<u32>((first + {I*256}u) * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        y[first + {I*256}u] = select(vec4<f32>(), vec4<f32>(p.value), at < vec4<u32>(p.elements));
    }
#end
}
#else
#import grid
#import cell
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32, cells: u32,
#if add_scaled || scale
    factor: f32,
#end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Cell>;
#if scale
@group(0) @binding(2) var<storage, read_write> y: array<Cell>;
#else
@group(0) @binding(2) var<storage, read> b: array<Cell>;
@group(0) @binding(3) var<storage, read_write> y: array<Cell>;
#end

fn result(i: u32) -> Cell {
    var v = numbers(a[i]);
#if scale
#else
    let w = numbers(b[i]);
#end
#for H in 0..QUADS
#if add
    v[{H}] += w[{H}];
#end
#if add_scaled
    v[{H}] += p.factor * w[{H}];
#end
#if multiply
    v[{H}] *= w[{H}];
#end
#if scale
    v[{H}] *= p.factor;
#end
#if RELU
    v[{H}] = select(v[{H}], vec4<f32>(), v[{H}] < vec4<f32>());
#end
#end
    return cell(v);
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
    let first = first_cell(wg, l);
    if (first - l.x + 256u * EACH <= p.cells) {
#for I in 0..EACH
        y[first + {I*256}u] = result(first + {I*256}u);
#end
        return;
    }
#for I in 0..EACH
    if (first + {I*256}u < p.cells) { y[first + {I*256}u] = result(first + {I*256}u); }
#end
}
#end
