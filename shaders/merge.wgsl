// add   y = a + b.   multiply   y = a * b.   fill   y = VALUE_BITS as f32 (the gradient seed 1, for example).
// Shapes: all the same, any. Grid: one workgroup of 256 for 1,024 quads. Limited by memory bandwidth.
#import elementwise
#if add
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(256)
fn add(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    if (grid_group(wg) * 1024u + 1024u <= p.quads) {
#for I in 0..4
        y[first + {I*256}u] = a[first + {I*256}u] + b[first + {I*256}u];
#end
        return;
    }
#for I in 0..4
    if (first + {I*256}u < p.quads) { y[first + {I*256}u] = a[first + {I*256}u] + b[first + {I*256}u]; }
#end
}
#end
#if multiply
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(256)
fn multiply(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    if (grid_group(wg) * 1024u + 1024u <= p.quads) {
#for I in 0..4
        y[first + {I*256}u] = a[first + {I*256}u] * b[first + {I*256}u];
#end
        return;
    }
#for I in 0..4
    if (first + {I*256}u < p.quads) { y[first + {I*256}u] = a[first + {I*256}u] * b[first + {I*256}u]; }
#end
}
#end
#if fill
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
#end
