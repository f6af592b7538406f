//! A network layer by layer: what `radiograd summary` prints. A row is a layer, not a kernel: batch norm's scale, a bias and
//! the nonlinearity after them belong to the layer whose parameters they use or whose output they take.

mod table;

use super::Network;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId, Origin, Shape, ValueId, downcast};
use crate::nn::layers::is_statistic;
use crate::nn::{Layers, Optimizer, Trainable};
use crate::ops::{AvgPool, BinaryCrossEntropy, Conv2d, DepthwiseConv2d, Dropout, MaxPool, Smoothing, Window, ZeroPad};
use crate::plan::{MemoryReport, PlanSpec, Target, forecast, largest_batch};
use std::collections::HashMap;

/// What is summarised.
#[derive(Clone, Debug, Default)]
pub struct SummaryOptions {
    /// C, H, W of the images; the registry's without it.
    pub input: Option<[usize; 3]>,
    /// Images a step.
    pub batch: usize,
    /// Outputs; the registry's without it.
    pub classes: Option<usize>,
    /// A training step with this optimizer instead of inference.
    pub training: Option<Optimizer>,
    /// Whether cheap results are computed again for the backward pass ([`PlanSpec::recompute`]).
    pub recompute: bool,
    /// Patterns of the parameters that train; all without any.
    pub trainable: Vec<String>,
}

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// The path of its parameters, `layer1.0.conv1`; for a layer without any the path around it and what it does.
    pub name: String,
    /// What it does: `conv 3×3 /2, relu`.
    pub kind: String,
    /// C, H, W of its output for one image.
    pub output: [usize; 3],
    /// Numbers that an optimizer may change.
    pub parameters: u64,
    /// Of those, how many train.
    pub trainable: u64,
    /// Running statistics of batch norm.
    pub statistics: u64,
    /// Floating point operations of a batch, forward; a multiply-add counts as two.
    pub flops: f64,
    /// Floating point operations of its gradients, when training.
    pub backward_flops: f64,
    /// Bytes that a batch moves forward, were each input and parameter of the layer read once and its output written once.
    pub bytes: u64,
}

/// A network's layers and the memory that it takes.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The network.
    pub network: &'static str,
    /// C, H, W.
    pub input: [usize; 3],
    /// Images a step.
    pub batch: usize,
    /// Outputs.
    pub classes: usize,
    /// Whether the figures are those of a training step.
    pub training: bool,
    /// Whether the memory is that with cheap results computed again.
    pub recompute: bool,
    /// The layers in the order in which they run.
    pub layers: Vec<Layer>,
    /// The device that the memory was planned for.
    pub device: String,
    /// The memory, or why there is no plan.
    pub memory: std::result::Result<MemoryReport, String>,
    /// When it does not fit the device: how much it may use, and the largest batch that fits.
    pub refused: Option<String>,
}

/// A network as it is recorded for a summary.
struct Recorded<'g> {
    /// Nodes of the network itself; the loss and gradients follow.
    forward: usize,
    spec: PlanSpec<'g, 'g>,
}

impl Network {
    /// The layers of this network and the memory that `target` would need.
    ///
    /// # Errors
    /// [`Error::Usage`] for an input that does not fit, batch 0, and patterns that no parameter matches.
    pub fn summary(&self, target: &Target, options: &SummaryOptions) -> Result<Summary> {
        let a = self.architecture;
        let input = options.input.unwrap_or([a.channels, a.side, a.side]);
        let classes = options.classes.unwrap_or(a.classes);
        self.check_input(input)?;
        if options.batch == 0 || classes == 0 {
            let (b, name) = (options.batch, self.name);
            return Err(Error::Usage(format!("{name}: batch {b} and {classes} classes, both are 1 or more")));
        }
        let graph = Graph::new();
        let recorded = self.record_step(&graph, input, classes, options.batch, options)?;
        let layers = rows(&graph, recorded.forward);
        let plan = |n: usize| {
            let graph = Graph::new();
            let recorded = self.record_step(&graph, input, classes, n, options)?;
            forecast(target, &graph, &recorded.spec)
        };
        let (memory, refusal) = match forecast(target, &graph, &recorded.spec) {
            Ok(report) => {
                let refusal = target.check(&report).err().map(|e| e.to_string());
                (Ok(report), refusal)
            }
            Err(Error::Memory(m)) => (Err(m.clone()), Some(m)),
            Err(other) => return Err(other),
        };
        let refused = match refusal {
            None => None,
            Some(m) => Some(match largest_batch(target, options.batch, plan)? {
                Some((n, _)) => format!("{m}; the largest batch that fits is {n}"),
                None => format!("{m}; no smaller batch fits"),
            }),
        };
        let training = options.training.is_some();
        let (network, batch, device) = (self.name, options.batch, target.name.clone());
        let recompute = options.recompute;
        Ok(Summary { network, input, batch, classes, training, recompute, layers, device, memory, refused })
    }

    /// Whether images of C, H, W fit: one channel, or as many as the first filter has, and sides in range.
    ///
    /// # Errors
    /// [`Error::Usage`] with what the network needs.
    pub fn check_input(&self, [c, h, w]: [usize; 3]) -> Result<()> {
        let need = self.channels();
        if c != need && c != 1 {
            let or = if need == 1 {
                "1 channel".into()
            } else {
                format!("{need} channels, or 1 that is given {need} times")
            };
            return Err(Error::Usage(format!("{}: images of {c} channels, needed is {or}", self.name)));
        }
        self.check_side(h).and_then(|()| self.check_side(w))
    }

    fn record_step<'g>(
        &self,
        graph: &'g Graph,
        [c, h, w]: [usize; 3],
        classes: usize,
        batch: usize,
        options: &'g SummaryOptions,
    ) -> Result<Recorded<'g>> {
        let x = graph.input("images", Shape::image(batch, c, h, w));
        let trainable = match options.trainable.as_slice() {
            [] => Trainable::All,
            patterns => Trainable::Matching(patterns.to_vec()),
        };
        let layers = Layers { trainable, training: options.training.is_some(), ..Layers::default() };
        let logits = self.record(graph, x, classes, &layers).logits;
        let forward = graph.len();
        let names: Vec<String> = graph.params().into_iter().map(|p| p.0).collect();
        for pattern in &options.trainable {
            check_pattern(pattern, &names)?;
        }
        let spec = match &options.training {
            None => PlanSpec { outputs: vec![logits], ..Default::default() },
            Some(optimizer) => {
                let labels = graph.input_integers("labels", batch);
                let loss = if classes == 1 {
                    logits.bce_with_logits(labels, BinaryCrossEntropy::default()).0
                } else {
                    logits.cross_entropy(labels, Smoothing::None, None).0
                };
                let mut spec = optimizer.step_of(loss);
                spec.outputs.push(logits);
                spec.recompute = options.recompute;
                spec
            }
        };
        Ok(Recorded { forward, spec })
    }
}

/// Whether a pattern matches a parameter or a whole layer.
fn check_pattern(pattern: &str, names: &[String]) -> Result<()> {
    let one = Trainable::Matching(vec![pattern.to_string()]);
    if names.iter().any(|n| one.includes(n)) {
        return Ok(());
    }
    let mut near: Vec<&str> = names.iter().map(|n| layer_of(n)).collect();
    near.dedup();
    let stem = pattern.trim_end_matches(['*', '.']);
    Err(Error::Usage(format!("no parameter matches '{pattern}'; {}", crate::names::nearest(stem, &near))))
}

/// `conv1` of `conv1.weight`.
fn layer_of(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(layer, _)| layer)
}

/// The rows of the first `forward` nodes.
fn rows(graph: &Graph, forward: usize) -> Vec<Layer> {
    let params = graph.params();
    let owners: Vec<&str> = params.iter().map(|(name, _, _)| layer_of(name)).collect();
    let nodes: Vec<Node> = (0..graph.len()).map(|i| graph.node(NodeId(i))).collect();
    let mut uses: HashMap<ValueId, usize> = HashMap::new();
    nodes[..forward].iter().flat_map(|n| &n.inputs).for_each(|v| *uses.entry(*v).or_default() += 1);
    let mut table = Table::default();
    for (i, node) in nodes[..forward].iter().enumerate() {
        let before = producer(graph, node.inputs[0]).and_then(|n| table.row_of.get(&n).copied());
        let row = match before.filter(|_| is_pointwise(node) && uses[&node.inputs[0]] == 1) {
            Some(row) if !owners.contains(&node.path.as_str()) || table.rows[row].name == node.path => row,
            _ if owners.contains(&node.path.as_str()) => table.named(&node.path),
            _ => table.unnamed(&node.path, node.op.name()),
        };
        table.row_of.insert(NodeId(i), row);
        let layer = &mut table.rows[row];
        let shape = |v: &ValueId| graph.describe(*v).shape;
        let (xs, ys): (Vec<Shape>, Vec<Shape>) =
            (node.inputs.iter().map(shape).collect(), node.outputs.iter().map(shape).collect());
        if let Shape::Image { c, h, w, .. } = ys[0] {
            layer.output = [c, h, w];
        }
        if let Some(kind) = kind(node, &xs) {
            layer.kind += if layer.kind.is_empty() { "" } else { ", " };
            layer.kind += &kind;
        }
        if !is_copy(node) {
            layer.flops += node.op.cost(&xs, &ys).flops;
        }
    }
    for (name, shape, trains) in &params {
        let Some(layer) = table.rows.iter_mut().find(|l| l.name == layer_of(name)) else { continue };
        let n = shape.elements() as u64;
        if is_statistic(name) {
            layer.statistics += n;
        } else {
            layer.parameters += n;
            layer.trainable += if *trains { n } else { 0 };
        }
    }
    for (i, node) in nodes.iter().enumerate().skip(forward) {
        let row = graph.gradient_of(NodeId(i)).and_then(|of| table.row_of.get(&of).copied());
        if let Some(row) = row.filter(|_| !is_copy(node)) {
            let shape = |v: &ValueId| graph.describe(*v).shape;
            let (xs, ys): (Vec<Shape>, Vec<Shape>) =
                (node.inputs.iter().map(shape).collect(), node.outputs.iter().map(shape).collect());
            table.rows[row].backward_flops += node.op.cost(&xs, &ys).flops;
        }
    }
    traffic(graph, &nodes[..forward], &mut table);
    table.rows
}

/// Rows while they grow.
#[derive(Default)]
struct Table {
    rows: Vec<Layer>,
    row_of: HashMap<NodeId, usize>,
    /// Rows of layers with parameters, by name.
    by_name: HashMap<String, usize>,
}

impl Table {
    fn named(&mut self, path: &str) -> usize {
        if let Some(row) = self.by_name.get(path) {
            return *row;
        }
        self.by_name.insert(path.into(), self.rows.len());
        self.push(path.into())
    }

    /// `block1.max_pool`, `block1.max_pool_2` …
    fn unnamed(&mut self, path: &str, op: &str) -> usize {
        let stem = if path.is_empty() { op.to_string() } else { format!("{path}.{op}") };
        let taken = |name: &str| self.rows.iter().any(|l| l.name == name);
        let name = (1..).map(|i| if i == 1 { stem.clone() } else { format!("{stem}_{i}") }).find(|n| !taken(n));
        self.push(name.unwrap_or(stem))
    }

    fn push(&mut self, name: String) -> usize {
        self.rows.push(Layer { name, ..Default::default() });
        self.rows.len() - 1
    }
}

/// What each row reads from outside and what leaves it, once each.
fn traffic(graph: &Graph, nodes: &[Node], table: &mut Table) {
    let mut crossing: Vec<Vec<ValueId>> = vec![Vec::new(); table.rows.len()];
    let mut read: Vec<ValueId> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let row = table.row_of[&NodeId(i)];
        for v in &node.inputs {
            let from = producer(graph, *v).map(|n| table.row_of[&n]);
            if from != Some(row) {
                crossing[row].push(*v);
                if let Some(from) = from {
                    crossing[from].push(*v);
                }
            }
            read.push(*v);
        }
    }
    // What nobody reads is the result.
    for (i, node) in nodes.iter().enumerate() {
        if !read.contains(&node.outputs[0]) {
            crossing[table.row_of[&NodeId(i)]].push(node.outputs[0]);
        }
    }
    for (layer, mut values) in table.rows.iter_mut().zip(crossing) {
        values.sort_unstable();
        values.dedup();
        layer.bytes = values.iter().map(|v| graph.describe(*v).shape.words() as u64 * 4).sum();
    }
}

/// The node that makes a value.
fn producer(graph: &Graph, v: ValueId) -> Option<NodeId> {
    match graph.describe(v).origin {
        Origin::Node { node, .. } => Some(node),
        _ => None,
    }
}

/// What joins the row of the layer before it.
fn is_pointwise(node: &Node) -> bool {
    matches!(node.op.name(), "relu" | "elu" | "sigmoid" | "dropout" | "bias_add" | "flatten")
}

/// What moves numbers and computes nothing.
fn is_copy(node: &Node) -> bool {
    matches!(
        node.op.name(),
        "concat" | "slice_channels" | "pad_channels" | "flatten" | "unflatten" | "zero_pad" | "crop" | "fill"
    )
}

/// In words; `None` for what goes without saying.
fn kind(node: &Node, xs: &[Shape]) -> Option<String> {
    let op = node.op.as_ref();
    let step = |[a, b]: [usize; 2]| match (a, b) {
        (1, 1) => String::new(),
        (a, b) if a == b => format!(" /{a}"),
        (a, b) => format!(" /{a}×{b}"),
    };
    let window = |w: &Window| format!("{}×{}{}", w.size[0], w.size[1], step(w.stride));
    let filter = || match xs[1] {
        Shape::Filter { r, s, .. } => (r, s),
        _ => (0, 0),
    };
    if let Some(conv) = downcast::<Conv2d>(op) {
        let ((r, s), (_, _, h, w)) = (filter(), xs[0].nchw());
        let dense = (r, s) == (h, w) && conv.geometry.padding == [0; 4];
        return Some(if dense { "dense".into() } else { format!("conv {r}×{s}{}", step(conv.geometry.stride)) });
    }
    if let Some(conv) = downcast::<DepthwiseConv2d>(op) {
        let (r, s) = filter();
        return Some(format!("depthwise {r}×{s}{}", step(conv.geometry.stride)));
    }
    if let Some(pool) = downcast::<MaxPool>(op) {
        return Some(format!("max pool {}", window(&pool.0)));
    }
    if let Some(pool) = downcast::<AvgPool>(op) {
        return Some(format!("average pool {}", window(&pool.window)));
    }
    if let Some(pad) = downcast::<ZeroPad>(op) {
        return Some(format!("zero pad {:?}", pad.0));
    }
    if let Some(dropout) = downcast::<Dropout>(op) {
        return Some(format!("dropout {}", dropout.p));
    }
    match op.name() {
        "batch_norm" | "normalize" => Some("batch norm".into()),
        "batch_norm_scale" | "batch_stats" | "running_update" | "bias_add" => None,
        "global_avg_pool" => Some("global average pool".into()),
        "global_max_pool" => Some("global max pool".into()),
        "replicate" => Some("grey to 3 channels".into()),
        other => Some(other.replace('_', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::NETWORKS;
    use super::*;

    fn options(training: bool) -> SummaryOptions {
        SummaryOptions { batch: 2, training: training.then(Optimizer::adam), ..Default::default() }
    }

    #[test]
    fn totals_are_the_registrys_for_every_network() {
        for a in NETWORKS {
            let s = Network::named(a.name).unwrap().summary(&Target::portable(), &options(false)).unwrap();
            let total = |f: fn(&Layer) -> u64| s.layers.iter().map(f).sum::<u64>();
            assert_eq!(total(|l| l.parameters), a.parameters, "{}", a.name);
            assert!(s.layers.iter().all(|l| !l.kind.is_empty() && l.output[0] > 0 && l.bytes > 0), "{}: {s}", a.name);
            let mut names: Vec<&str> = s.layers.iter().map(|l| l.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), s.layers.len(), "{}: two rows of one name", a.name);
            let memory = s.memory.as_ref().unwrap();
            assert!(memory.parameters >= 4 * a.parameters && memory.live <= memory.activations, "{}", a.name);
            assert!(!memory.peak.is_empty());
        }
    }

    #[test]
    fn layers_are_those_of_the_papers_table() {
        let s = Network::named("detl12").unwrap().summary(&Target::portable(), &options(true)).unwrap();
        let rows: Vec<(&str, &str, u64)> =
            s.layers.iter().map(|l| (l.name.as_str(), l.kind.as_str(), l.parameters)).collect();
        assert_eq!(rows[0], ("block1.conv1", "conv 3×3, relu", 320));
        assert_eq!(rows[2], ("block1.max_pool", "max pool 2×2 /2", 0));
        assert_eq!(rows[9], ("fc1", "dense, relu", 128 * 24 * 24 * 256 + 256));
        assert_eq!(rows.len(), 12, "twelve layers");
        // 3×3×1 multiply-adds, a bias and a ReLU for each of 32×222×222 outputs.
        assert_eq!(s.layers[0].flops, 2.0 * (32 * 222 * 222) as f64 * (2.0 * 9.0 + 1.0 + 1.0));
        // The first layer has no gradient of its input; of the second, filter and input each cost what forward does.
        let (first, second) = (&s.layers[0], &s.layers[1]);
        assert!(first.backward_flops < 1.3 * first.flops && second.backward_flops > 1.9 * second.flops);
        let m = s.memory.unwrap();
        assert_eq!(m.moments, 2 * m.gradients);
    }

    #[test]
    fn what_is_frozen_has_no_gradient() {
        let net = Network::named("vgg16").unwrap();
        let frozen = SummaryOptions { trainable: vec!["classifier.6.*".into()], ..options(true) };
        let s = net.summary(&Target::portable(), &frozen).unwrap();
        let last = s.layers.last().unwrap();
        assert_eq!((last.name.as_str(), last.trainable), ("classifier.6", 4_097_000));
        assert!(s.layers.iter().rev().skip(1).all(|l| l.trainable == 0 && l.backward_flops == 0.0));
        assert!(s.memory.unwrap().gradients < 17_000_000);
        let typo = SummaryOptions { trainable: vec!["clasifier.6.*".into()], ..options(true) };
        let e = net.summary(&Target::portable(), &typo).unwrap_err();
        assert!(e.to_string().contains("did you mean 'classifier.6'") && e.exit_code() == 2, "{e}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let net = Network::named("vgg16").unwrap();
        for (input, part) in [
            ([2, 224, 224], "images of 2 channels, needed is 3 channels, or 1"),
            ([3, 16, 224], "a side of 16 pixels, possible is 32 to 1024"),
        ] {
            let o = SummaryOptions { input: Some(input), ..options(false) };
            let e = net.summary(&Target::portable(), &o).unwrap_err();
            assert!(e.to_string().contains(part) && e.exit_code() == 2, "{e}");
        }
        let none = SummaryOptions { batch: 0, ..options(false) };
        assert!(net.summary(&Target::portable(), &none).unwrap_err().to_string().contains("batch 0"));
        let small = Target { memory_budget: Some(600_000_000), ..Target::portable() };
        let many = SummaryOptions { batch: 8, ..options(false) };
        let s = net.summary(&small, &many).unwrap();
        let refused = s.refused.unwrap();
        assert!(refused.contains("600.0 MB") && refused.contains("largest batch that fits is "), "{refused}");
    }
}
