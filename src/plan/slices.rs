//! Which values live inside wider ones, so that concatenation along the channels, and the slices that are its gradient,
//! copy nothing: a pure function over the fused nodes.
//!
//! A part shares the whole's memory when its channels start and end at quads, the kernel that writes it and every kernel
//! that reads it address pixels with a stride ([`crate::graph::Op::views`]), and no kernel would read and write one buffer.

use crate::graph::{Node, Part, Shape, ValueId};
use std::collections::{HashMap, HashSet};

/// For each value that lies inside another: that one, and the channel quads before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slices {
    inside: HashMap<ValueId, (ValueId, usize)>,
}

impl Slices {
    /// The value whose memory holds `v`, and the channel quads before `v` in its pixels.
    pub fn host(&self, v: ValueId) -> (ValueId, usize) {
        let (mut at, mut quads) = (v, 0);
        while let Some((outer, before)) = self.inside.get(&at) {
            (at, quads) = (*outer, quads + before);
        }
        (at, quads)
    }

    /// Finds what can share; `fixed` values keep memory of their own.
    pub fn find(nodes: &[Node], shape: &dyn Fn(ValueId) -> Shape, fixed: &dyn Fn(ValueId) -> bool) -> Slices {
        let mut search = Search::new(nodes, shape);
        for (i, node) in nodes.iter().enumerate() {
            for part in search.parts[i].clone() {
                let (inner, outer, first) = match part {
                    Part::InputInOutput { input, first } => (node.inputs[input], node.outputs[0], first),
                    Part::OutputInInput { first } => (node.outputs[0], node.inputs[0], first),
                };
                if !fixed(inner) && search.fits(i, inner, outer, first) {
                    search.share(inner, outer, first / 4);
                }
            }
        }
        search.found
    }
}

struct Search<'a> {
    nodes: &'a [Node],
    shape: &'a dyn Fn(ValueId) -> Shape,
    parts: Vec<Vec<Part>>,
    writer: HashMap<ValueId, usize>,
    readers: HashMap<ValueId, Vec<(usize, usize)>>,
    /// Who shares memory, by host.
    groups: HashMap<ValueId, Vec<ValueId>>,
    found: Slices,
}

impl<'a> Search<'a> {
    fn new(nodes: &'a [Node], shape: &'a dyn Fn(ValueId) -> Shape) -> Search<'a> {
        let (mut writer, mut readers) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (i, n) in nodes.iter().enumerate() {
            n.outputs.first().map(|v| writer.insert(*v, i));
            n.inputs.iter().enumerate().for_each(|(at, v)| readers.entry(*v).or_default().push((i, at)));
        }
        let shapes = |v: &[ValueId]| v.iter().map(|v| shape(*v)).collect::<Vec<_>>();
        let parts = nodes.iter().map(|n| n.op.parts(&shapes(&n.inputs), &shapes(&n.outputs))).collect();
        Search { nodes, shape, parts, writer, readers, groups: HashMap::new(), found: Slices::default() }
    }

    fn views(&self, node: usize) -> crate::graph::Views {
        let shapes = |v: &[ValueId]| v.iter().map(|v| (self.shape)(*v)).collect::<Vec<_>>();
        let n = &self.nodes[node];
        n.op.views(&shapes(&n.inputs), &shapes(&n.outputs))
    }

    /// Whether `inner` can be channels `first..` of `outer`, as node `by` would like.
    fn fits(&self, by: usize, inner: ValueId, outer: ValueId, first: usize) -> bool {
        let ((_, c, ..), (_, whole, ..)) = ((self.shape)(inner).nchw(), (self.shape)(outer).nchw());
        let quads = first.is_multiple_of(4) && (c.is_multiple_of(4) || first + c == whole);
        // Inputs and parameters have no writer here; what lies somewhere already stays there.
        let Some(writer) = self.writer.get(&inner) else { return false };
        if !quads || self.found.inside.contains_key(&inner) || self.found.host(outer).0 == inner {
            return false;
        }
        let written = *writer == by || self.views(*writer).output;
        let read = |(node, at): &(usize, usize)| *node == by || self.views(*node).inputs >> at & 1 == 1;
        // A value given twice to one concatenation can only lie in one place.
        let twice = self.readers.get(&inner).is_some_and(|r| r.iter().filter(|(n, _)| *n == by).count() > 1);
        // An input of the plan or a parameter is no place to write to, and needs none: its slices are read where they are.
        let hosted = self.writer.contains_key(&self.found.host(outer).0);
        written && hosted && !twice && self.readers.get(&inner).is_none_or(|r| r.iter().all(read)) && {
            let mut group = self.group(inner);
            group.extend(self.group(self.found.host(outer).0));
            self.apart(&group, inner, outer)
        }
    }

    fn group(&self, host: ValueId) -> HashSet<ValueId> {
        self.groups.get(&host).into_iter().flatten().copied().chain([host]).collect()
    }

    /// Whether no node reads one member of `group` while it writes another, if `inner` lies in `outer`. WebGPU allows a
    /// buffer one use a dispatch.
    fn apart(&self, group: &HashSet<ValueId>, inner: ValueId, outer: ValueId) -> bool {
        let shared = |a: ValueId, b: ValueId| {
            (a, b) == (inner, outer) || self.found.inside.get(&a).is_some_and(|(o, _)| *o == b)
        };
        let writers: HashSet<usize> = group.iter().filter_map(|v| self.writer.get(v).copied()).collect();
        writers.into_iter().all(|w| {
            let n = &self.nodes[w];
            let y = n.outputs[0];
            // What a concatenation or a slice shares is not touched by it.
            let free = |x: ValueId| !self.parts[w].is_empty() && (shared(x, y) || shared(y, x));
            n.inputs.iter().all(|x| !group.contains(x) || free(*x))
        })
    }

    fn share(&mut self, inner: ValueId, outer: ValueId, quads: usize) {
        let host = self.found.host(outer).0;
        let mut moved = self.groups.remove(&inner).unwrap_or_default();
        moved.push(inner);
        self.groups.entry(host).or_default().extend(moved);
        self.found.inside.insert(inner, (outer, quads));
    }
}
