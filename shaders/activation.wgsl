// relu       y = x where x >= 0, else 0; NaN stays NaN, so that a broken step is seen in the loss.
// relu_grad  dx = dy where y > 0, else 0 (y is the output; the gradient at 0 is 0, as in PyTorch).
// Shapes: all the same, any. Grid: one workgroup of 256 for 256 EACH cells (prelude/cell). Limited by memory bandwidth.
#import grid
#import cell
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, cells: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Cell>;
#if relu
@group(0) @binding(2) var<storage, read_write> y: array<Cell>;
fn result(i: u32) -> Cell {
    var v = numbers(a[i]);
#for H in 0..QUADS
    v[{H}] = select(v[{H}], vec4<f32>(), v[{H}] < vec4<f32>());
#end
    return cell(v);
}
@compute @workgroup_size(256)
fn relu(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
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
#if relu_grad
@group(0) @binding(2) var<storage, read> y: array<Cell>;
@group(0) @binding(3) var<storage, read_write> dx: array<Cell>;
fn result(i: u32) -> Cell {
    var v = numbers(a[i]);
    let w = numbers(y[i]);
#for H in 0..QUADS
    v[{H}] = select(vec4<f32>(), v[{H}], w[{H}] > vec4<f32>());
#end
    return cell(v);
}
@compute @workgroup_size(256)
fn relu_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let first = first_cell(wg, l);
    if (first - l.x + 256u * EACH <= p.cells) {
#for I in 0..EACH
        dx[first + {I*256}u] = result(first + {I*256}u);
#end
        return;
    }
#for I in 0..EACH
    if (first + {I*256}u < p.cells) { dx[first + {I*256}u] = result(first + {I*256}u); }
#end
}
#end
