//! Every shader without a GPU: expands, obeys the binding rule, validates, translates to Metal and Direct3D, and keeps
//! barriers and subgroup operations in uniform control flow.

use crate::uniformity;
use crate::{Test, count, say};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use radiograd::gpu::tuning::{TABLE, Tuning};
use radiograd::gpu::{KernelKey, half, kernel};
use radiograd::nn::{Convention, Optimizer, Rule};
use radiograd::plan::{LossScaling, update_kernels};
use radiograd::selftest::{cases, kernels};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

pub const TESTS: &[Test] = &[
    ("shaders::every_kernel_is_portable", every_kernel_is_portable),
    ("shaders::every_entry_point_is_used", every_entry_point_is_used),
    ("shaders::uniformity_analysis_sees_what_it_must", uniformity::self_test),
];

/// Every kernel of the table and the benchmarks under every row of the tuning table, and every optimizer's.
fn all() -> Vec<KernelKey> {
    let mut found: Vec<KernelKey> = Vec::new();
    let mut seen = HashSet::new();
    let tables = cases::table().into_iter().chain(cases::bench_table());
    let rows: Vec<Tuning> = TABLE.to_vec();
    for case in tables {
        for row in &rows {
            found.extend(kernels(&case, *row).into_iter().filter(|k| seen.insert(k.clone())));
        }
    }
    found.extend(optimizers().into_iter().filter(|k| seen.insert(k.clone())));
    found
}

fn optimizers() -> Vec<KernelKey> {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
    let rules = [
        Rule::Sgd { momentum: 0.9, nesterov: false },
        Rule::Sgd { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1, beta2, epsilon, decoupled: false },
        Rule::Adam { beta1, beta2, epsilon, decoupled: true },
        Rule::Nadam { beta1, beta2, epsilon },
        Rule::RmsProp { rho: 0.9, epsilon },
    ];
    let conventions = [Convention::Torch, Convention::Keras];
    let each = rules.into_iter().flat_map(|r| conventions.map(|c| Optimizer::new(r).with_convention(c)));
    // Each by itself, clipped, and accumulating.
    let each = each.flat_map(|o| [o.clone(), o.clone().with_clip_norm(1.0), o.with_accumulation(3)]);
    let each = each.flat_map(|o| [o.clone(), o.with_loss_scaling(LossScaling::default())]);
    each.flat_map(|o| update_kernels(&o, 4096, TABLE[0])).collect()
}

/// Validates; panics with naga's words.
fn validate(module: &naga::Module, what: &str) -> ModuleInfo {
    let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_INT64 | Capabilities::SHADER_FLOAT16;
    Validator::new(ValidationFlags::all(), capabilities).validate(module).unwrap_or_else(|e| panic!("{what}: {e:?}"))
}

/// The same kernel with every binding as f16 that can be.
fn narrow(key: &KernelKey) -> Option<KernelKey> {
    let (module, _) = kernel::parse(key).ok()?;
    let half = half::eligible(&module);
    (half != 0).then(|| KernelKey { half, ..key.clone() })
}

fn every_kernel_is_portable() {
    let mut keys = all();
    let narrow: Vec<KernelKey> = keys.iter().filter_map(narrow).collect();
    count("kernel variants with f16 bindings", narrow.len());
    keys.extend(narrow);
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let (mut msl, mut hlsl, mut guarded) = (0, 0, 0);
    for key in &keys {
        let what = format!("{} / {} {:?} f16 {:b}", key.source.file, key.entry, key.params, key.half);
        let (module, _) = kernel::parse(key).unwrap_or_else(|e| panic!("{what}: {e}"));
        let info = validate(&module, &what);
        let report = uniformity::check(&module).unwrap_or_else(|e| panic!("{what}: {e}"));
        guarded += report;
        let long = key.params.iter().any(|(n, v)| *n == "LOAD64" && *v == 1);
        match to_msl(&module, &info) {
            Ok(()) => msl += 1,
            Err(e) if long => *skipped.entry(format!("MSL, 64-bit loads: {e}")).or_default() += 1,
            Err(e) => panic!("{what}: no Metal: {e}"),
        }
        match to_hlsl(&module, &info) {
            Ok(()) => hlsl += 1,
            Err(e) if long => *skipped.entry(format!("HLSL, 64-bit loads: {e}")).or_default() += 1,
            Err(e) => panic!("{what}: no Direct3D: {e}"),
        }
    }
    count("kernel variants parsed, validated and of uniform control flow", keys.len());
    count("kernel variants translated to MSL", msl);
    count("kernel variants translated to HLSL", hlsl);
    count("barriers and subgroup operations proven in uniform control flow", guarded);
    for (what, n) in skipped {
        say(&format!("skipped {n} kernel variants: {what}"));
    }
}

fn to_msl(module: &naga::Module, info: &ModuleInfo) -> Result<(), String> {
    use naga::back::msl;
    // Subgroup operations need Metal 2.1, 64-bit integers 2.3; wgpu asks for the newest the system has.
    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    let (text, _) =
        msl::write_string(module, info, &options, &msl::PipelineOptions::default()).map_err(|e| e.to_string())?;
    if text.contains("kernel void") { Ok(()) } else { Err("no kernel in the result".into()) }
}

fn to_hlsl(module: &naga::Module, info: &ModuleInfo) -> Result<(), String> {
    use naga::back::hlsl;
    // Wave operations and 64-bit integers need shader model 6.0, 16-bit floats 6.2; wgpu compiles them with DXC.
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..hlsl::Options::default() };
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    let mut writer = hlsl::Writer::new(&mut text, &options, &pipeline);
    writer.write(module, info, None).map_err(|e| e.to_string())?;
    if text.contains("[numthreads(") { Ok(()) } else { Err("no kernel in the result".into()) }
}

/// A kernel that no case launches is a kernel that nobody tests.
fn every_entry_point_is_used() {
    let used: BTreeSet<(String, String)> =
        all().iter().map(|k| (k.source.file.to_string(), k.entry.to_string())).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let (mut unused, mut entries) = (Vec::new(), 0);
    for entry in std::fs::read_dir(&folder).expect("the shaders are part of the repository") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|e| e != "wgsl") {
            continue;
        }
        let file = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_string();
        let text = std::fs::read_to_string(&path).expect("a readable shader");
        let names = text.lines().filter_map(|l| {
            let rest = l.trim_start().strip_prefix("fn ")?;
            let (name, arguments) = rest.split_once('(')?;
            arguments.contains("@builtin").then(|| name.to_string())
        });
        let names: Vec<String> = names.collect();
        assert!(!names.is_empty(), "{file}: no entry point found");
        entries += names.len();
        unused.extend(
            names
                .into_iter()
                .map(|n| (file.clone(), n))
                .filter(|k| !used.contains(k) && !NOT_IN_A_PLAN.contains(&k.1.as_str())),
        );
    }
    assert!(unused.is_empty(), "entry points that no case of the table launches: {unused:?}");
    count("shader entry points", entries);
}

/// Entry points that the unit tests of their operation cover: the generator shown word by word.
const NOT_IN_A_PLAN: &[&str] = &["philox_words"];
