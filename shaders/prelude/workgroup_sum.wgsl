// The sum over a workgroup of 256 threads, in one fixed order: 16 threads add 16 of the 256 numbers each, then thread 0 those.
var<workgroup> sums: array<f32, 256>;
// To be called by all threads `thread` with a number each; the sum is thread 0's result, the others' means nothing.
fn workgroup_sum(own: f32, thread: u32) -> f32 {
    sums[thread] = own;
    workgroupBarrier();
    var sum = 0.0;
    if (thread < 16u) {
        for (var i = 0u; i < 16u; i++) { sum += sums[thread * 16u + i]; }
    }
    workgroupBarrier();
    if (thread < 16u) { sums[thread] = sum; }
    workgroupBarrier();
    var total = 0.0;
    if (thread == 0u) {
        for (var i = 0u; i < 16u; i++) { total += sums[i]; }
    }
    return total;
}
