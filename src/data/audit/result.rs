//! What an audit found: the shape of `audit.json`. No file name and no patient's number is in it unless names are shown.

use crate::data::audit::groups::Kind;
use crate::data::audit::leak::Leak;
use crate::eval::interval::Interval;
use crate::eval::{CrossTable, Dropped};
use serde::{Deserialize, Serialize};

/// The format tag.
pub const FORMAT: &str = "radiograd-audit-1";

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Always [`FORMAT`].
    pub format: String,
    /// Program and version.
    pub program: String,
    /// What this program is not.
    pub disclaimer: String,
    /// Folders and manifests, as they were given.
    pub data: Vec<String>,
    /// Whether names of files are shown instead of hashes.
    pub names_shown: bool,
    /// What a reader should know first.
    pub warnings: Vec<String>,
    /// Usable images.
    pub images: u64,
    /// Digest over paths, files and pixels of all usable images, as in the manifest of digests.
    pub sha256: String,
    /// Images that cannot be used.
    pub unusable: Vec<Unusable>,
    /// Rows that were left out.
    pub dropped: Vec<Dropped>,
    /// Remarks of the readers.
    pub notes: Vec<String>,
    /// By source.
    pub sources: Vec<Source>,
    /// How classes were made.
    pub class_rule: String,
    /// Images that no class takes.
    pub unclassed: u64,
    /// Classes by number of images.
    pub classes: Vec<ClassCount>,
    /// Patients.
    pub patients: Patients,
    /// Images that are one.
    pub duplicates: Duplicates,
    /// Pictures that two sources share.
    pub shared: Vec<Shared>,
    /// Views.
    pub views: Views,
    /// Ages.
    pub ages: Ages,
    /// What could tell the label instead of the lungs, one by one.
    pub properties: Vec<Property>,
    /// Class against source, class against view, source against view.
    pub tables: Vec<CrossTable>,
    /// How well label and source are guessed without a look at detail.
    pub predictions: Vec<Prediction>,
    /// Divisions whose parts were compared.
    pub divisions: Vec<String>,
    /// What crosses.
    pub leaks: Vec<Leak>,
    /// Why leaks were allowed, where there were any.
    pub leak_allowed: Option<String>,
}

/// An image that cannot be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unusable {
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// A folder or manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its collection.
    pub collection: String,
    /// Usable images.
    pub images: u64,
    /// Known patients.
    pub patients: u64,
    /// Images without a patient.
    pub without_patient: u64,
    /// Smallest and largest longer side in pixels.
    pub side: [u32; 2],
    /// Images by format.
    pub formats: Vec<Count>,
    /// Licence; `None` where nothing is known.
    pub licence: Option<String>,
    /// Whether the licence is that of the collection of this name, not stated for the folder itself.
    pub licence_assumed: bool,
    /// Mean and deviation of all gray values in [0, 1].
    pub gray: [f64; 2],
}

/// A name and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub images: u64,
}

/// A class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// Images.
    pub images: u64,
    /// Patients (an image without one counts as its own).
    pub patients: u64,
    /// Sources that have it.
    pub sources: u64,
}

/// Patients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Patients {
    /// Known patients.
    pub known: u64,
    /// Patients with more than one image.
    pub with_several: u64,
    /// Images of those.
    pub images_of_those: u64,
    /// Most images of one patient.
    pub most: u64,
    /// Patients in more than one source.
    pub in_several_sources: u64,
    /// Patients whose images have more than one class.
    pub with_several_classes: u64,
    /// Patients with both sexes in the table.
    pub with_both_sexes: u64,
    /// Images without a patient.
    pub unknown: u64,
}

/// Images that are one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Duplicates {
    /// Images whose file is a copy of an earlier one.
    pub equal_files: u64,
    /// Images whose pixels are those of an earlier one in another file.
    pub equal_pixels: u64,
    /// Pairs that look the same.
    pub alike_pairs: u64,
    /// Correlation from which they count as the same.
    pub alike_from: f64,
    /// Images in a group.
    pub images: u64,
    /// Groups of different patients.
    pub across_patients: u64,
    /// Groups with more than one class.
    pub conflicts: u64,
    /// The groups, those with conflicts first.
    pub groups: Vec<Group>,
}

/// One radiograph under several names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its images.
    pub images: Vec<Member>,
    /// Why they are taken for one.
    pub kinds: Vec<Kind>,
    /// The least correlation of a link that holds the group together.
    pub correlation: f64,
    /// Number of patients; an image without one counts as its own.
    pub patients: u64,
    /// Whether the findings differ.
    pub conflict: bool,
}

/// An image in a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Its finding as the source has it.
    pub finding: String,
    /// Its published split.
    pub split: Option<String>,
    /// Width and height.
    pub size: [u32; 2],
}

/// Pictures that two sources share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The two sources.
    pub sources: [String; 2],
    /// Groups of duplicates with images of both.
    pub pictures: u64,
    /// Names that both have for a first publication.
    pub names: u64,
    /// Of these names, how many belong to pictures that are found to be the same.
    pub names_alike: u64,
    /// Pictures with different findings in the two.
    pub conflicts: u64,
}

/// Views.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Views {
    /// Images by view.
    pub counts: Vec<Count>,
    /// Views from the side.
    pub lateral: u64,
    /// Slices of a CT.
    pub ct: u64,
    /// Not stated.
    pub not_stated: u64,
}

/// Ages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ages {
    /// Images by age.
    pub counts: Vec<Count>,
    /// Images of children, by age or because the whole collection is of children.
    pub children: u64,
    /// Of these, how many because the whole collection is of children.
    pub children_by_collection: u64,
    /// Images whose age is not stated and whose collection says nothing.
    pub not_stated: u64,
    /// Ages that nobody has.
    pub implausible: u64,
}

/// A property of images that is not their content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Property {
    /// As in "source".
    pub name: String,
    /// Number of values.
    pub values: u64,
    /// Cramer's V with the class.
    pub cramers_v: Option<f64>,
    /// The same, corrected for bias.
    pub cramers_v_corrected: Option<f64>,
}

/// A guess, cross-validated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prediction {
    /// What is guessed: "class" or "source".
    pub of: String,
    /// From what.
    pub from: String,
    /// By which method.
    pub method: String,
    /// Folds, grouped by patient and duplicates.
    pub folds: u64,
    /// Images that were guessed.
    pub images: u64,
    /// Number of classes.
    pub classes: u64,
    /// Right ones.
    pub correct: u64,
    /// Share of right ones.
    pub accuracy: f64,
    /// 95 % interval over images.
    pub interval: Interval,
    /// Mean over classes of the share of right ones.
    pub balanced: f64,
    /// Share of the largest class: the accuracy of knowing nothing.
    pub majority: f64,
}
