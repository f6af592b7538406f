// Binary cross entropy from logits [N, 1] (one quad a row, the other lanes zero) and labels 0 or 1; another label marks
// padding of the batch and counts for nothing. z = x for label 0 and -x for label 1, so both classes are one formula:
//   bce       per[n] = w[t] (softplus(z) - low z),  softplus(z) = max(z, 0) + log(1 + exp(-|z|));  loss = sum(per) / count
//   bce_grad  dx[n] = +- dloss w[t] (sigmoid(z) - low) / count, - for label 1
// low = smoothing / 2 is the target of the class that the label is not. Rows are a few numbers: limited by launch overhead.
#import grid
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    rows: u32, low: f32, negative: f32, positive: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;

#if bce
@group(0) @binding(3) var<storage, read_write> loss: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> per: array<f32>;

// log(1 + e) for 0 <= e <= 1, to a relative 1e-7: log(1 + e) itself loses all digits of a small e, and WGSL allows log an
// error of 2^-21 here. log(1 + e) = 2 atanh(s), s = e / (2 + e) <= 1/3; the series' first term left out is s^15 / 15.
fn log1p(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let t = s * s;
    var sum = 1.0 / 13.0;
    sum = sum * t + 1.0 / 11.0;
    sum = sum * t + 1.0 / 9.0;
    sum = sum * t + 1.0 / 7.0;
    sum = sum * t + 1.0 / 5.0;
    sum = sum * t + 1.0 / 3.0;
    return 2.0 * (s + s * t * sum);
}

// One workgroup for all rows; thread 0 adds the rows' losses in order.
@compute @workgroup_size(64)
fn bce(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    for (var n = l.x; n < (p.rows + 3u) / 4u * 4u; n += 64u) {
        var value = 0.0;
        if (n < p.rows && labels[n] < 2u) {
            let one = labels[n] == 1u;
            let z = select(x[n].x, -x[n].x, one);
            value = select(p.negative, p.positive, one) * ((select(z, 0.0, z < 0.0) - p.low * z) + log1p(exp(-abs(z))));
        }
        per[n] = value;
    }
    storageBarrier();
    workgroupBarrier();
    if (l.x == 0u) {
        var total = 0.0;
        var count = 0.0;
        for (var n = 0u; n < p.rows; n++) {
            total += per[n];
            if (labels[n] < 2u) { count += 1.0; }
        }
        loss[0] = vec4<f32>(total / max(count, 1.0), 0.0, 0.0, 0.0);
    }
}
#end

#if bce_grad
@group(0) @binding(3) var<storage, read> dloss: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@compute @workgroup_size(64)
fn bce_grad(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let n = grid_group(wg) * 64u + l.x;
    if (n >= p.rows) { return; }
    var count = 0.0;
    for (var i = 0u; i < p.rows; i++) {
        if (labels[i] < 2u) { count += 1.0; }
    }
    var d = 0.0;
    if (labels[n] < 2u) {
        let one = labels[n] == 1u;
        let z = select(x[n].x, -x[n].x, one);
        let e = exp(-abs(z));
        let s = select(e, 1.0, z >= 0.0) / (1.0 + e);
        d = dloss[0].x / max(count, 1.0) * select(p.negative, -p.positive, one) * (s - p.low);
    }
    dx[n] = vec4<f32>(d, 0.0, 0.0, 0.0);
}
#end
