//! WGSL's uniformity rule on naga's IR: barriers and subgroup operations only where all threads of a workgroup arrive
//! together. naga 30 does not check this; browsers refuse what breaks it.
//!
//! A value is uniform if it follows from constants, workgroup ids, uniforms and read-only storage at uniform places.
//! A local variable is uniform if everything ever stored in it is, in uniform control flow. A branch on a non-uniform
//! condition makes what is inside non-uniform; a return there all that follows, a break or continue the rest of the loop.
//! This is stricter than the standard (it does not follow the order of stores), so what passes here passes there, as far
//! as one analysis can vouch for another.

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression as E, Function, Handle, Module, Statement as S, StorageAccess,
};
use std::collections::HashSet;

/// Checks every entry point; returns how many barriers and subgroup operations there are.
///
/// # Errors
/// The first operation in non-uniform control flow.
pub fn check(module: &Module) -> Result<usize, String> {
    let mut seen = 0;
    for point in &module.entry_points {
        let arguments: Vec<bool> = point
            .function
            .arguments
            .iter()
            .map(|a| {
                matches!(
                    a.binding,
                    Some(Binding::BuiltIn(BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups | BuiltIn::WorkGroupSize))
                )
            })
            .collect();
        let a = analyse(module, &point.function, arguments, true);
        if let Some(fault) = a.fault {
            return Err(format!("{}: {fault}", point.name));
        }
        seen += a.operations;
    }
    Ok(seen)
}

struct Analysis<'m> {
    module: &'m Module,
    function: &'m Function,
    arguments: Vec<bool>,
    /// Locals that hold non-uniform values.
    locals: HashSet<Handle<naga::LocalVariable>>,
    /// Results of calls that are uniform.
    calls: HashSet<Handle<naga::Expression>>,
    result: bool,
    operations: usize,
    fault: Option<String>,
}

/// What a block may do to control flow after it, if it does so on a non-uniform condition.
#[derive(Clone, Copy, Default)]
struct Exits {
    returns: bool,
    leaves: bool,
}

fn analyse<'m>(module: &'m Module, function: &'m Function, arguments: Vec<bool>, uniform: bool) -> Analysis<'m> {
    let mut a = Analysis {
        module,
        function,
        arguments,
        locals: HashSet::new(),
        calls: HashSet::new(),
        result: true,
        operations: 0,
        fault: None,
    };
    // Until no further local turns out non-uniform; only the last pass' findings count.
    loop {
        let before = a.locals.len();
        (a.operations, a.fault, a.result) = (0, None, true);
        a.calls.clear();
        a.block(&function.body, uniform);
        if a.locals.len() == before {
            return a;
        }
    }
}

impl Analysis<'_> {
    fn uniform(&self, h: Handle<naga::Expression>) -> bool {
        let all = |list: &[Handle<naga::Expression>]| list.iter().all(|e| self.uniform(*e));
        match &self.function.expressions[h] {
            E::Literal(_) | E::Constant(_) | E::Override(_) | E::ZeroValue(_) => true,
            E::Compose { components, .. } => all(components),
            E::Access { base, index } => all(&[*base, *index]),
            E::AccessIndex { base, .. } => self.uniform(*base),
            E::Splat { value, .. } => self.uniform(*value),
            E::Swizzle { vector, .. } => self.uniform(*vector),
            E::FunctionArgument(i) => self.arguments[*i as usize],
            E::GlobalVariable(g) => match self.module.global_variables[*g].space {
                AddressSpace::Uniform | AddressSpace::Immediate => true,
                AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                _ => false,
            },
            E::LocalVariable(v) => !self.locals.contains(v),
            E::Load { pointer } => self.uniform(*pointer),
            E::Unary { expr, .. } | E::As { expr, .. } => self.uniform(*expr),
            E::Binary { left, right, .. } => all(&[*left, *right]),
            E::Select { condition, accept, reject } => all(&[*condition, *accept, *reject]),
            E::Relational { argument, .. } => self.uniform(*argument),
            E::Math { arg, arg1, arg2, arg3, .. } => {
                self.uniform(*arg) && [arg1, arg2, arg3].into_iter().flatten().all(|e| self.uniform(*e))
            }
            E::CallResult(_) => self.calls.contains(&h),
            E::WorkGroupUniformLoadResult { .. } => true,
            E::ArrayLength(_) => true,
            // Subgroup results are uniform in a subgroup, not in a workgroup; anything else does not occur in kernels.
            _ => false,
        }
    }

    /// The local behind a pointer, if it is one.
    fn root(&self, pointer: Handle<naga::Expression>) -> Option<Handle<naga::LocalVariable>> {
        match &self.function.expressions[pointer] {
            E::LocalVariable(v) => Some(*v),
            E::Access { base, .. } | E::AccessIndex { base, .. } => self.root(*base),
            _ => None,
        }
    }

    fn needs_uniform(&mut self, uniform: bool, what: &str) {
        self.operations += 1;
        if !uniform && self.fault.is_none() {
            self.fault = Some(format!("{what} in non-uniform control flow"));
        }
    }

    fn block(&mut self, block: &Block, start: bool) -> Exits {
        let (mut uniform, mut exits) = (start, Exits::default());
        for statement in block {
            let inner = match statement {
                S::Block(b) => self.block(b, uniform),
                S::If { condition, accept, reject } => {
                    let inside = uniform && self.uniform(*condition);
                    let (a, b) = (self.block(accept, inside), self.block(reject, inside));
                    Exits { returns: a.returns || b.returns, leaves: a.leaves || b.leaves }
                }
                S::Switch { selector, cases } => {
                    let inside = uniform && self.uniform(*selector);
                    let mut all = Exits::default();
                    for c in cases {
                        let e = self.block(&c.body, inside);
                        // A break ends the case, not the loop around; a continue does reach it: taken for the worse.
                        all = Exits { returns: all.returns || e.returns, leaves: all.leaves || e.leaves };
                    }
                    all
                }
                S::Loop { body, continuing, break_if } => {
                    // Twice: threads that left in one turn are missing in the next.
                    let mut inside = uniform;
                    let mut e = Exits::default();
                    let counted = self.operations;
                    for _ in 0..2 {
                        self.operations = counted;
                        e = self.block(body, inside);
                        inside &= !e.leaves && !e.returns;
                        self.block(continuing, inside);
                        inside &= break_if.is_none_or(|b| self.uniform(b));
                    }
                    Exits { returns: e.returns, leaves: false }
                }
                S::Break | S::Continue => Exits { returns: false, leaves: !uniform },
                S::Return { value } => {
                    self.result &= uniform && value.is_none_or(|v| self.uniform(v));
                    Exits { returns: !uniform, leaves: false }
                }
                S::Store { pointer, value } => {
                    let steady = uniform && self.uniform(*value) && self.place(*pointer);
                    if let (Some(v), false) = (self.root(*pointer), steady) {
                        self.locals.insert(v);
                    }
                    Exits::default()
                }
                S::Call { function, arguments, result } => {
                    let callee = &self.module.functions[*function];
                    let given: Vec<bool> = arguments.iter().map(|a| self.uniform(*a)).collect();
                    let inner = analyse(self.module, callee, given, uniform);
                    self.operations += inner.operations;
                    if self.fault.is_none() {
                        self.fault = inner.fault;
                    }
                    // A pointer handed over may be written through.
                    for a in arguments {
                        if let Some(v) = self.root(*a) {
                            self.locals.insert(v);
                        }
                    }
                    if let (Some(r), true) = (result, inner.result) {
                        self.calls.insert(*r);
                    }
                    Exits::default()
                }
                S::ControlBarrier(_) => {
                    self.needs_uniform(uniform, "a barrier");
                    Exits::default()
                }
                S::WorkGroupUniformLoad { .. } => {
                    self.needs_uniform(uniform, "workgroupUniformLoad");
                    Exits::default()
                }
                S::SubgroupBallot { .. } | S::SubgroupGather { .. } | S::SubgroupCollectiveOperation { .. } => {
                    self.needs_uniform(uniform, "a subgroup operation");
                    Exits::default()
                }
                _ => Exits::default(),
            };
            exits = Exits { returns: exits.returns || inner.returns, leaves: exits.leaves || inner.leaves };
            uniform &= !inner.returns && !inner.leaves;
        }
        exits
    }

    /// Whether the indices on the way to a place are uniform.
    fn place(&self, pointer: Handle<naga::Expression>) -> bool {
        match &self.function.expressions[pointer] {
            E::Access { base, index } => self.uniform(*index) && self.place(*base),
            E::AccessIndex { base, .. } => self.place(*base),
            _ => true,
        }
    }
}

/// Kernels that must pass and kernels that must not: an analysis that lets everything through proves nothing.
pub fn self_test() {
    let run = |body: &str| {
        let text = format!(
            "@group(0) @binding(0) var<uniform> p: vec4<u32>;\n\
             @group(0) @binding(1) var<storage, read> x: array<u32>;\n\
             @group(0) @binding(2) var<storage, read_write> y: array<u32>;\n\
             var<workgroup> s: array<u32, 64>;\n\
             fn twice(v: u32) -> u32 {{ return v * 2u; }}\n\
             @compute @workgroup_size(64) fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) l: u32) {{\n{body}\n}}"
        );
        check(&naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text))))
    };
    let barrier = "workgroupBarrier();";
    for good in [
        "workgroupBarrier();",
        "if (wg.x >= p.x) { return; } workgroupBarrier();",
        "for (var i = 0u; i < p.x; i++) { workgroupBarrier(); }",
        "for (var i = l; i < p.x; i += 64u) { s[i] = 1u; } workgroupBarrier();",
        "if (l < 3u) { s[l] = 1u; } workgroupBarrier();",
        "for (var i = 0u; i < x[wg.x]; i++) { workgroupBarrier(); }",
        "if (twice(wg.x) < p.y) { workgroupBarrier(); }",
    ] {
        assert_eq!(run(good), Ok(1), "{good}");
    }
    for bad in [
        format!("if (l < 3u) {{ {barrier} }}"),
        format!("if (l >= p.x) {{ return; }} {barrier}"),
        format!("for (var i = l; i < p.x; i += 64u) {{ {barrier} }}"),
        format!("for (var i = 0u; i < p.x; i++) {{ if (x[l] == i) {{ break; }} {barrier} }}"),
        format!("for (var i = 0u; i < p.x; i++) {{ {barrier} if (x[l] == i) {{ continue; }} s[l] = i; }}"),
        format!("var k = 0u; if (l == 1u) {{ k = 2u; }} if (k == 2u) {{ {barrier} }}"),
        format!("if (y[wg.x] == 0u) {{ {barrier} }}"),
        format!("if (twice(l) < p.y) {{ {barrier} }}"),
        "if (l < 3u) { y[l] = subgroupAdd(l); }".to_string(),
    ] {
        assert!(run(&bad).is_err(), "{bad}");
    }
}
