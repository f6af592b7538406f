//! The optimizer's moments on their way to a checkpoint and back, in the world's layout.

use super::{Plan, Slot};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::layout;
use std::collections::BTreeMap;

/// One moment of every trainable parameter, by name, in the world's layout.
pub type Moment = BTreeMap<String, Vec<f32>>;

impl Plan {
    fn trainable(&self) -> impl Iterator<Item = &Slot> {
        self.weights.slots().iter().filter(|s| s.trainable)
    }

    /// The optimizer's moments after all steps that were queued, in the order of its own; none for a plan without update.
    /// Waits. With accumulation they are of use only after the last replay of an update: the gradients that are being
    /// accumulated are not among them.
    ///
    /// # Errors
    /// Device errors.
    pub fn moments(&self, gpu: &Gpu) -> Result<Vec<Moment>> {
        let one = |chunks: &Vec<usize>| {
            let read = |at: &usize| gpu.download(&self.buffers.all[*at], 0, self.buffers.all[*at].size());
            let memory = chunks.iter().map(read).collect::<Result<Vec<_>>>()?;
            let values = |s: &Slot| {
                let bytes = &memory[s.chunk][s.offset * 4..(s.offset + s.shape.words()) * 4];
                (s.name.clone(), layout::to_world(s.shape, &bytemuck::pod_collect_to_vec::<u8, f32>(bytes)))
            };
            Ok(self.trainable().map(values).collect())
        };
        self.buffers.moments.iter().map(one).collect()
    }

    /// Overwrites the optimizer's moments with what [`Plan::moments`] gave.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is not exactly one row of the right size for every moment of every trainable parameter;
    /// nothing is written then.
    pub fn restore_moments(&self, gpu: &Gpu, moments: &[Moment]) -> Result<()> {
        let (given, kept) = (moments.len(), self.buffers.moments.len());
        if given != kept {
            return Err(Error::Usage(format!("the optimizer keeps {kept} moments, given were {given}")));
        }
        let mut writes = Vec::new();
        for (m, (moment, chunks)) in moments.iter().zip(&self.buffers.moments).enumerate() {
            for s in self.trainable() {
                let values = moment.get(&s.name).filter(|v| v.len() == s.shape.elements());
                let values = values.ok_or_else(|| {
                    let has = moment.get(&s.name).map_or("nothing".into(), |v| format!("{} numbers", v.len()));
                    Error::Usage(format!("moment {m} of {} {}: given was {has}", s.name, s.shape))
                })?;
                writes.push((chunks[s.chunk], s.offset as u64 * 4, layout::to_memory(s.shape, values)));
            }
            if let Some(name) = moment.keys().find(|n| self.weights.slot(n).is_none_or(|s| !s.trainable)) {
                return Err(Error::Usage(format!("moment {m} of {name}, which does not train")));
            }
        }
        for (at, offset, memory) in writes {
            gpu.queue.write_buffer(&self.buffers.all[at], offset, bytemuck::cast_slice(&memory));
        }
        gpu.check()
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::nn::{Layers, Optimizer, ParamStore};
    use crate::ops::testing::{gpu, numbers};
    use crate::ops::{Geometry, Smoothing};
    use crate::plan::{Feed, Plan};
    use std::rc::Rc;

    /// `steps` steps of Adam; the plan stops after `cut` of them and another one goes on with what it left.
    fn train(steps: usize, cut: Option<usize>) -> (ParamStore, usize) {
        let graph = Graph::new();
        let x = graph.input("x", Shape::image(2, 3, 5, 5));
        let labels = graph.input_integers("labels", 2);
        let layers = Layers { training: true, ..Layers::default() };
        // Channels that fill no lane: the extra ones must stay out of what is stored.
        let y = layers.conv2d(x, "conv", 5, [3, 3], Geometry::same(3, 3)).relu();
        let (loss, _) = layers.dense(y, "fc", 3).cross_entropy(labels, Smoothing::None, None);
        let mut optimizer = Optimizer::adam();
        let given = optimizer.clone();
        let spec = given.step_of(loss);
        let mut store = ParamStore::init(&graph, 3);
        let mut weights = Rc::new(store.upload(gpu()).unwrap());
        let mut plan = Plan::compile(gpu(), &graph, &weights, &spec).unwrap();
        for step in 0..steps {
            if cut == Some(step) {
                let moments = plan.moments(gpu()).unwrap();
                store.read(gpu(), &weights).unwrap();
                weights = Rc::new(store.upload(gpu()).unwrap());
                plan = Plan::compile(gpu(), &graph, &weights, &spec).unwrap();
                assert!(plan.restore_moments(gpu(), &moments[..1]).is_err());
                let mut short = moments.clone();
                short[1].get_mut("fc.bias").unwrap().pop();
                assert!(plan.restore_moments(gpu(), &short).unwrap_err().to_string().contains("moment 1 of fc.bias"));
                plan.restore_moments(gpu(), &moments).unwrap();
                assert_eq!(plan.moments(gpu()).unwrap(), moments);
            }
            let pixels = numbers(step as u32, 2 * 3 * 25);
            let hyper = optimizer.advance(0.01);
            let feeds =
                [(x, Feed::F32(&pixels)), (labels, Feed::U32(&[0, 2])), (spec.hyper.unwrap(), Feed::F32(&hyper))];
            plan.step(gpu(), &feeds).unwrap();
        }
        plan.finish(gpu()).unwrap();
        store.read(gpu(), &weights).unwrap();
        (store, plan.moments(gpu()).unwrap().len())
    }

    #[test]
    fn a_plan_goes_on_from_another_plans_moments() {
        let (whole, moments) = train(5, None);
        assert_eq!(moments, 2);
        for cut in [1, 3] {
            assert_eq!(train(5, Some(cut)).0.digest(), whole.digest(), "cut at {cut}");
        }
    }
}
