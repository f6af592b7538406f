//! The optimizers' rules against f64, so that they are tested where the parity fixtures are not at hand as well; and the
//! flush of tiny moments.

use crate::{Test, count, plain};
use radiograd::nn::{Convention, Optimizer, ParamStore, Rule};
use radiograd::plan::{HYPER, Update};
use radiograd::selftest::draw::Stream;
use radiograd::{Feed, Graph, Plan, PlanSpec, Shape};
use std::rc::Rc;

pub const TESTS: &[Test] = &[
    ("rules::optimizers_follow_their_equations", optimizers_follow_their_equations),
    ("rules::dead_units_do_not_become_denormal", dead_units_do_not_become_denormal),
];

/// Numbers in the parameter: several workgroups of 1,024 quads, and a ragged end.
const LEN: usize = 4099;

/// Runs `steps` of `optimizer` on a parameter of `p`; `gradient` gives each step's.
fn run(
    optimizer: &Optimizer,
    p: &[f32],
    steps: usize,
    lr: f64,
    mut gradient: impl FnMut(usize) -> Vec<f32>,
) -> Vec<f32> {
    let graph = Graph::new();
    let shape = Shape::Channels { c: p.len() };
    let (param, given, zero) = (graph.param("p", shape, true), graph.input("g", shape), graph.input("zero", shape));
    let (grad, hyper) = (given.add(zero), graph.input("hyper", Shape::flat(HYPER)));
    let mut store = ParamStore::init(&graph, 0);
    store.params[0].values = p.to_vec();
    let weights = Rc::new(store.upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let update = optimizer.clone();
    let spec = PlanSpec {
        outputs: vec![param.add(zero)],
        gradients: vec![(param, grad)],
        update: Some(&update as &dyn Update),
        hyper: Some(hyper),
        ..PlanSpec::default()
    };
    let mut plan = Plan::compile(plain(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    let (mut optimizer, zeros) = (optimizer.clone(), vec![0.0; p.len()]);
    for step in 0..steps {
        let (g, numbers) = (gradient(step), optimizer.advance(lr));
        plan.step(plain(), &[(given, Feed::F32(&g)), (zero, Feed::F32(&zeros)), (hyper, Feed::F32(&numbers))])
            .unwrap_or_else(|e| panic!("{e}"));
    }
    plan.finish(plain()).unwrap_or_else(|e| panic!("{e}"));
    store.read(plain(), &weights).unwrap_or_else(|e| panic!("{e}"));
    store.params.remove(0).values
}

/// One element's rule in f64, written out from the papers and the frameworks' documentation.
fn equation(o: &Optimizer, p: f64, gradients: &[f64], lr: f64) -> f64 {
    let (mut p, mut m, mut v, mut product) = (p, 0.0f64, 0.0f64, 1.0f64);
    let keras = o.convention == Convention::Keras;
    for (i, g) in gradients.iter().enumerate() {
        let t = (i + 1) as f64;
        let decoupled = matches!(o.rule, Rule::Adam { decoupled: true, .. });
        let g = if decoupled { *g } else { g + o.weight_decay * p };
        if decoupled {
            p *= 1.0 - lr * o.weight_decay;
        }
        match o.rule {
            Rule::Sgd { momentum, nesterov } => {
                m = momentum * m + if keras { -lr * g } else { g };
                p += match (keras, nesterov) {
                    (true, true) => momentum * m - lr * g,
                    (true, false) => m,
                    (false, true) => -lr * (g + momentum * m),
                    (false, false) => -lr * m,
                };
            }
            Rule::Adam { beta1, beta2, epsilon, .. } => {
                (m, v) = (beta1 * m + (1.0 - beta1) * g, beta2 * v + (1.0 - beta2) * g * g);
                let (c1, c2) = (1.0 - beta1.powf(t), 1.0 - beta2.powf(t));
                p -= if keras {
                    lr * c2.sqrt() / c1 * m / (v.sqrt() + epsilon)
                } else {
                    lr * (m / c1) / ((v / c2).sqrt() + epsilon)
                };
            }
            Rule::Nadam { beta1, beta2, epsilon } => {
                let speed = if keras { 1.0 } else { 0.004 };
                let mu = |t: f64| beta1 * (1.0 - 0.5 * 0.96f64.powf(t * speed));
                product *= mu(t);
                (m, v) = (beta1 * m + (1.0 - beta1) * g, beta2 * v + (1.0 - beta2) * g * g);
                let ahead = mu(t + 1.0) * m / (1.0 - product * mu(t + 1.0)) + (1.0 - mu(t)) * g / (1.0 - product);
                p -= lr * ahead / ((v / (1.0 - beta2.powf(t))).sqrt() + epsilon);
            }
            Rule::RmsProp { rho, epsilon } => {
                v = rho * v + (1.0 - rho) * g * g;
                p -= if keras { lr * g / (v + epsilon).sqrt() } else { lr * g / (v.sqrt() + epsilon) };
            }
        }
    }
    p
}

fn optimizers_follow_their_equations() {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-7);
    let rules = [
        Rule::Sgd { momentum: 0.0, nesterov: false },
        Rule::Sgd { momentum: 0.9, nesterov: false },
        Rule::Sgd { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1, beta2, epsilon, decoupled: false },
        Rule::Adam { beta1, beta2, epsilon, decoupled: true },
        Rule::Nadam { beta1, beta2, epsilon },
        Rule::RmsProp { rho: 0.99, epsilon },
    ];
    let (steps, lr) = (5, 0.01);
    let mut s = Stream::new(1, "optimizers");
    let p: Vec<f32> = (0..LEN).map(|_| s.unit()).collect();
    // Gradients over six orders of magnitude: where the bias correction, ε and small moments matter.
    let scale = |i: usize| 10f32.powi(-((i % 7) as i32));
    let gradients: Vec<Vec<f32>> = (0..steps).map(|_| (0..LEN).map(|i| s.unit() * scale(i)).collect()).collect();
    for (rule, convention) in rules.into_iter().flat_map(|r| [(r, Convention::Torch), (r, Convention::Keras)]) {
        let o = Optimizer::new(rule).with_convention(convention).with_weight_decay(0.01);
        let got = run(&o, &p, steps, lr, |step| gradients[step].clone());
        for i in 0..LEN {
            let g: Vec<f64> = gradients.iter().map(|g| f64::from(g[i])).collect();
            let start = f64::from(p[i]);
            let want = equation(&o, start, &g, lr);
            // Each step rounds p (u |p|) and a chain of some 20 operations on an update of at most a few lr; decay makes g + λp
            // cancel at worst to half of its terms in a chain that is still below lr.
            let u = 1.0 / 16_777_216.0;
            let allowed = steps as f64
                * (2.0 * u * start.abs().max(want.abs()) + 40.0 * u * lr * 4.0 / cancellation(&o, start, &g));
            let error = (f64::from(got[i]) - want).abs();
            assert!(
                error <= allowed,
                "{rule:?} {convention:?}: element {i} is {}, f64 says {want} (allowed {allowed:.1e})",
                got[i]
            );
        }
        count("optimizer rules x conventions compared with f64", 1);
    }
}

/// How much of g + λp is left after cancellation, at worst over the steps: the relative error of what follows grows by it.
fn cancellation(o: &Optimizer, p: f64, g: &[f64]) -> f64 {
    let decay = o.weight_decay;
    let left = |g: &f64| ((g + decay * p).abs() - 0.1 * decay * p.abs()).max(0.0) / (g.abs() + decay * p.abs() + 1e-30);
    g.iter().map(left).fold(1.0f64, f64::min).max(1e-2)
}

/// A unit that died leaves moments that shrink by a tenth a step: without a flush they end as denormals, which are a
/// hundred times slower on a CPU, and stay.
fn dead_units_do_not_become_denormal() {
    let p = vec![1.0f32; 8];
    let steps = 900;
    let o = Optimizer::adam();
    let moved = run(&o, &p, steps, 1e-3, |step| vec![if step == 0 { 1e-3 } else { 0.0 }; 8]);
    let want = {
        let g: Vec<f64> = (0..steps).map(|s| if s == 0 { 1e-3 } else { 0.0 }).collect();
        equation(&o, 1.0, &g, 1e-3)
    };
    assert!(moved.iter().all(|v| (f64::from(*v) - want).abs() < 1e-5), "{moved:?}, f64 says {want}");
    // With SGD the moment itself shows: parameter and moment are the same kind of memory, so a parameter fed by a moment
    // below the threshold must stop moving exactly.
    let sgd = Optimizer::sgd(0.5);
    let (a, b) = (
        run(&sgd, &[0.0; 4], 101, 1.0, |s| vec![if s == 0 { 1.0 } else { 0.0 }; 4]),
        run(&sgd, &[0.0; 4], 140, 1.0, |s| vec![if s == 0 { 1.0 } else { 0.0 }; 4]),
    );
    assert_eq!(a, b);
}
