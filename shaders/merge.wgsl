// add   y = a + b.   multiply   y = a * b.   fill   y = VALUE_BITS as f32 (the gradient seed 1, for example).
// Shapes: all the same, any. Grid: one workgroup of 256 for 256 EACH cells (prelude/cell; fill: quads). Limited by memory bandwidth.
#import elementwise
#import cell
#if add
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, cells: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Cell>;
@group(0) @binding(2) var<storage, read> b: array<Cell>;
@group(0) @binding(3) var<storage, read_write> y: array<Cell>;
fn result(i: u32) -> Cell {
    var v = numbers(a[i]);
    let w = numbers(b[i]);
#for H in 0..QUADS
    v[{H}] += w[{H}];
#end
    return cell(v);
}
@compute @workgroup_size(256)
fn add(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
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
#if multiply
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, cells: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Cell>;
@group(0) @binding(2) var<storage, read> b: array<Cell>;
@group(0) @binding(3) var<storage, read_write> y: array<Cell>;
fn result(i: u32) -> Cell {
    var v = numbers(a[i]);
    let w = numbers(b[i]);
#for H in 0..QUADS
    v[{H}] *= w[{H}];
#end
    return cell(v);
}
@compute @workgroup_size(256)
fn multiply(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
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
