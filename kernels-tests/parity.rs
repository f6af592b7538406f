//! The public parity fixtures, made with PyTorch, against this engine: single operations, optimizers, schedules; whole
//! networks and short trainings are in `parity_networks.rs`. Used by the tests and by `examples/parity.rs`.

use crate::fixtures::{Distance, Fixture};
use crate::parity_networks;
use radiograd::nn::{Convention, Optimizer, ParamStore, Rule, Schedule};
use radiograd::ops::{AvgPool, BinaryCrossEntropy, CrossEntropy, Geometry, MaxPool, RunningUpdate, Smoothing, Window};
use radiograd::plan::HYPER;
use radiograd::{Error, Feed, Gpu, Graph, Plan, PlanSpec, Shape, Tensor};
use std::rc::Rc;

/// What became of a fixture.
pub enum Outcome {
    /// Compared.
    Compared(Report),
    /// This engine has no such operation or network yet.
    Unsupported(String),
}

/// The comparison of one fixture.
#[derive(Default)]
pub struct Report {
    /// Quantities compared, and how many numbers in them.
    pub quantities: usize,
    pub numbers: usize,
    /// The quantity that comes closest to its tolerance or exceeds it most, and how far it is.
    pub worst: Option<(String, Distance)>,
    /// Every quantity outside its tolerance.
    pub failed: Vec<String>,
    /// Quantities that this engine does not compute.
    pub skipped: Vec<String>,
    /// Of each result its part, its name, its largest error and its largest element.
    pub elements: Vec<(String, String, f64, f64)>,
    /// Of all gradients together the squares of errors and of elements.
    pub gradient_squares: (f64, f64),
}

impl Report {
    /// Takes the comparison of quantity `name` in `part` in.
    pub fn take(&mut self, f: &Fixture, part: &str, name: &str, got: &[f64]) {
        let Some(q) = f.quantity(part, name) else { return };
        let d = q.distance(got);
        self.quantities += 1;
        self.numbers += d.numbers;
        if part.ends_with("gradients") || name == "train_dinput" {
            self.gradient_squares.0 += d.squares.0;
            self.gradient_squares.1 += d.squares.1;
        } else {
            self.elements.push((part.to_string(), name.to_string(), d.element.0, d.element.1));
        }
        if !d.ok() {
            self.failed.push(format!("{part}.{name}: {d}"));
        }
        let larger = |w: &(String, Distance)| d.ratio.is_nan() || (!w.1.ratio.is_nan() && d.ratio > w.1.ratio);
        if self.worst.as_ref().is_none_or(larger) {
            self.worst = Some((name.to_string(), d));
        }
    }

    /// [`Report::take`] of f32 numbers.
    pub fn take32(&mut self, f: &Fixture, part: &str, name: &str, got: &[f32]) {
        self.take(f, part, name, &got.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
    }

    /// The worst result and its error relative to its largest element (or to a thousandth of the largest of its part). NaN is worse
    /// than any number.
    pub fn worst_result(&self) -> Option<(&str, f64)> {
        let floor = |part: &str| self.elements.iter().filter(|e| e.0 == part).map(|e| 1e-3 * e.3).fold(0.0, f64::max);
        let all = self.elements.iter().map(|e| (e.1.as_str(), e.2 / e.3.max(floor(&e.0)).max(f64::MIN_POSITIVE)));
        all.reduce(|a, b| if b.1.is_nan() || b.1 > a.1 { b } else { a })
    }

    /// Length of the error of the whole gradient beside the gradient's own: what a step goes astray.
    ///
    /// Not its worst element: with f16 storage that is where a ReLU changed its mind, and another order of a sum anywhere before it
    /// decides it. The last bits of ResNet50's first convolution move it from 0.13 to 0.34.
    pub fn gradient_error(&self) -> Option<f64> {
        let (off, all) = self.gradient_squares;
        (all > 0.0).then(|| (off / all).sqrt())
    }

    pub fn ok(&self) -> bool {
        self.failed.is_empty() && self.quantities > 0
    }
}

/// Compares one fixture.
///
/// # Errors
/// Errors of the device, or a fixture that does not hold what its kind promises.
pub fn compare(gpu: &Gpu, f: &Fixture) -> Result<Outcome, Error> {
    match f.text("kind") {
        "op" => operation(gpu, f),
        "optimizer" => optimizer(gpu, f),
        "schedule" => Ok(schedule(f)),
        "network" if known_network(f) => parity_networks::network(gpu, f).map(Outcome::Compared),
        "training" if known_network(f) => parity_networks::training(gpu, f).map(Outcome::Compared),
        "network" | "training" => Ok(Outcome::Unsupported(format!("network {}", f.text("net")))),
        other => Ok(Outcome::Unsupported(format!("kind {other}"))),
    }
}

/// An [`Error::Format`] for a fixture.
pub fn malformed(f: &Fixture, what: &str) -> Error {
    Error::format(format!("{}.json", f.name), what)
}

/// Runs a graph without parameters once.
fn evaluate(gpu: &Gpu, graph: &Graph, outputs: &[Tensor], feeds: &[(Tensor, Feed)]) -> Result<Vec<Vec<f32>>, Error> {
    let weights = Rc::new(ParamStore::default().upload(gpu)?);
    let spec = PlanSpec { outputs: outputs.to_vec(), ..PlanSpec::default() };
    let mut plan = Plan::compile(gpu, graph, &weights, &spec)?;
    let used: Vec<_> = feeds.iter().filter(|(t, _)| plan.reads(t.id)).copied().collect();
    plan.run(gpu, &used)
}

fn image(dims: &[usize]) -> Shape {
    match *dims {
        [n, c, h, w] => Shape::image(n, c, h, w),
        [n, c] => Shape::image(n, c, 1, 1),
        _ => Shape::flat(dims.iter().product()),
    }
}

fn filter(dims: &[usize]) -> Shape {
    match *dims {
        [k, c, r, s] => Shape::Filter { k, c, r, s },
        [k, c] => Shape::Filter { k, c, r: 1, s: 1 },
        _ => Shape::flat(dims.iter().product()),
    }
}

fn pair(f: &Fixture, key: &str) -> [usize; 2] {
    let v = crate::fixtures::sizes(&f.get("attrs")[key]);
    [v.first().copied().unwrap_or(1), v.get(1).copied().unwrap_or(1)]
}

fn padding(f: &Fixture) -> [usize; 4] {
    crate::fixtures::sizes(&f.get("attrs")["pad_tblr"]).try_into().unwrap_or([0; 4])
}

fn window(f: &Fixture) -> Window {
    Window { size: pair(f, "k"), stride: pair(f, "stride"), padding: padding(f) }
}

fn operation(gpu: &Gpu, f: &Fixture) -> Result<Outcome, Error> {
    let (op, attrs) = (f.text("op"), f.get("attrs"));
    let known = [
        "conv2d",
        "dense",
        "maxpool",
        "avgpool",
        "global_avgpool",
        "batchnorm",
        "relu",
        "softmax",
        "xent",
        "flatten",
        "dropout",
        "resize",
        "elu",
        "sigmoid",
        "add_scaled",
        "global_maxpool",
        "bce_logits",
        "l2",
        "concat",
    ];
    if !known.contains(&op) {
        return Ok(Outcome::Unsupported(format!("operation {op}")));
    }
    let depthwise = op == "conv2d" && attrs["groups"] != 1;
    if depthwise && f.input("x").is_none_or(|(dims, _)| dims.get(1).map(|c| *c as u64) != attrs["groups"].as_u64()) {
        return Ok(Outcome::Unsupported("grouped convolution that is not depthwise".into()));
    }
    let input = |name: &str| f.input(name).ok_or_else(|| malformed(f, &format!("no input {name}")));
    for name in f.names("inputs") {
        // A slip in the generator would show in every network: here it is compared number by number.
        if f.regenerate(name).is_some_and(|v| f.input(name).is_none_or(|(_, there)| v != there)) {
            return Err(malformed(f, &format!("input {name} is not what the generator makes")));
        }
    }
    if op == "l2" {
        return penalty(gpu, f);
    }
    let graph = Graph::new();
    let (x_dims, x_values) = input("x")?;
    let x = graph.input("x", image(&x_dims));
    let mut feeds: Vec<(Tensor, Feed)> = vec![(x, Feed::F32(&x_values))];
    let weight = f.input("weight");
    let w = weight.as_ref().map(|(d, _)| graph.input("weight", filter(d)));
    let bias = f.input("bias");
    let b = bias.as_ref().map(|(d, _)| graph.input("bias", Shape::Channels { c: d[0] }));
    feeds.extend(w.iter().zip(&weight).map(|(t, (_, v))| (*t, Feed::F32(v))));
    feeds.extend(b.iter().zip(&bias).map(|(t, (_, v))| (*t, Feed::F32(v))));
    if op == "batchnorm" {
        return batch_norm(gpu, f, &graph, x, feeds);
    }
    if op == "xent" {
        return entropy(gpu, f, &graph, x, feeds);
    }
    if op == "bce_logits" {
        return binary(gpu, f, &graph, x, &x_values);
    }
    let other = f.input("b");
    let second = other.as_ref().map(|(d, _)| graph.input("b", image(d)));
    feeds.extend(second.iter().zip(&other).map(|(t, (_, v))| (*t, Feed::F32(v))));
    let third_input = f.input("c");
    let third = third_input.as_ref().map(|(d, _)| graph.input("c", image(d)));
    feeds.extend(third.iter().zip(&third_input).map(|(t, (_, v))| (*t, Feed::F32(v))));
    let number = |key: &str| attrs[key].as_f64().ok_or_else(|| malformed(f, &format!("no number {key}")));
    let mask = f.input("mask");
    let mut extra = None;
    let (identity, scaled): (Vec<f32>, Vec<f32>);
    let y = match (op, w) {
        ("conv2d" | "dense", Some(w)) => {
            let y = match op {
                "conv2d" if depthwise => {
                    x.depthwise_conv2d(w, Geometry { stride: pair(f, "stride"), padding: padding(f) })
                }
                "conv2d" => x.conv2d(w, Geometry { stride: pair(f, "stride"), padding: padding(f) }),
                _ => x.dense(w),
            };
            b.map_or(y, |b| y.bias(b))
        }
        ("maxpool", _) => {
            let all = graph.record(MaxPool(window(f)), &[x]);
            extra = Some(("window_index", all[1]));
            all[0]
        }
        ("avgpool", _) => {
            let include_padding = attrs["count_include_pad"] == true;
            x.apply(AvgPool { window: window(f), include_padding }, &[])
        }
        ("global_avgpool", _) => x.global_avg_pool(),
        ("global_maxpool", _) => x.global_max_pool(),
        ("elu", _) => x.elu(number("alpha")? as f32),
        ("sigmoid", _) => x.sigmoid(),
        ("add_scaled", _) => x.add_scaled(second.ok_or_else(|| malformed(f, "no input b"))?, number("scale")? as f32),
        ("relu", _) => x.relu(),
        ("softmax", _) => x.softmax(),
        ("flatten", _) => {
            // Flattening is an order, not an operation: a dense layer with the identity for its weight shows it.
            let n: usize = x_dims[1..].iter().product();
            identity = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
            let eye = graph.input("identity", x.dense_shape(n));
            feeds.push((eye, Feed::F32(&identity)));
            x.dense(eye)
        }
        ("dropout", _) => {
            // The engine draws its masks itself; a given one is a product, scaled as dropout scales.
            let (_, m) = mask.as_ref().ok_or_else(|| malformed(f, "no mask"))?;
            let p = attrs["p"].as_f64().unwrap_or(f64::NAN);
            scaled = m.iter().map(|v| (f64::from(*v) / (1.0 - p)) as f32).collect();
            let t = graph.input("mask", x.shape());
            feeds.push((t, Feed::F32(&scaled)));
            x.multiply(t)
        }
        ("concat", _) => graph.concat(&[x].into_iter().chain(second).chain(third).collect::<Vec<_>>()),
        ("resize", _) => x.resize(pair(f, "size"), attrs["align_corners"] == true),
        _ => return Err(malformed(f, "an input is missing")),
    };
    let (dims, dy_values) = input("dy")?;
    let dy = graph.input("dy", image(&dims));
    feeds.push((dy, Feed::F32(&dy_values)));
    let wrt: Vec<(&str, Tensor)> = [("dx", Some(x)), ("dweight", w), ("dbias", b), ("db", second), ("dc", third)]
        .into_iter()
        .filter_map(|(n, t)| Some((n, t?)))
        .collect();
    let grads = y.gradients_with(dy, &wrt.iter().map(|p| p.1).collect::<Vec<_>>());
    let mut wanted = vec![("y", y)];
    wanted.extend(extra);
    wanted.extend(wrt.iter().zip(grads).filter_map(|((n, _), g)| Some((*n, g?))));
    let got = evaluate(gpu, &graph, &wanted.iter().map(|w| w.1).collect::<Vec<_>>(), &feeds)?;
    Ok(Outcome::Compared(collect(f, &wanted.iter().map(|w| w.0).collect::<Vec<_>>(), &got)))
}

/// Batch norm in both modes, and one step of the running statistics with either variance.
fn batch_norm<'g>(
    gpu: &Gpu,
    f: &Fixture,
    graph: &'g Graph,
    x: Tensor<'g>,
    feeds: Vec<(Tensor<'g>, Feed)>,
) -> Result<Outcome, Error> {
    let (attrs, (_, c, _, _)) = (f.get("attrs"), x.nchw());
    let number = |key: &str| attrs[key].as_f64().map(|v| v as f32).ok_or_else(|| malformed(f, &format!("no {key}")));
    let (epsilon, momentum) = (number("eps")?, number("momentum")?);
    let given: Vec<(&str, Vec<f32>)> = ["gamma", "beta", "running_mean", "running_var", "dy"]
        .into_iter()
        .filter_map(|name| Some((name, f.input(name)?.1)))
        .collect();
    let shape = |name: &str| if name == "dy" { x.shape() } else { Shape::Channels { c } };
    let tensors: Vec<Tensor> = given.iter().map(|(name, _)| graph.input(name, shape(name))).collect();
    let find = |name: &str| given.iter().position(|(n, _)| *n == name).map(|i| tensors[i]);
    let need = |name: &str| find(name).ok_or_else(|| malformed(f, &format!("no {name}")));
    let (gamma, beta, dy) = (find("gamma"), need("beta")?, need("dy")?);
    let (mean, var) = (need("running_mean")?, need("running_var")?);
    let mut wanted = Vec::new();
    let y = if attrs["train"] == true {
        let batch = x.batch_stats();
        let samples = x.shape().elements() / c;
        let [unbiased, biased] = [true, false].map(|unbiased| {
            graph.record(RunningUpdate { momentum, samples, unbiased }, &[mean, var, batch.0, batch.1])
        });
        wanted.extend([("batch_mean", batch.0), ("batch_var_biased", batch.1), ("new_running_mean", biased[0])]);
        wanted.extend([("new_running_var_unbiased", unbiased[1]), ("new_running_var_biased", biased[1])]);
        x.batch_norm(batch, gamma, beta, epsilon)
    } else {
        x.normalize(mean, var.batch_norm_scale(gamma, epsilon), beta)
    };
    wanted.push(("y", y));
    let wrt: Vec<(&str, Tensor)> = [("dx", Some(x)), ("dgamma", gamma), ("dbeta", Some(beta))]
        .into_iter()
        .filter_map(|(n, t)| Some((n, t?)))
        .collect();
    let grads = y.gradients_with(dy, &wrt.iter().map(|p| p.1).collect::<Vec<_>>());
    wanted.extend(wrt.iter().zip(grads).filter_map(|((n, _), g)| Some((*n, g?))));
    let all: Vec<(Tensor, Feed)> =
        feeds.into_iter().chain(tensors.iter().zip(&given).map(|(t, (_, v))| (*t, Feed::F32(v)))).collect();
    let got = evaluate(gpu, graph, &wanted.iter().map(|w| w.1).collect::<Vec<_>>(), &all)?;
    Ok(Outcome::Compared(collect(f, &wanted.iter().map(|w| w.0).collect::<Vec<_>>(), &got)))
}

fn entropy<'g>(
    gpu: &Gpu,
    f: &Fixture,
    graph: &'g Graph,
    x: Tensor<'g>,
    mut feeds: Vec<(Tensor<'g>, Feed)>,
) -> Result<Outcome, Error> {
    let attrs = f.get("attrs");
    let (_, labels) = f.input("labels").ok_or_else(|| malformed(f, "no labels"))?;
    let labels: Vec<u32> = labels.iter().map(|l| *l as u32).collect();
    let t = graph.input_integers("labels", labels.len());
    let e = attrs["smoothing"].as_f64().unwrap_or(0.0) as f32;
    let smoothing = match attrs["smoothing_kind"].as_str() {
        None => Smoothing::None,
        Some("over_k") => Smoothing::OverAll(e),
        Some("others") => Smoothing::Others(e),
        Some(other) => return Ok(Outcome::Unsupported(format!("label smoothing {other}"))),
    };
    let class: Option<Vec<f32>> =
        attrs["class_weights"].as_array().map(|a| a.iter().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect());
    let weights = class.as_ref().map(|w| graph.input("class weights", Shape::Channels { c: w.len() }));
    let (loss, _) = x.cross_entropy(t, smoothing, weights);
    // The fixtures' losses per sample are those before class weights.
    let (_, per) = x.cross_entropy(t, smoothing, None);
    let dx = loss.gradients(&[x])[0].ok_or_else(|| malformed(f, "no gradient"))?;
    let all: Vec<(Tensor, Feed)> = feeds
        .drain(..)
        .chain([(t, Feed::U32(&labels))])
        .chain(weights.iter().zip(&class).map(|(t, v)| (*t, Feed::F32(v))))
        .collect();
    let (mut names, mut wanted) = (vec!["y", "per_sample", "dx"], vec![loss, per, dx]);
    if let Some(w) = weights {
        let op = CrossEntropy { smoothing, weights: true, normalize: true };
        names.push("y_weight_normalised");
        wanted.push(graph.record(op, &[x, t, w])[0]);
    }
    let got = evaluate(gpu, graph, &wanted, &all)?;
    Ok(Outcome::Compared(collect(f, &names, &got)))
}

fn binary<'g>(gpu: &Gpu, f: &Fixture, graph: &'g Graph, x: Tensor<'g>, logits: &[f32]) -> Result<Outcome, Error> {
    let (_, labels) = f.input("labels").ok_or_else(|| malformed(f, "no labels"))?;
    let labels: Vec<u32> = labels.iter().map(|l| *l as u32).collect();
    let t = graph.input_integers("labels", labels.len());
    let mut op = BinaryCrossEntropy::default();
    if let Some(w) = f.get("attrs")["class_weights"].as_array() {
        let numbers: Vec<f32> = w.iter().filter_map(|v| Some(v.as_f64()? as f32)).collect();
        op.weights = numbers.try_into().map_err(|_| malformed(f, "class_weights are two numbers"))?;
    }
    op.smoothing = f.get("attrs")["smoothing"].as_f64().unwrap_or(0.0) as f32;
    // The fixtures' losses per sample are those before class weights.
    let unweighted = BinaryCrossEntropy { weights: [1.0, 1.0], ..op.clone() };
    let ((loss, _), (_, per)) = (x.bce_with_logits(t, op), x.bce_with_logits(t, unweighted));
    let dx = loss.gradients(&[x])[0].ok_or_else(|| malformed(f, "no gradient"))?;
    let got = evaluate(gpu, graph, &[loss, per, dx], &[(x, Feed::F32(logits)), (t, Feed::U32(&labels))])?;
    Ok(Outcome::Compared(collect(f, &["y", "per_sample", "dx"], &got)))
}

/// The L2 penalty in Keras' convention (the factor is the decay) and in PyTorch's (half of it).
fn penalty(gpu: &Gpu, f: &Fixture) -> Result<Outcome, Error> {
    let (dims, values) = f.input("weight").ok_or_else(|| malformed(f, "no weight"))?;
    let decay = f.get("attrs")["weight_decay"].as_f64().ok_or_else(|| malformed(f, "no weight_decay"))? as f32;
    let graph = Graph::new();
    let w = graph.input("weight", filter(&dims));
    let (keras, torch) = (w.l2_penalty(decay), w.l2_penalty(decay / 2.0));
    let no = || malformed(f, "no gradient");
    let (dk, dt) = (keras.gradients(&[w])[0].ok_or_else(no)?, torch.gradients(&[w])[0].ok_or_else(no)?);
    let got = evaluate(gpu, &graph, &[keras, dk, torch, dt], &[(w, Feed::F32(&values))])?;
    Ok(Outcome::Compared(collect(f, &["y", "dweight", "penalty_torch", "dweight_torch"], &got)))
}

/// Compares what was computed by name; names of the fixture that were not are noted.
pub fn collect(f: &Fixture, names: &[&str], got: &[Vec<f32>]) -> Report {
    let mut r = Report::default();
    names.iter().zip(got).for_each(|(n, g)| r.take32(f, "outputs", n, g));
    let other = f.names("outputs").into_iter().filter(|n| !names.contains(n));
    r.skipped = other.map(str::to_string).collect();
    r
}

fn known_network(f: &Fixture) -> bool {
    radiograd::models::Network::named(f.text("net")).is_ok()
}

/// The engine's optimizer of a fixture's name and hyperparameters.
pub fn rule(f: &Fixture) -> Option<Optimizer> {
    let name = f.text("optimizer");
    let h = |key: &str| f.get("hyperparameters")[key].as_f64().unwrap_or(0.0);
    let (beta1, beta2, epsilon) = (h("beta1"), h("beta2"), h("eps"));
    let rule = match name {
        "sgd" | "sgd_keras" => Rule::Sgd { momentum: h("momentum"), nesterov: false },
        "sgd_torch_nesterov" | "sgd_keras_nesterov" => Rule::Sgd { momentum: h("momentum"), nesterov: true },
        "adam_torch" | "adam_keras" => Rule::Adam { beta1, beta2, epsilon, decoupled: false },
        "adamw_torch" => Rule::Adam { beta1, beta2, epsilon, decoupled: true },
        "nadam_torch" | "nadam_keras" => Rule::Nadam { beta1, beta2, epsilon },
        "rmsprop_torch" | "rmsprop_keras" => Rule::RmsProp { rho: h("rho"), epsilon },
        _ => return None,
    };
    let convention = if name.contains("keras") { Convention::Keras } else { Convention::Torch };
    Some(Optimizer::new(rule).with_convention(convention).with_weight_decay(h("weight_decay")))
}

fn optimizer(gpu: &Gpu, f: &Fixture) -> Result<Outcome, Error> {
    let Some(mut optimizer) = rule(f) else {
        return Ok(Outcome::Unsupported(format!("optimizer {}", f.text("optimizer"))));
    };
    let update = optimizer.clone();
    let (_, p0) = f.input("p0").ok_or_else(|| malformed(f, "no p0"))?;
    let graph = Graph::new();
    let shape = Shape::Channels { c: p0.len() };
    let (p, given) = (graph.param("p", shape, true), graph.input("grad", shape));
    // The gradient arena takes what a node writes: the given numbers and a zero.
    let zero = graph.input("zero", shape);
    let (grad, hyper) = (given.add(zero), graph.input("hyper", Shape::flat(HYPER)));
    let mut store = ParamStore::init(&graph, 0);
    store.params[0].values.clone_from(&p0);
    let weights = Rc::new(store.upload(gpu)?);
    let spec = PlanSpec {
        outputs: vec![p.add(zero)],
        gradients: vec![(p, grad)],
        update: Some(&update),
        hyper: Some(hyper),
        ..PlanSpec::default()
    };
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec)?;
    let rates: Vec<f64> =
        f.get("lr_per_step").as_array().map(|a| a.iter().filter_map(|v| v.as_f64()).collect()).unwrap_or_default();
    let (mut report, zeros) = (Report::default(), vec![0.0; p0.len()]);
    for (step, lr) in rates.into_iter().enumerate() {
        let (_, g) = f.input(&format!("grad.step{step}")).ok_or_else(|| malformed(f, "a gradient is missing"))?;
        let numbers = optimizer.advance(lr);
        plan.run(gpu, &[(given, Feed::F32(&g)), (zero, Feed::F32(&zeros)), (hyper, Feed::F32(&numbers))])?;
        let now = weights.download(gpu)?;
        report.take32(f, "outputs", &format!("after_step{}", step + 1), &now[0].2);
    }
    Ok(Outcome::Compared(report))
}

fn schedule(f: &Fixture) -> Outcome {
    let s = f.get("schedule");
    let number = |key: &str| s[key].as_f64();
    let schedule = match s["schedule"].as_str() {
        Some("cosine") => Schedule::Cosine {
            max: number("lr").unwrap_or(f64::NAN),
            min: number("lr_min").unwrap_or(0.0),
            epochs: number("epochs").unwrap_or(0.0) as usize,
        },
        Some("stages") => {
            let stages: Vec<Vec<f64>> = serde_json::from_value(s["stages"].clone()).unwrap_or_default();
            match &stages[..] {
                [a, b, c] if a[1] == 3.0 && b[1] == 6.0 => Schedule::ThreeStage { rates: [a[0], b[0], c[0]] },
                _ => return Outcome::Unsupported("stages that end elsewhere".into()),
            }
        }
        _ => return Outcome::Unsupported(format!("schedule {s}")),
    };
    let epochs = f.get("outputs")["lr"]["shape"][0].as_u64().unwrap_or(0) as usize;
    let mut report = Report::default();
    report.take(f, "outputs", "lr", &(0..epochs).map(|e| schedule.rate(e, &[])).collect::<Vec<_>>());
    Outcome::Compared(report)
}
