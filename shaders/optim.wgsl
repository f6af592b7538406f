// One optimizer step over a chunk of the parameter arena; p, g, m, v are parallel arrays. The host computes everything that
// depends on the step number (bias corrections, learning rate, Nadam's momentum schedule) in f64 and passes 16 numbers.
//   sgd       v = MU v + g                p -= lr v                 (PyTorch)
//   nesterov                              p -= lr (g + MU v)
//   sgd_keras v = MU v - lr g             p += v      nesterov: p += MU v - lr g
//   adam      m = B1 m + (1 - B1) g       v = B2 v + (1 - B2) g^2
//             p -= a m / (sqrt(v) c + eps)          a, c by convention (Kingma & Ba, arXiv:1412.6980)
//   nadam     p -= (a m + b g) / (sqrt(v c) + eps)  (Dozat 2016)
//   rmsprop   v = RHO v + (1 - RHO) g^2   p -= lr g / (sqrt(v) + eps), Keras: / sqrt(v + eps)
// CLIP: g *= clip first, the coefficient of square_sum.wgsl. SCALED: that of loss_scale.wgsl, and nothing changes in a step that is left out. L2: g += decay p first. AdamW: p *= 1 - lr decay first. Moments below 1e-30 are set to zero: a dead unit's would end as a
// denormal after some 760 steps, and denormals make multiplications 100 times slower on a CPU.
// Grid: one workgroup of 256 for 1,024 quads. Limited by memory bandwidth.
#import elementwise
struct Params { grid_first: u32, grid_width: u32, grid_count: u32, quads: u32 }
// hyper: 0 lr, 1 decay, 2 shrink (AdamW: 1 - lr decay), 3 mu / beta1 / rho, 4 beta2, 5 eps, 6 a, 7 c, 8 b, 9 and 10: 1 - 3 and 1 - 4,
// from f64: 1 - 0.999 in f32 is off by 1.3e-5, which three steps of Adam show in the loss.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> hyper: array<vec4<f32>, 4>;
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>;
#param CLIP = 0
#if CLIP
@group(0) @binding(3) var<storage, read> clip: array<vec4<f32>>;
#end
#for B in 3+CLIP..4+CLIP
@group(0) @binding({B}) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding({B+1}) var<storage, read_write> first: array<vec4<f32>>;
#if adam || nadam
@group(0) @binding({B+2}) var<storage, read_write> second: array<vec4<f32>>;
#end
#end
#param NESTEROV = 0
#param KERAS = 0
#param SCALED = 0

fn flush(v: vec4<f32>) -> vec4<f32> {
    return select(v, vec4<f32>(), abs(v) < vec4<f32>(1e-30));
}

fn update(i: u32) {
    let h = hyper;
    let lr = h[0].x;
    var w = param[i] * h[0].z;
#if CLIP
    let g = clip[0].x * grad[i] + h[0].y * param[i];
#else
    let g = grad[i] + h[0].y * param[i];
#end
#if sgd
#if KERAS
    let v = flush(first[i] * h[0].w - lr * g);
#if NESTEROV
    w += v * h[0].w - lr * g;
#else
    w += v;
#end
#else
    let v = flush(first[i] * h[0].w + g);
#if NESTEROV
    w -= lr * (g + h[0].w * v);
#else
    w -= lr * v;
#end
#end
    first[i] = v;
#end
#if rmsprop
    let v = flush(first[i] * h[0].w + h[2].y * g * g);
#if KERAS
    w -= lr * g / sqrt(v + h[1].y);
#else
    w -= lr * g / (sqrt(v) + h[1].y);
#end
    first[i] = v;
#end
#if adam || nadam
    let m = flush(first[i] * h[0].w + h[2].y * g);
    let v = flush(second[i] * h[1].x + h[2].z * g * g);
#if adam
    w -= h[1].z * m / (sqrt(v) * h[1].w + h[1].y);
#else
    w -= (h[1].z * m + h[2].x * g) / (sqrt(v) * h[1].w + h[1].y);
#end
    first[i] = m;
    second[i] = v;
#end
    param[i] = w;
}

@compute @workgroup_size(256)
#if sgd
fn sgd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if adam
fn adam(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if nadam
fn nadam(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
#if rmsprop
fn rmsprop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
#end
    // A cut dispatch laid out in two dimensions has surplus groups: they would apply the next piece's step twice.
    if (grid_group(wg) >= p.grid_count) { return; }
#if SCALED
    if (clip[0].z == 0.0) { return; }
#end
    let begin = first_quad(wg, l);
#for I in 0..4
    if (begin + {I*256}u < p.quads) { update(begin + {I*256}u); }
#end
}
