//! The graph: shapes, the memory layout, tensors, operations, autograd and the f64 interpreter.

pub mod autograd;
#[allow(clippy::module_inception)]
mod graph;
pub mod layout;
mod op;
pub mod record;
pub mod reference;
pub mod shape;

pub use graph::{Graph, Node, NodeId, Origin, Scope, Tensor, Value, ValueId};
pub use op::{Cost, Images, Op, Part, Views, downcast};
pub use record::{Launch, Operand, Recorder, View};
pub use shape::Shape;
