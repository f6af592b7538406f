//! Keras' weights under the names and in the layouts of this crate. Independent of the container: `super::hdf5` reads
//! that.
//!
//! | Keras | here |
//! |---|---|
//! | convolution `kernel` H W I O | `weight` O I H W |
//! | `depthwise_kernel` H W C M | `weight` C·M 1 H W |
//! | dense `kernel` I O | `weight` O I; after a flatten I goes from H W C to C H W |
//! | `gamma`, `beta`, `moving_mean`, `moving_variance` | `weight`, `bias`, `running_mean`, `running_var` |
//!
//! keras.applications loads by order, so its published files carry names of several ages: `block1_conv1_W_1:0`,
//! `conv1/conv/kernel:0`, `conv2d_95/kernel:0`. Names are brought to today's; numbered layers count by rank.

use super::file::StoredTensor;
use super::keras_layers::{Kind, Layer, layers};
use crate::graph::Shape;
use crate::nn::ParamStore;
use std::collections::{BTreeMap, HashMap};

/// An array of a Keras file.
#[derive(Clone, Debug, PartialEq)]
pub struct KerasArray {
    /// Its path: `block1_conv1/block1_conv1/kernel:0`.
    pub path: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// Its numbers, row-major.
    pub values: Vec<f32>,
}

/// Names of the classifier in older files.
const OLD_HEADS: [&str; 2] = ["probs", "fc1000"];

/// `arrays` as tensors of `network`, with the flatten order of the dense weights in `params`. What is no array of a layer
/// of this network keeps its path as its name: the loader then finds it unexpected.
///
/// # Errors
/// A text saying that the network is not in keras.applications, that the file is of Keras 3's own format, or that two
/// arrays are the same weight.
pub fn to_torch(
    network: &str,
    params: &ParamStore,
    arrays: Vec<KerasArray>,
) -> Result<Vec<StoredTensor<'static>>, String> {
    let layers = layers(network).ok_or_else(|| {
        format!(
            "Keras weights can be read for vgg16, vgg19, resnet50, densenet121, inception_v3, inception_resnet_v2 \
                 and xception, not for '{network}'"
        )
    })?;
    let mut by_layer: HashMap<String, Vec<(String, KerasArray)>> = HashMap::new();
    let mut tensors = Vec::new();
    for array in arrays {
        let size = array.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if size != Some(array.values.len()) {
            return Err(format!("{}: {} numbers for the shape {:?}", array.path, array.values.len(), array.dims));
        }
        if array.path.contains("/vars/") {
            return Err(format!(
                "{}: a file of Keras 3's own format, which has no layer names; save it as legacy .h5 (Keras 2, tf_keras)",
                array.path
            ));
        }
        match parse(&array.path) {
            Some((layer, part)) => by_layer.entry(layer).or_default().push((part, array)),
            None if array.path.contains("optimizer_weights/") => {}
            None => tensors.push(StoredTensor::owned(array.path, array.dims, array.values)),
        }
    }
    let names = ranked(&layers, &by_layer);
    for (layer, keras) in layers.iter().zip(names) {
        let old_head = OLD_HEADS.iter().find(|old| keras == "predictions" && by_layer.contains_key(**old));
        let Some(parts) = by_layer.remove(old_head.copied().unwrap_or(&keras)) else { continue };
        for (part, array) in parts {
            tensors.push(match target(layer, &part) {
                Some(name) => arrange(name, &part, array, params),
                None => StoredTensor::owned(array.path, array.dims, array.values),
            });
        }
    }
    let rest = by_layer.into_values().flatten();
    tensors.extend(rest.map(|(_, a)| StoredTensor::owned(a.path, a.dims, a.values)));
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    match tensors.windows(2).find(|w| w[0].name == w[1].name) {
        Some(w) => Err(format!("two arrays are {}", w[0].name)),
        None => Ok(tensors),
    }
}

/// Layer and part of an array: `conv1/conv/conv1/conv/kernel:0` is `kernel` of `conv1_conv`. `None` for what belongs to no
/// layer.
fn parse(path: &str) -> Option<(String, String)> {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("model_weights/").unwrap_or(path);
    if path.starts_with("optimizer_weights/") {
        return None;
    }
    let (folders, leaf) = path.rsplit_once('/')?;
    let folders: Vec<&str> = folders.split('/').collect();
    let half = folders.len() / 2;
    let own = match folders.as_slice() {
        // The layer's group, then the weight's full name, which begins with the layer again.
        f if f.len() % 2 == 0 && f[..half] == f[half..] => &folders[..half],
        // A network inside of a network.
        f if f.len() > 1 => &f[1..],
        f => f,
    };
    let layer = own.join("_");
    let leaf = leaf.rsplit_once(':').map_or(leaf, |(name, _)| name);
    // Keras 1: block1_conv1_W_1.
    let old = leaf.strip_prefix(layer.as_str()).and_then(|rest| rest.strip_prefix('_'));
    let part = old.map_or(leaf, |rest| rest.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_'));
    let part = match part {
        "W" => "kernel",
        "b" => "bias",
        "running_mean" => "moving_mean",
        // Keras 1 named the variance so.
        "running_std" => "moving_variance",
        other => other,
    };
    Some((layer, part.to_string()))
}

/// The names under which the file has `layers`: their own, or the numbered one of the same rank.
fn ranked<T>(layers: &[Layer], by_layer: &HashMap<String, T>) -> Vec<String> {
    let family = |kind| if kind == Kind::Norm { "batch_normalization" } else { "conv2d" };
    let numbered = |family: &str| -> Vec<String> {
        let number = |name: &str| match name.strip_prefix(family)? {
            "" => Some(0),
            rest => rest.strip_prefix('_')?.parse::<u64>().ok(),
        };
        let sorted: BTreeMap<u64, String> = by_layer.keys().filter_map(|n| Some((number(n)?, n.clone()))).collect();
        sorted.into_values().collect()
    };
    let mut queues: HashMap<&str, std::vec::IntoIter<String>> =
        ["batch_normalization", "conv2d"].map(|f| (f, numbered(f).into_iter())).into();
    let mut next = |kind| queues.get_mut(family(kind)).and_then(Iterator::next).unwrap_or_default();
    layers.iter().map(|layer| layer.keras.clone().unwrap_or_else(|| next(layer.kind))).collect()
}

/// The name here of a layer's part.
fn target(layer: &Layer, part: &str) -> Option<String> {
    let suffix = match (layer.kind, part) {
        (Kind::Weighted, "kernel") | (Kind::Norm, "gamma") => "weight",
        (Kind::Weighted, "bias") | (Kind::Norm, "beta") => "bias",
        (Kind::Norm, "moving_mean") => "running_mean",
        (Kind::Norm, "moving_variance") => "running_var",
        (Kind::Separable, "depthwise_kernel") => "conv1.weight",
        (Kind::Separable, "pointwise_kernel") => "pointwise.weight",
        (Kind::Separable, "bias") => "pointwise.bias",
        _ => return None,
    };
    Some(format!("{}.{suffix}", layer.module))
}

/// The numbers in the layout of this crate. A kernel with another number of dimensions stays as it is and will not fit.
fn arrange(name: String, part: &str, array: KerasArray, params: &ParamStore) -> StoredTensor<'static> {
    let KerasArray { dims, values, .. } = array;
    match (part, dims.as_slice()) {
        ("depthwise_kernel", &[h, w, c, m]) => {
            StoredTensor::owned(name, vec![c * m, 1, h, w], permute(&values, &[h, w, c, m], &[2, 3, 0, 1]))
        }
        ("kernel" | "pointwise_kernel", &[h, w, i, o]) => {
            StoredTensor::owned(name, vec![o, i, h, w], permute(&values, &dims, &[3, 2, 0, 1]))
        }
        ("kernel", &[i, o]) => {
            let flattened = match params.get(&name).map(|p| p.shape) {
                Some(Shape::Filter { c, r, s, .. }) if c * r * s == i => [r, s, c, o],
                _ => [1, 1, i, o],
            };
            StoredTensor::owned(name, vec![o, i], permute(&values, &flattened, &[3, 2, 0, 1]))
        }
        _ => StoredTensor::owned(name, dims, values),
    }
}

/// Row-major `values` of shape `dims`, with the axes in the order `axes`.
fn permute(values: &[f32], dims: &[usize], axes: &[usize; 4]) -> Vec<f32> {
    let mut strides = [1; 4];
    for a in (0..3).rev() {
        strides[a] = strides[a + 1] * dims[a + 1];
    }
    let (d, s) = (axes.map(|a| dims[a]), axes.map(|a| strides[a]));
    let mut out = Vec::with_capacity(values.len());
    for i in 0..d[0] {
        for j in 0..d[1] {
            for k in 0..d[2] {
                out.extend((0..d[3]).map(|l| values[i * s[0] + j * s[1] + k * s[2] + l * s[3]]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(path: &str, dims: &[usize], values: Vec<f32>) -> KerasArray {
        KerasArray { path: path.into(), dims: dims.to_vec(), values }
    }

    /// Numbers that tell where they stood.
    fn count(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn paths_of_every_age_are_understood() {
        let pair = |path| parse(path).unwrap();
        for (path, layer, part) in [
            ("block1_conv1/block1_conv1/kernel:0", "block1_conv1", "kernel"),
            ("block1_conv1/block1_conv1_W_1:0", "block1_conv1", "kernel"),
            ("bn_conv1/bn_conv1_running_std_1:0", "bn_conv1", "moving_variance"),
            ("/conv1/conv/conv1/conv/kernel:0", "conv1_conv", "kernel"),
            ("model_weights/conv2d_7/conv2d_7/bias:0", "conv2d_7", "bias"),
            ("model_weights/vgg16/block1_conv1/kernel:0", "block1_conv1", "kernel"),
            ("densenet121/conv1/bn/gamma:0", "conv1_bn", "gamma"),
            ("predictions/predictions/kernel", "predictions", "kernel"),
        ] {
            assert_eq!(pair(path), (layer.to_string(), part.to_string()), "{path}");
        }
        assert_eq!(parse("alone"), None);
        assert_eq!(parse("optimizer_weights/Adam/iterations:0"), None);
    }

    #[test]
    fn layouts_follow_their_formulas() {
        let a = arrange("x.weight".into(), "kernel", array("", &[2, 3, 4, 5], count(120)), &ParamStore::default());
        assert_eq!(a.dims, [5, 4, 2, 3]);
        let v = a.data.to_f32().unwrap();
        let (o, i, h, w) = (3, 2, 1, 2);
        assert_eq!(v[((o * 4 + i) * 2 + h) * 3 + w], (((h * 3 + w) * 4 + i) * 5 + o) as f32);
        let a = arrange("x".into(), "depthwise_kernel", array("", &[3, 3, 4, 2], count(72)), &ParamStore::default());
        assert_eq!(a.dims, [8, 1, 3, 3]);
        let (c, m, h, w) = (3, 1, 2, 0);
        assert_eq!(a.data.to_f32().unwrap()[(c * 2 + m) * 9 + h * 3 + w], (((h * 3 + w) * 4 + c) * 2 + m) as f32);
        let a = arrange("x".into(), "kernel", array("", &[7], count(7)), &ParamStore::default());
        assert_eq!(a.dims, [7], "what does not fit is left to the report");
    }

    #[test]
    fn what_is_not_understood_is_unexpected_or_an_error() {
        let none = ParamStore::default();
        let to = |network: &str, arrays| to_torch(network, &none, arrays);
        let one = |path: &str| vec![array(path, &[1], vec![0.0])];
        assert!(to("detl12", one("a/a/kernel:0")).unwrap_err().contains("not for 'detl12'"));
        assert!(to("vgg16", one("layers/conv2d/vars/0")).unwrap_err().contains("Keras 3's own format"));
        assert!(to("vgg16", vec![array("a/b", &[2], vec![0.0])]).unwrap_err().contains("1 numbers for the shape [2]"));
        let names = |arrays| to("vgg16", arrays).unwrap().into_iter().map(|t| t.name).collect::<Vec<_>>();
        assert_eq!(names(one("nobody/nobody/kernel:0")), ["nobody/nobody/kernel:0"]);
        assert_eq!(names(one("fc1/fc1/gamma:0")), ["fc1/fc1/gamma:0"]);
        let twice = [one("fc1/fc1/bias:0"), one("fc1/fc1_b_1:0")].concat();
        assert!(to("vgg16", twice).unwrap_err().contains("two arrays are classifier.0.bias"));
    }

    /// The rules against Keras' own weights, by name, as `../shared/parity/crosscheck.py` found them.
    #[test]
    fn the_rules_name_what_keras_has() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/parity/weights_map.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("skipped: ../shared/parity/weights_map.json is absent");
            return;
        };
        let map: serde_json::Value = serde_json::from_str(&text).unwrap();
        let nets = map["nets"].as_object().unwrap();
        assert_eq!(nets.len(), 7);
        for (network, rows) in nets {
            let rows: Vec<[String; 3]> = serde_json::from_value(rows.clone()).unwrap();
            // Each weight one number, its row; small shapes of the right rank.
            let arrays = rows.iter().enumerate().map(|(i, [_, keras, layout])| {
                let (layer, part) = keras.rsplit_once('/').unwrap();
                let rank = match layout.as_str() {
                    "HWIO" | "HWCM" => 4,
                    "IO" => 2,
                    _ => 1,
                };
                // Numbered as in a session that was not fresh, and later layers first.
                let layer = match layer.rsplit_once('_').map(|(f, n)| (f, n.parse::<u64>())) {
                    Some((family @ ("conv2d" | "batch_normalization"), Ok(n))) => format!("{family}_{}", n + 95),
                    _ if layer == "conv2d" || layer == "batch_normalization" => format!("{layer}_95"),
                    _ => layer.to_string(),
                };
                array(&format!("{layer}/{layer}/{part}:0"), &vec![1; rank], vec![i as f32])
            });
            let tensors = to_torch(network, &ParamStore::default(), arrays.rev().collect()).unwrap();
            assert_eq!(tensors.len(), rows.len(), "{network}");
            for t in tensors {
                let row = t.data.to_f32().unwrap()[0] as usize;
                assert_eq!(t.name, rows[row][0], "{network}: {}", rows[row][1]);
            }
        }
    }
}
