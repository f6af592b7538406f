//! Parity of whole networks and of short trainings: logits, loss, every gradient, the Grad-CAM map; weights after steps.

use crate::fixtures::{self, Fixture, sizes};
use crate::parity::{Report, malformed, rule};
use radiograd::models::detl12;
use radiograd::nn::{Layers, ParamStore, Trainable};
use radiograd::ops::Smoothing;
use radiograd::plan::{HYPER, Update};
use radiograd::{Error, Feed, Gpu, Graph, Plan, PlanSpec, Shape, Tensor};
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

fn record<'g>(graph: &'g Graph, f: &Fixture, layers: &Layers) -> Result<(Net<'g>, Data), Error> {
    let dims = sizes(f.get("input_shape"));
    let [n, c, h, w] = dims[..] else { return Err(malformed(f, "input_shape has not four numbers")) };
    let classes = f.get("head")["out"].as_u64().unwrap_or(0) as usize;
    let x = graph.input("x", Shape::image(n, c, h, w));
    let net = detl12(graph, x, classes, layers);
    let labels = graph.input_integers("labels", n);
    let (loss, per_sample) = net.logits.cross_entropy(labels, Smoothing::None, None);
    let images = fixtures::unit(f.seed(), "input", n * c * h * w);
    let stored: Vec<u32> = sizes(f.get("labels")).into_iter().map(|l| l as u32).collect();
    if fixtures::labels(f.seed(), "labels", n, classes as u64) != stored {
        return Err(malformed(f, "the labels are not what the generator makes"));
    }
    Ok((
        Net { x, labels, logits: net.logits, features: net.features, loss, per_sample },
        Data { images, labels: stored },
    ))
}

/// The parameters by the generator's formula.
fn parameters(graph: &Graph, f: &Fixture) -> Result<ParamStore, Error> {
    let mut store = ParamStore::init(graph, 0);
    for p in &mut store.params {
        p.values = match p.shape {
            Shape::Filter { .. } => fixtures::weight(f.seed(), &p.name, &p.shape.dims()),
            Shape::Channels { c } => fixtures::bias(f.seed(), &p.name, c),
            other => return Err(malformed(f, &format!("parameter {} is {other}", p.name))),
        };
    }
    Ok(store)
}

fn trainable<'g>(graph: &'g Graph) -> Vec<Tensor<'g>> {
    graph.params().iter().filter(|p| p.2).map(|(n, s, t)| graph.param(n, *s, *t)).collect()
}

/// Forward, backward and Grad-CAM of one batch.
///
/// # Errors
/// Errors of the device; a malformed fixture.
pub fn network(gpu: &Gpu, f: &Fixture) -> Result<Report, Error> {
    let graph = Graph::new();
    let (net, data) = record(&graph, f, &Layers::default())?;
    let store = parameters(&graph, f)?;
    if f.get("parameters").as_u64() != Some(store.count().0 as u64) {
        return Err(malformed(
            f,
            &format!("{} parameters, this engine's network has {}", f.get("parameters"), store.count().0),
        ));
    }
    let params = trainable(&graph);
    let wrt: Vec<Tensor> = [net.x].into_iter().chain(params.iter().copied()).collect();
    let gradients: Vec<Tensor> = net.loss.gradients(&wrt).into_iter().flatten().collect();
    // Grad-CAM for class 1: the upstream gradient picks its logit.
    let (n, classes, _, _) = net.logits.nchw();
    let one_hot = graph.input("one_hot", net.logits.shape());
    let picked: Vec<f32> = (0..n * classes).map(|i| if i % classes == 1 { 1.0 } else { 0.0 }).collect();
    let slope = net.logits.gradients_with(one_hot, &[net.features])[0].ok_or_else(|| malformed(f, "no gradient"))?;
    let mut names =
        vec!["logits", "train_logits", "train_loss", "train_loss_per_sample", "cam_features", "cam_weights"];
    let mut outputs = vec![net.logits, net.logits, net.loss, net.per_sample, net.features, slope.global_avg_pool()];
    names.extend(["cam_before_relu", "cam", "train_dinput"]);
    outputs.extend([net.features.grad_cam(slope, false), net.features.grad_cam(slope, true), gradients[0]]);
    let count = outputs.len();
    outputs.extend(&gradients[1..]);
    let weights = Rc::new(store.upload(gpu)?);
    let mut plan = Plan::compile(gpu, &graph, &weights, &PlanSpec { outputs, ..PlanSpec::default() })?;
    let feeds =
        [(net.x, Feed::F32(&data.images)), (net.labels, Feed::U32(&data.labels)), (one_hot, Feed::F32(&picked))];
    let got = plan.run(gpu, &feeds)?;
    let mut report = crate::parity::collect(f, &names, &got[..count]);
    for (p, g) in store.params.iter().zip(&got[count..]) {
        report.take32(f, "gradients", &p.name, g);
    }
    Ok(report)
}

/// Some steps on one batch.
///
/// # Errors
/// Errors of the device; a malformed fixture.
pub fn training(gpu: &Gpu, f: &Fixture) -> Result<Report, Error> {
    let graph = Graph::new();
    let layers = Layers { trainable: patterns(f), training: true };
    let (net, data) = record(&graph, f, &layers)?;
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
