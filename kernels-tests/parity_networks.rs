//! Parity of whole networks and of short trainings: logits, loss, every gradient, the Grad-CAM map, running statistics; weights
//! after steps.

use crate::fixtures::{self, Fixture, sizes};
use crate::parity::{Report, malformed, rule};
use radiograd::models::{Activation, Head, Hidden, Network, Pooling};
use radiograd::nn::{Layers, ParamStore, Trainable};
use radiograd::ops::{BinaryCrossEntropy, Smoothing};
use radiograd::plan::{HYPER, Update};
use radiograd::{Error, Feed, Gpu, Graph, Plan, PlanSpec, Shape, Storage, Tensor};
use std::rc::Rc;

/// A recorded network with its loss.
struct Net<'g> {
    x: Tensor<'g>,
    labels: Tensor<'g>,
    logits: Tensor<'g>,
    features: Tensor<'g>,
    loss: Tensor<'g>,
    per_sample: Tensor<'g>,
}

/// Numbers that a fixture does not store: they follow from its seed.
struct Data {
    images: Vec<f32>,
    labels: Vec<u32>,
}

/// The fixture's network with the fixture's head.
fn build(f: &Fixture) -> Result<Network, Error> {
    let (network, spec) = (Network::named(f.text("net"))?, f.get("head"));
    let text = |v: &serde_json::Value| v.as_str().unwrap_or("").to_string();
    let mut names: Vec<String> = spec["names"].as_array().map(|a| a.iter().map(text).collect()).unwrap_or_default();
    let widths = sizes(&spec["hidden"]);
    if names.is_empty() {
        names = (0..widths.len()).map(|i| format!("head.fc{}", i + 1)).chain(["head.out".to_string()]).collect();
    }
    let out = names.pop().filter(|_| names.len() == widths.len());
    let out = out.ok_or_else(|| malformed(f, "the head needs a name a layer"))?;
    let rate = |i: usize| spec["dropout"][i].as_f64().unwrap_or(0.0) as f32;
    let layers = names.into_iter().zip(widths).enumerate();
    let hidden = layers.map(|(i, (name, width))| Hidden { name, width, dropout: rate(i) }).collect();
    let activation = if text(&spec["act"]) == "elu" { Activation::Elu } else { Activation::Relu };
    // "none": the base's output is a vector already, which is what flattening leaves of it.
    let pooling = match text(&spec["pool"]).as_str() {
        "flatten" | "none" => Pooling::Flatten,
        "gmp" => Pooling::GlobalMax,
        _ => Pooling::GlobalAverage,
    };
    Ok(network.with_head(Head { pooling, hidden, activation, out }))
}

fn record<'g>(graph: &'g Graph, f: &Fixture, network: &Network, layers: &Layers) -> Result<(Net<'g>, Data), Error> {
    let dims = sizes(f.get("input_shape"));
    let [n, c, h, w] = dims[..] else { return Err(malformed(f, "input_shape has not four numbers")) };
    let classes = f.get("head")["out"].as_u64().unwrap_or(0) as usize;
    let x = graph.input("x", Shape::image(n, c, h, w));
    let net = network.record(graph, x, classes, layers);
    let labels = graph.input_integers("labels", n);
    let (loss, per_sample) = match classes {
        1 => net.logits.bce_with_logits(labels, BinaryCrossEntropy::default()),
        _ => net.logits.cross_entropy(labels, Smoothing::None, None),
    };
    let images = fixtures::unit(f.seed(), "input", n * c * h * w);
    let stored: Vec<u32> = sizes(f.get("labels")).into_iter().map(|l| l as u32).collect();
    // One sigmoid output has two classes.
    if fixtures::labels(f.seed(), "labels", n, classes.max(2) as u64) != stored {
        return Err(malformed(f, "the labels are not what the generator makes"));
    }
    Ok((
        Net { x, labels, logits: net.logits, features: net.features, loss, per_sample },
        Data { images, labels: stored },
    ))
}

/// The parameters by the generator's formula; which formula follows from the name and, for batch norm, from the neighbours.
fn parameters(graph: &Graph, f: &Fixture) -> Result<ParamStore, Error> {
    let mut store = ParamStore::init(graph, 0);
    let norms: Vec<String> =
        store.params.iter().filter_map(|p| p.name.strip_suffix(".running_mean").map(str::to_string)).collect();
    let number = |key: &str, default: f64| f.get("batch_norm")[key].as_f64().unwrap_or(default);
    let (shift, spread) = (number("bn_bias", 0.0), number("bn_var_scale", 1.0));
    for p in &mut store.params {
        let (layer, part) = p.name.rsplit_once('.').ok_or_else(|| malformed(f, &p.name))?;
        let normalises = norms.iter().any(|n| n == layer);
        let n = p.shape.elements();
        let line = |a: f64, b: f64| fixtures::line(f.seed(), &p.name, n, a, b);
        p.values = match (p.shape, part) {
            (Shape::Filter { .. }, _) => {
                let dims = p.shape.dims();
                fixtures::weight(f.seed(), &p.name, &dims)
            }
            (Shape::Channels { .. }, "weight") if normalises => line(1.0, 0.2),
            (Shape::Channels { .. }, "bias") if normalises => line(shift, 0.1),
            (Shape::Channels { .. }, "running_var") => fixtures::scaled(f.seed(), &p.name, n, spread),
            (Shape::Channels { c }, _) => fixtures::bias(f.seed(), &p.name, c),
            (other, _) => return Err(malformed(f, &format!("parameter {} is {other}", p.name))),
        };
    }
    Ok(store)
}

fn trainable<'g>(graph: &'g Graph) -> Vec<Tensor<'g>> {
    graph.params().iter().filter(|p| p.2).map(|(n, s, t)| graph.param(n, *s, *t)).collect()
}

/// What gradients are multiplied with on their way through f16: without it small ones vanish, as in any training with f16.
fn scale(gpu: &Gpu) -> f32 {
    if gpu.storage() == Storage::F16 { 8192.0 } else { 1.0 }
}

fn unscaled(gpu: &Gpu, gradient: &[f32]) -> Vec<f32> {
    gradient.iter().map(|g| g / scale(gpu)).collect()
}

/// Forward and backward in both modes and Grad-CAM of one batch, as far as the fixture has them.
///
/// # Errors
/// Errors of the device; a malformed fixture.
pub fn network(gpu: &Gpu, f: &Fixture) -> Result<Report, Error> {
    let network = build(f)?;
    let mut report = Report::default();
    let mut taken = Vec::new();
    if f.quantity("outputs", "logits").is_some() {
        taken.extend(inference(gpu, f, &network, &mut report)?);
    }
    if f.quantity("outputs", "train_logits").is_some() {
        taken.extend(training_step(gpu, f, &network, &mut report)?);
    }
    let other = f.names("outputs").into_iter().filter(|n| !taken.contains(n));
    report.skipped = other.map(str::to_string).collect();
    Ok(report)
}

/// Running statistics, no dropout: logits, Grad-CAM for class 1 (or the only output), gradients of Σ dlogits · logits.
fn inference(gpu: &Gpu, f: &Fixture, network: &Network, report: &mut Report) -> Result<Vec<&'static str>, Error> {
    let graph = Graph::new();
    let (net, data) = record(&graph, f, network, &Layers::default())?;
    let store = parameters(&graph, f)?;
    let counted = |statistics: bool| {
        let part = store.params.iter().filter(|p| p.name.contains(".running_") == statistics);
        part.map(|p| p.shape.elements() as u64).sum::<u64>()
    };
    for (key, have) in [("parameters", counted(false)), ("buffers", counted(true))] {
        if f.get(key).as_u64() != Some(have) {
            return Err(malformed(f, &format!("{} {key}, this engine's network has {have}", f.get(key))));
        }
    }
    let (n, classes, _, _) = net.logits.nchw();
    let one_hot = graph.input("one_hot", net.logits.shape());
    let picked: Vec<f32> =
        (0..n * classes).map(|i| if i % classes == 1.min(classes - 1) { 1.0 } else { 0.0 }).collect();
    let slope = net.logits.gradients_with(one_hot, &[net.features])[0].ok_or_else(|| malformed(f, "no gradient"))?;
    let names = vec!["logits", "cam_features", "cam_weights", "cam_before_relu", "cam"];
    let maps = [false, true].map(|relu| net.features.grad_cam(slope, relu));
    let mut outputs = vec![net.logits, net.features, slope.global_avg_pool(), maps[0], maps[1]];
    let dlogits = graph.input("dlogits", net.logits.shape());
    let given = fixtures::unit(f.seed(), "dlogits", n * classes);
    let given: Vec<f32> = given.into_iter().map(|v| v * scale(gpu)).collect();
    let mut feeds = vec![(net.x, Feed::F32(&data.images)), (one_hot, Feed::F32(&picked))];
    let wanted = !f.names("eval_gradients").is_empty();
    let params = trainable(&graph);
    if wanted {
        outputs.extend(net.logits.gradients_with(dlogits, &params).into_iter().flatten());
        feeds.push((dlogits, Feed::F32(&given)));
    }
    let weights = Rc::new(store.upload(gpu)?);
    let mut plan = Plan::compile(gpu, &graph, &weights, &PlanSpec { outputs, ..PlanSpec::default() })?;
    let got = plan.run(gpu, &feeds)?;
    names.iter().zip(&got).for_each(|(n, g)| report.take32(f, "outputs", n, g));
    if wanted {
        for (p, g) in params.iter().zip(&got[names.len()..]) {
            report.take32(f, "eval_gradients", &graph.describe(p.id).name, &unscaled(gpu, g));
        }
    }
    Ok(names)
}

/// Batch statistics and the fixture's dropout masks: loss, gradients of it, running statistics after the step.
fn training_step(gpu: &Gpu, f: &Fixture, network: &Network, report: &mut Report) -> Result<Vec<&'static str>, Error> {
    let graph = Graph::new();
    let layers = Layers { training: true, given_masks: true, ..Layers::default() };
    let (net, data) = record(&graph, f, network, &layers)?;
    let store = parameters(&graph, f)?;
    let params = trainable(&graph);
    let wrt: Vec<Tensor> = [net.x].into_iter().chain(params.iter().copied()).collect();
    let factor = graph.input("factor", Shape::flat(1));
    let gradients: Vec<Tensor> = net.loss.gradients_with(factor, &wrt).into_iter().flatten().collect();
    if gradients.len() != wrt.len() {
        return Err(malformed(f, "a parameter has no gradient"));
    }
    let names = vec!["train_logits", "train_loss", "train_loss_per_sample", "train_dinput"];
    let mut outputs = vec![net.logits, net.loss, net.per_sample];
    outputs.extend(gradients);
    let mut masks = Vec::new();
    for h in network.head.hidden.iter().filter(|h| h.dropout > 0.0) {
        let name = format!("{}.mask", h.name);
        let Some(mask) = graph.find_input(&name) else { return Err(malformed(f, &format!("no input {name}"))) };
        let keep = fixtures::mask(f.seed(), &format!("{name}.step0"), mask.shape().elements(), f64::from(h.dropout));
        masks.push((mask, keep));
    }
    let weights = Rc::new(store.upload(gpu)?);
    let spec = PlanSpec { outputs, assign: graph.assigned(), ..PlanSpec::default() };
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec)?;
    let mut feeds = vec![(net.x, Feed::F32(&data.images)), (net.labels, Feed::U32(&data.labels))];
    feeds.extend(masks.iter().map(|(t, m)| (*t, Feed::F32(m))));
    let factors = [scale(gpu)];
    feeds.push((factor, Feed::F32(&factors)));
    let mut got = plan.run(gpu, &feeds)?;
    got[3..].iter_mut().for_each(|g| *g = unscaled(gpu, g));
    names.iter().zip(&got).for_each(|(n, g)| report.take32(f, "outputs", n, g));
    for (p, g) in params.iter().zip(&got[names.len()..]) {
        report.take32(f, "gradients", &graph.describe(p.id).name, g);
    }
    let mut after = store.clone();
    after.read(gpu, &weights)?;
    for p in after.params.iter().filter(|p| p.name.contains(".running_")) {
        report.take32(f, "running", &p.name, &p.values);
    }
    Ok(names)
}

/// Some steps on one batch.
///
/// # Errors
/// Errors of the device; a malformed fixture.
pub fn training(gpu: &Gpu, f: &Fixture) -> Result<Report, Error> {
    let graph = Graph::new();
    let layers = Layers { trainable: patterns(f), training: true, given_masks: true };
    let (net, data) = record(&graph, f, &build(f)?, &layers)?;
    let before = parameters(&graph, f)?;
    let params = trainable(&graph);
    let grads = net.loss.gradients(&params);
    let mut optimizer = rule(f).ok_or_else(|| malformed(f, "an optimizer this engine does not have"))?;
    let update = optimizer.clone();
    let hyper = graph.input("hyper", Shape::flat(HYPER));
    let spec = PlanSpec {
        outputs: vec![net.loss, net.per_sample],
        gradients: params.iter().zip(grads).filter_map(|(p, g)| Some((*p, g?))).collect(),
        update: Some(&update as &dyn Update),
        hyper: Some(hyper),
        ..PlanSpec::default()
    };
    let weights = Rc::new(before.upload(gpu)?);
    let mut train = Plan::compile(gpu, &graph, &weights, &spec)?;
    let look = PlanSpec { outputs: vec![net.loss, net.per_sample], ..PlanSpec::default() };
    let mut look = Plan::compile(gpu, &graph, &weights, &look)?;
    let batch = [(net.x, Feed::F32(&data.images)), (net.labels, Feed::U32(&data.labels))];
    let lr = f.get("lr").as_f64().ok_or_else(|| malformed(f, "no lr"))?;
    let (mut losses, mut per_sample) = (Vec::new(), Vec::new());
    for _ in 0..f.get("steps").as_u64().unwrap_or(0) {
        let numbers = optimizer.advance(lr);
        let feeds: Vec<_> = batch.iter().copied().chain([(hyper, Feed::F32(&numbers))]).collect();
        let got = train.run(gpu, &feeds)?;
        losses.extend(&got[0]);
        per_sample.extend(&got[1]);
    }
    let got = look.run(gpu, &batch)?;
    losses.extend(&got[0]);
    per_sample.extend(&got[1]);
    let mut report = crate::parity::collect(f, &["losses", "losses_per_sample"], &[losses, per_sample]);
    let mut after = before.clone();
    after.read(gpu, &weights)?;
    for (a, b) in after.params.iter().zip(&before.params) {
        let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (now, then) = (wide(&a.values), wide(&b.values));
        report.take(f, "final_parameters", &a.name, &now);
        let moved: Vec<f64> = now.iter().zip(&then).map(|(a, b)| a - b).collect();
        report.take(f, "update", &a.name, &moved);
        if !a.trainable && a.values != b.values {
            report.failed.push(format!("{} is frozen and changed", a.name));
        }
    }
    Ok(report)
}

/// A regular expression of the form ^(a|b) as patterns: a*, b*.
fn patterns(f: &Fixture) -> Trainable {
    let inner = f.text("trainable").trim_start_matches("^(").trim_end_matches(')');
    if inner.is_empty() {
        return Trainable::All;
    }
    Trainable::Matching(inner.split('|').map(|p| format!("{p}*")).collect())
}
