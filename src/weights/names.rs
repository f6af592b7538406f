//! What weights files of others call their tensors, a network a row: names to ignore, names to change, the first
//! convolution and the classifier. Everything that is not in these tables must fit by name, or loading fails.

/// The names of one network (its `_keras` dialect has the same).
#[derive(Debug)]
pub struct NameTable {
    /// Networks that this row is for.
    pub networks: &'static [&'static str],
    /// Patterns of tensors that have no place here; `*` stands for anything.
    pub ignore: &'static [&'static str],
    /// Patterns of old or foreign names and what becomes of them: the n-th `*` of the second is what the n-th of the
    /// first stood for.
    pub rename: &'static [(&'static str, &'static str)],
    /// The convolution that sees the image, for [`super::LoadOptions::fold_grayscale`].
    pub first_conv: &'static str,
    /// The classifier: what transfer learning replaces.
    pub head: &'static str,
}

/// For every network: PyTorch's count of batches, and the prefixes of its wrappers for several devices and for `compile`.
pub const EVERY: NameTable = NameTable {
    networks: &[],
    ignore: &["*.num_batches_tracked"],
    rename: &[("module.*", "*"), ("_orig_mod.*", "*")],
    first_conv: "",
    head: "",
};

/// A row a network.
pub const TABLES: &[NameTable] = &[
    NameTable { first_conv: "block1.conv1", head: "fc3", ..own(&["detl12", "zhong_dcnn"]) },
    NameTable { first_conv: "conv1", head: "out", ..own(&["hernandez_custom"]) },
    NameTable { first_conv: "conv1", head: "dense4", ..own(&["gaowang"]) },
    NameTable {
        networks: &["vgg16", "vgg19"],
        ignore: &[],
        // timm writes the dense layers as convolutions of 7 x 7 and of 1 x 1: the same numbers in the same order.
        rename: &[
            ("pre_logits.fc1.*", "classifier.0.*"),
            ("pre_logits.fc2.*", "classifier.3.*"),
            ("head.fc.*", "classifier.6.*"),
        ],
        first_conv: "features.0",
        head: "classifier.6",
    },
    NameTable { first_conv: "conv1", head: "fc", ..own(&["resnet50"]) },
    NameTable {
        networks: &["densenet121"],
        ignore: &[],
        // torchvision's file of 2017: a module's name had a point.
        rename: &[
            ("features.denseblock*.denselayer*.norm.*", "features.denseblock*.denselayer*.norm*"),
            ("features.denseblock*.denselayer*.conv.*", "features.denseblock*.denselayer*.conv*"),
        ],
        first_conv: "features.conv0",
        head: "classifier",
    },
    NameTable {
        networks: &["inception_v3"],
        // The second classifier serves only the training from nothing.
        ignore: &["AuxLogits.*"],
        rename: &[],
        first_conv: "Conv2d_1a_3x3.conv",
        head: "fc",
    },
    NameTable {
        networks: &["inception_resnet_v2"],
        ignore: &[],
        rename: &[("last_linear.*", "classif.*")],
        first_conv: "conv2d_1a.conv",
        head: "classif",
    },
    NameTable {
        networks: &["xception"],
        ignore: &[],
        rename: &[("last_linear.*", "fc.*")],
        first_conv: "conv1",
        head: "fc",
    },
];

const fn own(networks: &'static [&'static str]) -> NameTable {
    NameTable { networks, ignore: &[], rename: &[], first_conv: "", head: "" }
}

/// The name without the mark of the Keras dialect.
pub(super) fn base(network: &str) -> &str {
    network.strip_suffix("_keras").unwrap_or(network)
}

/// The row of `network` or of its `_keras` dialect; [`EVERY`] where it has none.
pub fn table(network: &str) -> &'static NameTable {
    TABLES.iter().find(|t| t.networks.contains(&base(network))).unwrap_or(&EVERY)
}

impl NameTable {
    /// Whether a file's tensor of this name is left out.
    pub fn ignores(&self, name: &str) -> bool {
        EVERY.ignore.iter().chain(self.ignore).any(|p| capture(p, name).is_some())
    }

    /// What the file's `name` is called here, where `known` tells this network's own names, which always win. Rules may
    /// follow each other: a prefix goes, then an old key changes.
    pub fn rename(&self, name: &str, known: impl Fn(&str) -> bool) -> String {
        let mut now = name.to_string();
        for _ in 0..4 {
            if known(&now) {
                break;
            }
            let rules = EVERY.rename.iter().chain(self.rename);
            let next = rules.clone().find_map(|(from, to)| Some(expand(to, &capture(from, &now)?)));
            match next {
                Some(next) => now = next,
                None => break,
            }
        }
        now
    }
}

/// What the stars of `pattern` stand for in `text`, the shortest first; `None` when it does not match.
fn capture<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let Some((head, tail)) = pattern.split_once('*') else { return (pattern == text).then(Vec::new) };
    let rest = text.strip_prefix(head)?;
    let ends = rest.char_indices().map(|(i, _)| i).chain([rest.len()]);
    ends.into_iter().find_map(|i| {
        let mut stars = capture(tail, &rest[i..])?;
        stars.insert(0, &rest[..i]);
        Some(stars)
    })
}

/// `pattern` with its stars replaced.
fn expand(pattern: &str, stars: &[&str]) -> String {
    let mut stars = stars.iter();
    pattern.chars().map(|c| if c == '*' { stars.next().copied().unwrap_or("").into() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_foreign_names_become_ours() {
        let rename = |network: &str, name: &str| table(network).rename(name, |_| false);
        let old = "features.denseblock1.denselayer12.norm.1.running_mean";
        assert_eq!(rename("densenet121", old), "features.denseblock1.denselayer12.norm1.running_mean");
        let old = "module.features.denseblock4.denselayer3.conv.2.weight";
        assert_eq!(rename("densenet121_keras", old), "features.denseblock4.denselayer3.conv2.weight");
        assert_eq!(rename("vgg16", "pre_logits.fc1.weight"), "classifier.0.weight");
        assert_eq!(rename("vgg19", "head.fc.bias"), "classifier.6.bias");
        assert_eq!(rename("xception", "last_linear.weight"), "fc.weight");
        assert_eq!(rename("inception_resnet_v2", "last_linear.bias"), "classif.bias");
        assert_eq!(rename("resnet50", "last_linear.bias"), "last_linear.bias");
        assert_eq!(table("xception").rename("last_linear.bias", |n| n == "last_linear.bias"), "last_linear.bias");
        for same in
            ["features.transition1.norm.weight", "features.norm5.bias", "features.denseblock1.denselayer1.norm1.bias"]
        {
            assert_eq!(rename("densenet121", same), same);
        }
    }

    #[test]
    fn ignored_names_are_the_tables_and_no_others() {
        let aux = "AuxLogits.conv0.conv.weight";
        assert!(table("inception_v3").ignores(aux) && table("inception_v3_keras").ignores(aux));
        assert!(!table("resnet50").ignores(aux) && table("resnet50").ignores("bn1.num_batches_tracked"));
        assert!(!table("inception_v3").ignores("fc.weight") && !table("nobody").ignores("fc.weight"));
    }
}
