//! What is known of the public collections that a folder's name may speak of: the texts of `data-manifests/`.

use crate::data::manifest::Manifest;
use crate::data::table::Origin;

/// The published manifests, built in so that a program away from its sources knows the licences.
const MANIFESTS: [&str; 8] = [
    include_str!("../../data-manifests/actualmed.toml"),
    include_str!("../../data-manifests/chexpert.toml"),
    include_str!("../../data-manifests/cohen.toml"),
    include_str!("../../data-manifests/figure1.toml"),
    include_str!("../../data-manifests/kermany.toml"),
    include_str!("../../data-manifests/nih-chestxray14.toml"),
    include_str!("../../data-manifests/rsna.toml"),
    include_str!("../../data-manifests/synthetic.toml"),
];

/// What the published manifest of `collection` says; marked as assumed, for a folder of that name may hold anything.
pub fn known(collection: &str) -> Option<Origin> {
    let manifests = MANIFESTS.iter().filter_map(|text| toml::from_str::<Manifest>(text).ok());
    let found = manifests.into_iter().find(|m| m.collection.as_ref().unwrap_or(&m.name) == collection)?;
    Some(Origin { assumed: true, ..found.origin() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_collections_are_known() {
        for name in ["actualmed", "chexpert", "cohen", "figure1", "kermany", "nih", "rsna", "synthetic"] {
            let origin = known(name).unwrap_or_else(|| panic!("{name}"));
            assert!(!origin.licence.is_empty() && !origin.citation.is_empty() && origin.assumed);
            assert_eq!(origin.children, name == "kermany");
        }
        assert_eq!(known("mine"), None);
    }
}
