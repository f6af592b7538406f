//! Batches whose tensors exceed what one binding holds: operations that treat the images one by one run over as many at a
//! time as a binding holds, in order. Nothing is copied; a launch binds its images' part of each tensor.

use super::draft::accumulate;
use super::target::Target;
use crate::gpu::Storage;
use crate::graph::record::{PART_ALIGN, Values};
use crate::graph::{Images, Launch, Node, Operand, Recorder, Shape, ValueId};

/// The launches of a node, and the words of its workspaces.
pub(super) fn record(node: &Node, gpu: &Target, values: &dyn Values) -> (Vec<Launch>, Vec<usize>) {
    let shapes = |v: &[ValueId]| v.iter().map(|v| values.shape(*v)).collect::<Vec<_>>();
    let cost = node.op.cost(&shapes(&node.inputs), &shapes(&node.outputs));
    let tuning = gpu.storage.tuning(gpu.tuning);
    let Some((batch, window)) = window(node, gpu, values) else {
        let mut k = Recorder::new(tuning, gpu.binding_words(), values);
        node.op.dispatch(&mut k, &node.inputs, &node.outputs);
        if let Some(first) = k.launches.first_mut() {
            first.cost = cost;
        }
        return (k.launches, k.workspaces);
    };
    // Sums over the images are made window by window in workspaces, and added in order.
    let sums: &[ValueId] = if node.op.images() == Images::Sum { &node.outputs } else { &[] };
    let mut workspaces: Vec<usize> = sums.iter().map(|v| values.shape(*v).words()).collect();
    let mut launches = Vec::new();
    for first in (0..batch).step_by(window) {
        let part = Windowed { values, batch, first, images: window.min(batch - first) };
        let mut k = Recorder::new(tuning, gpu.binding_words(), &part);
        node.op.dispatch(&mut k, &node.inputs, &node.outputs);
        for (i, words) in k.workspaces.iter().enumerate() {
            match workspaces.get_mut(sums.len() + i) {
                Some(there) => *there = (*there).max(*words),
                None => workspaces.push(*words),
            }
        }
        for (i, mut launch) in k.launches.into_iter().enumerate() {
            if i == 0 {
                let share = part.images as f64 / batch as f64;
                (launch.cost.flops, launch.cost.bytes) = (cost.flops * share, cost.bytes * share);
            }
            launch.buffers.iter_mut().for_each(|b| *b = part.operand(*b, sums));
            launches.push(launch);
        }
        if first > 0 {
            for (i, sum) in sums.iter().enumerate() {
                let mut add = accumulate(workspaces[i], 1, false);
                add.buffers = vec![Operand::Workspace(i), Operand::Value(*sum)];
                launches.push(add);
            }
        }
    }
    (launches, workspaces)
}

/// Images of a tensor, or `None` where it has none.
fn batch(s: Shape) -> Option<usize> {
    match s {
        Shape::Image { n, .. } | Shape::Windows { n, .. } => Some(n),
        _ => None,
    }
}

/// The batch of a node that must and can be cut, and how many images at a time.
fn window(node: &Node, gpu: &Target, values: &dyn Values) -> Option<(usize, usize)> {
    let most = gpu.binding_words();
    // Bindings start at multiples of so many bytes, and a number may take two.
    let align = PART_ALIGN * if gpu.storage == Storage::F16 { 2 } else { 1 };
    let all = || node.inputs.iter().chain(&node.outputs);
    let words = |v: &ValueId| values.shape(values.host(*v).0).words();
    let n = all().find_map(|v| batch(values.shape(*v)))?;
    let images: Vec<usize> = all().filter(|v| batch(values.shape(**v)) == Some(n)).map(words).collect();
    let largest = *images.iter().max()?;
    // Images of two batch sizes, or other operands that no binding holds, are not cut here.
    let one = all().all(|v| batch(values.shape(*v)).map_or(words(v) <= most, |b| b == n));
    if largest <= most || !one || node.op.images() == Images::Together {
        return None;
    }
    let aligned = |m: &usize| images.iter().all(|w| (w / n * m).is_multiple_of(align));
    (1..=most / (largest / n)).rev().find(aligned).map(|m| (n, m))
}

/// A batch of which an operation sees `images`, from `first` on.
struct Windowed<'a> {
    values: &'a dyn Values,
    batch: usize,
    first: usize,
    images: usize,
}

impl Values for Windowed<'_> {
    fn shape(&self, v: ValueId) -> Shape {
        match self.values.shape(v) {
            Shape::Image { n, c, h, w } if n == self.batch => Shape::Image { n: self.images, c, h, w },
            Shape::Windows { n, c, h, w } if n == self.batch => Shape::Windows { n: self.images, c, h, w },
            other => other,
        }
    }

    fn host(&self, v: ValueId) -> (ValueId, usize) {
        self.values.host(v)
    }
}

impl Windowed<'_> {
    /// What a launch over these images binds for `o`; `sums` are made in the first workspaces, but for the first window's.
    fn operand(&self, o: Operand, sums: &[ValueId]) -> Operand {
        match o {
            Operand::Workspace(w) => Operand::Workspace(sums.len() + w),
            Operand::Value(v) => {
                let host = self.values.host(v).0;
                match (batch(self.values.shape(v)), sums.iter().position(|s| *s == v)) {
                    (Some(_), _) => {
                        let image = self.values.shape(host).words() / self.batch;
                        Operand::Part { value: host, first: self.first * image, words: self.images * image }
                    }
                    (None, Some(i)) if self.first > 0 => Operand::Workspace(i),
                    _ => o,
                }
            }
            Operand::Part { .. } | Operand::Chunk(..) => o,
        }
    }
}
