//! Round trips and every kind of misfit, with files of the reference implementation.

use super::{LoadOptions, Metadata, Precision, dims, inspect, load_with, save, save_as};
use crate::graph::Shape;
use crate::nn::{Param, ParamStore};
use half::{bf16, f16};
use std::path::Path;

/// A store with the names and kinds of these parameters; every number differs.
fn store(params: &[(&str, &[usize])]) -> ParamStore {
    let make = |(i, (name, d)): (usize, &(&str, &[usize]))| {
        let shape = match **d {
            [k, c, r, s] => Shape::Filter { k, c, r, s },
            [k, f] => Shape::Filter { k, c: f, r: 1, s: 1 },
            _ => Shape::Channels { c: d.iter().product() },
        };
        let value = |k: usize| (i as f32 + 1.0) + k as f32 / 64.0;
        let values = (0..shape.elements()).map(value).collect();
        Param { name: name.to_string(), shape, trainable: true, values }
    };
    ParamStore { params: params.iter().enumerate().map(make).collect() }
}

const RESNET: &[(&str, &[usize])] = &[
    ("conv1.weight", &[4, 3, 3, 3]),
    ("bn1.weight", &[4]),
    ("bn1.bias", &[4]),
    ("bn1.running_mean", &[4]),
    ("bn1.running_var", &[4]),
    ("fc.weight", &[5, 4]),
    ("fc.bias", &[5]),
];

/// Other numbers than `store` gives.
fn fresh(params: &[(&str, &[usize])]) -> ParamStore {
    let mut s = store(params);
    s.params.iter_mut().for_each(|p| p.values.iter_mut().for_each(|v| *v = -*v));
    s
}

/// A file of the reference implementation.
fn write(path: &Path, tensors: &[(&str, &str, Vec<usize>, Vec<u8>)]) {
    use safetensors::tensor::{Dtype, TensorView};
    let kind = |k: &str| match k {
        "F16" => Dtype::F16,
        "BF16" => Dtype::BF16,
        "I64" => Dtype::I64,
        _ => Dtype::F32,
    };
    let view = |(n, k, d, b): &'_ _| -> (String, _) {
        let (n, k, d, b): (&&str, &&str, &Vec<usize>, &Vec<u8>) = (n, k, d, b);
        (n.to_string(), TensorView::new(kind(k), d.clone(), b.as_slice().to_vec().leak()).unwrap())
    };
    let bytes = safetensors::serialize(tensors.iter().map(view), None).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The tensors of `s` as the reference would write them.
fn tensors(s: &ParamStore) -> Vec<(&str, &'static str, Vec<usize>, Vec<u8>)> {
    s.params.iter().map(|p| (p.name.as_str(), "F32", dims(&p.name, p.shape), bytes(&p.values))).collect()
}

#[test]
fn f32_f16_and_bf16_arrive_and_the_reference_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let source = store(RESNET);
    for kind in ["F32", "F16", "BF16"] {
        let narrow = |v: &f32| match kind {
            "F32" => v.to_le_bytes().to_vec(),
            "F16" => f16::from_f32(*v).to_le_bytes().to_vec(),
            _ => bf16::from_f32(*v).to_le_bytes().to_vec(),
        };
        let list = source
            .params
            .iter()
            .map(|p| (p.name.as_str(), kind, dims(&p.name, p.shape), p.values.iter().flat_map(narrow).collect()));
        write(&path, &list.collect::<Vec<_>>());
        let mut s = fresh(RESNET);
        let loaded = load_with(&path, &mut s, &LoadOptions::of("resnet50")).unwrap();
        assert_eq!(loaded.report.loaded.len(), 7);
        for (p, q) in s.params.iter().zip(&source.params) {
            let exact = |v: f32| match kind {
                "F32" => v,
                "F16" => f16::from_f32(v).to_f32(),
                _ => bf16::from_f32(v).to_f32(),
            };
            assert_eq!(p.values, q.values.iter().map(|v| exact(*v)).collect::<Vec<_>>(), "{kind} {}", p.name);
        }
    }
    let info = Metadata::from([("network".to_string(), "resnet50".to_string())]);
    for precision in [Precision::F32, Precision::F16] {
        save_as(&path, &source, &info, precision).unwrap();
        let first = std::fs::read(&path).unwrap();
        save_as(&path, &source, &info, precision).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "the same content, the same bytes");
        let reference = safetensors::SafeTensors::deserialize(&first).unwrap();
        assert_eq!(reference.tensor("fc.weight").unwrap().shape(), [5, 4]);
        let want = if precision == Precision::F16 { "F16" } else { "F32" };
        assert_eq!(format!("{:?}", reference.tensor("conv1.weight").unwrap().dtype()), want);
        assert_eq!(format!("{:?}", reference.tensor("bn1.running_var").unwrap().dtype()), "F32");
        let mut s = fresh(RESNET);
        let loaded = load_with(&path, &mut s, &LoadOptions::default()).unwrap();
        assert_eq!(loaded.metadata["sha256"], s.digest(), "the digest is that of what is loaded");
    }
    let mut large = store(RESNET);
    large.params[0].values[1] = 70000.0;
    let e = save_as(&path, &large, &info, Precision::F16).unwrap_err();
    assert!(e.to_string().contains("conv1.weight: 70000 is too large for F16") && e.exit_code() == 6, "{e}");
}

#[test]
fn every_misfit_is_reported_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let source = store(RESNET);
    let mut list = tensors(&source);
    list[1].0 = "bn1.weigth";
    list[2] = ("bn1.bias", "I64", vec![4], vec![0; 32]);
    list[4].3 = bytes(&[1.0, 2.0, f32::NAN, 1.0]);
    list[5].2 = vec![4, 5];
    list.push(("module.fc.bias", "F32", vec![5], bytes(&[0.0; 5])));
    list.push(("bn1.num_batches_tracked", "I64", vec![], vec![0; 8]));
    write(&path, &list);
    let mut s = fresh(RESNET);
    let before = s.clone();
    let e = load_with(&path, &mut s, &LoadOptions::of("resnet50")).unwrap_err();
    assert_eq!((&s, e.exit_code()), (&before, 5));
    for part in [
        "1 missing: bn1.weight (nearest: bn1.weigth)",
        "1 unexpected: bn1.weigth (nearest: bn1.weight)",
        "fc.bias",
        "are both fc.bias",
        "fc.weight is [4, 5], needed is [5, 4]",
        "bn1.bias is I64, needed is F32, F16 or BF16",
        "bn1.running_var holds NaN at element 2",
    ] {
        assert!(e.to_string().contains(part), "{part} is not in: {e}");
    }
    let report = inspect(&path, &s, &LoadOptions::of("resnet50")).unwrap().report;
    assert_eq!(report.ignored, ["bn1.num_batches_tracked"]);
    assert_eq!((report.loaded.len(), report.missing.len(), report.ambiguous.len()), (3, 1, 1));

    // Not strict: missing and unexpected pass, and only those.
    let mut list = tensors(&source);
    list[1].0 = "other.weight";
    write(&path, &list);
    let lenient = LoadOptions { strict: false, ..LoadOptions::of("resnet50") };
    load_with(&path, &mut s, &lenient).unwrap();
    assert_eq!(s.params[1], before.params[1]);
    assert_eq!(s.params[0], source.params[0]);
    list[0].2 = vec![4, 3, 9, 1];
    write(&path, &list);
    assert!(load_with(&path, &mut s, &lenient).is_err());
}

#[test]
fn a_new_head_keeps_its_numbers_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let source = store(RESNET);
    write(&path, &tensors(&source));
    // Two classes; and a bias that would fit although the weight does not.
    for classes in [2, 5] {
        let mut changed = RESNET.to_vec();
        let (weight, bias) = ([classes, 7], [classes]);
        (changed[5].1, changed[6].1) = (&weight, &bias);
        let mut s = fresh(&changed);
        let before = s.clone();
        assert!(load_with(&path, &mut s, &LoadOptions::of("resnet50")).is_err());
        let loaded = load_with(&path, &mut s, &LoadOptions::of("resnet50").with_new_head()).unwrap();
        assert_eq!(loaded.report.replaced, ["fc.weight", "fc.bias"]);
        assert_eq!(loaded.report.ignored, ["fc.weight", "fc.bias"]);
        assert_eq!((&s.params[..5], &s.params[5..]), (&source.params[..5], &before.params[5..]));
    }
    // Another head with other names: the old one is not unexpected.
    let mut other = RESNET.to_vec();
    (other[5].0, other[6].0) = ("fc.new.weight", "fc.new.bias");
    let loaded = load_with(&path, &mut fresh(&other), &LoadOptions::of("resnet50").with_new_head()).unwrap();
    assert_eq!(loaded.report.replaced.len(), 2);
    let mut same = fresh(RESNET);
    let loaded = load_with(&path, &mut same, &LoadOptions::of("resnet50").with_new_head()).unwrap();
    assert!(loaded.report.replaced.is_empty() && same == source);
}

#[test]
fn the_first_filter_is_summed_over_its_channels_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let source = store(RESNET);
    write(&path, &tensors(&source));
    let mut gray = RESNET.to_vec();
    gray[0].1 = &[4, 1, 3, 3];
    let mut s = fresh(&gray);
    let e = load_with(&path, &mut s, &LoadOptions::of("resnet50")).unwrap_err().to_string();
    assert!(e.contains("conv1.weight is [4, 3, 3, 3], needed is [4, 1, 3, 3]"), "{e}");
    let loaded = load_with(&path, &mut s, &LoadOptions::of("resnet50").with_grayscale_fold()).unwrap();
    assert_eq!(loaded.report.folded.as_deref(), Some("conv1.weight"));
    let w = &source.params[0].values;
    for (o, p) in [(0, 0), (2, 5), (3, 8)] {
        assert_eq!(s.params[0].values[o * 9 + p], (0..3).map(|i| w[(o * 3 + i) * 9 + p]).sum::<f32>());
    }
    // Only the first convolution, not any that happens to have one channel.
    let two: &[(&str, &[usize])] = &[("layer1.0.conv1.weight", &[4, 3, 3, 3])];
    write(&path, &tensors(&store(two)));
    let one: &[(&str, &[usize])] = &[("layer1.0.conv1.weight", &[4, 1, 3, 3])];
    assert!(load_with(&path, &mut fresh(one), &LoadOptions::of("resnet50").with_grayscale_fold()).is_err());
}

#[test]
fn names_of_others_and_dense_layers_as_convolutions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let ours: &[(&str, &[usize])] = &[("classifier.0.weight", &[5, 2, 3, 3]), ("classifier.0.bias", &[5])];
    let source = store(ours);
    let w = bytes(&source.params[0].values);
    let b = bytes(&source.params[1].values);
    for (names, shape) in [
        (["classifier.0.weight", "classifier.0.bias"], vec![5, 18]),
        (["pre_logits.fc1.weight", "pre_logits.fc1.bias"], vec![5, 2, 3, 3]),
        (["module.pre_logits.fc1.weight", "module.classifier.0.bias"], vec![5, 18]),
    ] {
        write(&path, &[(names[0], "F32", shape, w.clone()), (names[1], "F32", vec![5], b.clone())]);
        let mut s = fresh(ours);
        let loaded = load_with(&path, &mut s, &LoadOptions::of("vgg16")).unwrap();
        assert_eq!(s, source);
        assert_eq!(loaded.report.renamed.len(), names.iter().filter(|n| !n.starts_with("classifier")).count());
    }
    save(&path, &source, &[("network".into(), "vgg16".into())].into()).unwrap();
    let e = load_with(&path, &mut fresh(ours), &LoadOptions::of("resnet50")).unwrap_err().to_string();
    assert!(e.contains("holds weights of the network 'vgg16', needed are those of 'resnet50'"), "{e}");
    load_with(&path, &mut fresh(ours), &LoadOptions::of("vgg16_keras")).unwrap();

    std::fs::write(&path, b"PK\x03\x04 and so on").unwrap();
    let e = load_with(&path, &mut fresh(ours), &LoadOptions::of("vgg16")).unwrap_err().to_string();
    assert!(e.contains("convert it with examples/convert_weights.py"), "{e}");
}
