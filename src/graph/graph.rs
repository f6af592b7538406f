//! The static graph: values, nodes, and the `Copy` handle [`Tensor`] on which operations are methods.

use super::op::Op;
use super::shape::Shape;
use std::cell::RefCell;
use std::rc::Rc;

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written by the host before each step.
    Input,
    /// A parameter, by its full name.
    Param {
        /// Whether gradients are built for it.
        trainable: bool,
    },
    /// Output `slot` of a node.
    Node {
        /// The node.
        node: NodeId,
        /// Which output.
        slot: usize,
    },
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its shape.
    pub shape: Shape,
    /// Where it comes from.
    pub origin: Origin,
    /// Full name: of an input or parameter its own, else the producing node's path.
    pub name: String,
    /// Whether the words are `u32` (labels, counters, windows) instead of `f32`.
    pub integer: bool,
}

/// An operation with its inputs and outputs.
#[derive(Clone)]
pub struct Node {
    /// What it does.
    pub op: Rc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<ValueId>,
    /// Its outputs.
    pub outputs: Vec<ValueId>,
    /// The layer's path: `block1.conv2`.
    pub path: String,
}

/// A graph that is recorded once, differentiated, and then planned.
#[derive(Default)]
pub struct Graph {
    pub(crate) inner: RefCell<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    scope: Vec<String>,
    /// Parameters and the values that they take after a training step.
    pub(crate) assigns: Vec<(ValueId, ValueId)>,
    /// Runs of nodes that compute the gradients of a node's inputs.
    pub(crate) backward: Vec<(std::ops::Range<usize>, NodeId)>,
}

/// A value of a graph: a `Copy` handle with one method an operation.
#[derive(Clone, Copy)]
pub struct Tensor<'g> {
    pub(crate) graph: &'g Graph,
    /// Which value.
    pub id: ValueId,
}

/// Leaves the scope when dropped.
pub struct Scope<'g>(&'g Graph);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.0.inner.borrow_mut().scope.pop();
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Names what follows, until the guard is dropped: `let _s = g.scope("block1");`.
    pub fn scope(&self, name: &str) -> Scope<'_> {
        self.inner.borrow_mut().scope.push(name.to_string());
        Scope(self)
    }

    /// The path of the current scope, with `name` appended when it is not empty.
    pub fn path(&self, name: &str) -> String {
        let inner = self.inner.borrow();
        let parts: Vec<&str> = inner.scope.iter().map(String::as_str).chain([name]).filter(|s| !s.is_empty()).collect();
        parts.join(".")
    }

    /// A value that the host writes before each step, f32 in the world's layout.
    pub fn input(&self, name: &str, shape: Shape) -> Tensor<'_> {
        self.value(Value { shape, origin: Origin::Input, name: name.into(), integer: false })
    }

    /// A row of `len` integers that the host writes before each step: labels, counters.
    pub fn input_integers(&self, name: &str, len: usize) -> Tensor<'_> {
        self.value(Value { shape: Shape::flat(len), origin: Origin::Input, name: name.into(), integer: true })
    }

    /// The parameter of this full name; asking twice gives the same value.
    ///
    /// # Panics
    /// When it was asked for with another shape before.
    #[track_caller]
    pub fn param(&self, name: &str, shape: Shape, trainable: bool) -> Tensor<'_> {
        let found = self.inner.borrow().values.iter().enumerate().find_map(|(i, v)| {
            (v.name == name && matches!(v.origin, Origin::Param { .. })).then_some((ValueId(i), v.shape))
        });
        if let Some((id, there)) = found {
            assert!(there == shape, "parameter {name} is {there}, asked for was {shape}");
            return Tensor { graph: self, id };
        }
        self.value(Value { shape, origin: Origin::Param { trainable }, name: name.into(), integer: false })
    }

    /// The input of this name.
    pub fn find_input(&self, name: &str) -> Option<Tensor<'_>> {
        let inner = self.inner.borrow();
        let at = inner.values.iter().position(|v| v.name == name && v.origin == Origin::Input)?;
        Some(Tensor { graph: self, id: ValueId(at) })
    }

    fn value(&self, v: Value) -> Tensor<'_> {
        let mut inner = self.inner.borrow_mut();
        inner.values.push(v);
        Tensor { graph: self, id: ValueId(inner.values.len() - 1) }
    }

    /// Records `op` in the current scope and returns its outputs, the result first.
    ///
    /// # Panics
    /// When the shapes do not fit: the message names the layer, the operation and the dimensions.
    #[track_caller]
    pub fn record<'g>(&'g self, op: impl Op, inputs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        self.record_at(self.path(""), Rc::new(op), inputs)
    }

    /// [`Graph::record`] under an explicit path; the backward pass uses the forward layer's.
    ///
    /// # Panics
    /// As [`Graph::record`].
    #[track_caller]
    pub fn record_at<'g>(&'g self, path: String, op: Rc<dyn Op>, inputs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        assert!(
            inputs.iter().all(|t| std::ptr::eq(t.graph, self)),
            "{path} / {}: an input is of another graph",
            op.name()
        );
        let shapes: Vec<Shape> = inputs.iter().map(|t| t.shape()).collect();
        let outputs = match op.shapes(&shapes) {
            Ok(s) => s,
            Err(m) => {
                let list: Vec<String> = shapes.iter().map(|s| s.to_string()).collect();
                panic!("{path} / {}: {m}; inputs {}", op.name(), list.join(", "))
            }
        };
        let mut inner = self.inner.borrow_mut();
        let node = NodeId(inner.nodes.len());
        let mut ids = Vec::new();
        for (slot, shape) in outputs.into_iter().enumerate() {
            ids.push(ValueId(inner.values.len()));
            let integer = matches!(shape, Shape::Windows { .. });
            inner.values.push(Value { shape, origin: Origin::Node { node, slot }, name: path.clone(), integer });
        }
        inner.nodes.push(Node { op, inputs: inputs.iter().map(|t| t.id).collect(), outputs: ids.clone(), path });
        ids.into_iter().map(|id| Tensor { graph: self, id }).collect()
    }

    /// After a training step the memory of `param`, a parameter that no optimizer trains, holds `value`: running statistics
    /// of batch norm. Plans take these from the graph through `PlanSpec::assign`; one that lists none changes nothing.
    ///
    /// # Panics
    /// When `param` is no such parameter, has another shape, or has a value already.
    #[track_caller]
    pub fn assign<'g>(&'g self, param: Tensor<'g>, value: Tensor<'g>) {
        let there = self.describe(param.id);
        let fits = there.origin == Origin::Param { trainable: false } && there.shape == value.shape();
        assert!(
            fits,
            "{} {}: only a parameter that does not train takes a value of its shape",
            there.name, there.shape
        );
        let mut inner = self.inner.borrow_mut();
        assert!(inner.assigns.iter().all(|a| a.0 != param.id), "{}: two values for one step", there.name);
        inner.assigns.push((param.id, value.id));
    }

    /// What [`Graph::assign`] recorded: parameter, value.
    pub fn assigned(&self) -> Vec<(Tensor<'_>, Tensor<'_>)> {
        let handle = |id: ValueId| Tensor { graph: self, id };
        self.inner.borrow().assigns.iter().map(|(p, v)| (handle(*p), handle(*v))).collect()
    }

    /// A copy of a value's description.
    pub fn describe(&self, id: ValueId) -> Value {
        self.inner.borrow().values[id.0].clone()
    }

    /// A copy of a node.
    pub fn node(&self, id: NodeId) -> Node {
        self.inner.borrow().nodes[id.0].clone()
    }

    /// The node whose gradients this one computes; `None` for one of the forward pass.
    pub fn gradient_of(&self, node: NodeId) -> Option<NodeId> {
        let inner = self.inner.borrow();
        inner.backward.iter().find(|(run, _)| run.contains(&node.0)).map(|(_, of)| *of)
    }

    /// How many nodes were recorded.
    pub fn len(&self) -> usize {
        self.inner.borrow().nodes.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All parameters in order: name, shape, whether trainable.
    pub fn params(&self) -> Vec<(String, Shape, bool)> {
        let inner = self.inner.borrow();
        let pick = |v: &Value| match v.origin {
            Origin::Param { trainable } => Some((v.name.clone(), v.shape, trainable)),
            _ => None,
        };
        inner.values.iter().filter_map(pick).collect()
    }
}

impl<'g> Tensor<'g> {
    /// The graph it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Its shape.
    pub fn shape(self) -> Shape {
        self.graph.inner.borrow().values[self.id.0].shape
    }

    /// N, C, H, W.
    ///
    /// # Panics
    /// When it is no image.
    #[track_caller]
    pub fn nchw(self) -> (usize, usize, usize, usize) {
        match self.shape() {
            Shape::Image { n, c, h, w } => (n, c, h, w),
            other => panic!("{}: expected an image [N, C, H, W], this is {other}", self.graph.path("")),
        }
    }

    /// Records `op` on this tensor and `others` and returns the result.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn apply(self, op: impl Op, others: &[Tensor<'g>]) -> Tensor<'g> {
        let inputs: Vec<Tensor> = [self].into_iter().chain(others.iter().copied()).collect();
        self.graph.record(op, &inputs)[0]
    }
}

impl std::fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "%{} {}", self.id.0, self.shape())
    }
}
