// Dynamic loss scaling: judges the gradients of a step, which are those of the loss times S, and keeps the state for the next.
//   total = sum(part), the sum of squares of all gradients; a step with an infinity or a NaN among them is left out
//   out   = [c / S, sqrt(total) / S, 1 or 0 (left out), S]   c = 1, CLIP: min(1, max_norm / (sqrt(total) / S + epsilon))
//   S     = S growth after `interval` good steps in a row, S backoff after one that is left out (PyTorch's GradScaler)
//   state = [good steps in a row, steps left out, steps made, 0], [1 - B1^t, 1 - B2^t, 1 - product of momenta, 0]
// ADAM, NADAM: what depends on the number t of updates is computed here, because the host does not know which were left out:
// 1 - B^t = B (1 - B^(t-1)) + (1 - B), which subtracts nothing and so is good to some ulp; `now` is hyper with it.
// Every sum has one fixed order, that of square_sum.wgsl. Grid: one workgroup of 256. Limited by its own latency.
// Source: Micikevicius et al., arXiv:1710.03740; torch.amp.GradScaler.
#import grid
#import workgroup_sum
#param CLIP = 0
#param ADAM = 0
#param NADAM = 0
#param KERAS = 0
struct Params {
    grid_first: u32, grid_width: u32, grid_count: u32,
    parts: u32, max_norm: f32, epsilon: f32, growth: f32, backoff: f32, interval: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part: array<f32>;
#if ADAM || NADAM
@group(0) @binding(2) var<storage, read> hyper: array<vec4<f32>, 4>; // as in optim.wgsl
@group(0) @binding(6) var<storage, read_write> now: array<vec4<f32>, 4>;
#end
#for B in 2+(ADAM||NADAM)..3+(ADAM||NADAM)
@group(0) @binding({B}) var<storage, read_write> scale: array<vec4<f32>>;
@group(0) @binding({B+1}) var<storage, read_write> state: array<vec4<f32>>;
@group(0) @binding({B+2}) var<storage, read_write> out: array<vec4<f32>>;
#end

#if NADAM
fn momentum(beta: f32, t: f32) -> f32 {
#if KERAS
    let speed = 1.0;
#else
    let speed = 0.004;
#end
    return beta * (1.0 - 0.5 * exp2(t * speed * -0.058893689)); // 0.96^(t speed)
}
#end

@compute @workgroup_size(256)
fn loss_scale(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    if (grid_group(wg) >= p.grid_count) { return; }
    var sum = 0.0;
    for (var i = l.x; i < p.parts; i += 256u) { sum += part[i]; }
    let total = workgroup_sum(sum, l.x);
    if (l.x == 0u) {
        // The exponent's bits: a compiler may assume that a comparison meets no NaN.
        let good = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
        let s = scale[0].x;
        let norm = sqrt(total) / s;
#if CLIP
        let c = min(1.0, p.max_norm / (norm + p.epsilon));
#else
        let c = 1.0;
#end
        out[0] = vec4<f32>(select(0.0, c / s, good), norm, select(0.0, 1.0, good), s);
        let before = state[0];
        let row = before.x + 1.0;
        let grows = row >= p.interval;
        // Doubling ends before infinity.
        let grown = select(s, s * p.growth, grows && s < 0x1p100);
        scale[0] = vec4<f32>(select(s * p.backoff, grown, good), 0.0, 0.0, 0.0);
        let made = vec4<f32>(select(row, 0.0, grows), before.y, before.z + 1.0, 0.0);
        state[0] = select(vec4<f32>(0.0, before.y + 1.0, before.z, 0.0), made, good);
#if ADAM || NADAM
        let h = hyper;
        let old = state[1];
        let c2 = old.y * h[1].x + h[2].z;
#if ADAM
        let next = vec4<f32>(old.x * h[0].w + h[2].y, c2, 0.0, 0.0);
#if KERAS
        let a = vec2<f32>(h[0].x * sqrt(c2) / next.x, 1.0);
#else
        let a = vec2<f32>(h[0].x / next.x, 1.0 / sqrt(c2));
#end
        let b = h[2].x;
#else
        let t = before.z + 1.0;
        let mu = momentum(h[0].w, t);
        let mu_next = momentum(h[0].w, t + 1.0);
        let next = vec4<f32>(0.0, c2, old.z * mu + (1.0 - mu), 0.0);
        let a = vec2<f32>(h[0].x * mu_next / (1.0 - (1.0 - next.z) * mu_next), 1.0 / sqrt(c2));
        let b = h[0].x * (1.0 - mu) / next.z;
#end
        now[0] = h[0];
        now[1] = vec4<f32>(h[1].xy, a);
        now[2] = vec4<f32>(b, h[2].yzw);
        now[3] = h[3];
        if (good) { state[1] = next; }
#end
    }
}
