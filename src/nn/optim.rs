//! Optimizers: SGD (momentum, Nesterov), Adam, AdamW, Nadam, RMSprop, each in PyTorch's and in Keras' convention.
//!
//! `p` parameter, `g` gradient, `t` step from 1. Everything that depends on `t` is computed here in f64: 1 − β₂ᵗ in f32 is
//! not good enough for the first steps. `shaders/optim.wgsl` has the equations.

use crate::error::{Error, Result};
use crate::gpu::{Source, Word};
use crate::graph::record::Arena;
use crate::graph::{Cost, Operand, Recorder, Shape, Tensor};
use crate::ops::{shader, square_sum};
use crate::plan::{HYPER, LossScaling, PlanSpec, SCALE_STATE, Update};

const SOURCE: Source = shader!("optim.wgsl");
const LOSS_SCALE: Source = shader!("loss_scale.wgsl");

/// Whose conventions of ε and of momentum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Convention {
    /// PyTorch: ε after bias correction, the learning rate outside of the momentum.
    #[default]
    Torch,
    /// Keras: ε before bias correction, the learning rate inside of the momentum.
    Keras,
}

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// Momentum, 0 for none.
        momentum: f64,
        /// Nesterov's variant.
        nesterov: bool,
    },
    /// Adam (Kingma & Ba, arXiv:1412.6980).
    Adam {
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// ε.
        epsilon: f64,
        /// Weight decay shrinks the parameter instead of joining the gradient (AdamW, arXiv:1711.05101).
        decoupled: bool,
    },
    /// Adam with Nesterov momentum (Dozat 2016).
    Nadam {
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// ε.
        epsilon: f64,
    },
    /// RMSprop (Hinton, lecture 6e).
    RmsProp {
        /// Decay of the squared gradient's mean.
        rho: f64,
        /// ε.
        epsilon: f64,
    },
}

/// What an optimizer remembers on the host between two steps; its moments lie in the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: u64,
    /// Nadam's running product of momenta.
    pub product: f64,
}

/// An optimizer: a rule, its conventions, and the step count.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    /// The rule.
    pub rule: Rule,
    /// Whose conventions.
    pub convention: Convention,
    /// L2 weight decay (decoupled for AdamW).
    pub weight_decay: f64,
    /// The largest norm that all gradients together may have.
    pub clip_norm: Option<f64>,
    /// Whether, and how, the loss is multiplied before its gradients are taken.
    pub scaling: Option<LossScaling>,
    /// Replays of the plan whose gradients make one step.
    accumulation: usize,
    /// Of those, how many the next step has.
    batches: usize,
    steps: u64,
    /// Nadam's running product of momenta.
    product: f64,
}

impl Optimizer {
    /// `rule` in PyTorch's convention, no weight decay.
    pub fn new(rule: Rule) -> Optimizer {
        Optimizer {
            rule,
            convention: Convention::Torch,
            weight_decay: 0.0,
            clip_norm: None,
            scaling: None,
            accumulation: 1,
            batches: 0,
            steps: 0,
            product: 1.0,
        }
    }

    /// Adam with PyTorch's defaults: β 0.9 and 0.999, ε 1e-8.
    pub fn adam() -> Optimizer {
        Optimizer::new(Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: false })
    }

    /// SGD with momentum.
    pub fn sgd(momentum: f64) -> Optimizer {
        Optimizer::new(Rule::Sgd { momentum, nesterov: false })
    }

    /// The names of [`Optimizer::named`].
    pub const NAMES: [&str; 7] = ["SGD", "momentum", "Nesterov", "Adam", "AdamW", "Nadam", "RMSprop"];

    /// The optimizer of this name, in any case, with PyTorch's defaults: `momentum` and `Nesterov` are SGD with momentum 0.9,
    /// `AdamW` decays weights by 0.01.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest names when there is none.
    pub fn named(name: &str) -> Result<Optimizer> {
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        let rule = match name.to_ascii_lowercase().as_str() {
            "sgd" => Rule::Sgd { momentum: 0.0, nesterov: false },
            "momentum" => Rule::Sgd { momentum: 0.9, nesterov: false },
            "nesterov" => Rule::Sgd { momentum: 0.9, nesterov: true },
            "adam" => Rule::Adam { beta1, beta2, epsilon, decoupled: false },
            "adamw" => Rule::Adam { beta1, beta2, epsilon, decoupled: true },
            "nadam" => Rule::Nadam { beta1, beta2, epsilon },
            "rmsprop" => Rule::RmsProp { rho: 0.99, epsilon },
            _ => {
                let nearest = crate::names::nearest(name, &Optimizer::NAMES);
                return Err(Error::Usage(format!("there is no optimizer '{name}'; {nearest}")));
            }
        };
        let decay = if matches!(rule, Rule::Adam { decoupled: true, .. }) { 0.01 } else { 0.0 };
        Ok(Optimizer::new(rule).with_weight_decay(decay))
    }

    /// The same in another convention.
    pub fn with_convention(mut self, convention: Convention) -> Optimizer {
        self.convention = convention;
        self
    }

    /// The same with weight decay.
    pub fn with_weight_decay(mut self, decay: f64) -> Optimizer {
        self.weight_decay = decay;
        self
    }

    /// The same, with all gradients multiplied by min(1, `max_norm` / (norm + 1e-6)) before the update (and before weight
    /// decay), where norm is that of all gradients of the plan as one vector: `torch.nn.utils.clip_grad_norm_`. In Keras'
    /// convention (`global_clipnorm`) without the 1e-6. It all happens on the device, in a fixed order.
    ///
    /// # Panics
    /// When `max_norm` is not positive.
    pub fn with_clip_norm(mut self, max_norm: f64) -> Optimizer {
        assert!(max_norm > 0.0, "gradients are clipped to a positive norm, given was {max_norm}");
        self.clip_norm = Some(max_norm);
        self
    }

    /// The same with dynamic loss scaling, which a training with [`Storage::F16`](crate::gpu::Storage) needs. As `torch.amp.GradScaler` does, the
    /// gradients are divided by the factor before clipping and weight decay; a step in which one is not finite changes
    /// neither weights nor moments nor the number of updates that Adam's bias correction counts, and halves the factor. It
    /// all happens on the device, in a fixed order. Running statistics of batch norm are those of the forward pass and change
    /// all the same, as in PyTorch. [`Plan::loss_scale`](crate::Plan::loss_scale) tells the factor.
    ///
    /// # Panics
    /// When the initial factor is not positive and finite, growth is below 1, backoff not in (0, 1), or the interval 0.
    pub fn with_loss_scaling(mut self, scaling: LossScaling) -> Optimizer {
        let LossScaling { initial, growth, backoff, interval } = scaling;
        let fine = initial > 0.0 && initial.is_finite() && growth >= 1.0 && backoff > 0.0 && backoff < 1.0;
        assert!(fine && growth.is_finite() && interval > 0, "{scaling:?} is no loss scaling");
        self.scaling = Some(scaling);
        self
    }

    /// The same, with one update every `batches` replays of the plan, on the mean of their gradients. For a loss that is a
    /// mean this equals, within rounding, one batch that is so many times as large; clipping sees the mean. Call
    /// [`Optimizer::advance`] on every replay all the same.
    ///
    /// # Panics
    /// When `batches` is 0.
    pub fn with_accumulation(mut self, batches: usize) -> Optimizer {
        assert!(batches > 0, "gradients are accumulated over 1 replay or more");
        self.accumulation = batches;
        self
    }

    /// What a training step computes: `loss`, the gradients of every trainable parameter of its graph, this optimizer's
    /// update, and the graph's running statistics ([`crate::Graph::assign`]). The hyperparameter input is `spec.hyper`: feed
    /// [`Optimizer::advance`] to it each step.
    ///
    /// # Panics
    /// When `loss` is not one number.
    #[track_caller]
    pub fn step_of<'g>(&self, loss: Tensor<'g>) -> PlanSpec<'_, 'g> {
        self.step(loss, None)
    }

    /// [`Optimizer::step_of`] with gradients of `share` times `loss`. `share` is an input of one number: what this replay
    /// counts among those of an update ([`Optimizer::with_accumulation`]), 1 where all count alike.
    ///
    /// # Panics
    /// When `loss` or `share` is not one number.
    #[track_caller]
    pub fn step_with<'g>(&self, loss: Tensor<'g>, share: Tensor<'g>) -> PlanSpec<'_, 'g> {
        self.step(loss, Some(share))
    }

    #[track_caller]
    fn step<'g>(&self, loss: Tensor<'g>, share: Option<Tensor<'g>>) -> PlanSpec<'_, 'g> {
        let graph = loss.graph();
        let trainable = graph.params().into_iter().filter(|(_, _, trains)| *trains);
        let params: Vec<Tensor> = trainable.map(|(name, shape, _)| graph.param(&name, shape, true)).collect();
        let scale = self.scaling.map(|_| {
            [graph.input("loss scale", Shape::flat(1)), graph.input("loss scale state", Shape::flat(SCALE_STATE))]
        });
        let seed = match (share, scale) {
            (Some(share), Some([factor, _])) => Some(share.multiply(factor)),
            (share, scale) => share.or(scale.map(|s| s[0])),
        };
        let gradients = seed.map_or_else(|| loss.gradients(&params), |seed| loss.gradients_with(seed, &params));
        PlanSpec {
            outputs: vec![loss],
            gradients: params.into_iter().zip(gradients).filter_map(|(p, g)| Some((p, g?))).collect(),
            update: Some(self),
            hyper: Some(graph.input("hyper", Shape::flat(HYPER))),
            scale,
            assign: graph.assigned(),
            recompute: false,
        }
    }

    /// Replays of the plan whose gradients make one update.
    pub fn replays(&self) -> usize {
        self.accumulation
    }

    /// Updates of the weights, with the one whose gradients are being accumulated.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What it remembers, for a checkpoint.
    pub fn state(&self) -> OptimizerState {
        OptimizerState { steps: self.steps, product: self.product }
    }

    /// Goes on from `state`: the next [`Optimizer::advance`] gives the numbers that it would have given there.
    pub fn restore(&mut self, state: OptimizerState) {
        (self.steps, self.product, self.batches) = (state.steps, state.product, 0);
    }

    /// Counts a step and returns its hyperparameters for learning rate `lr`: the plan's input of [`HYPER`] numbers. With
    /// accumulation, call it on every replay; all replays of a step count once, and the last one's rate is used.
    pub fn advance(&mut self, lr: f64) -> [f32; HYPER] {
        let first = self.batches == 0;
        self.batches = (self.batches + 1) % self.accumulation;
        self.steps += u64::from(first);
        let (t, keras) = (self.steps as f64, self.convention == Convention::Keras);
        let mut h = [0.0f64; HYPER];
        (h[0], h[1], h[2]) = (lr, self.weight_decay, 1.0);
        match self.rule {
            Rule::Sgd { momentum, .. } => h[3] = momentum,
            Rule::Adam { beta1, beta2, epsilon, decoupled } => {
                (h[3], h[4], h[5]) = (beta1, beta2, epsilon);
                let (c1, c2) = (1.0 - beta1.powf(t), 1.0 - beta2.powf(t));
                (h[6], h[7]) = if keras { (lr * c2.sqrt() / c1, 1.0) } else { (lr / c1, 1.0 / c2.sqrt()) };
                if decoupled {
                    (h[1], h[2]) = (0.0, 1.0 - lr * self.weight_decay);
                }
            }
            Rule::Nadam { beta1, beta2, epsilon } => {
                (h[3], h[4], h[5]) = (beta1, beta2, epsilon);
                let speed = if keras { 1.0 } else { 0.004 };
                let momentum = |t: f64| beta1 * (1.0 - 0.5 * 0.96f64.powf(t * speed));
                let (now, next) = (momentum(t), momentum(t + 1.0));
                if first {
                    self.product *= now;
                }
                h[6] = lr * next / (1.0 - self.product * next);
                h[8] = lr * (1.0 - now) / (1.0 - self.product);
                h[7] = 1.0 / (1.0 - beta2.powf(t)).sqrt();
            }
            Rule::RmsProp { rho, epsilon } => (h[3], h[5]) = (rho, epsilon),
        }
        (h[9], h[10]) = (1.0 - h[3], 1.0 - h[4]);
        h.map(|v| v as f32)
    }
}

impl Optimizer {
    /// The launch that decides whether the step is made and keeps the state of loss scaling; returns the hyperparameters of
    /// the update, which it knows better than the host.
    fn judge(
        &self,
        k: &mut Recorder,
        (part, count, epsilon): (Operand, usize, f32),
        scaling: LossScaling,
        state: [Operand; 2],
        hyper: Operand,
        out: Operand,
    ) -> Operand {
        let adam = matches!(self.rule, Rule::Adam { .. });
        let nadam = matches!(self.rule, Rule::Nadam { .. });
        let now = (adam || nadam).then(|| k.workspace(HYPER));
        let baked = [
            ("CLIP", i64::from(self.clip_norm.is_some())),
            ("ADAM", i64::from(adam)),
            ("NADAM", i64::from(nadam)),
            ("KERAS", i64::from(self.convention == Convention::Keras)),
        ];
        let params = [
            ("parts", Word::from(count)),
            ("max_norm", Word::F(self.clip_norm.unwrap_or(0.0) as f32)),
            ("epsilon", Word::F(epsilon)),
            ("growth", Word::F(scaling.growth)),
            ("backoff", Word::F(scaling.backoff)),
            ("interval", Word::F(scaling.interval as f32)),
        ];
        let mut buffers = vec![part];
        buffers.extend(now.map(|_| hyper));
        buffers.extend(state);
        buffers.push(out);
        buffers.extend(now);
        k.launch(LOSS_SCALE, "loss_scale", &baked, &params, &buffers, 1);
        now.unwrap_or(hyper)
    }
}

impl Update for Optimizer {
    fn name(&self) -> &'static str {
        match self.rule {
            Rule::Sgd { .. } => "sgd",
            Rule::Adam { .. } => "adam",
            Rule::Nadam { .. } => "nadam",
            Rule::RmsProp { .. } => "rmsprop",
        }
    }

    fn moments(&self) -> usize {
        match self.rule {
            Rule::Sgd { .. } | Rule::RmsProp { .. } => 1,
            Rule::Adam { .. } | Rule::Nadam { .. } => 2,
        }
    }

    fn accumulation(&self) -> usize {
        self.accumulation
    }

    fn scaling(&self) -> Option<LossScaling> {
        self.scaling
    }

    fn record(&self, k: &mut Recorder, hyper: Operand, scale: Option<[Operand; 2]>, chunks: &[usize]) {
        let mut hyper = hyper;
        let scaling = self.scaling.zip(scale);
        let clip = (self.clip_norm.is_some() || scaling.is_some()).then(|| {
            let count = chunks.iter().map(|words| square_sum::parts(*words)).sum::<usize>();
            let (part, out) = (k.workspace(count.next_multiple_of(4)), k.workspace(4));
            let mut first = 0;
            for (chunk, words) in chunks.iter().enumerate() {
                square_sum::partial(k, Operand::Chunk(Arena::Grad, chunk), *words, part, first);
                first += square_sum::parts(*words);
            }
            let epsilon = if self.convention == Convention::Keras { 0.0 } else { 1e-6 };
            match (scaling, self.clip_norm) {
                (Some((scaling, state)), _) => {
                    hyper = self.judge(k, (part, count, epsilon), scaling, state, hyper, out)
                }
                (None, Some(max_norm)) => square_sum::clip(k, part, count, max_norm as f32, epsilon, out),
                (None, None) => {}
            }
            out
        });
        let nesterov = matches!(self.rule, Rule::Sgd { nesterov: true, .. });
        let baked = [
            ("NESTEROV", i64::from(nesterov)),
            ("KERAS", i64::from(self.convention == Convention::Keras)),
            ("CLIP", i64::from(clip.is_some())),
            ("SCALED", i64::from(scaling.is_some())),
        ];
        for (chunk, words) in chunks.iter().enumerate() {
            let mut buffers = vec![hyper, Operand::Chunk(Arena::Grad, chunk)];
            buffers.extend(clip);
            buffers.push(Operand::Chunk(Arena::Param, chunk));
            buffers.extend((0..self.moments()).map(|m| Operand::Chunk(Arena::Moment(m), chunk)));
            let quads = words / 4;
            let params = [("quads", Word::from(quads))];
            let bytes = 4.0 * (3 + 2 * self.moments()) as f64 * *words as f64;
            k.launch(SOURCE, self.name(), &baked, &params, &buffers, quads.div_ceil(1024)).cost =
                Cost { flops: 12.0 * *words as f64, bytes };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_optimizer_has_a_name() {
        for name in Optimizer::NAMES {
            let o = Optimizer::named(name).unwrap();
            assert_eq!(o, Optimizer::named(&name.to_uppercase()).unwrap());
            assert_eq!(o.weight_decay > 0.0, name == "AdamW");
        }
        assert_eq!(Optimizer::named("adam").unwrap(), Optimizer::adam());
        assert_eq!(Optimizer::named("momentum").unwrap(), Optimizer::sgd(0.9));
        let e = Optimizer::named("nadan").unwrap_err();
        assert!(e.to_string().contains("did you mean 'Nadam'") && e.exit_code() == 2, "{e}");
    }

    #[test]
    fn a_restored_optimizer_goes_on_with_the_same_numbers() {
        let rules = [
            Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true },
            Rule::Nadam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        ];
        for rule in rules {
            let mut whole = Optimizer::new(rule).with_weight_decay(0.01);
            let mut second = whole.clone();
            (0..5).for_each(|_| _ = whole.advance(0.1));
            second.restore(whole.state());
            (0..5).for_each(|_| assert_eq!(whole.advance(0.05), second.advance(0.05)));
        }
    }
}
