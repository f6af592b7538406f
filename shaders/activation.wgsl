// relu       y = x where x >= 0, else 0; NaN stays NaN, so that a broken step is seen in the loss.
// relu_grad  dx = dy where y > 0, else 0 (y is the output; the gradient at 0 is 0, as in PyTorch).
// Shapes: all the same, any. Grid: one workgroup of 256 for 1,024 quads. Limited by memory bandwidth.
#import elementwise
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
#if relu
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(256)
fn relu(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    if (grid_group(wg) * 1024u + 1024u <= p.quads) {
#for I in 0..4
        { let v = a[first + {I*256}u]; y[first + {I*256}u] = select(v, vec4<f32>(), v < vec4<f32>()); }
#end
        return;
    }
#for I in 0..4
    if (first + {I*256}u < p.quads) { let v = a[first + {I*256}u]; y[first + {I*256}u] = select(v, vec4<f32>(), v < vec4<f32>()); }
#end
}
#end
#if relu_grad
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(256)
fn relu_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_quad(wg, l);
    if (grid_group(wg) * 1024u + 1024u <= p.quads) {
#for I in 0..4
        dx[first + {I*256}u] = select(vec4<f32>(), a[first + {I*256}u], y[first + {I*256}u] > vec4<f32>());
#end
        return;
    }
#for I in 0..4
    if (first + {I*256}u < p.quads) { dx[first + {I*256}u] = select(vec4<f32>(), a[first + {I*256}u], y[first + {I*256}u] > vec4<f32>()); }
#end
}
#end
