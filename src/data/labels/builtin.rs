//! The label maps that come with the program.

/// Name and text of each, in the order of their listing.
const MAPS: [(&str, &str); 10] = [
    ("normal-disease", include_str!("../../../data-manifests/labels/normal-disease.toml")),
    ("hernandez-stage1", include_str!("../../../data-manifests/labels/hernandez-stage1.toml")),
    ("hernandez-binary", include_str!("../../../data-manifests/labels/hernandez-binary.toml")),
    ("hernandez-covid", include_str!("../../../data-manifests/labels/hernandez-covid.toml")),
    ("balvinsson-covid", include_str!("../../../data-manifests/labels/balvinsson-covid.toml")),
    ("balvinsson-viral", include_str!("../../../data-manifests/labels/balvinsson-viral.toml")),
    ("zhong", include_str!("../../../data-manifests/labels/zhong.toml")),
    ("gao-wang-stage1", include_str!("../../../data-manifests/labels/gao-wang-stage1.toml")),
    ("gao-wang-stage2", include_str!("../../../data-manifests/labels/gao-wang-stage2.toml")),
    ("synthetic", include_str!("../../../data-manifests/labels/synthetic.toml")),
];

/// Names of the built-in maps.
pub fn names() -> Vec<&'static str> {
    MAPS.iter().map(|m| m.0).collect()
}

/// The TOML text of a built-in map.
pub(super) fn text(name: &str) -> Option<&'static str> {
    MAPS.iter().find(|m| m.0 == name).map(|m| m.1)
}
