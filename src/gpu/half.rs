//! f16 storage for kernels that are written in f32: a pass over a parsed module. Chosen bindings hold f16 instead of f32;
//! what is loaded from them is widened at once, what is stored is rounded at once, and all arithmetic stays f32. So no kernel
//! has a second version, and none can be forgotten.

use naga::{
    AddressSpace, AtomicFunction, Block, Expression, Function, GatherMode, GlobalVariable, Handle, Module, Range,
    SampleLevel, Scalar, ScalarKind, Span, Statement, Type, TypeInner,
};
use std::collections::HashSet;

type Expr = Handle<Expression>;

/// Bit `b` is set where binding `b` of group 0 is a storage array of `f32`, `vec2<f32>` or `vec4<f32>` of any length: what
/// [`narrow`] can change.
pub fn eligible(module: &Module) -> u32 {
    let of = |v: &GlobalVariable| Some((v.binding?.binding, narrowed(module, v)?.1));
    module.global_variables.iter().filter_map(|(_, v)| of(v)).fold(0, |all, (b, _)| all | 1 << b)
}

/// The element type of a storage array that can be f16, as f16, and its bytes.
fn narrowed(module: &Module, v: &GlobalVariable) -> Option<(TypeInner, u32)> {
    let AddressSpace::Storage { .. } = v.space else { return None };
    let TypeInner::Array { base, size: naga::ArraySize::Dynamic, .. } = module.types[v.ty].inner else { return None };
    match module.types[base].inner {
        TypeInner::Scalar(Scalar::F32) => Some((TypeInner::Scalar(Scalar::F16), 2)),
        // Three numbers would take the room of four.
        TypeInner::Vector { size, scalar: Scalar::F32 } if size != naga::VectorSize::Tri => {
            Some((TypeInner::Vector { size, scalar: Scalar::F16 }, 2 * size as u32))
        }
        _ => None,
    }
}

/// Stores the bindings of `mask` (bit `b`: binding `b`) as f16.
///
/// # Errors
/// A binding that is not [`eligible`], or something in the module that no kernel here has and the pass does not know.
pub fn narrow(module: &mut Module, mask: u32) -> Result<(), String> {
    let missing = mask & !eligible(module);
    if missing != 0 {
        return Err(format!("binding {} cannot be f16", missing.trailing_zeros()));
    }
    let chosen = |v: &GlobalVariable| v.binding.is_some_and(|b| mask >> b.binding & 1 == 1);
    let globals: Vec<Handle<GlobalVariable>> =
        module.global_variables.iter().filter(|(_, v)| chosen(v)).map(|(h, _)| h).collect();
    for h in &globals {
        let (inner, stride) = narrowed(module, &module.global_variables[*h]).ok_or("checked above")?;
        let base = module.types.insert(Type { name: None, inner }, Span::UNDEFINED);
        let inner = TypeInner::Array { base, size: naga::ArraySize::Dynamic, stride };
        module.global_variables.get_mut(*h).ty = module.types.insert(Type { name: None, inner }, Span::UNDEFINED);
    }
    let globals: HashSet<_> = globals.into_iter().collect();
    let entries = module.entry_points.iter_mut().map(|e| &mut e.function);
    module.functions.iter_mut().map(|(_, f)| f).chain(entries).try_for_each(|f| rewrite(f, &globals))
}

/// What became of a function's expressions.
struct Rewriter {
    /// For each old expression: the one that stands for it, and the first new one that was made of it.
    new: Vec<(Expr, Expr)>,
    /// For each old expression: whether it points into an f16 binding.
    half: Vec<bool>,
}

/// An arena holds operands before what uses them, so a widening cannot be put in between: the arena is built anew.
fn rewrite(f: &mut Function, globals: &HashSet<Handle<GlobalVariable>>) -> Result<(), String> {
    let mut r = Rewriter { new: Vec::new(), half: Vec::new() };
    let mut old = std::mem::take(&mut f.expressions);
    for (_, mut e, span) in old.drain() {
        let (half, load) = match &e {
            Expression::GlobalVariable(g) => (globals.contains(g), false),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => (r.points(*base), false),
            Expression::Load { pointer } => (false, r.points(*pointer)),
            _ => (false, false),
        };
        r.operands(&mut e)?;
        let first = f.expressions.append(e, span);
        let widen = Expression::As { expr: first, kind: ScalarKind::Float, convert: Some(4) };
        let last = if load { f.expressions.append(widen, span) } else { first };
        r.new.push((last, first));
        r.half.push(half);
    }
    let names = std::mem::take(&mut f.named_expressions);
    f.named_expressions = names.into_iter().map(|(h, name)| (r.of(h), name)).collect();
    for (_, v) in f.local_variables.iter_mut() {
        v.init = v.init.map(|h| r.of(h));
    }
    f.body = r.block(std::mem::take(&mut f.body), &mut f.expressions)?;
    Ok(())
}

impl Rewriter {
    fn of(&self, h: Expr) -> Expr {
        self.new[h.index()].0
    }

    fn points(&self, h: Expr) -> bool {
        self.half[h.index()]
    }

    fn map(&self, h: &mut Expr) {
        *h = self.of(*h);
    }

    fn operands(&self, e: &mut Expression) -> Result<(), String> {
        use Expression as E;
        match e {
            E::Literal(_) | E::Constant(_) | E::Override(_) | E::ZeroValue(_) | E::FunctionArgument(_) => {}
            E::GlobalVariable(_) | E::LocalVariable(_) | E::CallResult(_) | E::AtomicResult { .. } => {}
            E::WorkGroupUniformLoadResult { .. } | E::SubgroupBallotResult | E::SubgroupOperationResult { .. } => {}
            E::Compose { components, .. } => components.iter_mut().for_each(|h| self.map(h)),
            E::Access { base, index } => [base, index].into_iter().for_each(|h| self.map(h)),
            E::AccessIndex { base: h, .. }
            | E::Splat { value: h, .. }
            | E::Swizzle { vector: h, .. }
            | E::Load { pointer: h }
            | E::Unary { expr: h, .. }
            | E::Relational { argument: h, .. }
            | E::As { expr: h, .. }
            | E::ArrayLength(h) => self.map(h),
            E::Binary { left, right, .. } => [left, right].into_iter().for_each(|h| self.map(h)),
            E::Select { condition, accept, reject } => {
                [condition, accept, reject].into_iter().for_each(|h| self.map(h));
            }
            E::Math { arg, arg1, arg2, arg3, .. } => {
                self.map(arg);
                [arg1, arg2, arg3].into_iter().flatten().for_each(|h| self.map(h));
            }
            E::ImageLoad { image, coordinate, array_index, sample, level } => {
                [image, coordinate].into_iter().for_each(|h| self.map(h));
                [array_index, sample, level].into_iter().flatten().for_each(|h| self.map(h));
            }
            E::ImageSample { level: SampleLevel::Auto, .. } | E::ImageSample { .. } | E::ImageQuery { .. } => {
                return Err("samplers are not expected in a kernel".into());
            }
            other => return Err(format!("{other:?} is not expected in a kernel")),
        }
        Ok(())
    }

    fn block(&self, old: Block, arena: &mut naga::Arena<Expression>) -> Result<Block, String> {
        let mut new = Block::with_capacity(old.len());
        for (s, span) in old.span_into_iter() {
            self.statement(s, span, arena, &mut new)?;
        }
        Ok(new)
    }

    fn statement(
        &self,
        mut s: Statement,
        span: Span,
        arena: &mut naga::Arena<Expression>,
        out: &mut Block,
    ) -> Result<(), String> {
        use Statement as S;
        match &mut s {
            S::Break | S::Continue | S::Kill | S::ControlBarrier(_) | S::MemoryBarrier(_) => {}
            S::Emit(range) => {
                let old = range.index_range();
                if old.is_empty() {
                    return Ok(());
                }
                let (first, last) = (self.new[old.start as usize].1, self.new[old.end as usize - 1].0);
                *range = Range::new_from_bounds(first, last);
            }
            S::Block(b) => *b = self.block(std::mem::take(b), arena)?,
            S::If { condition, accept, reject } => {
                self.map(condition);
                *accept = self.block(std::mem::take(accept), arena)?;
                *reject = self.block(std::mem::take(reject), arena)?;
            }
            S::Switch { selector, cases } => {
                self.map(selector);
                for c in cases {
                    c.body = self.block(std::mem::take(&mut c.body), arena)?;
                }
            }
            S::Loop { body, continuing, break_if } => {
                *body = self.block(std::mem::take(body), arena)?;
                *continuing = self.block(std::mem::take(continuing), arena)?;
                break_if.iter_mut().for_each(|h| self.map(h));
            }
            S::Return { value } => value.iter_mut().for_each(|h| self.map(h)),
            S::Store { pointer, value } => {
                let half = self.points(*pointer);
                [&mut *pointer, &mut *value].into_iter().for_each(|h| self.map(h));
                if half {
                    let round = Expression::As { expr: *value, kind: ScalarKind::Float, convert: Some(2) };
                    *value = arena.append(round, span);
                    out.push(S::Emit(Range::new_from_bounds(*value, *value)), span);
                }
            }
            S::Atomic { pointer, fun, value, result } => {
                [pointer, value].into_iter().for_each(|h| self.map(h));
                result.iter_mut().for_each(|h| self.map(h));
                if let AtomicFunction::Exchange { compare: Some(h) } = fun {
                    self.map(h);
                }
            }
            S::WorkGroupUniformLoad { pointer, result } => [pointer, result].into_iter().for_each(|h| self.map(h)),
            S::Call { arguments, result, .. } => {
                if arguments.iter().any(|h| self.points(*h)) {
                    return Err("a function takes a pointer to a binding".into());
                }
                arguments.iter_mut().chain(result).for_each(|h| self.map(h));
            }
            S::SubgroupBallot { result, predicate } => {
                self.map(result);
                predicate.iter_mut().for_each(|h| self.map(h));
            }
            S::SubgroupGather { mode, argument, result } => {
                [argument, result].into_iter().for_each(|h| self.map(h));
                match mode {
                    GatherMode::BroadcastFirst | GatherMode::QuadSwap(_) => {}
                    GatherMode::Broadcast(h)
                    | GatherMode::Shuffle(h)
                    | GatherMode::ShuffleDown(h)
                    | GatherMode::ShuffleUp(h)
                    | GatherMode::ShuffleXor(h)
                    | GatherMode::QuadBroadcast(h) => self.map(h),
                }
            }
            S::SubgroupCollectiveOperation { argument, result, .. } => {
                [argument, result].into_iter().for_each(|h| self.map(h));
            }
            other => return Err(format!("{other:?} is not expected in a kernel")),
        }
        out.push(s, span);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    const TEXT: &str = "
        struct Params { n: u32 }
        @group(0) @binding(0) var<uniform> p: Params;
        @group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
        @group(0) @binding(2) var<storage, read> s: array<f32>;
        @group(0) @binding(3) var<storage, read> labels: array<u32>;
        @group(0) @binding(4) var<storage, read> fixed: array<vec4<f32>, 4>;
        @group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
        fn at(i: u32) -> vec4<f32> { return x[i] + fixed[0] + vec4<f32>(f32(labels[i])); }
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) g: vec3<u32>) {
            let i = g.x;
            if (i >= min(p.n, arrayLength(&x))) { return; }
            var sum = at(i);
            for (var c = 0u; c < 4u; c++) {
                sum[c] += x[i][c] * s[i] + x[i].w;
                switch c { case 1u: { y[i].z = sum.x; } default: { y[i][c] += sum[c]; } }
            }
            y[i] = sum;
            y[i] += s[i];
        }";

    fn module() -> Module {
        naga::front::wgsl::parse_str(TEXT).unwrap_or_else(|e| panic!("{}", e.emit_to_string(TEXT)))
    }

    fn conversions(f: &Function, width: u8) -> usize {
        let wide = |e: &Expression| matches!(e, Expression::As { kind: ScalarKind::Float, convert: Some(w), .. } if *w == width);
        f.expressions.iter().filter(|(_, e)| wide(e)).count()
    }

    #[test]
    fn every_load_is_widened_and_every_store_rounded() {
        assert_eq!(eligible(&module()), 0b10_0110);
        for mask in [0b10_0110u32, 0b10_0000, 0b10, 0] {
            let mut m = module();
            let loads = |m: &Module| {
                let all = m.functions.iter().map(|(_, f)| f).chain(m.entry_points.iter().map(|e| &e.function));
                all.map(|f| (conversions(f, 4), conversions(f, 2))).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
            };
            let before = loads(&m).0;
            narrow(&mut m, mask).unwrap();
            let flags = Capabilities::SHADER_FLOAT16;
            Validator::new(ValidationFlags::all(), flags).validate(&m).unwrap_or_else(|e| panic!("{mask:b}: {e:?}"));
            let (widened, rounded) = loads(&m);
            // x is loaded at three places, s at two, y at two; y is stored to at four.
            let bit = |b: u32| (mask >> b & 1) as usize;
            assert_eq!(widened - before, 3 * bit(1) + 2 * bit(2) + 2 * bit(5), "{mask:b}");
            assert_eq!(rounded, 4 * bit(5), "{mask:b}");
            let strides = |b: u32| {
                let v = m.global_variables.iter().find(|(_, v)| v.binding.is_some_and(|r| r.binding == b)).unwrap().1;
                match m.types[v.ty].inner {
                    TypeInner::Array { stride, .. } => stride,
                    _ => 0,
                }
            };
            assert_eq!((strides(1), strides(2)), (16 >> bit(1), 4 >> bit(2)));
        }
    }

    #[test]
    fn integers_and_arrays_of_known_length_stay() {
        assert_eq!(narrow(&mut module(), 1 << 3).unwrap_err(), "binding 3 cannot be f16");
        assert!(narrow(&mut module(), 1 << 4).is_err() && narrow(&mut module(), 1).is_err());
    }
}
