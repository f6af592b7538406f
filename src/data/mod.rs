//! From files to planes and folds: decoding, resizing, tables of records, the DETL data sets, splits, the decoded cache.
//!
//! Read in this order: [`table`] (what a record is; a folder or a TOML manifest to a [`table::Dataset`]), [`detl`]
//! (Data-A and Data-B of Basu & Mitra), [`split`] and [`split_file`] (folds), [`decode`], [`resize`] and [`preprocessing`]
//! (one file to one plane), [`planes`] (all files, on all cores, cached), [`cache`] (where caches lie, and clearing them).

pub mod audit;
pub mod cache;
pub mod collections;
pub mod decode;
pub mod detl;
pub mod detl_split;
#[cfg(feature = "dicom")]
mod dicom;
pub mod division;
pub mod file_name;
pub mod fold_file;
pub mod folder;
#[cfg(test)]
mod fuzz;
pub mod labels;
pub mod manifest;
mod manifest_read;
pub(crate) mod pack;
pub mod phantom;
pub mod planes;
pub mod preprocessing;
pub mod resize;
pub mod split;
pub mod split_file;
pub mod summary;
pub mod synthesize;
pub mod table;
pub mod text;
