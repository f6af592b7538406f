//! Adds an operation from outside the crate: SiLU, y = x · sigmoid(x), with its gradient. Then checks both as the crate
//! checks its own: the GPU against the f64 equation, the gradient against finite differences, in the middle of a graph.
//!
//! `cargo run --release --example add_an_op`
//!
//! An operation is a type with the trait `Op`: shapes, equation, kernel launches, gradient, on one screen. Its gradient is
//! another operation, so that the plan counts, profiles and prints it like everything else.

use radiograd::gpu::Source;
use radiograd::graph::reference::{Values, evaluate};
use radiograd::graph::{Cost, Op, Recorder, ValueId, layout};
use radiograd::nn::ParamStore;
use radiograd::ops::Geometry;
use radiograd::{Feed, Gpu, Graph, Plan, PlanSpec, Shape, Tensor};
use std::process::ExitCode;
use std::rc::Rc;

/// The kernels. The file name identifies them in the cache of pipelines and in messages.
const SOURCE: Source = Source { file: "add_an_op.wgsl", text: include_str!("add_an_op.wgsl") };

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

// ---- The operation ------------------------------------------------------------------------------------------------------

struct Silu;

impl Op for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    // Checked when the graph is recorded: an error names the layer, this operation and what does not fit.
    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        match x {
            [x] => Ok(vec![*x]),
            _ => Err(format!("expected one input, given were {}", x.len())),
        }
    }

    // The equation, in f64 and in the world's order N C H W: what the operation *means*. The kernel is tested against it.
    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| v * sigmoid(*v)).collect()]
    }

    // What to launch. `elementwise` lays out the grid of prelude/elementwise.wgsl; `launch` takes any number of workgroups.
    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        k.elementwise(SOURCE, "silu", &[], &[], &[x[0].into(), y[0].into()], words);
    }

    // Recorded into the same graph; `dy` is the gradient that arrives from above. One entry for each input.
    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(SiluGrad, &[x[0]]))]
    }
}

// ---- Its gradient, an operation of its own --------------------------------------------------------------------------------

struct SiluGrad;

impl Op for SiluGrad {
    fn name(&self) -> &'static str {
        "silu_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        match x {
            [dy, x] if dy == x => Ok(vec![*x]),
            _ => Err("expected dy and x of one shape".into()),
        }
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let slope = |v: f64| sigmoid(v) * (1.0 + v * (1.0 - sigmoid(v)));
        vec![x[0].iter().zip(x[1]).map(|(dy, v)| dy * slope(*v)).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        k.elementwise(SOURCE, "silu_grad", &[], &[], &[x[0].into(), x[1].into(), y[0].into()], words);
    }

    // No `gradient`: nothing trains through a gradient here, and the default panics where one is wanted.

    // For the roofline and for watchdogs; the default counts one operation an element and every buffer once.
    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 10.0 * xs[0].elements() as f64, bytes: 12.0 * xs[0].words() as f64 }
    }
}

/// What makes it feel built in: `x.silu()`.
trait SiluExt<'g> {
    fn silu(self) -> Tensor<'g>;
}

impl<'g> SiluExt<'g> for Tensor<'g> {
    fn silu(self) -> Tensor<'g> {
        self.apply(Silu, &[])
    }
}

// ---- The proof --------------------------------------------------------------------------------------------------------------

/// `n` numbers between -1 and 1 that look random.
fn numbers(stream: u32, n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i as f32 + 1.0) * 12.9898 + stream as f32 * 78.233).sin()).collect()
}

fn main() -> Result<ExitCode, radiograd::Error> {
    // Mid-graph: a convolution before it and a product after it, so that both its x and its dy are nothing special. Seven
    // channels leave an extra lane in memory, and the sizes are no multiples of anything.
    let graph = Graph::new();
    let shape = Shape::image(2, 7, 5, 3);
    let (x, gate, upstream) = (graph.input("x", shape), graph.input("gate", shape), graph.input("upstream", shape));
    let filter = graph.input("filter", Shape::Filter { k: 7, c: 7, r: 3, s: 3 });
    let y = x.conv2d(filter, Geometry::same(3, 3)).silu().multiply(gate);
    let dx = y.gradients_with(upstream, &[x])[0].expect("y depends on x");

    let inputs =
        [(x, 1), (gate, 2), (upstream, 3), (filter, 4)].map(|(t, stream)| (t, numbers(stream, t.shape().elements())));
    let feeds = inputs.each_ref().map(|(t, v)| (*t, Feed::F32(v)));

    let gpu = Gpu::new()?;
    println!("{}", gpu.describe());
    let weights = Rc::new(ParamStore::init(&graph, 0).upload(&gpu)?);
    let mut plan = Plan::compile(&gpu, &graph, &weights, &PlanSpec { outputs: vec![y, dx], ..Default::default() })?;
    println!("{plan}");
    // Whatever a kernel forgets to write stays NaN.
    plan.poison(&gpu)?;
    let got = plan.run(&gpu, &feeds)?;

    // The same graph, interpreted in f64.
    let known: Values = inputs.iter().map(|(t, v)| (t.id, v.iter().map(|x| f64::from(*x)).collect())).collect();
    let want = evaluate(&graph, &known, &[y]);

    // d(Σ upstream · y)/dx, one element of x at a time. No formula of the gradient goes in here.
    let loss = |at: usize, step: f64| {
        let mut moved = known.clone();
        if let Some(v) = moved.get_mut(&x.id) {
            v[at] += step;
        }
        let y = &evaluate(&graph, &moved, &[y])[0];
        y.iter().zip(&known[&upstream.id]).map(|(a, b)| a * b).sum::<f64>()
    };
    let step = 1e-5;
    let slopes: Vec<f64> = (0..shape.elements()).map(|i| (loss(i, step) - loss(i, -step)) / (2.0 * step)).collect();

    let worst = |got: &[f32], want: &[f64]| {
        // f64::max would drop a NaN; a comparison that fails on NaN must decide.
        let off = |(g, w): (&f32, &f64)| (f64::from(*g) - w).abs() / w.abs().max(1.0);
        got.iter().zip(want).map(off).fold(0.0, |a, b| if b <= a { a } else { b })
    };
    let (forward, backward) = (worst(&got[0], &want[0]), worst(&got[1], &slopes));
    let memory = plan.output_memory(&gpu)?;
    let extra = memory
        .iter()
        .flat_map(|(s, m)| layout::extra_lanes(*s).into_iter().map(|i| m[i]))
        .filter(|v| *v != 0.0)
        .count();
    println!(
        "silu       GPU against the f64 equation     worst relative error {forward:.1e} of {} numbers",
        got[0].len()
    );
    println!(
        "silu_grad  GPU against finite differences   worst relative error {backward:.1e} of {} numbers",
        got[1].len()
    );
    println!("extra lanes that are not zero: {extra}");
    let good = forward < 1e-5 && backward < 1e-5 && extra == 0;
    println!("{}", if good { "both agree" } else { "SOMETHING IS WRONG" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(6) })
}
