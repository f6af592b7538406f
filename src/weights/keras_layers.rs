//! The layers of keras.applications in the order in which Keras makes them, each with the module that it is here. Layers
//! without a name of their own are numbered by Keras as they are made, so their rank is all that counts.

/// What a Keras layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Convolution or dense layer: `kernel`, `bias`.
    Weighted,
    /// Batch normalisation: `gamma`, `beta`, `moving_mean`, `moving_variance`.
    Norm,
    /// Depthwise and pointwise convolution in one: modules `conv1` and `pointwise` of the one named here.
    Separable,
}

/// A layer of keras.applications and its module here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Keras' name; `None` where Keras numbers it (`conv2d_17`, `batch_normalization_17`).
    pub keras: Option<String>,
    pub kind: Kind,
    /// The module: `layer1.0.conv1`.
    pub module: String,
}

/// Collects layers.
#[derive(Default)]
struct List(Vec<Layer>);

impl List {
    fn push(&mut self, kind: Kind, keras: Option<String>, module: impl Into<String>) {
        self.0.push(Layer { keras, kind, module: module.into() });
    }

    fn weighted(&mut self, keras: impl Into<String>, module: impl Into<String>) {
        self.push(Kind::Weighted, Some(keras.into()), module);
    }

    fn norm(&mut self, keras: impl Into<String>, module: impl Into<String>) {
        self.push(Kind::Norm, Some(keras.into()), module);
    }

    /// `module.conv` and `module.bn`, both numbered by Keras.
    fn numbered(&mut self, module: &str) {
        self.push(Kind::Weighted, None, format!("{module}.conv"));
        self.push(Kind::Norm, None, format!("{module}.bn"));
    }
}

/// The layers of `network`, without or with `_keras`; `None` for networks that are not in keras.applications.
pub(super) fn layers(network: &str) -> Option<Vec<Layer>> {
    let mut list = List::default();
    let head = match super::names::base(network) {
        "vgg16" => vgg(&mut list, [2, 2, 3, 3, 3]),
        "vgg19" => vgg(&mut list, [2, 2, 4, 4, 4]),
        "resnet50" => resnet50(&mut list),
        "densenet121" => densenet121(&mut list),
        "inception_v3" => inception_v3(&mut list),
        "inception_resnet_v2" => inception_resnet_v2(&mut list),
        "xception" => xception(&mut list),
        _ => return None,
    };
    list.weighted("predictions", head);
    Some(list.0)
}

fn vgg(list: &mut List, convolutions: [usize; 5]) -> &'static str {
    let mut index = 0;
    for (block, count) in convolutions.into_iter().enumerate() {
        for conv in 1..=count {
            list.weighted(format!("block{}_conv{conv}", block + 1), format!("features.{index}"));
            // Convolution and ReLU; after the block a pool.
            index += 2;
        }
        index += 1;
    }
    list.weighted("fc1", "classifier.0");
    list.weighted("fc2", "classifier.3");
    "classifier.6"
}

fn resnet50(list: &mut List) -> &'static str {
    list.weighted("conv1_conv", "conv1");
    list.norm("conv1_bn", "bn1");
    for (stage, blocks) in [(1, 3), (2, 4), (3, 6), (4, 3)] {
        for block in 0..blocks {
            let keras = format!("conv{}_block{}", stage + 1, block + 1);
            let here = format!("layer{stage}.{block}");
            if block == 0 {
                list.weighted(format!("{keras}_0_conv"), format!("{here}.downsample.0"));
                list.norm(format!("{keras}_0_bn"), format!("{here}.downsample.1"));
            }
            for i in 1..=3 {
                list.weighted(format!("{keras}_{i}_conv"), format!("{here}.conv{i}"));
                list.norm(format!("{keras}_{i}_bn"), format!("{here}.bn{i}"));
            }
        }
    }
    "fc"
}

fn densenet121(list: &mut List) -> &'static str {
    list.weighted("conv1_conv", "features.conv0");
    list.norm("conv1_bn", "features.norm0");
    for (block, layers) in [(1, 6), (2, 12), (3, 24), (4, 16)] {
        for layer in 1..=layers {
            let keras = format!("conv{}_block{layer}", block + 1);
            let here = format!("features.denseblock{block}.denselayer{layer}");
            list.norm(format!("{keras}_0_bn"), format!("{here}.norm1"));
            list.weighted(format!("{keras}_1_conv"), format!("{here}.conv1"));
            list.norm(format!("{keras}_1_bn"), format!("{here}.norm2"));
            list.weighted(format!("{keras}_2_conv"), format!("{here}.conv2"));
        }
        if block < 4 {
            list.norm(format!("pool{}_bn", block + 1), format!("features.transition{block}.norm"));
            list.weighted(format!("pool{}_conv", block + 1), format!("features.transition{block}.conv"));
        }
    }
    list.norm("bn", "features.norm5");
    "classifier"
}

/// Convolutions of a module of InceptionV3 in Keras' order.
const INCEPTION_A: &[&str] =
    &["branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch_pool"];
const INCEPTION_B: &[&str] = &["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"];
const INCEPTION_C: &[&str] = &[
    "branch1x1",
    "branch7x7_1",
    "branch7x7_2",
    "branch7x7_3",
    "branch7x7dbl_1",
    "branch7x7dbl_2",
    "branch7x7dbl_3",
    "branch7x7dbl_4",
    "branch7x7dbl_5",
    "branch_pool",
];
const INCEPTION_D: &[&str] =
    &["branch3x3_1", "branch3x3_2", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"];
const INCEPTION_E: &[&str] = &[
    "branch1x1",
    "branch3x3_1",
    "branch3x3_2a",
    "branch3x3_2b",
    "branch3x3dbl_1",
    "branch3x3dbl_2",
    "branch3x3dbl_3a",
    "branch3x3dbl_3b",
    "branch_pool",
];

/// The modules of InceptionV3, and which of the lists above each has.
const INCEPTION_V3: &[(&str, &[&str])] = &[
    ("Mixed_5b", INCEPTION_A),
    ("Mixed_5c", INCEPTION_A),
    ("Mixed_5d", INCEPTION_A),
    ("Mixed_6a", INCEPTION_B),
    ("Mixed_6b", INCEPTION_C),
    ("Mixed_6c", INCEPTION_C),
    ("Mixed_6d", INCEPTION_C),
    ("Mixed_6e", INCEPTION_C),
    ("Mixed_7a", INCEPTION_D),
    ("Mixed_7b", INCEPTION_E),
    ("Mixed_7c", INCEPTION_E),
];

fn inception_v3(list: &mut List) -> &'static str {
    ["1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"].iter().for_each(|n| list.numbered(&format!("Conv2d_{n}")));
    for (module, convolutions) in INCEPTION_V3 {
        convolutions.iter().for_each(|c| list.numbered(&format!("{module}.{c}")));
    }
    "fc"
}

/// Branches of the modules of InceptionResNetV2 in Keras' order: the stem's, the three reductions', the three blocks'.
const MIXED_5B: &[&str] = &["branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2", "branch3.1"];
const MIXED_6A: &[&str] = &["branch0", "branch1.0", "branch1.1", "branch1.2"];
const MIXED_7A: &[&str] = &["branch0.0", "branch0.1", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2"];
const BLOCK_35: &[&str] = &["branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2"];
const BLOCK_17_AND_8: &[&str] = &["branch0", "branch1.0", "branch1.1", "branch1.2"];

fn inception_resnet_v2(list: &mut List) -> &'static str {
    let module = |list: &mut List, name: &str, branches: &[&str]| {
        branches.iter().for_each(|b| list.numbered(&format!("{name}.{b}")));
    };
    // The branches are numbered, the convolution behind them has a name and no batch normalisation.
    let block = |list: &mut List, name: String, branches: &[&str], keras: String| {
        module(list, &name, branches);
        list.weighted(keras, format!("{name}.conv2d"));
    };
    ["1a", "2a", "2b", "3b", "4a"].iter().for_each(|n| list.numbered(&format!("conv2d_{n}")));
    module(list, "mixed_5b", MIXED_5B);
    (0..10).for_each(|i| block(list, format!("repeat.{i}"), BLOCK_35, format!("block35_{}_conv", i + 1)));
    module(list, "mixed_6a", MIXED_6A);
    (0..20).for_each(|i| block(list, format!("repeat_1.{i}"), BLOCK_17_AND_8, format!("block17_{}_conv", i + 1)));
    module(list, "mixed_7a", MIXED_7A);
    (0..9).for_each(|i| block(list, format!("repeat_2.{i}"), BLOCK_17_AND_8, format!("block8_{}_conv", i + 1)));
    block(list, "block8".into(), BLOCK_17_AND_8, "block8_10_conv".into());
    list.weighted("conv_7b", "conv2d_7b.conv");
    list.norm("conv_7b_bn", "conv2d_7b.bn");
    "classif"
}

fn xception(list: &mut List) -> &'static str {
    for i in 1..=2 {
        list.weighted(format!("block1_conv{i}"), format!("conv{i}"));
        list.norm(format!("block1_conv{i}_bn"), format!("bn{i}"));
    }
    for block in 1..=12 {
        if matches!(block, 1..=3 | 12) {
            list.push(Kind::Weighted, None, format!("block{block}.skip"));
            list.push(Kind::Norm, None, format!("block{block}.skipbn"));
        }
        // Inside a block: ReLU, separable convolution, batch norm; the first block begins without the ReLU.
        let first = usize::from(block > 1);
        let count = if matches!(block, 4..=11) { 3 } else { 2 };
        for i in 0..count {
            let (keras, at) = (format!("block{}_sepconv{}", block + 1, i + 1), first + 3 * i);
            list.push(Kind::Separable, Some(keras.clone()), format!("block{block}.rep.{at}"));
            list.norm(format!("{keras}_bn"), format!("block{block}.rep.{}", at + 1));
        }
    }
    for i in 1..=2 {
        list.push(Kind::Separable, Some(format!("block14_sepconv{i}")), format!("conv{}", i + 2));
        list.norm(format!("block14_sepconv{i}_bn"), format!("bn{}", i + 2));
    }
    "fc"
}
